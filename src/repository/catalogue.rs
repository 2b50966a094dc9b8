//! The catalogue: what a scan of a database's directory finds. It needs nothing else.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use chrono::{DateTime, FixedOffset};
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Deserialize;
use serde::de::IgnoredAny;
use uuid::Uuid;

use super::error::RepositoryError;
use super::manifest::{MANIFEST_FORMAT, ManifestError, check_format, check_seal};
use super::names::{Role, Stem};
use super::state::State;
use crate::config::{Compression, Format};

/// Reading small files waits for the kernel more than it computes, but two threads do.
const THREADS: usize = 4;

/// A manifest has a few KiB; more than this of a file is never read.
const LARGEST_MANIFEST: u64 = 4 << 20;

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
    /// Pins and later checks.
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
    /// Whether its last full check found it whole.
    pub fn is_sound(&self) -> bool {
        !matches!(&self.state.checked, Some(check) if check.damage.is_some())
    }

    /// When it was last found whole.
    pub fn last_found_whole(&self) -> Option<DateTime<FixedOffset>> {
        match &self.state.checked {
            Some(check) if check.damage.is_some() => None,
            Some(check) => Some(check.at.max(self.verified)),
            None => Some(self.verified),
        }
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
    started: DateTime<FixedOffset>,
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

impl Catalogue {
    /// Reads a directory; one that is not there holds no backups.
    pub(super) fn scan(directory: &Path) -> Result<Self, RepositoryError> {
        let reading = || RepositoryError::io("read the directory", directory);
        let mut names = HashSet::new();
        match std::fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            entries => {
                for entry in entries.map_err(reading())? {
                    let name = entry.map_err(reading())?.file_name();
                    // Names that are no UTF-8 are none of ours.
                    if let Ok(name) = name.into_string() {
                        names.insert(name);
                    }
                }
            }
        }
        let manifests: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| name.ends_with(Role::Manifest.suffix()))
            .collect();
        let opened = OpenDirectory::open(directory).map_err(reading())?;
        let mut catalogue = read_all(&opened, &manifests, &names);
        catalogue.add_unregistered(&names);
        catalogue
            .backups
            .sort_by(|a, b| (a.started, &a.stem).cmp(&(b.started, &b.stem)));
        catalogue.problems.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(catalogue)
    }

    /// Finds dumps under a backup's name that no manifest speaks for.
    fn add_unregistered(&mut self, names: &HashSet<String>) {
        let artifact = |name: &String| {
            ALL_ARTIFACTS
                .iter()
                .find_map(|role| name.strip_suffix(role.suffix()).map(str::to_owned))
        };
        for name in names {
            if let Some(bare) = artifact(name)
                && !names.contains(&format!("{bare}{}", Role::Manifest.suffix()))
                && bare.parse::<Stem>().is_ok()
            {
                self.problems.push(Problem {
                    file: name.clone(),
                    what: "it has no manifest, so it is not a backup of pgbackupd's, and \
                           retention never touches it"
                        .to_owned(),
                    manifest_of: None,
                });
            }
        }
    }
}

pub(super) const ALL_ARTIFACTS: [Role; 5] = [
    Role::Artifact(Format::Plain, Compression::Gzip),
    Role::Artifact(Format::Plain, Compression::Zstd),
    Role::Artifact(Format::Plain, Compression::None),
    Role::Artifact(Format::Custom, Compression::None),
    Role::Artifact(Format::Directory, Compression::None),
];

/// A directory that is open, by which its files are found without walking the path to it anew.
struct OpenDirectory<'a> {
    path: &'a Path,
    descriptor: OwnedFd,
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

    /// Reads a small file whole, into a buffer that is used again.
    fn read(&self, name: &str, buffer: &mut Vec<u8>) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = File::from(openat(&self.descriptor, name, flags, Mode::empty())?);
        buffer.clear();
        // Asking for the size first, as the standard library does, costs as much as reading.
        file.take(LARGEST_MANIFEST).read_to_end(buffer)?;
        Ok(())
    }
}

fn read_all(
    directory: &OpenDirectory<'_>,
    manifests: &[&str],
    names: &HashSet<String>,
) -> Catalogue {
    let mut catalogue = Catalogue::default();
    let share = manifests.len().div_ceil(THREADS).max(64);
    thread::scope(|scope| {
        let parts: Vec<_> = manifests
            .chunks(share)
            .map(|manifests| {
                scope.spawn(move || {
                    let mut part = Catalogue::default();
                    let mut buffer = Vec::with_capacity(64 * 1024);
                    for manifest in manifests {
                        // A file that only ends like a manifest is somebody else's.
                        let Some(stem) = stem_of(manifest) else {
                            continue;
                        };
                        match read_one(directory, manifest, &stem, names, &mut buffer) {
                            Ok(entry) => part.backups.push(entry),
                            // Retention may have removed it meanwhile.
                            Err(problem) => {
                                let path = directory.path.join(&problem.file);
                                if path.symlink_metadata().is_ok() {
                                    part.problems.push(problem);
                                }
                            }
                        }
                    }
                    part
                })
            })
            .collect();
        for part in parts {
            // A panic in reading one manifest would be a fault of ours: pass it on.
            let part = part
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            catalogue.backups.extend(part.backups);
            catalogue.problems.extend(part.problems);
        }
    });
    catalogue
}

fn read_one(
    directory: &OpenDirectory<'_>,
    manifest: &str,
    stem: &Stem,
    names: &HashSet<String>,
    buffer: &mut Vec<u8>,
) -> Result<Entry, Problem> {
    let name = manifest
        .strip_suffix(Role::Manifest.suffix())
        .unwrap_or(manifest);
    let problem = |what: String| Problem {
        file: manifest.to_owned(),
        what,
        manifest_of: Some(stem.clone()),
    };
    let brief = directory
        .read(manifest, buffer)
        .map_err(ManifestError::Read)
        .and_then(|()| read_brief(buffer, name))
        .map_err(|error| problem(error.to_string()))?;
    let BriefArtifact {
        format,
        compression,
        bytes,
    } = brief.artifact;
    let artifact = format!("{name}{}", Role::Artifact(format, compression).suffix());
    // One that was published while the directory was being read may have been missed.
    if !names.contains(&artifact) && !directory.path.join(&artifact).exists() {
        return Err(problem(format!("its dump {artifact} is gone")));
    }
    let state_file = format!("{name}{}", Role::State.suffix());
    let state = if names.contains(&state_file) {
        State::read(&directory.path.join(&state_file))
            .map_err(|error| problem(format!("its state {state_file} cannot be read: {error}")))?
    } else {
        State::default()
    };
    Ok(Entry {
        stem: stem.clone(),
        run: brief.run,
        database: brief.database,
        reason: brief.reason,
        started: brief.started,
        verified: brief.verified,
        format,
        compression,
        bytes: bytes + brief.census.bytes + brief.globals.map_or(0, |globals| globals.bytes),
        rows: brief.census.summary.rows,
        state,
    })
}

fn stem_of(manifest: &str) -> Option<Stem> {
    manifest.strip_suffix(Role::Manifest.suffix())?.parse().ok()
}

/// The members of a manifest up to those that a list needs no more, as an object of their own:
/// reading the rest too would double the time that a list of many backups takes. Only the seal
/// covers the rest.
fn front(text: &str) -> Cow<'_, str> {
    // At this depth and with these characters only the member itself can stand: a line break in a
    // string is written otherwise.
    match text.find(",\n  \"seconds\": ") {
        Some(end) => Cow::Owned(format!("{}}}", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

fn read_brief(text: &[u8], name: &str) -> Result<Brief, ManifestError> {
    let text = std::str::from_utf8(text)
        .map_err(|error| ManifestError::Read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let brief: Brief = match serde_json::from_str(&front(text)) {
        Ok(brief) => brief,
        Err(error) => {
            // A newer program's manifest may lack what is looked for here.
            check_format(text)?;
            return Err(ManifestError::Malformed(error));
        }
    };
    if brief.format > MANIFEST_FORMAT {
        return Err(ManifestError::Newer(brief.format));
    }
    // What was changed is no ground to count or to remove a backup on.
    check_seal(text).map_err(|changed| {
        // One that breaks off is told as such.
        match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => ManifestError::Malformed(error),
            Ok(_) => changed,
        }
    })?;
    if brief.name == name {
        Ok(brief)
    } else {
        Err(ManifestError::Misnamed(brief.name))
    }
}
