//! What is known of a backup beyond its manifest: whether it is pinned, what its last check found,
//! and what its last test restore showed. Its loss loses nothing else.
//!
//! The file is sealed: one that is not as it was written speaks for nothing. Its backup then counts as
//! pinned, and as not checked, until somebody has looked. Files of programs before format 2 have no
//! seal; they are believed only if they hold nothing that such a program would not have written, so
//! that a file whose seal was hit does not pass for one of them.
//!
//! The two judgements stand side by side, because neither can speak for the other. A check proves
//! that the files are those that were written; when a backup of such files does not restore, another
//! look at the same bytes fixes nothing, and only a test restore that comes through does. A test
//! restore begins with a check, so it settles both.

use std::io;
use std::path::Path;

use chrono::{DateTime, FixedOffset, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::seal::{fits, sealed};

/// The format that this program writes. Format 1 had neither number nor seal.
const STATE_FORMAT: u64 = 2;

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
    /// Set when the file cannot be read or is not as it was written: nothing of it is known.
    #[serde(skip)]
    pub unreadable: Option<Unreadable>,
}

/// Why nothing is known of a backup's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong with the file, in a phrase: "it has been changed …".
    pub what: String,
    /// Whether what is in the file is lost. If not, it could not be read now, or a newer program
    /// has written it, and it must not be written over.
    pub lost: bool,
}

/// The file as it is written.
#[derive(Serialize)]
struct StateFile<'a> {
    format: u64,
    #[serde(flatten)]
    state: &'a State,
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
    pub fn record_check(&mut self, at: DateTime<FixedOffset>, damage: Option<String>) {
        self.checked = Some(Check { at, damage });
        self.unchecked = None;
    }

    /// Notes that a check was not possible. What is known stays.
    pub fn record_unchecked(&mut self, at: DateTime<FixedOffset>, why: String) {
        self.unchecked = Some(Unchecked { at, why });
    }

    /// Notes what a test restore showed of a backup whose files it has found whole.
    pub fn record_drill(&mut self, at: DateTime<FixedOffset>, failure: Option<String>) {
        self.record_check(at, None);
        self.drilled = Some(Drilled { at, failure });
    }

    /// Whether retention keeps its hands off: it is pinned, or may have been.
    pub fn is_pinned(&self) -> bool {
        self.pinned.is_some() || self.unreadable.is_some()
    }

    /// Whether all of the backup could be read at the last attempt, as far as is known.
    pub fn was_read(&self) -> bool {
        self.unchecked.is_none() && self.unreadable.is_none()
    }

    /// Makes a lost state one that can be written: pinned, since it may have been.
    ///
    /// # Errors
    /// When the file may only not be readable now, or belongs to a newer program.
    pub(super) fn begin_again(&mut self) -> io::Result<()> {
        match self.unreadable.take() {
            Some(Unreadable { what, lost: false }) => Err(io::Error::other(what)),
            Some(Unreadable { lost: true, .. }) => {
                self.pinned = Some(Pin {
                    at: Utc::now().fixed_offset(),
                    by: "pgbackupd, because the state was lost".to_owned(),
                });
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The text of its file.
    ///
    /// # Errors
    /// Only by a fault of the program's own.
    pub(super) fn to_text(&self) -> Result<String, serde_json::Error> {
        sealed(&StateFile {
            format: STATE_FORMAT,
            state: self,
        })
    }

    /// Reads a state file; a missing one is the state of a backup that nothing happened to. One that
    /// cannot be read is [`unreadable`](Self::unreadable): a pin must not be lost by overlooking it.
    pub(super) fn read(path: &Path) -> Self {
        let unreadable = |what: String, lost: bool| Self {
            unreadable: Some(Unreadable { what, lost }),
            ..Self::default()
        };
        let text = match crate::regular_file::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(error) => return unreadable(error.to_string(), false),
        };
        match Self::from_text(&text) {
            Ok(state) => state,
            Err(NotOurs::Newer(format)) => unreadable(
                format!("it has format {format}, which is newer than this program"),
                false,
            ),
            Err(NotOurs::Changed) => unreadable(
                "it has been changed since it was written: its checksum does not match".to_owned(),
                true,
            ),
        }
    }

    fn from_text(text: &[u8]) -> Result<Self, NotOurs> {
        let value: Value = serde_json::from_slice(text).map_err(|_| NotOurs::Changed)?;
        if fits(text) {
            let format = value["format"].as_u64().unwrap_or_default();
            if format > STATE_FORMAT {
                return Err(NotOurs::Newer(format));
            }
            return Self::deserialize(value).map_err(|_| NotOurs::Changed);
        }
        let state = Self::deserialize(&value).map_err(|_| NotOurs::Changed)?;
        // What was written without a seal had these members and no others.
        match serde_json::to_value(&state) {
            Ok(written) if written == value => Ok(state),
            _ => Err(NotOurs::Changed),
        }
    }
}

/// Why a text is not the state of a backup.
enum NotOurs {
    Newer(u64),
    Changed,
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
                Whole => state.record_check(at, None),
                Damaged => state.record_check(at, Some("torn".to_owned())),
                Unchecked => state.record_unchecked(at, "no right".to_owned()),
                Restores => state.record_drill(at, None),
                DoesNotRestore => state.record_drill(at, Some("refused".to_owned())),
            }
        }
        state
    }

    #[test]
    fn a_failed_drill_is_cleared_by_a_good_one_and_by_no_verification() {
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
            // Damage of the files is what is to be fixed first.
            (&[DoesNotRestore, Damaged], damaged),
            (&[DoesNotRestore, Damaged, Whole, Restores], None),
        ];
        for (events, fault) in table {
            assert_eq!(after(events).fault(), fault, "{events:?}");
        }
        assert_eq!(after(&[Unchecked, Whole]).unchecked, None);
    }

    /// A state with everything in it.
    fn full() -> State {
        let at = DateTime::parse_from_rfc3339("2025-07-09T02:00:00.25+03:00").unwrap();
        let mut state = after(&[DoesNotRestore, Damaged, Unchecked]);
        state.pinned = Some(Pin {
            at,
            by: "jörg".to_owned(),
        });
        state
    }

    fn read(text: &[u8]) -> State {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.state");
        std::fs::write(&path, text).unwrap();
        State::read(&path)
    }

    #[test]
    fn whatever_bit_of_it_flips_a_state_counts_as_pinned_and_not_read() {
        let text = full().to_text().unwrap().into_bytes();
        assert_eq!(State::from_text(&text).ok(), Some(full()));
        for index in 0..text.len() {
            for bit in 0..8 {
                let mut flipped = text.clone();
                flipped[index] ^= 1 << bit;
                assert!(
                    State::from_text(&flipped).is_err(),
                    "bit {bit} of byte {index}: {}",
                    String::from_utf8_lossy(&flipped)
                );
            }
        }
        for length in 0..text.len() {
            assert!(State::from_text(&text[..length]).is_err(), "{length} bytes");
        }
        for spoilt in [
            String::from_utf8(text).unwrap().replace("pinned", "pinnee"),
            String::new(),
            "[]".to_owned(),
        ] {
            let state = read(spoilt.as_bytes());
            assert!(state.is_pinned() && !state.was_read(), "{spoilt}");
            assert!(state.unreadable.is_some_and(|unreadable| unreadable.lost));
        }
    }

    #[test]
    fn a_state_of_an_older_program_is_believed_if_nothing_in_it_is_unknown() {
        for state in [State::default(), full(), after(&[Restores])] {
            let text = serde_json::to_vec_pretty(&state).unwrap();
            assert_eq!(read(&text), state);
        }
        let old = serde_json::to_string_pretty(&full()).unwrap();
        for (from, to) in [
            ("pinned", "pinnee"),
            ("damage", "damagf"),
            ("failure", "failurd"),
            ("\"by\"", "\"bx\""),
        ] {
            let state = read(old.replacen(from, to, 1).as_bytes());
            assert!(state.is_pinned() && !state.was_read(), "{from}");
        }
    }

    #[test]
    fn a_state_of_a_newer_program_is_not_written_over() {
        let text = sealed(&serde_json::json!({"format": 3, "pins": []})).unwrap();
        let mut state = read(text.as_bytes());
        assert!(state.is_pinned());
        let unreadable = state.unreadable.clone().unwrap();
        assert!(
            !unreadable.lost && unreadable.what.contains("newer"),
            "{unreadable:?}"
        );
        assert!(state.begin_again().is_err());
    }
}
