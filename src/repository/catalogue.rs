//! The catalogue: what a scan of a database's directory finds. It needs nothing else.

use std::collections::HashSet;
use std::path::Path;
use std::thread;

use chrono::{DateTime, FixedOffset};
use serde::Deserialize;
use uuid::Uuid;

use super::error::RepositoryError;
use super::manifest::{MANIFEST_FORMAT, ManifestError, check_format, check_seal};
use super::names::{Role, Stem};
use super::state::State;
use crate::config::{Compression, Format};

/// Reading small files waits for the kernel more than it computes, but two threads do.
const THREADS: usize = 4;

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
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
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
        let stems: Vec<Stem> = names
            .iter()
            .filter_map(|name| name.strip_suffix(Role::Manifest.suffix())?.parse().ok())
            .collect();
        let mut catalogue = read_all(directory, &stems, &names);
        catalogue.add_unregistered(&names);
        catalogue
            .backups
            .sort_by(|a, b| (a.started, &a.stem).cmp(&(b.started, &b.stem)));
        catalogue.problems.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(catalogue)
    }

    /// Finds dumps under a backup's name that no manifest speaks for.
    fn add_unregistered(&mut self, names: &HashSet<String>) {
        for name in names {
            let stem = ALL_ARTIFACTS
                .iter()
                .find_map(|role| name.strip_suffix(role.suffix())?.parse::<Stem>().ok());
            if let Some(stem) = stem
                && !names.contains(&format!("{stem}{}", Role::Manifest.suffix()))
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

fn read_all(directory: &Path, stems: &[Stem], names: &HashSet<String>) -> Catalogue {
    let mut catalogue = Catalogue::default();
    let share = stems.len().div_ceil(THREADS).max(64);
    thread::scope(|scope| {
        let parts: Vec<_> = stems
            .chunks(share)
            .map(|stems| {
                scope.spawn(move || {
                    let mut part = Catalogue::default();
                    for stem in stems {
                        match read_one(directory, stem, names) {
                            Ok(entry) => part.backups.push(entry),
                            // Retention may have removed it meanwhile.
                            Err(problem) => {
                                let path = directory.join(&problem.file);
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

fn read_one(directory: &Path, stem: &Stem, names: &HashSet<String>) -> Result<Entry, Problem> {
    let name = stem.to_string();
    let manifest = format!("{name}{}", Role::Manifest.suffix());
    let problem = |what: String| Problem {
        file: manifest.clone(),
        what,
        manifest_of: Some(stem.clone()),
    };
    let brief =
        read_brief(&directory.join(&manifest), &name).map_err(|e| problem(e.to_string()))?;
    let BriefArtifact {
        format,
        compression,
        bytes,
    } = brief.artifact;
    let artifact = format!("{name}{}", Role::Artifact(format, compression).suffix());
    // One that was published while the directory was being read may have been missed.
    if !names.contains(&artifact) && !directory.join(&artifact).exists() {
        return Err(problem(format!("its dump {artifact} is gone")));
    }
    let state_file = format!("{name}{}", Role::State.suffix());
    let state = if names.contains(&state_file) {
        State::read(&directory.join(&state_file))
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

fn read_brief(path: &Path, name: &str) -> Result<Brief, ManifestError> {
    let text = std::fs::read_to_string(path).map_err(ManifestError::Read)?;
    let brief: Brief = match serde_json::from_str(&text) {
        Ok(brief) => brief,
        Err(error) => {
            // A newer program's manifest may lack what is looked for here.
            check_format(&text)?;
            return Err(ManifestError::Malformed(error));
        }
    };
    if brief.format > MANIFEST_FORMAT {
        return Err(ManifestError::Newer(brief.format));
    }
    // What was changed is no ground to count or to remove a backup on.
    check_seal(&text)?;
    if brief.name == name {
        Ok(brief)
    } else {
        Err(ManifestError::Misnamed(brief.name))
    }
}
