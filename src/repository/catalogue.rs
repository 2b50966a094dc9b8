//! The catalogue: what a scan of a database's directory finds. It needs nothing else.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use chrono::{DateTime, FixedOffset};
use memchr::memmem;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{read, retry_on_intr};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::error::RepositoryError;
use super::manifest::{MANIFEST_FORMAT, ManifestError, check_format, check_seal};
use super::names::{Role, Stem};
use super::state::State;
use crate::config::{Compression, Format};

/// Reading small files waits for the kernel more than it computes, but two threads do.
const THREADS: usize = 4;

/// So many manifests' names are handed to a reader at once: enough that handing over costs nothing,
/// few enough that readers begin while the directory is still being read.
const BATCH: usize = 256;

/// A manifest has a few KiB; more than this of a file is never read.
const LARGEST_MANIFEST: usize = 4 << 20;

/// So many bytes of names and what the kernel puts beside them are asked for at once.
const READ_NAMES: usize = 256 << 10;

/// So much room a manifest is given at first.
const USUAL_MANIFEST: usize = 64 << 10;

/// What stands in a database's directory.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// The backups, oldest first.
    pub backups: Vec<Entry>,
    /// What looks like part of a backup and is none, in the order of names.
    pub problems: Vec<Problem>,
}

/// One backup, as far as a list shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the names of its files share.
    pub stem: Stem,
    /// The run that made it, as in the ledger.
    pub run: Uuid,
    /// The database.
    pub database: String,
    /// Why it was made.
    pub reason: Option<String>,
    /// When the run started, on the wall clock of the schedule's zone then.
    pub started: DateTime<FixedOffset>,
    /// When the read-back at its making had found it whole.
    pub verified: DateTime<FixedOffset>,
    /// The shape of its dump.
    pub format: Format,
    /// How its dump is compressed.
    pub compression: Compression,
    /// Bytes of all its files but the manifest.
    pub bytes: u64,
    /// Rows of all its tables.
    pub rows: u64,
    /// Pins, later checks and test restores.
    pub state: State,
}

/// A file that looks like part of a backup and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name in the directory.
    pub file: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The backup whose manifest it is; none when no manifest speaks for it.
    pub manifest_of: Option<Stem>,
}

impl Entry {
    /// Whether it counts as verified: its last full check found it whole, and its last test restore,
    /// if there was one, came through.
    pub fn is_sound(&self) -> bool {
        self.state.fault().is_none()
    }

    /// When it was last found whole; none while it does not count as verified.
    pub fn last_found_whole(&self) -> Option<DateTime<FixedOffset>> {
        self.is_sound().then(|| self.last_check())
    }

    /// When all of it was read last, whatever was found.
    pub fn last_check(&self) -> DateTime<FixedOffset> {
        let checked = self.state.checked.as_ref().map(|check| check.at);
        checked.map_or(self.verified, |checked| checked.max(self.verified))
    }
}

/// The members of a manifest that a list needs.
#[derive(Deserialize)]
struct Brief {
    format: u32,
    name: String,
    run: Uuid,
    database: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(deserialize_with = "moment")]
    started: DateTime<FixedOffset>,
    #[serde(deserialize_with = "moment")]
    verified: DateTime<FixedOffset>,
    artifact: BriefArtifact,
    #[serde(default)]
    globals: Option<BriefFile>,
    census: BriefCensus,
}

#[derive(Deserialize)]
struct BriefArtifact {
    format: Format,
    compression: Compression,
    bytes: u64,
}

#[derive(Deserialize)]
struct BriefFile {
    bytes: u64,
}

#[derive(Deserialize)]
struct BriefCensus {
    bytes: u64,
    summary: BriefSummary,
}

#[derive(Deserialize)]
struct BriefSummary {
    rows: u64,
}

/// RFC 3339, without the many other spellings that chrono's own reading tries.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<FixedOffset>, D::Error> {
    let text = <&str>::deserialize(from)?;
    DateTime::parse_from_rfc3339(text).map_err(D::Error::custom)
}

impl Catalogue {
    /// Reads a directory; one that is not there holds no backups.
    pub(super) fn scan(directory: &Path) -> Result<Self, RepositoryError> {
        let reading = || RepositoryError::io("read the directory", directory);
        let opened = match OpenDirectory::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            opened => opened.map_err(reading())?,
        };
        let mut others = NameList::default();
        let (names, parts) = opened.read_all(&mut others).map_err(reading())?;
        let mut catalogue = Self::default();
        thread::scope(|scope| {
            let (opened, names) = (&opened, &names);
            let completing: Vec<_> = parts
                .into_iter()
                .map(|part| scope.spawn(move || part.complete(opened, names)))
                .collect();
            for part in completing {
                let mut part = joined(part.join());
                if catalogue.backups.is_empty() {
                    catalogue.backups = part.backups;
                } else {
                    catalogue.backups.append(&mut part.backups);
                }
                catalogue.problems.extend(part.problems);
            }
        });
        catalogue.problems.extend(names.unregistered());
        // Each part is in order already, so that little is left to do.
        catalogue.backups.sort_by(by_time);
        catalogue.problems.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(catalogue)
    }
}

fn by_time(a: &Entry, b: &Entry) -> Ordering {
    (a.started, &a.stem).cmp(&(b.started, &b.stem))
}

pub(super) const ALL_ARTIFACTS: [Role; 5] = [
    Role::Artifact(Format::Plain, Compression::Gzip),
    Role::Artifact(Format::Plain, Compression::Zstd),
    Role::Artifact(Format::Plain, Compression::None),
    Role::Artifact(Format::Custom, Compression::None),
    Role::Artifact(Format::Directory, Compression::None),
];

/// Names of files, one after the other, each with a zero byte behind it: a hundred thousand strings
/// of their own would cost more than reading them from the directory.
#[derive(Default)]
struct NameList(Vec<u8>);

impl NameList {
    fn push(&mut self, name: &CStr) {
        self.0.extend_from_slice(name.to_bytes_with_nul());
    }

    fn iter(&self) -> impl Iterator<Item = &CStr> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let name = CStr::from_bytes_until_nul(rest).ok()?;
            rest = &rest[name.count_bytes() + 1..];
            Some(name)
        })
    }
}

/// Which files there are beside manifests, by the part that the names of one backup's files share.
struct Names<'a>(HashMap<&'a str, Present>);

/// The files of one backup that matter to a list.
#[derive(Default)]
struct Present {
    /// Set once a manifest of theirs has been seen.
    manifest: AtomicBool,
    state: bool,
    /// In the order of [`ALL_ARTIFACTS`].
    artifacts: [bool; ALL_ARTIFACTS.len()],
}

impl<'a> Names<'a> {
    /// Whether a file's name is of a kind that is taken note of.
    fn matter(name: &[u8]) -> bool {
        ALL_ARTIFACTS
            .iter()
            .chain([&Role::State])
            .any(|role| name.ends_with(role.suffix().as_bytes()))
    }

    fn of(list: &'a NameList) -> Self {
        let mut names: HashMap<&str, Present> = HashMap::new();
        // Names that are no UTF-8 are none of ours.
        for name in list.iter().filter_map(|name| name.to_str().ok()) {
            let bare = |role: Role| name.strip_suffix(role.suffix());
            if let Some(bare) = bare(Role::State) {
                names.entry(bare).or_default().state = true;
            } else if let Some((index, bare)) = ALL_ARTIFACTS
                .iter()
                .enumerate()
                .find_map(|(index, role)| Some((index, bare(*role)?)))
            {
                names.entry(bare).or_default().artifacts[index] = true;
            }
        }
        Self(names)
    }

    /// The files that go with a manifest.
    fn beside(&self, manifest_of: &str) -> Option<&Present> {
        let present = self.0.get(manifest_of)?;
        present.manifest.store(true, Relaxed);
        Some(present)
    }

    /// Dumps under a backup's name that no manifest speaks for.
    fn unregistered(&self) -> impl Iterator<Item = Problem> {
        self.0
            .iter()
            .filter(|(bare, present)| {
                !present.manifest.load(Relaxed) && bare.parse::<Stem>().is_ok()
            })
            .flat_map(|(bare, present)| {
                let there = ALL_ARTIFACTS.iter().zip(present.artifacts);
                there
                    .filter(|(_, there)| *there)
                    .map(move |(role, _)| Problem {
                        file: format!("{bare}{}", role.suffix()),
                        what: "it has no manifest, so it is not a backup of pgbackupd's, and \
                           retention never touches it"
                            .to_owned(),
                        manifest_of: None,
                    })
            })
    }
}

impl Present {
    fn has_artifact(&self, format: Format, compression: Compression) -> bool {
        let wanted = Role::Artifact(format, compression);
        ALL_ARTIFACTS
            .iter()
            .zip(self.artifacts)
            .any(|(role, there)| there && role.suffix() == wanted.suffix())
    }
}

/// A directory that is open, by which its files are found without walking the path to it anew.
struct OpenDirectory<'a> {
    path: &'a Path,
    descriptor: OwnedFd,
}

/// What one thread read: manifests as they stand by themselves.
#[derive(Default)]
struct Part {
    /// What the names of each backup's files share, in the order of `entries`.
    names: NameList,
    /// Still without their states.
    entries: Vec<Entry>,
    failed: Vec<(Stem, ManifestError)>,
}

impl<'a> OpenDirectory<'a> {
    fn open(path: &'a Path) -> io::Result<Self> {
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
    fn read_all<'n>(&self, others: &'n mut NameList) -> io::Result<(Names<'n>, Vec<Part>)> {
        let (batches, queue) = channel();
        let queue = Mutex::new(queue);
        thread::scope(|scope| {
            let mut readers = Vec::new();
            let outcome = self.read_names(others, |batch| {
                // The queue outlives this closure, so that sending cannot fail.
                let _ = batches.send(batch);
                if readers.len() < THREADS {
                    readers.push(scope.spawn(|| self.read_manifests(&queue)));
                }
            });
            drop(batches);
            let names = Names::of(others);
            let parts = readers.into_iter().map(|part| joined(part.join()));
            let parts = parts.collect();
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
                    Ok(text) => read_brief(text, bare),
                    Err(error) => Err(ManifestError::Read(error)),
                };
                match brief {
                    Ok(brief) => {
                        part.names.0.extend_from_slice(bare.as_bytes());
                        part.names.0.push(0);
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
    /// is more behind a manifest's last line.
    fn read<'b>(&self, name: &CStr, buffer: &'b mut Vec<u8>) -> io::Result<&'b mut [u8]> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.descriptor, name, flags, Mode::empty())?;
        let mut length = 0;
        while length < LARGEST_MANIFEST {
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
    fn complete(self, directory: &OpenDirectory<'_>, names: &Names<'_>) -> Catalogue {
        let mut backups = self.entries;
        let mut failed: Vec<_> = self
            .failed
            .into_iter()
            .map(|(stem, error)| {
                names.beside(&stem.to_string());
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
    /// Looks at the files beside the manifest; the error is a sentence.
    fn complete(
        &mut self,
        name: &str,
        directory: &OpenDirectory<'_>,
        names: &Names<'_>,
    ) -> Result<(), String> {
        let (format, compression) = (self.format, self.compression);
        let present = names.beside(name);
        if !present.is_some_and(|present| present.has_artifact(format, compression)) {
            let artifact = format!("{name}{}", Role::Artifact(format, compression).suffix());
            // One that was published while the directory was being read may have been missed.
            if !directory.path.join(&artifact).exists() {
                return Err(format!("its dump {artifact} is gone"));
            }
        }
        if present.is_some_and(|present| present.state) {
            let state_file = format!("{name}{}", Role::State.suffix());
            self.state = State::read(&directory.path.join(&state_file))
                .map_err(|error| format!("its state {state_file} cannot be read: {error}"))?;
        }
        Ok(())
    }
}

impl Brief {
    fn into_entry(self, stem: Stem) -> Entry {
        let globals = self.globals.map_or(0, |globals| globals.bytes);
        Entry {
            stem,
            run: self.run,
            database: self.database,
            reason: self.reason,
            started: self.started,
            verified: self.verified,
            format: self.artifact.format,
            compression: self.artifact.compression,
            bytes: self.artifact.bytes + self.census.bytes + globals,
            rows: self.census.summary.rows,
            state: State::default(),
        }
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

/// Reads what a list needs of a manifest that is as it was written.
///
/// The text is as before afterwards.
fn read_brief(text: &mut [u8], name: &str) -> Result<Brief, ManifestError> {
    // What was changed is no ground to count or to remove a backup on.
    let brief = match check_seal(text) {
        Ok(()) => front(text),
        Err(_) => None,
    };
    match brief {
        Some(brief) if brief.format == MANIFEST_FORMAT => {
            if brief.name == name {
                Ok(brief)
            } else {
                Err(ManifestError::Misnamed(brief.name))
            }
        }
        _ => read_any(text, name),
    }
}

/// Reads the members of a sealed manifest up to those that a list needs no more: reading the rest
/// too would double the time that a list of many backups takes. None if that cannot be done.
fn front(text: &mut [u8]) -> Option<Brief> {
    // At this depth and with these characters only the member itself can stand: a line break in a
    // string is written otherwise.
    let end = memmem::find(text, b",\n  \"seconds\": ")?;
    text[end] = b'}';
    let front = std::str::from_utf8(&text[..=end]).ok();
    let brief = front.and_then(|front| serde_json::from_str(front).ok());
    text[end] = b',';
    brief
}

/// Reads what may be of a newer program's making or damaged, and says what is wrong with it.
fn read_any(text: &[u8], name: &str) -> Result<Brief, ManifestError> {
    let text = std::str::from_utf8(text)
        .map_err(|error| ManifestError::Read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    check_format(text)?;
    let brief: Brief = serde_json::from_str(text).map_err(ManifestError::Malformed)?;
    check_seal(text.as_bytes())?;
    if brief.name == name {
        Ok(brief)
    } else {
        Err(ManifestError::Misnamed(brief.name))
    }
}
