//! When the key that is kept offline was tried last, and whether backups or copies are encrypted to keys that never
//! were. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What is encrypted, and to whom, by the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredEncryption {
    /// Whether backups on this host are encrypted, and not only their copies.
    pub backups: bool,
    /// The destinations whose copies are encrypted.
    pub encrypted: Vec<String>,
    /// Those whose copies are not.
    pub plain: Vec<String>,
    /// The fingerprints of the recipients of new backups and copies.
    pub recipients: Vec<String>,
}

/// What is known of rehearsals, at all destinations. Recipients are named by their fingerprints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RehearsalBook {
    /// The recipients that are trusted: those that the first backups and copies were encrypted to, those whose
    /// identity has opened one since, and those that the operator has accepted.
    #[serde(default)]
    pub known: BTreeSet<String>,
    /// Whether this host has made encrypted backups.
    #[serde(default)]
    pub backups: bool,
    /// The destinations with encrypted copies.
    #[serde(default)]
    pub destinations: BTreeMap<String, Rehearsals>,
}

/// What is known of the rehearsals at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsals {
    /// When the first encrypted copy was made that is known.
    pub since: DateTime<Utc>,
    /// The last one that came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Rehearsed>,
}

/// A rehearsal that came through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// When.
    pub at: DateTime<Utc>,
    /// The recipients whose identities opened a copy.
    pub recipients: Vec<String>,
}

/// A change of those to whom backups and copies are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeOfRecipients {
    /// Recipients that were not known before.
    pub unknown: Vec<String>,
    /// Whether backups on this host were encrypted, and are not any more.
    pub backups_not_encrypted: bool,
    /// Destinations whose copies were encrypted, and are not any more.
    pub not_encrypted: Vec<String>,
}

impl ChangeOfRecipients {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.unknown.is_empty() && !self.backups_not_encrypted && self.not_encrypted.is_empty()
    }
}

impl RehearsalBook {
    /// Takes down that a destination has encrypted copies, the first one since then. `newest` are the recipients
    /// of the newest copy that was there before, `configured` those of new copies.
    ///
    /// The first recipients are trusted as they are. Where this book was lost, they are those of the newest copy:
    /// its manifest is signed.
    pub fn take_in_copies(
        &mut self,
        (destination, first): (&str, DateTime<Utc>),
        newest: &[String],
        configured: &[String],
    ) {
        let begun = Rehearsals {
            since: first,
            last: None,
        };
        let of_it = self.destinations.entry(destination.to_owned());
        let of_it = of_it.or_insert(begun);
        of_it.since = of_it.since.min(first);
        self.trust_the_first(newest, configured);
    }

    /// Takes down that this host makes encrypted backups: `newest` are the recipients of the newest one before,
    /// `configured` those of new ones.
    pub fn take_in_backup(&mut self, newest: &[String], configured: &[String]) {
        self.backups = true;
        self.trust_the_first(newest, configured);
    }

    /// Takes down that the identities of these recipients have opened a backup.
    pub fn take_in_opened(&mut self, recipients: &[String], configured: &[String]) {
        self.known.extend(recipients.iter().cloned());
        self.settle(configured);
    }

    /// Takes down a rehearsal that came through.
    pub fn take_in_rehearsal(&mut self, destination: &str, done: Rehearsed, configured: &[String]) {
        let begun = Rehearsals {
            since: done.at,
            last: None,
        };
        let of_it = self.destinations.entry(destination.to_owned());
        let of_it = of_it.or_insert(begun);
        let recipients = done.recipients.clone();
        of_it.last = Some(done);
        self.take_in_opened(&recipients, configured);
    }

    /// Trusts the configured recipients, and what is not encrypted any more, by the operator's word; gives what was
    /// not trusted before.
    pub fn accept(&mut self, configured: &ConfiguredEncryption) -> ChangeOfRecipients {
        let accepted = self.change(configured);
        self.take_in_opened(&accepted.unknown, &configured.recipients);
        self.backups &= configured.backups;
        self.destinations
            .retain(|name, _| !configured.plain.contains(name));
        accepted
    }

    /// What is not trusted yet of the configured recipients, and of what is not encrypted any more.
    pub fn change(&self, configured: &ConfiguredEncryption) -> ChangeOfRecipients {
        let was_encrypted = |name: &&String| self.destinations.contains_key(*name);
        ChangeOfRecipients {
            unknown: self.unknown(&configured.recipients),
            backups_not_encrypted: self.backups && !configured.backups,
            not_encrypted: configured
                .plain
                .iter()
                .filter(was_encrypted)
                .cloned()
                .collect(),
        }
    }

    /// Trusts the first recipients as they are. Where this book was lost, they are the newest ones before.
    fn trust_the_first(&mut self, newest: &[String], configured: &[String]) {
        if self.known.is_empty() {
            let first = if newest.is_empty() {
                configured
            } else {
                newest
            };
            self.known.extend(first.iter().cloned());
        }
        self.settle(configured);
    }

    /// The configured recipients that are not trusted yet; none before the first backup or copy.
    pub fn unknown(&self, configured: &[String]) -> Vec<String> {
        if self.known.is_empty() {
            return Vec::new();
        }
        let unknown = configured.iter().filter(|one| !self.known.contains(*one));
        unknown.cloned().collect()
    }

    /// A recipient that was removed is not trusted when it comes back: its key may have been disclosed.
    fn settle(&mut self, configured: &[String]) {
        if !configured.is_empty() && self.unknown(configured).is_empty() {
            self.known.retain(|known| configured.contains(known));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2025-07-09T{hour:02}:00:00Z").parse().unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn encryption(recipients: &[&str], plain: &[&str]) -> ConfiguredEncryption {
        ConfiguredEncryption {
            recipients: names(recipients),
            plain: names(plain),
            ..ConfiguredEncryption::default()
        }
    }

    /// What happens to a book.
    enum Event {
        /// A copy run: the recipients of the newest copy before, and those of new ones.
        Copy(&'static [&'static str], &'static [&'static str]),
        /// A backup that is encrypted: the recipients of the newest one before, and those of new ones.
        Backup(&'static [&'static str], &'static [&'static str]),
        /// A test restore of such a backup by these, while those are configured.
        Drill(&'static [&'static str], &'static [&'static str]),
        /// A rehearsal by these, while those are configured.
        Rehearse(&'static [&'static str], &'static [&'static str]),
        Accept(&'static [&'static str]),
    }

    /// What it is about; what has happened; the configured recipients; those of them that are unknown.
    type Case = (
        &'static str,
        &'static [Event],
        &'static [&'static str],
        &'static [&'static str],
    );

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn cases() -> [Case; 18] {
        use Event::{Accept, Backup, Copy, Drill, Rehearse};
        [
            (
                "backups have the same trust as copies",
                &[Backup(&[], &["a"])],
                &["m"],
                &["m"],
            ),
            (
                "making backups does not make a change known",
                &[Backup(&[], &["a"]), Backup(&["a"], &["m"])],
                &["m"],
                &["m"],
            ),
            (
                "the book was lost, and the newest backup is older than the change",
                &[Backup(&["a"], &["m"])],
                &["m"],
                &["m"],
            ),
            (
                "a test restore by the new key",
                &[Backup(&[], &["a"]), Drill(&["b"], &["b"])],
                &["b"],
                &[],
            ),
            ("no copy yet", &[], &["m"], &[]),
            (
                "the first recipients",
                &[Copy(&[], &["a", "b"])],
                &["a", "b"],
                &[],
            ),
            ("one is added", &[Copy(&[], &["a"])], &["a", "m"], &["m"]),
            ("all are replaced", &[Copy(&[], &["a"])], &["m"], &["m"]),
            ("one is removed", &[Copy(&[], &["a", "b"])], &["a"], &[]),
            (
                "copying does not make a change known",
                &[
                    Copy(&[], &["a"]),
                    Copy(&["a"], &["m"]),
                    Copy(&["m"], &["m"]),
                ],
                &["m"],
                &["m"],
            ),
            (
                "the book was lost, and the newest copy is older than the change",
                &[Copy(&["a"], &["m"])],
                &["m"],
                &["m"],
            ),
            (
                "a rehearsal by the old key says nothing of the new one",
                &[Copy(&[], &["a"]), Rehearse(&["a"], &["a", "m"])],
                &["a", "m"],
                &["m"],
            ),
            (
                "a rehearsal by the new key",
                &[Copy(&[], &["a"]), Rehearse(&["b"], &["a", "b"])],
                &["a", "b"],
                &[],
            ),
            (
                "of two new keys one was tried",
                &[Copy(&[], &["a"]), Rehearse(&["b"], &["b", "c"])],
                &["b", "c"],
                &["c"],
            ),
            (
                "the operator's word",
                &[Copy(&[], &["a"]), Accept(&["a", "b"])],
                &["a", "b"],
                &[],
            ),
            (
                "one that was removed comes back",
                &[Copy(&[], &["a", "b"]), Copy(&["a", "b"], &["a"])],
                &["a", "b"],
                &["b"],
            ),
            (
                "one is removed while another is not known yet",
                &[Copy(&[], &["a", "b"]), Copy(&["a", "b"], &["a", "m"])],
                &["a", "b"],
                &[],
            ),
            (
                "no recipient is configured any more",
                &[Copy(&[], &["a"]), Copy(&[], &[])],
                &["a"],
                &[],
            ),
        ]
    }

    #[test]
    fn a_recipient_is_unknown_until_its_key_was_tried_or_it_was_accepted() {
        for (what, events, configured, expected) in cases() {
            let mut book = RehearsalBook::default();
            for event in events {
                match event {
                    Event::Copy(newest, configured) => {
                        book.take_in_copies(("far", at(2)), &names(newest), &names(configured));
                    }
                    Event::Backup(newest, configured) => {
                        book.take_in_backup(&names(newest), &names(configured));
                    }
                    Event::Drill(by, configured) => {
                        book.take_in_opened(&names(by), &names(configured));
                    }
                    Event::Rehearse(by, configured) => {
                        let done = Rehearsed {
                            at: at(3),
                            recipients: names(by),
                        };
                        book.take_in_rehearsal("far", done, &names(configured));
                    }
                    Event::Accept(recipients) => drop(book.accept(&encryption(recipients, &[]))),
                }
            }
            assert_eq!(book.unknown(&names(configured)), names(expected), "{what}");
        }
    }

    #[test]
    fn a_destination_that_takes_plain_copies_now_is_a_change_until_it_is_accepted() {
        let mut book = RehearsalBook::default();
        // Plain from the beginning.
        assert!(book.change(&encryption(&[], &["near"])).is_none());
        book.take_in_copies(("far", at(2)), &[], &names(&["a"]));
        assert!(book.change(&encryption(&["a"], &["near"])).is_none());
        let plain = encryption(&["a"], &["far", "near"]);
        let expected = ChangeOfRecipients {
            not_encrypted: names(&["far"]),
            ..ChangeOfRecipients::default()
        };
        assert_eq!(book.change(&plain), expected);
        assert_eq!(book.accept(&plain), expected);
        assert!(book.change(&plain).is_none());
        assert_eq!(book.unknown(&names(&["m"])), ["m"]);
    }

    #[test]
    fn backups_that_are_not_encrypted_any_more_are_a_change_until_it_is_accepted() {
        let mut book = RehearsalBook::default();
        let clear = encryption(&["a"], &[]);
        assert!(book.change(&clear).is_none());
        book.take_in_backup(&[], &names(&["a"]));
        let sealed = ConfiguredEncryption {
            backups: true,
            ..clear.clone()
        };
        assert!(book.change(&sealed).is_none());
        let expected = ChangeOfRecipients {
            backups_not_encrypted: true,
            ..ChangeOfRecipients::default()
        };
        assert_eq!(book.accept(&clear), expected);
        assert!(book.change(&clear).is_none());
    }

    #[test]
    fn the_clock_starts_at_the_first_copy_and_no_later_one_moves_it() {
        let mut book = RehearsalBook::default();
        for (first, expected) in [(5, 5), (9, 5), (3, 3)] {
            book.take_in_copies(("far", at(first)), &[], &names(&["a"]));
            assert_eq!(book.destinations["far"].since, at(expected));
        }
        let done = Rehearsed {
            at: at(11),
            recipients: names(&["a"]),
        };
        book.take_in_rehearsal("far", done.clone(), &names(&["a"]));
        book.take_in_copies(("far", at(12)), &[], &names(&["a"]));
        let expected = Rehearsals {
            since: at(3),
            last: Some(done),
        };
        assert_eq!(book.destinations["far"], expected);
    }
}
