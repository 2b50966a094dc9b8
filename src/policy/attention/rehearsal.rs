//! Whether the key that is kept offline was tried lately, and whether backups or copies are encrypted to one that
//! never was.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::concern::{Concern, ConcernKind, Severity};
use crate::display::rough_span;
use crate::policy::rehearsal::{ConfiguredEncryption, RehearsalBook, Rehearsals};

/// What the rehearsals give cause for, one concern a destination. `limit` is how old the newest rehearsal may be.
pub fn judge_rehearsals(
    book: &RehearsalBook,
    configured: &ConfiguredEncryption,
    limit: Option<Duration>,
    now: DateTime<Utc>,
) -> Vec<Concern> {
    let encrypted = &configured.encrypted;
    let mut concerns: Vec<Concern> = judge_recipients(book, configured).into_iter().collect();
    let change = book.change(configured);
    if change.backups_not_encrypted {
        concerns.push(not_encrypted("backups").about("backups on this host"));
    }
    concerns.extend(
        change.not_encrypted.iter().map(|destination| {
            not_encrypted(&format!("copies at {destination}")).about(destination)
        }),
    );
    let Some(limit) = limit else {
        return concerns;
    };
    let overdue = encrypted.iter().filter_map(|name| {
        let sentence = overdue(book.destinations.get(name)?, name, (limit, now))?;
        Some(Concern::new(ConcernKind::RehearsalOverdue, sentence).about(name))
    });
    concerns.extend(overdue);
    concerns
}

/// That these are not encrypted any more.
fn not_encrypted(what: &str) -> Concern {
    let sentence = format!(
        "new {what} are not encrypted, and those before were; if you know of this change, run `pgbackupd accept \
         recipients`; if nobody does, somebody else has changed the configuration of this host"
    );
    let mut concern = Concern::new(ConcernKind::RecipientsChanged, sentence);
    concern.severity = Severity::Critical;
    concern
}

/// A change of recipients is one of the backups and of all destinations, and is reported once.
fn judge_recipients(book: &RehearsalBook, configured: &ConfiguredEncryption) -> Option<Concern> {
    let is_known = |name: &&String| book.destinations.contains_key(*name);
    let (what, trial) = if configured.backups && book.backups {
        ("backup", "pgbackupd drill --identity -".to_owned())
    } else {
        ("copy", command(configured.encrypted.iter().find(is_known)?))
    };
    let whats = if what == "copy" { "copies" } else { "backups" };
    let recipients = &configured.recipients;
    let unknown = book.unknown(recipients);
    if unknown.is_empty() {
        return None;
    }
    let known: Vec<String> = book.known.iter().cloned().collect();
    let sentence = format!(
        "new {whats} are encrypted to {} instead of {}, and no identity of {} has opened a {what} yet; if you know of \
         this change, run `{trial}` with that identity as soon as a {what} is encrypted to it, or `pgbackupd accept \
         recipients`; if nobody does, somebody else has changed the configuration of this host",
        recipients.join(" and "),
        known.join(" and "),
        unknown.join(" and "),
    );
    let mut concern = Concern::new(ConcernKind::RecipientsChanged, sentence);
    // No key that was ever tried opens new ones.
    if unknown.len() == recipients.len() {
        concern.severity = Severity::Critical;
    }
    Some(concern)
}

/// That the newest rehearsal is too old, if it is.
fn overdue(
    of_it: &Rehearsals,
    destination: &str,
    (limit, now): (Duration, DateTime<Utc>),
) -> Option<String> {
    let age = |moment: DateTime<Utc>| (now - moment).to_std().unwrap_or_default();
    let last = of_it.last.as_ref().map(|last| last.at);
    if age(last.unwrap_or(of_it.since)) <= limit {
        return None;
    }
    let what = match last {
        Some(last) => format!(
            "the last rehearsal at {destination} was {} ago",
            rough_span(age(last))
        ),
        None => format!(
            "no copy at {destination} has ever been opened with the identity that is kept offline, and the first \
             was made {} ago",
            rough_span(age(of_it.since))
        ),
    };
    Some(format!(
        "{what}; objectives.rehearsal_age allows {}; run `{}`",
        rough_span(limit),
        command(destination)
    ))
}

fn command(destination: &str) -> String {
    format!("pgbackupd rehearse --from {destination} --identity -")
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::policy::rehearsal::Rehearsed;

    const LIMIT: Duration = Duration::from_secs(92 * 24 * 3600);

    fn day(number: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_752_000_000, 0).unwrap() + TimeDelta::days(number)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn encryption(encrypted: &[&str], recipients: &[&str]) -> ConfiguredEncryption {
        ConfiguredEncryption {
            encrypted: names(encrypted),
            recipients: names(recipients),
            ..ConfiguredEncryption::default()
        }
    }

    /// Copies since day 0, with rehearsals on these days.
    fn book(rehearsed: &[i64]) -> RehearsalBook {
        let mut book = RehearsalBook::default();
        book.take_in_copies(("far", day(0)), &[], &names(&["a"]));
        for on in rehearsed {
            let done = Rehearsed {
                at: day(*on),
                recipients: names(&["a"]),
            };
            book.take_in_rehearsal("far", done, &names(&["a"]));
        }
        book
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn a_rehearsal_is_overdue_when_none_was_made_for_longer_than_is_allowed() {
        /// What it is about; the days of rehearsals; what is encrypted; the limit; today; the sentence.
        type Case<'a> = (
            &'a str,
            &'a [i64],
            &'a [&'a str],
            Option<Duration>,
            i64,
            Option<&'a str>,
        );
        let encrypted: &[&str] = &["far"];
        let cases: [Case<'_>; 10] = [
            ("fresh", &[], encrypted, Some(LIMIT), 0, None),
            ("on its last day", &[], encrypted, Some(LIMIT), 92, None),
            (
                "never made",
                &[],
                encrypted,
                Some(LIMIT),
                93,
                Some(
                    "no copy at far has ever been opened with the identity that is kept offline, and the first was \
                     made 93 days ago; objectives.rehearsal_age allows 92 days; run `pgbackupd rehearse --from far \
                     --identity -`",
                ),
            ),
            ("made in time", &[50], encrypted, Some(LIMIT), 142, None),
            (
                "not made again",
                &[50],
                encrypted,
                Some(LIMIT),
                143,
                Some(
                    "the last rehearsal at far was 93 days ago; objectives.rehearsal_age allows 92 days; run \
                     `pgbackupd rehearse --from far --identity -`",
                ),
            ),
            ("made again", &[50, 143], encrypted, Some(LIMIT), 144, None),
            ("not wanted", &[], encrypted, None, 900, None),
            (
                "plain, or not configured any more",
                &[],
                &[],
                Some(LIMIT),
                900,
                None,
            ),
            ("without copies", &[], &["near"], Some(LIMIT), 900, None),
            (
                "the clock was set back",
                &[50],
                encrypted,
                Some(LIMIT),
                -900,
                None,
            ),
        ];
        for (what, rehearsed, encrypted, limit, now, expected) in cases {
            let about = encryption(encrypted, &["a"]);
            let found = judge_rehearsals(&book(rehearsed), &about, limit, day(now));
            let found: Vec<&str> = found.iter().map(|one| one.sentence.as_str()).collect();
            assert_eq!(found, Vec::from_iter(expected), "{what}");
        }
    }

    #[test]
    fn each_destination_has_a_clock_of_its_own_and_a_change_of_recipients_is_reported_once() {
        let mut book = book(&[50]);
        book.take_in_copies(("near", day(0)), &names(&["a"]), &names(&["m"]));
        let about = encryption(&["far", "near"], &["m"]);
        let found = judge_rehearsals(&book, &about, Some(LIMIT), day(100));
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.kind, one.object.as_deref()))
            .collect();
        let expected = [
            (ConcernKind::RecipientsChanged, None),
            (ConcernKind::RehearsalOverdue, Some("near")),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn copies_that_are_not_encrypted_any_more_are_reported_by_destination() {
        let about = ConfiguredEncryption {
            plain: names(&["far", "near"]),
            ..ConfiguredEncryption::default()
        };
        let found = judge_rehearsals(&book(&[]), &about, Some(LIMIT), day(100));
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.object.as_deref(), &*one.sentence))
            .collect();
        let sentence = "new copies at far are not encrypted, and those before were; if you know of this change, run \
                        `pgbackupd accept recipients`; if nobody does, somebody else has changed the configuration \
                        of this host";
        assert_eq!(found, [(Some("far"), sentence)]);
    }

    #[test]
    fn recipients_that_nobody_has_tried_are_named_with_those_before() {
        for (recipients, severity, expected) in [
            (&["a"][..], None, ""),
            (
                &["m"],
                Some(Severity::Critical),
                "new copies are encrypted to m instead of a, and no identity of m has opened a copy yet; if you know \
                 of this change, run `pgbackupd rehearse --from far --identity -` with that identity as soon as a \
                 copy is encrypted to it, or `pgbackupd accept recipients`; if nobody does, somebody else has \
                 changed the configuration of this host",
            ),
            (
                &["a", "m"],
                Some(Severity::Warning),
                "new copies are encrypted to a and m instead of a, and no identity of m has opened a copy yet; if \
                 you know of this change, run `pgbackupd rehearse --from far --identity -` with that identity as \
                 soon as a copy is encrypted to it, or `pgbackupd accept recipients`; if nobody does, somebody else \
                 has changed the configuration of this host",
            ),
        ] {
            let about = encryption(&["far"], recipients);
            let found = judge_rehearsals(&book(&[]), &about, None, day(1));
            let concern = found.first();
            assert_eq!(concern.map(|one| one.severity), severity, "{recipients:?}");
            let sentence = concern.map_or("", |one| &one.sentence);
            assert_eq!(sentence, expected);
        }
    }

    #[test]
    fn backups_without_copies_are_judged_as_well() {
        let mut book = RehearsalBook::default();
        let about = |backups: bool, recipients: &[&str]| ConfiguredEncryption {
            backups,
            recipients: names(recipients),
            ..ConfiguredEncryption::default()
        };
        let found = |book: &RehearsalBook, about: &ConfiguredEncryption| {
            let found = judge_rehearsals(book, about, Some(LIMIT), day(100));
            let sentences = found.into_iter().map(|one| one.sentence);
            sentences.collect::<Vec<_>>()
        };
        // Before the first backup.
        assert!(found(&book, &about(true, &["m"])).is_empty());
        book.take_in_backup(&[], &names(&["a"]));
        assert!(found(&book, &about(true, &["a"])).is_empty());
        let changed = "new backups are encrypted to m instead of a, and no identity of m has opened a backup yet; if \
                       you know of this change, run `pgbackupd drill --identity -` with that identity as soon as a \
                       backup is encrypted to it, or `pgbackupd accept recipients`; if nobody does, somebody else \
                       has changed the configuration of this host";
        assert_eq!(found(&book, &about(true, &["m"])), [changed]);
        let clear = "new backups are not encrypted, and those before were; if you know of this change, run \
                     `pgbackupd accept recipients`; if nobody does, somebody else has changed the configuration of \
                     this host";
        assert_eq!(found(&book, &about(false, &["m"])), [clear]);
        book.take_in_opened(&names(&["m"]), &names(&["m"]));
        assert!(found(&book, &about(true, &["m"])).is_empty());
    }
}
