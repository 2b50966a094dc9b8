//! Calendar periods: the days, weeks, months and years that a rule counts backups by.

use std::fmt;

use chrono::{Datelike, IsoWeek, NaiveDate};
use serde::{Serialize, Serializer};

/// The kinds of period that a rule can count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// A calendar day, midnight to midnight.
    Day,
    /// A week of ISO 8601, Monday to Sunday.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year, January to December.
    Year,
}

impl Every {
    /// The period of this kind that a day of the schedule's zone lies in.
    pub fn containing(self, day: NaiveDate) -> Period {
        match self {
            Self::Day => Period::Day(day),
            Self::Week => Period::Week(day.iso_week()),
            Self::Month => Period::Month(day.year(), day.month()),
            Self::Year => Period::Year(day.year()),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        })
    }
}

/// One period of the calendar, in the schedule's zone.
///
/// It is written in the forms of ISO 8601, which differ from one kind to the next: `2026-01-15`,
/// `2026-W03`, `2026-01`, `2026`. That is its serialised form too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// This day.
    Day(NaiveDate),
    /// This week. Its year is the one that its Thursday lies in, so 1 January 2027 is in 2026-W53.
    Week(IsoWeek),
    /// This year and its month, from 1.
    Month(i32, u32),
    /// This year.
    Year(i32),
}

impl Period {
    /// What kind of period it is.
    pub fn every(self) -> Every {
        match self {
            Self::Day(_) => Every::Day,
            Self::Week(_) => Every::Week,
            Self::Month(..) => Every::Month,
            Self::Year(_) => Every::Year,
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "{day}"),
            Self::Week(week) => write!(f, "{}-W{:02}", week.year(), week.week()),
            Self::Month(year, month) => write!(f, "{year}-{month:02}"),
            Self::Year(year) => write!(f, "{year}"),
        }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::Every;

    #[test]
    fn a_week_belongs_to_the_year_of_its_thursday() {
        let cases = [
            ((2026, 12, 31), "2026-W53"),
            ((2027, 1, 1), "2026-W53"),
            ((2027, 1, 3), "2026-W53"),
            ((2027, 1, 4), "2027-W01"),
            ((2024, 12, 30), "2025-W01"),
        ];
        for ((year, month, day), week) in cases {
            let date = NaiveDate::from_ymd_opt(year, month, day).unwrap();
            assert_eq!(Every::Week.containing(date).to_string(), week, "{date}");
        }
    }

    #[test]
    fn each_kind_of_period_is_written_in_its_own_form() {
        let date = NaiveDate::from_ymd_opt(2026, 1, 15).unwrap();
        let written = [Every::Day, Every::Week, Every::Month, Every::Year]
            .map(|every| every.containing(date).to_string());
        assert_eq!(written, ["2026-01-15", "2026-W03", "2026-01", "2026"]);
    }
}
