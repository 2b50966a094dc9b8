//! What is known of a backup beyond its manifest: whether it is pinned, what its last check found,
//! and what its last test restore showed. Its loss loses nothing else.
//!
//! The two judgements stand side by side, because neither can speak for the other. A check proves
//! that the files are those that were written; when a backup of such files does not restore, another
//! look at the same bytes mends nothing, and only a test restore that comes through does. A test
//! restore begins with a check, so it settles both.

use std::io;
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

/// A backup's changeable side, a file of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Set while the operator wants it kept whatever retention says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pin>,
    /// The last full check after the one it was published with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Check>,
    /// The last attempt at a check, if it was not possible; gone with the next check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<Unchecked>,
    /// The last test restore that showed something of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drilled: Option<Drilled>,
}

/// Who pinned a backup, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// The user.
    pub by: String,
}

/// What a full check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// What was wrong; none when the backup is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// A check that was not possible. It says nothing about the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unchecked {
    /// When it was tried.
    pub at: DateTime<FixedOffset>,
    /// Why it was not possible.
    pub why: String,
}

/// What a test restore showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drilled {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// Why it does not restore; none when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Why a backup does not count as verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// Its files are not those that were written.
    Damaged(&'a str),
    /// Its files are, and yet it does not restore.
    Unrestorable(&'a str),
}

impl Fault<'_> {
    /// What was found, in a sentence.
    pub fn what(&self) -> &str {
        match self {
            Self::Damaged(what) | Self::Unrestorable(what) => what,
        }
    }
}

impl State {
    /// Why the backup does not count as verified; none when it does.
    pub fn fault(&self) -> Option<Fault<'_>> {
        let damage = self
            .checked
            .as_ref()
            .and_then(|check| check.damage.as_deref());
        let failure = self
            .drilled
            .as_ref()
            .and_then(|drill| drill.failure.as_deref());
        let unrestorable = failure.map(Fault::Unrestorable);
        damage.map(Fault::Damaged).or(unrestorable)
    }

    /// Notes what a full check found. What a test restore showed stays.
    pub fn note_check(&mut self, at: DateTime<FixedOffset>, damage: Option<String>) {
        self.checked = Some(Check { at, damage });
        self.unchecked = None;
    }

    /// Notes that a check was not possible. What is known stays.
    pub fn note_unchecked(&mut self, at: DateTime<FixedOffset>, why: String) {
        self.unchecked = Some(Unchecked { at, why });
    }

    /// Notes what a test restore showed of a backup whose files it has found whole.
    pub fn note_drill(&mut self, at: DateTime<FixedOffset>, failure: Option<String>) {
        self.note_check(at, None);
        self.drilled = Some(Drilled { at, failure });
    }

    /// Reads a state file; a missing one is the state of a backup that nothing happened to.
    ///
    /// # Errors
    /// When the file cannot be read or understood: a pin must not be lost by overlooking it.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match crate::regular_file::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Whole,
        Damaged,
        Unchecked,
        Restores,
        DoesNotRestore,
    }
    use Event::{Damaged, DoesNotRestore, Restores, Unchecked, Whole};

    fn after(events: &[Event]) -> State {
        let at = DateTime::parse_from_rfc3339("2025-07-09T02:00:00+03:00").unwrap();
        let mut state = State::default();
        for event in events {
            match event {
                Whole => state.note_check(at, None),
                Damaged => state.note_check(at, Some("torn".to_owned())),
                Unchecked => state.note_unchecked(at, "no right".to_owned()),
                Restores => state.note_drill(at, None),
                DoesNotRestore => state.note_drill(at, Some("refused".to_owned())),
            }
        }
        state
    }

    #[test]
    fn a_failed_test_restore_is_mended_by_a_good_one_and_by_no_check() {
        let unrestorable = Some(Fault::Unrestorable("refused"));
        let damaged = Some(Fault::Damaged("torn"));
        let table: [(&[Event], Option<Fault<'_>>); 13] = [
            (&[], None),
            (&[Whole], None),
            (&[Damaged], damaged),
            (&[Damaged, Whole], None),
            (&[Damaged, Restores], None),
            (&[Damaged, Unchecked], damaged),
            (&[Unchecked], None),
            (&[Restores], None),
            (&[Restores, Damaged], damaged),
            (&[DoesNotRestore], unrestorable),
            (&[DoesNotRestore, Whole], unrestorable),
            // Damage of the files is what is to be mended first.
            (&[DoesNotRestore, Damaged], damaged),
            (&[DoesNotRestore, Damaged, Whole, Restores], None),
        ];
        for (events, fault) in table {
            assert_eq!(after(events).fault(), fault, "{events:?}");
        }
        assert_eq!(after(&[Unchecked, Whole]).unchecked, None);
    }
}
