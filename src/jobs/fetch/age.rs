//! How old the newest copy is: a store can withhold what is newer, and only the manifest's own date of the next
//! backup shows that something is missing.

use chrono::{DateTime, Utc};

use crate::copies::CopyManifest;
use crate::display::rough_span;

/// How old the newest copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestCopy {
    /// In a sentence without its end.
    pub sentence: String,
    /// Whether a newer one should be there.
    pub is_late: bool,
}

impl NewestCopy {
    /// What is known now, or of the earlier time whose state is read.
    pub(super) fn of(newest: &CopyManifest, as_of: Option<DateTime<Utc>>) -> Self {
        let (started, next_due) = (newest.started.to_utc(), newest.next_due);
        match as_of {
            None => Self::told(started, next_due, Utc::now()),
            Some(at) => Self::told_of(started, next_due, at),
        }
    }

    fn told_of(started: DateTime<Utc>, next_due: Option<DateTime<Utc>>, at: DateTime<Utc>) -> Self {
        let then = Self::told(started, next_due, at);
        let at = at.format("%Y-%m-%d %H:%M:%S UTC");
        Self {
            sentence: format!("as of {at}, {}", then.sentence),
            ..then
        }
    }

    fn told(started: DateTime<Utc>, next_due: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        let since = |moment: DateTime<Utc>| rough_span((now - moment).to_std().unwrap_or_default());
        let age = format!("the newest copy is {} old", since(started));
        match next_due.filter(|due| *due < now) {
            None => Self {
                sentence: age,
                is_late: false,
            },
            Some(due) => Self {
                sentence: format!("{age}; the next one was due {} ago", since(due)),
                is_late: true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_newer_one_was_due_is_said_with_its_age() {
        let at = |hour: i64| DateTime::from_timestamp(1_752_000_000 + hour * 3600, 0).unwrap();
        for (due, now, expected, is_late) in [
            (None, 9 * 24, "the newest copy is 9 days old", false),
            (Some(24), 12, "the newest copy is 12 hours old", false),
            (Some(24), 24, "the newest copy is 24 hours old", false),
            (
                Some(24),
                9 * 24,
                "the newest copy is 9 days old; the next one was due 8 days ago",
                true,
            ),
            // A clock that was set back.
            (Some(24), -5, "the newest copy is 0 seconds old", false),
        ] {
            let told = NewestCopy::told(at(0), due.map(at), at(now));
            assert_eq!((told.sentence.as_str(), told.is_late), (expected, is_late));
        }
    }

    #[test]
    fn of_an_earlier_time_the_age_then_is_what_counts() {
        let at = |hour: i64| DateTime::from_timestamp(1_752_000_000 + hour * 3600, 0).unwrap();
        let told = NewestCopy::told_of(at(0), Some(at(24)), at(12));
        let expected = "as of 2025-07-09 06:40:00 UTC, the newest copy is 12 hours old";
        assert_eq!((told.sentence.as_str(), told.is_late), (expected, false));
        assert!(NewestCopy::told_of(at(0), Some(at(24)), at(25)).is_late);
    }
}
