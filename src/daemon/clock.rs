//! The clocks, and whether the wall clock was set: it is held against the monotonic clock, which
//! nobody sets.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

/// Where the scheduler reads the time. Tests have a clock that runs through a year in seconds and
/// can be set.
pub(super) trait Clock: Send + Sync {
    /// The time of day.
    fn wall(&self) -> DateTime<Utc>;

    /// The clock that nobody sets; the timers go by it.
    fn monotonic(&self) -> Instant;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// Less than this is no jump: time services slew the clock, and waking up takes a moment.
const TOLERANCE: TimeDelta = TimeDelta::seconds(2);

/// The two clocks at the moment when they were last compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    wall: DateTime<Utc>,
    monotonic: Instant,
}

impl Clocks {
    /// Starts from this moment on both clocks.
    pub(super) fn at(wall: DateTime<Utc>, monotonic: Instant) -> Self {
        Self { wall, monotonic }
    }

    /// By how much the wall clock was set since the last look: forward, or back when it is
    /// negative. A sleep of the machine is a jump forward, since the monotonic clock stands still
    /// meanwhile.
    pub(super) fn jump(&mut self, wall: DateTime<Utc>, monotonic: Instant) -> Option<TimeDelta> {
        let passed = monotonic.saturating_duration_since(self.monotonic);
        let jump = (wall - self.wall) - TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        *self = Self { wall, monotonic };
        (jump.abs() > TOLERANCE).then_some(jump)
    }
}

/// How long to wait on the monotonic clock for a moment of the wall clock.
pub(super) fn until(moment: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (moment - now).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use chrono::{DateTime, TimeDelta, Utc};

    use super::{Clocks, until};

    #[test]
    fn only_what_the_monotonic_clock_does_not_confirm_is_a_jump() {
        let wall: DateTime<Utc> = "2025-07-09T02:00:00Z".parse().unwrap();
        let start = Instant::now();
        let cases = [
            (10_000, 10_000, None),
            (10_000, 11_900, None),
            (10_000, 8_100, None),
            (10_000, 3_610_000, Some(3_600_000)),
            (10_000, -3_590_000, Some(-3_600_000)),
            (0, 0, None),
        ];
        for (monotonic, wall_after, jump) in cases {
            let mut clocks = Clocks::at(wall, start);
            let found = clocks.jump(
                wall + TimeDelta::milliseconds(wall_after),
                start + Duration::from_millis(monotonic),
            );
            assert_eq!(found, jump.map(TimeDelta::milliseconds));
        }
    }

    #[test]
    fn a_jump_is_reported_once() {
        let wall: DateTime<Utc> = "2025-07-09T02:00:00Z".parse().unwrap();
        let start = Instant::now();
        let mut clocks = Clocks::at(wall, start);
        let jumped = wall + TimeDelta::days(1);
        assert_eq!(clocks.jump(jumped, start), Some(TimeDelta::days(1)));
        assert_eq!(clocks.jump(jumped, start), None);
    }

    #[test]
    fn a_moment_that_has_passed_is_not_waited_for() {
        let now: DateTime<Utc> = "2025-07-09T02:00:00Z".parse().unwrap();
        assert_eq!(until(now - TimeDelta::seconds(5), now), Duration::ZERO);
        assert_eq!(
            until(now + TimeDelta::seconds(5), now),
            Duration::from_secs(5)
        );
    }
}
