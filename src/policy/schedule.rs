//! When a job runs: a crontab pattern in a time zone.

mod describe;
mod field;

use chrono::{DateTime, Duration, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use field::FIELDS;

/// The names that stand for a whole pattern, and the pattern (crontab(5) of Vixie cron).
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// How far ahead a run is looked for: the Gregorian calendar repeats its weekdays and leap years
/// after 400 years, but no day that exists at all is further away than the eight years between
/// 1896-02-29 and 1904-02-29, times seven for a weekday that must fall on it.
const HORIZON: TimeDelta = TimeDelta::days(366 * 8 * 7);

/// A crontab pattern of five fields in a time zone: minute, hour, day of the month, month, day of
/// the week.
///
/// As in crontab(5), a pattern that restricts both day fields runs on a day that matches *either*.
/// Names of months and weekdays, lists, ranges and steps are understood, `@daily` and its kin, and
/// croner's `L` (last), `W` (nearest working day), `#` (nth weekday) and a leading `+` in the day
/// of the week (both day fields must match).
///
/// What happens where the clock jumps (the Open Cron Pattern Specification's rules):
///
/// - A pattern of *one* time of the day (`30 2 * * *`) runs exactly once on every day that it
///   names. Where the clock is put forward over that time, it runs at the first moment after the
///   gap; where the clock is put back and the time comes twice, it runs at the first of the two.
/// - Any other pattern (`*/15 * * * *`, `0 2,14 * * *`) follows the clock on the wall: what lies in
///   the gap is left out, what comes twice runs twice.
/// - A day that a zone leaves out altogether (Pacific/Apia, 2011-12-30) has no runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    zone: Tz,
    pattern: Cron,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// There is nothing in it.
    #[error("a schedule needs five fields: minute, hour, day of the month, month, day of the week")]
    Empty,
    /// Too few or too many fields.
    #[error(
        "a schedule has five fields (minute, hour, day of the month, month, day of the week), not \
         {found}"
    )]
    FieldCount {
        /// How many there are.
        found: usize,
    },
    /// Six fields: the first would be the seconds.
    #[error(
        "six fields: a schedule has no field for seconds; perhaps you mean \"{without_first}\""
    )]
    Seconds {
        /// The pattern without its first field.
        without_first: String,
    },
    /// A word with `@` that stands for no pattern.
    #[error(
        "unknown schedule {nickname}; there are @hourly, @daily, @midnight, @weekly, \
         @monthly, @yearly and @annually"
    )]
    UnknownNickname {
        /// The word.
        nickname: String,
    },
    /// One field is wrong.
    #[error("the {field} {text:?}: {reason}")]
    Field {
        /// Which one, in words.
        field: &'static str,
        /// The part of it that is wrong.
        text: String,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// Sound fields that name no day which exists, such as 30 February.
    #[error("no such day ever comes, so the job would never run")]
    Impossible,
    /// The pattern's reader objects for a reason of its own.
    #[error("{0}")]
    Unreadable(String),
}

impl Schedule {
    /// Reads a pattern for a zone.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] says in words what is wrong. Among what cron daemons let pass silently, a
    /// step as large as its field (`*/90` in the minutes would mean "hourly") and a day that never
    /// comes are refused.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, ScheduleError> {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let pattern = expand(&text)?;
        let pattern = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(&pattern)
            .map_err(|error| ScheduleError::Unreadable(error.to_string()))?;
        let schedule = Self {
            text,
            zone,
            pattern,
        };
        // The calendar is the same in every zone, so UTC, which has no gaps, decides.
        let somewhere = DateTime::<Utc>::UNIX_EPOCH;
        match schedule.pattern.find_next_occurrence(&somewhere, false) {
            Ok(next) if next - somewhere <= HORIZON => Ok(schedule),
            _ => Err(ScheduleError::Impossible),
        }
    }

    /// The pattern as the operator wrote it, its fields set apart by single spaces.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone on whose wall clock the pattern is read.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first run strictly after this moment, in the schedule's zone; none only beyond the
    /// calendar's end.
    pub fn next_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Tz>> {
        let start = moment.with_timezone(&self.zone);
        let run = self
            .pattern
            .find_next_occurrence(&start, false)
            .ok()
            // croner gives up on a gap of more than two hours: go on from its other side.
            .or_else(|| {
                let resumed = self.end_of_left_out_day(moment)?;
                self.pattern.find_next_occurrence(&resumed, true).ok()
            })?;
        if self.stands_in_for_a_left_out_day(&run) {
            return self.pattern.find_next_occurrence(&run, false).ok();
        }
        Some(run)
    }

    /// Whether croner gives this run for a time on a day that the zone left out: it does so for the
    /// last two hours of such a day, as for any gap, at the first moment after it.
    fn stands_in_for_a_left_out_day(&self, run: &DateTime<Tz>) -> bool {
        self.leaps(run.to_utc() - Duration::seconds(1), run.to_utc())
            && !self.pattern.is_time_matching(run).unwrap_or(true)
    }

    /// Whether the zone's clock leaps forward by more than two hours between two moments.
    fn leaps(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> bool {
        let wall_minus_utc =
            |at: DateTime<Utc>| at.with_timezone(&self.zone).naive_local() - at.naive_utc();
        wall_minus_utc(to) - wall_minus_utc(from) > Duration::hours(2)
    }

    /// The newest run at or before this moment, in the schedule's zone; none where there is none in
    /// the 56 years before it.
    ///
    /// It is found by [`Self::next_after`] alone, so that both know the same runs, whatever the
    /// zone's clock did: croner's own search backwards gives up on a day that is left out.
    pub fn latest_at_or_before(&self, moment: DateTime<Utc>) -> Option<DateTime<Tz>> {
        let run_in = |after: DateTime<Utc>| self.next_after(after).filter(|run| *run <= moment);
        // Ever further back until there is a run between, …
        let mut back = TimeDelta::minutes(1);
        let mut latest = loop {
            match run_in(moment.checked_sub_signed(back)?) {
                Some(run) => break run,
                None if back == HORIZON => return None,
                None => back = (back * 2).min(HORIZON),
            }
        };
        // … then ever nearer, by halves of what may still hold a later one.
        let mut nothing_after = moment;
        while let Some(run) = run_in(latest.to_utc()) {
            latest = run;
            let middle = latest.to_utc() + (nothing_after - latest.to_utc()) / 2;
            match run_in(middle) {
                Some(run) => latest = run,
                None => nothing_after = middle,
            }
        }
        Some(latest)
    }

    /// The schedule in English, without its zone: "every day at 02:00".
    pub fn describe(&self) -> String {
        expand(&self.text)
            .ok()
            .and_then(|fields| describe::describe_fields(&fields))
            .unwrap_or_else(|| self.pattern.describe())
    }

    /// The first moment after the next forward jump of the zone's clock by more than two hours.
    fn end_of_left_out_day(&self, moment: DateTime<Utc>) -> Option<DateTime<Tz>> {
        let mut before = moment;
        let end = moment + HORIZON;
        let mut after = before + Duration::days(1);
        while !self.leaps(before, after) {
            before = after;
            after = before + Duration::days(1);
            if after > end {
                return None;
            }
        }
        while after - before > Duration::seconds(1) {
            let middle = before + (after - before) / 2;
            if self.leaps(before, middle) {
                after = middle;
            } else {
                before = middle;
            }
        }
        let whole_second = Utc.timestamp_opt(after.timestamp(), 0).single()?;
        Some(whole_second.with_timezone(&self.zone))
    }
}

/// The five fields that a pattern or a nickname stands for, each found sound.
fn expand(text: &str) -> Result<String, ScheduleError> {
    if text.starts_with('@') {
        return NICKNAMES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, pattern)| (*pattern).to_owned())
            .ok_or_else(|| ScheduleError::UnknownNickname {
                nickname: text.to_owned(),
            });
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    match fields.len() {
        0 => return Err(ScheduleError::Empty),
        5 => {}
        6 => {
            return Err(ScheduleError::Seconds {
                without_first: fields[1..].join(" "),
            });
        }
        found => return Err(ScheduleError::FieldCount { found }),
    }
    for (rule, field) in FIELDS.iter().zip(&fields) {
        rule.check(field)?;
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests;
