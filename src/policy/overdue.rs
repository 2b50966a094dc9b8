//! What is late: a series without the backup that its schedule promises, and a database whose
//! newest backup is older than it may be.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{Blackouts, Schedule};

/// What a job promises of its series: a success for each slot.
#[derive(Clone, Copy, Debug)]
pub struct Promise<'a> {
    /// When it is due.
    pub schedule: &'a Schedule,
    /// When it does not start: its slots within a blackout count from the blackout's end.
    pub blackouts: &'a Blackouts,
    /// How long after its slot it may be done: its random delay at most, and the grace.
    pub allowed: Duration,
    /// Since when the job is known to be in force with this schedule; slots before that moment were
    /// not promised. None when it always was.
    pub since: Option<DateTime<Utc>>,
}

/// A slot that has no success although it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The newest slot whose success is overdue.
    pub slot: DateTime<Tz>,
    /// When the newest success before it began; none where there is none at all.
    pub newest: Option<DateTime<Tz>>,
}

impl Promise<'_> {
    /// Whether a success is overdue at `now`. `newest_success` is when the newest success of the
    /// series *began*: what began before a slot holds nothing of what came between.
    ///
    /// A run that is at work is not asked about here: it has no success yet.
    pub fn overdue(
        &self,
        newest_success: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Overdue> {
        let slot = self.newest_due(now)?;
        let in_force = self.since.is_none_or(|since| since < slot);
        let missing = newest_success.is_none_or(|newest| newest < slot);
        (in_force && missing).then(|| {
            let zone = self.schedule.zone();
            Overdue {
                slot: slot.with_timezone(&zone),
                newest: newest_success.map(|newest| newest.with_timezone(&zone)),
            }
        })
    }

    /// The newest slot whose success should be there at `now`.
    fn newest_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let allowed = TimeDelta::from_std(self.allowed).ok()?;
        let moment = now.checked_sub_signed(allowed)?;
        // A slot within a blackout that lasts at that moment may have waited for its end; those
        // before the blackout's beginning had their time.
        let moment = match self.blackouts.holding_since(moment) {
            Some(began) => began - TimeDelta::seconds(1),
            None => moment,
        };
        Some(self.schedule.latest_at_or_before(moment)?.to_utc())
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot.format("%a %Y-%m-%d %H:%M %:z");
        write!(f, "the run that was due at {slot} has brought no success")?;
        match &self.newest {
            Some(newest) => write!(
                f,
                "; the newest one is of {}",
                newest.format("%a %Y-%m-%d %H:%M %:z")
            ),
            None => f.write_str(", and there was none before"),
        }
    }
}

/// Why a database's newest sound backup is not new enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointMissed {
    /// There is none.
    NoBackup,
    /// It is too old.
    TooOld {
        /// How old it is, to the second.
        age: Duration,
        /// How old it may be, without the grace.
        target: Duration,
    },
}

/// Measures a database against its recovery-point target (P18): why its newest sound backup, of
/// any series, is not new enough, or none where it is. `newest_sound` is when that backup began.
///
/// A backup that began ahead of `now` counts as new: a clock that was put back makes none older.
pub fn recovery_point(
    newest_sound: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    target: Duration,
    grace: Duration,
) -> Option<PointMissed> {
    let Some(newest) = newest_sound else {
        return Some(PointMissed::NoBackup);
    };
    let age = (now - newest).to_std().unwrap_or(Duration::ZERO);
    (age > target.saturating_add(grace)).then(|| PointMissed::TooOld {
        age: Duration::from_secs(age.as_secs()),
        target,
    })
}

impl fmt::Display for PointMissed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBackup => f.write_str("there is no sound backup"),
            Self::TooOld { age, target } => write!(
                f,
                "the newest sound backup is {} old; the target is {} at most",
                humantime::format_duration(*age),
                humantime::format_duration(*target)
            ),
        }
    }
}
