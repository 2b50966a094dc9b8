//! The copies of this host at a destination of its configuration: what is done with them is put on record.

use super::failure::Failure;
use super::from::OpenSource;
use super::report;
use super::session::Session;
use crate::copies::Place;
use crate::jobs::{BackupDirectory, OwnCopy};

/// Where the databases of this host keep their records.
pub(super) struct OwnCopies<'a> {
    open: &'a OpenSource,
    directories: Vec<BackupDirectory>,
}

impl<'a> OwnCopies<'a> {
    /// Looks at the directories, if copies of this host are among these.
    ///
    /// # Errors
    /// When they cannot be found.
    pub(super) fn of(
        session: &Session<'_>,
        open: &'a OpenSource,
        places: &[Place],
    ) -> Result<Self, Failure> {
        let has_own = places.iter().any(|place| open.is_own(place));
        let directories = if has_own {
            session.directories(&[])?.found
        } else {
            Vec::new()
        };
        Ok(Self { open, directories })
    }

    /// Without any record.
    pub(super) fn unknown(open: &'a OpenSource) -> Self {
        Self {
            open,
            directories: Vec::new(),
        }
    }

    /// Where something about the copies of a database is put on record; nowhere for a copy of another host, or of
    /// a database that this one has no longer.
    pub(super) fn of_place<'b>(
        &'b self,
        session: &'b Session<'_>,
        place: &Place,
    ) -> Option<OwnCopy<'b>> {
        if !self.open.is_own(place) {
            return None;
        }
        let mut directories = self.directories.iter();
        let directory = directories.find(|one| {
            one.database == place.database
                && one.server.as_deref().unwrap_or("main") == place.server
        });
        if directory.is_none() {
            tracing::warn!(
                "database {} is not configured here any more, so nothing about its copies is put on record",
                report::one_line(&place.database)
            );
        }
        Some(OwnCopy {
            destination: &self.open.source.label,
            directory: directory?,
            configured: &session.plan().recipients,
        })
    }
}
