//! The backup that is restored for a test, as it was read.

use std::collections::BTreeSet;
use std::path::Path;

use super::placeholders;
use super::roles::{self, Prepared};
use crate::pipeline::StreamSummary;
use crate::pipeline::census::Dependencies;
use crate::postgres::Programs;
use crate::repository::Manifest;

/// A backup that is restored for a test.
pub(super) struct Subject {
    pub(super) manifest: Manifest,
    /// Roles and tablespaces, if it has them.
    pub(super) globals: Option<Vec<u8>>,
    pub(super) stream_summary: Box<StreamSummary>,
    /// Those of the server that it is restored into.
    pub(super) programs: Programs,
}

impl Subject {
    /// The superuser of a server for it.
    pub(super) fn superuser(&self) -> String {
        match &self.globals {
            Some(globals) => roles::superuser(globals),
            None => placeholders::superuser(
                &self.stream_summary.dependencies,
                &self.manifest.properties,
            ),
        }
    }

    /// Its roles and tablespaces for a server with this superuser.
    pub(super) fn prepare(&self, superuser: &str, below: &Path) -> Prepared {
        let (dependencies, properties) =
            (&self.stream_summary.dependencies, &self.manifest.properties);
        match &self.globals {
            Some(globals) => roles::prepare(globals, superuser, below),
            None => placeholders::prepare(dependencies, properties, superuser, below),
        }
    }

    /// The encoding in which its dump is written.
    pub(super) fn encoding(&self) -> Option<&str> {
        self.stream_summary.dependencies.encoding.as_deref()
    }

    /// The providers of the labels in it.
    pub(super) fn label_providers(&self) -> BTreeSet<String> {
        let mut providers =
            label_providers(&self.stream_summary.dependencies, self.globals.as_deref());
        let of_database = self.manifest.properties.labels.iter();
        providers.extend(of_database.map(|one| one.provider.clone()));
        providers
    }
}

/// The providers of the labels in a dump and in the globals next to it.
fn label_providers(dependencies: &Dependencies, globals: Option<&[u8]>) -> BTreeSet<String> {
    let mut providers = globals.map_or_else(BTreeSet::new, crate::jobs::globals::label_providers);
    let of_dump = dependencies.label_providers.iter();
    providers.extend(of_dump.map(|name| String::from_utf8_lossy(name).into_owned()));
    providers
}
