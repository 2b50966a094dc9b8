//! Windows of the week in which no run starts.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, Datelike, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

const DAY_MINUTES: u32 = 24 * 60;
const WEEK_MINUTES: u32 = 7 * DAY_MINUTES;

/// The names of the days, from the first of the week on.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// How many changes of a zone's clock within one blackout are followed. No week has had more than
/// two.
const MOST_CHANGES: usize = 64;

/// One window: days of the week, and the times between which no run starts on them.
///
/// Written as `08:00-18:00` (every day), `Mon-Fri 08:00-18:00` or `Sat,Sun 22:00-02:00`. The end is
/// the first moment at which a run may start again. A window past midnight belongs to the day on
/// which it begins; `24:00` may be its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blackout {
    /// For each day from Monday on, whether the window begins on it.
    days: [bool; 7],
    /// Minutes from midnight to the beginning, below a day's.
    from: u32,
    /// Minutes from midnight to the end: more than `from`, and more than a day's for a window past
    /// midnight.
    to: u32,
}

/// The windows of one zone in which no run starts; there may be none.
///
/// They follow the clock on the wall: no run starts while it shows a time within any of them.
/// Where it is put forward over a window, there is no such time; where it is put back into one, the
/// window comes twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blackouts {
    windows: Vec<Blackout>,
    zone: Tz,
    /// The windows as stretches of the week, in minutes from Monday 00:00: in order, none touching
    /// the next, except for the last and the first over the week's end.
    stretches: Vec<Stretch>,
}

/// From a minute of the week to another, exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    from: u32,
    to: u32,
}

/// Why a text is no blackout window, or why windows cannot stand together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlackoutError {
    /// It has not the form of one.
    #[error(
        "a blackout window is two times, after days if it is not for all of them: \
         \"08:00-18:00\", \"Mon-Fri 08:00-18:00\" or \"Sat,Sun 22:00-02:00\""
    )]
    Shape,
    /// A word stands where a day belongs.
    #[error(
        "unknown day of the week {0:?}; the days are Mon, Tue, Wed, Thu, Fri, Sat and Sun, as in \
         \"Mon-Fri\" or \"Sat,Sun\""
    )]
    Day(String),
    /// A word stands where a time belongs.
    #[error("invalid time {0:?}; times are from 00:00 to 23:59, and an end may be 24:00")]
    Time(String),
    /// It ends when it begins.
    #[error("the window ends at {0}, when it begins; a whole day is 00:00-24:00")]
    Nothing(String),
    /// No moment of the week is left.
    #[error("the blackout windows cover the whole week, so no run would ever start")]
    WholeWeek,
}

impl Blackout {
    /// The stretches of the week that it covers.
    fn stretches(&self) -> impl Iterator<Item = Stretch> {
        (0u32..)
            .zip(self.days)
            .filter(|(_, begins)| *begins)
            .flat_map(|(day, _)| {
                let (from, to) = (day * DAY_MINUTES + self.from, day * DAY_MINUTES + self.to);
                let within = Stretch {
                    from,
                    to: to.min(WEEK_MINUTES),
                };
                // Past the end of Sunday, Monday follows.
                let beyond = (to > WEEK_MINUTES).then(|| Stretch {
                    from: 0,
                    to: to - WEEK_MINUTES,
                });
                std::iter::once(within).chain(beyond)
            })
    }
}

impl Blackouts {
    /// The windows, read on the wall clock of a zone.
    ///
    /// # Errors
    ///
    /// [`BlackoutError::WholeWeek`] for windows that leave no moment of the week.
    pub fn new(windows: Vec<Blackout>, zone: Tz) -> Result<Self, BlackoutError> {
        let mut all: Vec<Stretch> = windows.iter().flat_map(Blackout::stretches).collect();
        all.sort_unstable();
        let mut stretches: Vec<Stretch> = Vec::new();
        for next in all {
            match stretches.last_mut() {
                Some(last) if next.from <= last.to => last.to = last.to.max(next.to),
                _ => stretches.push(next),
            }
        }
        let whole = Stretch {
            from: 0,
            to: WEEK_MINUTES,
        };
        if stretches == [whole] {
            return Err(BlackoutError::WholeWeek);
        }
        Ok(Self {
            windows,
            zone,
            stretches,
        })
    }

    /// No windows at all; the zone is for the times in messages.
    pub fn none(zone: Tz) -> Self {
        Self {
            windows: Vec::new(),
            zone,
            stretches: Vec::new(),
        }
    }

    /// The windows, as they were given.
    pub fn windows(&self) -> &[Blackout] {
        &self.windows
    }

    /// The zone on whose wall clock the windows are read.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// When runs may start again: none if this moment is in no window; else the first moment after
    /// it that is in none.
    pub fn ends_after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut reached = whole_second(moment);
        self.held_at(reached)?;
        for _ in 0..MOST_CHANGES {
            let Some((_, to_its_end)) = self.held_at(reached) else {
                break;
            };
            let end = reached + to_its_end;
            match self.changes_of_clock(reached, end).first() {
                Some(&change) => reached = change,
                None => return Some(end),
            }
        }
        Some(reached)
    }

    /// Since when no run may start: none if this moment is in no window; else the first moment from
    /// which on every moment up to this one is in a window.
    pub fn holding_since(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let second = TimeDelta::seconds(1);
        let mut reached = whole_second(moment);
        let (mut since_its_beginning, _) = self.held_at(reached)?;
        for _ in 0..MOST_CHANGES {
            let beginning = reached - since_its_beginning;
            // What comes before the beginning is outside by the same clock, but perhaps not by the
            // clock before a change at that very moment.
            let changes = self.changes_of_clock(beginning - second, reached);
            let Some(&change) = changes.last() else {
                return Some(beginning);
            };
            match self.held_at(change - second) {
                Some((since, _)) => {
                    reached = change - second;
                    since_its_beginning = since;
                }
                None => return Some(change),
            }
        }
        Some(reached)
    }

    /// If the wall clock shows a time within a window: how far it is from the beginning of what the
    /// windows cover there, and how far to its end, by the wall clock.
    fn held_at(&self, moment: DateTime<Utc>) -> Option<(TimeDelta, TimeDelta)> {
        let wall = moment.with_timezone(&self.zone).naive_local();
        let day = wall.weekday().num_days_from_monday();
        let seconds = day * DAY_MINUTES * 60 + wall.num_seconds_from_midnight();
        let minute = seconds / 60;
        let at = self
            .stretches
            .iter()
            .find(|stretch| (stretch.from..stretch.to).contains(&minute))?;
        let last_of_week = self.stretches.last().filter(|last| last.to == WEEK_MINUTES);
        let first_of_week = self.stretches.first().filter(|first| first.from == 0);
        let before = match last_of_week {
            Some(last) if at.from == 0 => WEEK_MINUTES - last.from,
            _ => 0,
        };
        let beyond = match first_of_week {
            Some(first) if at.to == WEEK_MINUTES => first.to,
            _ => 0,
        };
        let since = TimeDelta::seconds(i64::from(seconds - at.from * 60 + before * 60));
        let left = TimeDelta::seconds(i64::from((at.to + beyond) * 60 - seconds));
        Some((since, left))
    }

    /// The moments later than `from` and not later than `to` at which the zone's clock is put
    /// forward or back, in order. Both are whole seconds.
    fn changes_of_clock(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let offset = |at: DateTime<Utc>| self.zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        let mut changes = Vec::new();
        let mut before = from;
        while before < to {
            // Two changes within an hour are not known of any zone.
            let mut after = (before + TimeDelta::hours(1)).min(to);
            let next = after;
            if offset(before) != offset(after) {
                while after - before > TimeDelta::seconds(1) {
                    let middle = before + TimeDelta::seconds((after - before).num_seconds() / 2);
                    if offset(before) == offset(middle) {
                        before = middle;
                    } else {
                        after = middle;
                    }
                }
                changes.push(after);
            }
            before = next;
        }
        changes
    }
}

/// The moment without its parts of a second.
fn whole_second(moment: DateTime<Utc>) -> DateTime<Utc> {
    moment.with_nanosecond(0).unwrap_or(moment)
}

impl fmt::Display for Blackout {
    /// In the form in which it is written; nothing of the days where it is for all of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.days.iter().all(|begins| *begins) {
            let mut day = 0;
            let mut separator = "";
            while day < DAYS.len() {
                let run = self.days[day..]
                    .iter()
                    .take_while(|begins| **begins)
                    .count();
                match run {
                    0 => {}
                    1 => write!(f, "{separator}{}", DAYS[day])?,
                    2 => write!(f, "{separator}{},{}", DAYS[day], DAYS[day + 1])?,
                    _ => write!(f, "{separator}{}-{}", DAYS[day], DAYS[day + run - 1])?,
                }
                if run > 0 {
                    separator = ",";
                }
                day += run.max(1);
            }
            f.write_str(" ")?;
        }
        let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let to = if self.to > DAY_MINUTES {
            self.to - DAY_MINUTES
        } else {
            self.to
        };
        write!(f, "{}-{}", time(self.from), time(to))
    }
}
