//! The backup that is restored for a test, as it was read.

use std::collections::BTreeSet;
use std::path::Path;

use super::bare;
use super::roles::{self, Prepared};
use crate::pipeline::Passage;
use crate::pipeline::census::Needs;
use crate::postgres::Programs;
use crate::repository::Manifest;

/// A backup that is restored for a test.
pub(super) struct Subject {
    pub(super) manifest: Manifest,
    /// Roles and tablespaces, if it has them.
    pub(super) globals: Option<Vec<u8>>,
    pub(super) passage: Box<Passage>,
    /// Those of the server that it is restored into.
    pub(super) programs: Programs,
}

impl Subject {
    /// The superuser of a server for it.
    pub(super) fn superuser(&self) -> String {
        match &self.globals {
            Some(globals) => roles::superuser(globals),
            None => bare::superuser(&self.passage.needs, &self.manifest.properties),
        }
    }

    /// Its roles and tablespaces for a server with this superuser.
    pub(super) fn prepare(&self, superuser: &str, below: &Path) -> Prepared {
        let (needs, properties) = (&self.passage.needs, &self.manifest.properties);
        match &self.globals {
            Some(globals) => roles::prepare(globals, superuser, below),
            None => bare::prepare(needs, properties, superuser, below),
        }
    }

    /// The encoding in which its dump is written.
    pub(super) fn encoding(&self) -> Option<&str> {
        self.passage.needs.encoding.as_deref()
    }

    /// The providers of the labels in it.
    pub(super) fn label_providers(&self) -> BTreeSet<String> {
        let mut providers = label_providers(&self.passage.needs, self.globals.as_deref());
        let of_database = self.manifest.properties.labels.iter();
        providers.extend(of_database.map(|one| one.provider.clone()));
        providers
    }
}

/// The providers of the labels in a dump and in the globals beside it.
fn label_providers(needs: &Needs, globals: Option<&[u8]>) -> BTreeSet<String> {
    let mut providers = globals.map_or_else(BTreeSet::new, crate::jobs::globals::label_providers);
    let of_dump = needs.label_providers.iter();
    providers.extend(of_dump.map(|name| String::from_utf8_lossy(name).into_owned()));
    providers
}
