//! When a job runs: a crontab pattern in a time zone.

use chrono_tz::Tz;

/// A crontab pattern in a time zone.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// As the operator wrote it.
    pub text: String,
    /// Its zone.
    pub zone: Tz,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not written yet")]
pub struct ScheduleError;
