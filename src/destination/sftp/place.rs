//! Where the objects are at a server, and what was learnt of it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is known of whether the server refuses to make a file whose name is taken.
const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const IGNORED: u8 = 2;

/// Where the objects are, and what was learnt of it.
#[derive(Debug)]
pub(super) struct Place {
    /// The root as the server knows it; empty for the directory in which it puts the account.
    root: String,
    /// Directories below the root that are there and are no links, by key.
    known: Mutex<HashSet<String>>,
    conditions: AtomicU8,
}

impl Place {
    pub(super) fn new(root: String) -> Self {
        Self {
            root,
            known: Mutex::new(HashSet::new()),
            conditions: AtomicU8::new(UNKNOWN),
        }
    }

    /// Whether the server refuses to make a file whose name is taken; none where that is not known.
    pub(super) fn keeps_conditions(&self) -> Option<bool> {
        match self.conditions.load(Ordering::Relaxed) {
            KEPT => Some(true),
            IGNORED => Some(false),
            _ => None,
        }
    }

    /// Notes whether the server has refused to make such a file.
    pub(super) fn saw_condition(&self, is_kept: bool) {
        let seen = if is_kept { KEPT } else { IGNORED };
        self.conditions.store(seen, Ordering::Relaxed);
    }

    /// Forgets which directories are there.
    pub(super) fn forget(&self) {
        self.known().clear();
    }

    /// Directories below the root that are there and are no links, by key.
    pub(super) fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of the root.
    pub(super) fn root(&self) -> &str {
        if self.root.is_empty() {
            "."
        } else {
            &self.root
        }
    }

    /// The path of the directory that has this one.
    pub(super) fn path_above(&self, directory: &str) -> String {
        match above(directory) {
            "" => self.root().to_owned(),
            above => self.path(above),
        }
    }

    /// The path of a key.
    pub(super) fn path(&self, key: &str) -> String {
        match self.root.as_str() {
            "" => key.to_owned(),
            root if root.ends_with('/') => format!("{root}{key}"),
            root => format!("{root}/{key}"),
        }
    }
}

/// The key of the directory that something is in; empty for the root.
pub(super) fn above(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(above, _)| above)
}

/// A directory and all above it but for the root, from the top down.
pub(super) fn paths_to(directory: &str) -> impl Iterator<Item = &str> {
    let ends = directory.match_indices('/').map(|(at, _)| at);
    let own = (!directory.is_empty()).then_some(directory.len());
    ends.chain(own).map(|end| &directory[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_from_the_root_down() {
        for (root, path, own, above) in [
            ("", "v1/a", ".", "."),
            ("/", "/v1/a", "/", "/"),
            ("/srv/x", "/srv/x/v1/a", "/srv/x", "/srv/x"),
            ("in home", "in home/v1/a", "in home", "in home"),
        ] {
            let place = Place::new(root.to_owned());
            assert_eq!(place.path("v1/a"), path);
            assert_eq!(place.root(), own);
            assert_eq!(place.path_above("v1"), above);
            assert_eq!(place.path_above("v1/a"), place.path("v1"));
        }
        let all: Vec<&str> = paths_to("v1/db1/main").collect();
        assert_eq!(all, ["v1", "v1/db1", "v1/db1/main"]);
        assert_eq!(paths_to("").count(), 0);
        assert_eq!(above("v1/db1/x"), "v1/db1");
        assert_eq!(above("x"), "");
    }
}
