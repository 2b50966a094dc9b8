//! What is reported once a day and not with every backup.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;

/// What was reported of databases, each known by its directory, and on which day.
#[derive(Debug, Default)]
pub(super) struct Reminders {
    /// That the newest test restore is too old.
    drills: BTreeMap<PathBuf, NaiveDate>,
    /// That something was lost since the backup before, and how many things.
    losses: BTreeMap<PathBuf, (NaiveDate, usize)>,
}

impl Reminders {
    /// Whether a test restore that is too old is to be reported; takes it for reported then.
    pub(super) fn is_drill_due(&mut self, directory: &Path, today: NaiveDate) -> bool {
        self.drills.insert(directory.to_owned(), today) != Some(today)
    }

    /// The same for things that were lost: also when there are more of them than before.
    pub(super) fn is_loss_due(&mut self, directory: &Path, today: NaiveDate, count: usize) -> bool {
        let before = self.losses.insert(directory.to_owned(), (today, count));
        before.is_none_or(|(day, known)| day != today || known < count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reminder_comes_once_a_day_and_when_it_gets_worse() {
        let mut reminders = Reminders::default();
        let (sales, hr) = (Path::new("/b/sales"), Path::new("/b/hr"));
        let day = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
        for (directory, today, is_due) in [
            (sales, day(29), true),
            (sales, day(29), false),
            (hr, day(29), true),
            (sales, day(30), true),
            // A clock that is set back reports once more, rather than never.
            (sales, day(29), true),
        ] {
            assert_eq!(reminders.is_drill_due(directory, today), is_due, "{today}");
        }
        for (today, count, is_due) in [
            (day(29), 0, true),
            (day(29), 0, false),
            (day(29), 2, true),
            (day(29), 2, false),
            // One was accepted: what is left has been reported.
            (day(29), 1, false),
            (day(29), 2, true),
            (day(30), 2, true),
        ] {
            let found = reminders.is_loss_due(sales, today, count);
            assert_eq!(found, is_due, "{today}, {count}");
        }
    }
}
