//! To whom the copies at a destination are encrypted: by that, a change of recipients is seen, and when the first
//! rehearsal is due.

use std::path::Path;

use chrono::{DateTime, Utc};

use super::seal::fingerprints;
use crate::copies::Catalogue;
use crate::recipient::Recipient;
use crate::repository::RehearsalFile;

/// The encrypted copies that were there before a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Encrypted {
    /// When the first one was made.
    first: Option<DateTime<Utc>>,
    /// The fingerprints of the recipients of the newest one.
    newest: Vec<String>,
}

impl Encrypted {
    pub(super) fn of(there: &Catalogue) -> Self {
        let copies = there.copies.iter().map(|copy| &copy.manifest);
        let encrypted = copies.filter(|signed| signed.manifest.is_encrypted());
        let newest = encrypted
            .clone()
            .max_by_key(|signed| signed.manifest.started);
        Self {
            first: encrypted.map(|signed| signed.stored).min(),
            newest: newest.map_or_else(Vec::new, |signed| signed.manifest.recipients.clone()),
        }
    }

    /// Takes down that the destination has encrypted copies; gives what keeps it from that. `made` says whether
    /// the run has made some, for these recipients.
    pub(super) fn take_down(
        &self,
        (state, destination): (&Path, &str),
        recipients: &[Recipient],
        made: bool,
    ) -> Option<String> {
        let first = self.first.or_else(|| made.then(Utc::now))?;
        let configured = fingerprints(Some(recipients));
        let file = RehearsalFile::at(state);
        let changed = file
            .change(|book| book.take_in_copies((destination, first), &self.newest, &configured));
        changed.err().map(|error| {
            format!(
                "to whom the copies at {destination} are encrypted could not be noted in {}: {error}",
                state.display()
            )
        })
    }
}
