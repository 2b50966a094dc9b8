//! Whose the configured directories are: as whom a command runs where systemd knows no user.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Databases, Plan};
use crate::identity::user_name;
use crate::repository::Repository;

/// Why the directories do not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// There is no directory to look at.
    None,
    /// They belong to several users: one directory of each, with its owner's number.
    Several(Vec<(PathBuf, u32)>),
}

impl Unclear {
    /// One of the owners, to be named as an example.
    pub(super) fn an_owner_but_root(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Several(owners) => owners.iter().map(|(_, owner)| *owner).find(|id| *id != 0),
        }
    }
}

impl std::fmt::Display for Unclear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let owners = match self {
            Self::None => return f.write_str("no directory for backups is configured"),
            Self::Several(owners) => owners,
        };
        for (index, (path, owner)) in owners.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(
                f,
                "{comma}{} belongs to {}",
                path.display(),
                user_name(*owner)
            )?;
        }
        Ok(())
    }
}

/// The one owner of directories, each given with its owner.
pub(super) fn only_one(owned: &[(PathBuf, u32)]) -> Result<u32, Unclear> {
    let mut first: BTreeMap<u32, &Path> = BTreeMap::new();
    for (path, owner) in owned {
        first.entry(*owner).or_insert(path);
    }
    match first.len() {
        0 => Err(Unclear::None),
        1 => first.into_keys().next().ok_or(Unclear::None),
        _ => Err(Unclear::Several(
            first
                .into_iter()
                .map(|(owner, path)| (path.to_owned(), owner))
                .collect(),
        )),
    }
}

/// The configured directories that are there, with their owners. Where none is, the first directory
/// that is there above each: who owns it makes what is missing.
pub(super) fn look(plan: &Plan) -> Vec<(PathBuf, u32)> {
    let directories: Vec<PathBuf> = plan.servers.iter().flat_map(of_server).collect();
    let there: Vec<_> = directories.iter().filter_map(owned).collect();
    if !there.is_empty() {
        return there;
    }
    let above = |path: &PathBuf| path.ancestors().skip(1).find_map(owned);
    directories.iter().filter_map(above).collect()
}

fn of_server(server: &crate::config::Server) -> Vec<PathBuf> {
    match &server.databases {
        Databases::Named(named) => named.iter().map(|one| one.directory.clone()).collect(),
        // What is right below is the databases'; the directory itself is often the system's.
        Databases::All(_) => {
            let below = with_backups(&server.directory);
            if below.is_empty() {
                vec![server.directory.clone()]
            } else {
                below
            }
        }
        Databases::FromEnvironment => vec![server.directory.clone()],
    }
}

/// The directories right below one that have a ledger.
fn with_backups(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = directory.read_dir() else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir()))
        .filter(|path| has_ledger(path))
        .collect();
    found.sort();
    found
}

fn has_ledger(path: &Path) -> bool {
    let repository = Repository::at(path);
    [repository.ledger(), repository.restore_ledger()]
        .iter()
        .any(|ledger| ledger.path().is_file())
}

fn owned(path: impl AsRef<Path>) -> Option<(PathBuf, u32)> {
    let path = path.as_ref();
    let metadata = path.metadata().ok()?;
    Some((path.to_owned(), metadata.uid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_is_the_answer_and_several_are_named() {
        let path = PathBuf::from;
        for (owned, expected) in [
            (vec![], Err(Unclear::None)),
            (vec![(path("/a"), 101)], Ok(101)),
            (vec![(path("/a"), 101), (path("/b"), 101)], Ok(101)),
            (vec![(path("/a"), 0)], Ok(0)),
            (
                vec![(path("/a"), 101), (path("/b"), 0), (path("/c"), 101)],
                Err(Unclear::Several(vec![(path("/b"), 0), (path("/a"), 101)])),
            ),
        ] {
            assert_eq!(only_one(&owned), expected, "{owned:?}");
        }
    }
}
