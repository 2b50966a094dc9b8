//! The removal of copies of other hosts: what is left of one that was cut short, and the record of all.
//!
//! `copying/removals.json` in the state directory has the objects of the copies that are being removed, written before
//! the first manifest goes: without it, nothing says any more that the volumes belonged to a copy that may go.
//! `copying/removals.log` is a ledger like that of a directory of backups.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::copy_journal::{HOME, make_home};
use super::error::RepositoryError;
use super::ledger::Ledger;
use super::seal::{self, Names};

const NAMES: Names = Names {
    file: "removals.json",
    lock: "removals.lock",
    when_spoilt: "what is left of removals that were cut short stays at the destinations",
};

/// A copy whose removal has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRemoval {
    /// The destination, as it was given.
    pub destination: String,
    /// Where the copies of its database are, as their keys begin.
    pub place: String,
    /// The copy's name in keys.
    pub copy: String,
    /// All its objects.
    pub keys: Vec<String>,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PendingRemovals {
    #[serde(default)]
    removals: Vec<PendingRemoval>,
}

/// The copies at a place of a destination whose removal was cut short.
///
/// # Errors
/// When the file cannot be read, or is not as it was written.
pub fn pending_removals(
    state: &Path,
    (destination, place): (&str, &str),
) -> Result<Vec<PendingRemoval>, RepositoryError> {
    let home = state.join(HOME);
    let path = home.join(NAMES.file);
    let read: PendingRemovals =
        seal::read(&home, &NAMES).map_err(RepositoryError::io("read", &path))?;
    let mut found = read.removals;
    found.retain(|one| one.destination == destination && one.place == place);
    Ok(found)
}

/// Takes down that a copy is being removed.
///
/// # Errors
/// When that cannot be written.
pub fn begin_removal(state: &Path, removal: PendingRemoval) -> Result<(), RepositoryError> {
    change(state, |removals| {
        removals.retain(|one| !is_same(one, &removal));
        removals.push(removal);
    })
}

/// Takes down that nothing of a copy is left.
///
/// # Errors
/// When that cannot be written.
pub fn end_removal(state: &Path, removal: &PendingRemoval) -> Result<(), RepositoryError> {
    change(state, |removals| {
        removals.retain(|one| !is_same(one, removal));
    })
}

/// The ledger of these removals; its directory is made if it is not there.
///
/// # Errors
/// When the directory cannot be made.
pub fn removals_ledger(state: &Path) -> Result<Ledger, RepositoryError> {
    let home = state.join(HOME);
    make_home(state).map_err(RepositoryError::io("make", &home))?;
    Ok(Ledger::at(home.join("removals.log")))
}

fn is_same(one: &PendingRemoval, other: &PendingRemoval) -> bool {
    (&one.destination, &one.place, &one.copy) == (&other.destination, &other.place, &other.copy)
}

fn change(
    state: &Path,
    change: impl FnOnce(&mut Vec<PendingRemoval>),
) -> Result<(), RepositoryError> {
    let home = state.join(HOME);
    let changed = make_home(state).and_then(|()| {
        seal::change(&home, &NAMES, |all: &mut PendingRemovals| {
            change(&mut all.removals);
        })
    });
    changed.map_err(|error: io::Error| RepositoryError::io("write", &home.join(NAMES.file))(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_is_pending_from_its_begin_to_its_end() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let removal = |copy: &str| PendingRemoval {
            destination: "far".to_owned(),
            place: "v1/db1/main/app".to_owned(),
            copy: copy.to_owned(),
            keys: vec![format!("v1/db1/main/app/{copy}.json")],
        };
        let pending = |place| pending_removals(state, ("far", place)).unwrap();
        assert_eq!(pending("v1/db1/main/app"), []);
        for copy in ["a", "b", "a"] {
            begin_removal(state, removal(copy)).unwrap();
        }
        assert_eq!(pending("v1/db1/main/app"), [removal("b"), removal("a")]);
        assert_eq!(pending("v1/db1/main/app2"), []);
        end_removal(state, &removal("b")).unwrap();
        assert_eq!(pending("v1/db1/main/app"), [removal("a")]);
        let ledger = removals_ledger(state).unwrap();
        assert_eq!(ledger.path(), state.join("copying/removals.log"));
    }
}
