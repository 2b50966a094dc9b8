//! When a schedule is due, found without any code of the schedule's: date(1) and the machine's own
//! zone files say what a clock on the wall shows at every quarter of an hour, and the rules are
//! read off that.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

/// Every change of the zones that are asked for falls on a quarter of an hour.
const STEP: TimeDelta = TimeDelta::minutes(15);

/// What the wall shows at one moment.
struct Shown {
    moment: DateTime<Utc>,
    wall: NaiveDateTime,
    /// 1 is Monday, 7 is Sunday.
    weekday: u32,
}

/// When a job is due, in terms of the wall.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// At one time of the day, on every day, on one weekday or on one day of the month. It is due
    /// once on each such day that there is: at the first moment at which the wall shows that time
    /// or a later one. So a time that is left out is due right after the gap, and of a time that
    /// comes twice the first counts.
    Once {
        hour: u32,
        minute: u32,
        weekday: Option<u32>,
        day: Option<u32>,
    },
    /// Whenever the wall shows one of these hours (or any) and one of these minutes.
    Whenever {
        hours: &'static [u32],
        minutes: &'static [u32],
    },
}

/// A zone's wall in a period.
pub(super) struct Wall {
    shown: Vec<Shown>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Wall {
    /// Asks date(1).
    pub(super) fn of(zone: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        // Without the zone's file date(1) takes it for UTC and says nothing.
        let file = std::path::Path::new("/usr/share/zoneinfo").join(zone);
        assert!(file.exists(), "no {}: install tzdata", file.display());
        // A day more on each side: a day of which only the end is looked at misleads.
        let mut moments = vec![from - TimeDelta::days(1)];
        while moments[moments.len() - 1] < to + TimeDelta::days(1) {
            moments.push(moments[moments.len() - 1] + STEP);
        }
        let asked: Vec<String> = moments
            .iter()
            .map(|moment| format!("@{}", moment.timestamp()))
            .collect();
        let asked = asked.join("\n") + "\n";
        let mut date = Command::new("date")
            .args(["-f", "-", "+%Y-%m-%dT%H:%M:%S %u"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .env("TZ", zone)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = date.stdin.take().unwrap();
        let writer = thread::spawn(move || stdin.write_all(asked.as_bytes()));
        let answer = date.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(answer.status.success());
        let answer = String::from_utf8(answer.stdout).unwrap();
        assert_eq!(answer.lines().count(), moments.len());
        let shown = moments.iter().zip(answer.lines()).map(|(moment, line)| {
            let (wall, weekday) = line.split_once(' ').unwrap();
            Shown {
                moment: *moment,
                wall: wall.parse().unwrap(),
                weekday: weekday.parse().unwrap(),
            }
        });
        Self {
            shown: shown.collect(),
            from,
            to,
        }
    }

    /// Every moment later than the period's start and no later than its end at which a job of this
    /// rule is due.
    pub(super) fn due(&self, rule: Rule) -> Vec<DateTime<Utc>> {
        use chrono::{Datelike as _, Timelike as _};
        let mut due: Vec<DateTime<Utc>> = Vec::new();
        let mut done = None;
        for Shown {
            moment,
            wall,
            weekday,
        } in &self.shown
        {
            let is_due = match rule {
                Rule::Once {
                    hour,
                    minute,
                    weekday: on,
                    day,
                } => {
                    (wall.hour(), wall.minute()) >= (hour, minute)
                        && on.is_none_or(|on| on == *weekday)
                        && day.is_none_or(|day| day == wall.day())
                        // The wall may go back over midnight.
                        && done.is_none_or(|done| done < wall.date())
                }
                Rule::Whenever { hours, minutes } => {
                    (hours.is_empty() || hours.contains(&wall.hour()))
                        && minutes.contains(&wall.minute())
                }
            };
            if is_due {
                done = Some(wall.date());
                if self.from < *moment && *moment <= self.to {
                    due.push(*moment);
                }
            }
        }
        due
    }
}
