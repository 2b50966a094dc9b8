//! The names in a directory: which files there are besides manifests.

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::repository::names::{Role, Stem};

/// Names of files, one after the other, each with a zero byte behind it: a hundred thousand strings
/// of their own would cost more than reading them from the directory.
#[derive(Default)]
pub(super) struct NameList(Vec<u8>);

impl NameList {
    pub(super) fn push(&mut self, name: &CStr) {
        self.0.extend_from_slice(name.to_bytes_with_nul());
    }

    /// A name that holds no zero byte.
    pub(super) fn push_str(&mut self, name: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CStr> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let name = CStr::from_bytes_until_nul(rest).ok()?;
            rest = &rest[name.count_bytes() + 1..];
            Some(name)
        })
    }
}

/// Which files there are next to manifests, by the part that the names of one backup's files share.
pub(super) struct Names<'a>(HashMap<&'a str, Present>);

/// The files of one backup that matter to a list.
#[derive(Default)]
pub(super) struct Present {
    /// Set once a manifest of theirs has been seen.
    manifest: AtomicBool,
    pub(super) state: bool,
    /// In the order of [`Role::ARTIFACTS`].
    artifacts: [bool; Role::ARTIFACTS.len()],
}

impl<'a> Names<'a> {
    /// Whether a file's name is of a kind that is taken note of.
    pub(super) fn matter(name: &[u8]) -> bool {
        Role::ARTIFACTS
            .iter()
            .chain([&Role::State])
            .any(|role| name.ends_with(role.suffix().as_bytes()))
    }

    pub(super) fn of(list: &'a NameList) -> Self {
        let mut names: HashMap<&str, Present> = HashMap::new();
        // Names that are no UTF-8 are none of ours.
        for name in list.iter().filter_map(|name| name.to_str().ok()) {
            let bare = |role: Role| name.strip_suffix(role.suffix());
            if let Some(bare) = bare(Role::State) {
                names.entry(bare).or_default().state = true;
            } else if let Some((index, bare)) = Role::ARTIFACTS
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
    pub(super) fn files_of(&self, manifest_of: &str) -> Option<&Present> {
        let present = self.0.get(manifest_of)?;
        present.manifest.store(true, Relaxed);
        Some(present)
    }

    /// Dumps under a backup's name that there is no manifest for: the backup, and the file.
    pub(super) fn unregistered(&self) -> impl Iterator<Item = (Stem, Role)> {
        let without = self.0.iter().filter_map(|(bare, present)| {
            let stem = bare.parse::<Stem>().ok()?;
            (!present.manifest.load(Relaxed)).then_some((stem, present))
        });
        without.flat_map(|(stem, present)| {
            let there = Role::ARTIFACTS.iter().zip(present.artifacts);
            there
                .filter(|(_, there)| *there)
                .map(move |(role, _)| (stem.clone(), *role))
        })
    }
}

impl Present {
    pub(super) fn has_artifact(&self, wanted: Role) -> bool {
        Role::ARTIFACTS
            .iter()
            .zip(self.artifacts)
            .any(|(role, there)| there && role.suffix() == wanted.suffix())
    }
}
