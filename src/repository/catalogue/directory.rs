//! Reading a directory on several threads: names on one, manifests meanwhile on others.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{read, retry_on_intr};

use super::brief::read_brief;
use super::names::{NameList, Names};
use super::{Catalogue, Entry, Problem, by_time};
use crate::repository::manifest::{LONGEST_MANIFEST, ManifestError};
use crate::repository::names::{Role, Stem};
use crate::repository::state::State;

/// Reading small files waits for the kernel more than it computes, but two threads do.
const THREADS: usize = 4;

/// So many manifests' names are handed to a reader at once: enough that handing over costs nothing,
/// few enough that readers begin while the directory is still being read.
const BATCH: usize = 256;

/// So many bytes of names and what the kernel puts next to them are asked for at once.
const READ_NAMES: usize = 256 << 10;

/// So much room a manifest is given at first.
const USUAL_MANIFEST: usize = 64 << 10;

/// A directory that is open, by which its files are found without walking the path to it again.
pub(super) struct OpenDirectory<'a> {
    path: &'a Path,
    descriptor: OwnedFd,
}

/// What one thread read: manifests as they stand by themselves.
#[derive(Default)]
pub(super) struct Part {
    /// What the names of each backup's files share, in the order of `entries`.
    names: NameList,
    /// Still without their states.
    entries: Vec<Entry>,
    failed: Vec<(Stem, ManifestError)>,
}

impl<'a> OpenDirectory<'a> {
    pub(super) fn open(path: &'a Path) -> io::Result<Self> {
        let descriptor = openat(
            CWD,
            path,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { path, descriptor })
    }

    /// Reads the names, and on other threads meanwhile the manifests; what else matters is put into
    /// `others`.
    pub(super) fn read_all<'n>(
        &self,
        others: &'n mut NameList,
    ) -> io::Result<(Names<'n>, Vec<Part>)> {
        let (batches, queue) = channel();
        let queue = Mutex::new(queue);
        thread::scope(|scope| {
            let mut readers = Vec::new();
            let mut is_refused = false;
            let outcome = self.read_names(others, |batch| {
                // The queue outlives this closure, so that sending cannot fail.
                let _ = batches.send(batch);
                if readers.len() < THREADS && !is_refused {
                    let reader = Builder::new().spawn_scoped(scope, || self.read_manifests(&queue));
                    is_refused = reader.is_err();
                    readers.extend(reader);
                }
            });
            drop(batches);
            let names = Names::of(others);
            // With threads that are refused, what is left is read here.
            let here = is_refused.then(|| self.read_manifests(&queue));
            let parts = readers.into_iter().map(|part| joined(part.join()));
            let parts = parts.chain(here).collect();
            outcome.map(|()| (names, parts))
        })
    }

    /// Reads the names of all files; hands on those of manifests by batches.
    fn read_names(
        &self,
        others: &mut NameList,
        mut hand_on: impl FnMut(NameList),
    ) -> io::Result<()> {
        let mut batch = NameList::default();
        let mut count = 0;
        let mut buffer = Vec::with_capacity(READ_NAMES);
        let mut entries = RawDir::new(&self.descriptor, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name
                .to_bytes()
                .ends_with(Role::Manifest.suffix().as_bytes())
            {
                batch.push(name);
                count += 1;
                if count == BATCH {
                    hand_on(std::mem::take(&mut batch));
                    count = 0;
                }
            } else if Names::matter(name.to_bytes()) {
                others.push(name);
            }
        }
        if count > 0 {
            hand_on(batch);
        }
        Ok(())
    }

    /// Reads manifests as long as there are names.
    fn read_manifests(&self, queue: &Mutex<Receiver<NameList>>) -> Part {
        let mut part = Part::default();
        let mut buffer = vec![0; USUAL_MANIFEST];
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = next else {
                return part;
            };
            for manifest in batch.iter() {
                // A file that only ends like a manifest is somebody else's.
                let Some((bare, stem)) = stem_of(manifest) else {
                    continue;
                };
                let brief = match self.read(manifest, &mut buffer) {
                    Ok(text) if text.len() > LONGEST_MANIFEST => Err(ManifestError::TooLong),
                    Ok(text) => read_brief(text, bare),
                    Err(error) => Err(ManifestError::Read(error)),
                };
                match brief {
                    Ok(brief) => {
                        part.names.push_str(bare);
                        part.entries.push(brief.into_entry(stem));
                    }
                    Err(error) => part.failed.push((stem, error)),
                }
            }
        }
    }

    /// Reads a manifest whole, into a buffer that is used again.
    ///
    /// Asking for the file's size first costs as much as reading, and so does asking whether there
    /// is more behind a manifest's last line. What is no file, which asking would tell, is not waited
    /// for and not read without end: it is no manifest.
    fn read<'b>(&self, name: &CStr, buffer: &'b mut Vec<u8>) -> io::Result<&'b mut [u8]> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.descriptor, name, flags, Mode::empty())?;
        let mut length = 0;
        while length <= LONGEST_MANIFEST {
            if length == buffer.len() {
                buffer.resize(2 * length, 0);
            }
            let more = retry_on_intr(|| read(&file, &mut buffer[length..]))?;
            length += more;
            let filled = length == buffer.len();
            if more == 0 || !filled && buffer[..length].ends_with(b"\n}\n") {
                break;
            }
        }
        Ok(&mut buffer[..length])
    }
}

impl Part {
    /// What the manifests say, seen together with what else is in the directory; in order.
    pub(super) fn complete(self, directory: &OpenDirectory<'_>, names: &Names<'_>) -> Catalogue {
        let mut backups = self.entries;
        let mut failed: Vec<_> = self
            .failed
            .into_iter()
            .map(|(stem, error)| {
                names.files_of(&stem.to_string());
                (stem, error.to_string())
            })
            .collect();
        let mut bare = self.names.iter();
        backups.retain_mut(|entry| {
            let bare = bare.next().and_then(|name| name.to_str().ok());
            match entry.complete(bare.unwrap_or_default(), directory, names) {
                Ok(()) => true,
                Err(what) => {
                    failed.push((entry.stem.clone(), what));
                    false
                }
            }
        });
        backups.sort_by(by_time);
        let problem = |(stem, what)| Problem {
            file: format!("{stem}{}", Role::Manifest.suffix()),
            what,
            manifest_of: Some(stem),
            lost: None,
        };
        // Retention may have removed it meanwhile.
        let there = |problem: &Problem| {
            let path = directory.path.join(&problem.file);
            path.symlink_metadata().is_ok()
        };
        let problems = failed.into_iter().map(problem).filter(there).collect();
        Catalogue { backups, problems }
    }
}

impl Entry {
    /// Looks at the files next to the manifest; the error is a sentence.
    fn complete(
        &mut self,
        name: &str,
        directory: &OpenDirectory<'_>,
        names: &Names<'_>,
    ) -> Result<(), String> {
        let role = self.artifact_role();
        let present = names.files_of(name);
        if !present.is_some_and(|present| present.has_artifact(role)) {
            let artifact = format!("{name}{}", role.suffix());
            // One that was published while the directory was being read may have been missed.
            match directory.path.join(&artifact).try_exists() {
                Ok(true) => {}
                Ok(false) => return Err(format!("its dump {artifact} is gone")),
                Err(error) => return Err(format!("its dump {artifact} cannot be read: {error}")),
            }
        }
        if present.is_some_and(|present| present.state) {
            let state_file = format!("{name}{}", Role::State.suffix());
            self.state = State::read(&directory.path.join(&state_file));
        }
        Ok(())
    }
}

fn stem_of(manifest: &CStr) -> Option<(&str, Stem)> {
    let bare = manifest
        .to_str()
        .ok()?
        .strip_suffix(Role::Manifest.suffix())?;
    Some((bare, bare.parse().ok()?))
}

/// A panic in reading one manifest would be a fault of ours: pass it on.
fn joined<T>(outcome: thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
