//! Which time a report is about.

use std::fmt;

use chrono::{DateTime, Days, FixedOffset, Months, NaiveDate, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// How much time a report is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ReportPeriod {
    /// A day.
    Daily,
    /// Seven days.
    Weekly,
    /// A month.
    Monthly,
}

/// The time that a report is about, on the wall clock of the plan's zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportSpan {
    /// How much.
    pub period: ReportPeriod,
    /// Its beginning, which is not part of it.
    pub after: DateTime<FixedOffset>,
    /// Its end.
    pub until: DateTime<FixedOffset>,
    /// Whether it was asked for by a date: what is true only now has no place in it.
    pub is_past: bool,
}

impl ReportPeriod {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::Daily, Self::Weekly, Self::Monthly];

    /// As the command line and the configuration write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }

    /// When it is sent, where the configuration does not say.
    pub fn usual_schedule(self) -> &'static str {
        match self {
            Self::Daily => "0 8 * * *",
            Self::Weekly => "0 8 * * 0",
            Self::Monthly => "0 8 1 * *",
        }
    }

    /// The time that ends at a moment.
    pub fn ending_at(self, until: DateTime<Utc>, zone: Tz) -> ReportSpan {
        let local = until.with_timezone(&zone);
        let after = match self {
            Self::Daily => until.checked_sub_days(Days::new(1)),
            Self::Weekly => until.checked_sub_days(Days::new(7)),
            Self::Monthly => local
                .naive_local()
                .checked_sub_months(Months::new(1))
                .and_then(|local| zone.from_local_datetime(&local).earliest())
                .map(|local| local.to_utc())
                // The clock leaped over it.
                .or_else(|| until.checked_sub_days(Days::new(30))),
        };
        let after = after.unwrap_or(DateTime::UNIX_EPOCH);
        ReportSpan {
            period: self,
            after: after.with_timezone(&zone).fixed_offset(),
            until: local.fixed_offset(),
            is_past: false,
        }
    }

    /// The time of a date: that day, the seven days that end with it, or its month. It ends at `now` at
    /// the latest. None beyond the calendar's end, and for a time that has not begun.
    pub fn of_date(self, date: NaiveDate, now: DateTime<Utc>, zone: Tz) -> Option<ReportSpan> {
        let next = date.checked_add_days(Days::new(1))?;
        let (first, end) = match self {
            Self::Daily => (date, next),
            Self::Weekly => (next.checked_sub_days(Days::new(7))?, next),
            Self::Monthly => {
                let first = chrono::Datelike::with_day(&date, 1)?;
                (first, first.checked_add_months(Months::new(1))?)
            }
        };
        let after = midnight(first, zone)?;
        let until = midnight(end, zone)?.min(now);
        (after < until).then(|| ReportSpan {
            period: self,
            after: after.with_timezone(&zone).fixed_offset(),
            until: until.with_timezone(&zone).fixed_offset(),
            is_past: true,
        })
    }
}

/// When a day begins: where the clock leaps over midnight, or over the day, at the end of the leap.
fn midnight(date: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
    let days = [Some(date), date.checked_add_days(Days::new(1))];
    let hours = days
        .into_iter()
        .flatten()
        .flat_map(|day| (0..24).map(move |hour| (day, hour)));
    hours.into_iter().find_map(|(day, hour)| {
        let local = zone.from_local_datetime(&day.and_hms_opt(hour, 0, 0)?);
        Some(local.earliest()?.to_utc())
    })
}

impl ReportSpan {
    /// Whether a moment is part of it.
    pub fn contains(&self, moment: &DateTime<impl chrono::TimeZone>) -> bool {
        self.after < *moment && *moment <= self.until
    }
}

impl fmt::Display for ReportSpan {
    /// "Sun 2026-11-29 08:00 +03:00" for the time that ended then, "Sat 2026-11-28" for a day.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_past {
            return self.until.format("%a %Y-%m-%d %H:%M %:z").fmt(f);
        }
        match self.period {
            ReportPeriod::Daily => self.after.format("%a %Y-%m-%d").fmt(f),
            ReportPeriod::Weekly => write!(
                f,
                "{} to {}",
                self.after.format("%Y-%m-%d"),
                (self.until - chrono::TimeDelta::seconds(1)).format("%Y-%m-%d")
            ),
            ReportPeriod::Monthly => self.after.format("%B %Y").fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, NaiveDate, Utc};
    use chrono_tz::Tz;

    use super::ReportPeriod::{self, Daily, Monthly, Weekly};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_report_without_a_date_is_about_the_time_up_to_now() {
        let now = at("2026-03-31T05:00:00Z");
        for (period, after) in [
            (Daily, "2026-03-30T08:00:00+03:00"),
            (Weekly, "2026-03-24T08:00:00+03:00"),
            // February has no 31st.
            (Monthly, "2026-02-28T08:00:00+03:00"),
        ] {
            let span = period.ending_at(now, Tz::Asia__Riyadh);
            assert_eq!(span.after.to_rfc3339(), after);
            assert_eq!(span.to_string(), "Tue 2026-03-31 08:00 +03:00");
        }
    }

    #[test]
    fn a_date_stands_for_its_day_its_week_and_its_month() {
        let now = at("2026-04-01T05:00:00Z");
        let of = |period: ReportPeriod, date: &str, zone| {
            let date: NaiveDate = date.parse().unwrap();
            let span = period.of_date(date, now, zone)?;
            let (after, until) = (span.after.to_rfc3339(), span.until.to_rfc3339());
            Some(format!("{span}: {after} {until}"))
        };
        let table = [
            (
                Daily,
                "2026-03-10",
                "Tue 2026-03-10: 2026-03-10T00:00:00+03:00 2026-03-11T00:00:00+03:00",
            ),
            (
                Weekly,
                "2026-03-10",
                "2026-03-04 to 2026-03-10: 2026-03-04T00:00:00+03:00 2026-03-11T00:00:00+03:00",
            ),
            (
                Monthly,
                "2026-03-10",
                "March 2026: 2026-03-01T00:00:00+03:00 2026-04-01T00:00:00+03:00",
            ),
            // Today ends now.
            (
                Daily,
                "2026-04-01",
                "Wed 2026-04-01: 2026-04-01T00:00:00+03:00 2026-04-01T08:00:00+03:00",
            ),
        ];
        for (period, date, expected) in table {
            let found = of(period, date, Tz::Asia__Riyadh);
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert_eq!(of(Daily, "2026-04-02", Tz::Asia__Riyadh), None);
        // Beirut's clock leaped over midnight.
        let beirut = of(Daily, "2026-03-29", Tz::Asia__Beirut).unwrap();
        assert_eq!(
            beirut,
            "Sun 2026-03-29: 2026-03-29T01:00:00+03:00 2026-03-30T00:00:00+03:00"
        );
    }
}
