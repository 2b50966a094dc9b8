//! When the service manager's watchdog hears that all is well: while the loop turns and the scheduler
//! looks at the clock. Pure; given the time by whoever asks.

use std::time::{Duration, Instant};

/// Without a word from the scheduler for so long, the watchdog does not hear that all is well.
const SILENCE: Duration = Duration::from_secs(45);

/// A beat that is held back is not tried again at every turn of the loop.
const HELD_BACK: Duration = Duration::from_secs(5);

/// The beats of the daemon's heart.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// How often the watchdog wants to hear from the daemon, if there is one: it is notified twice as often, as
    /// `sd_watchdog_enabled(3)` recommends.
    period: Option<Duration>,
    /// The last beat.
    beaten: Instant,
    /// Whether beats are held back because the scheduler is silent: that is reported once.
    is_silent: bool,
}

/// What a turn of the loop does for the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing.
    None,
    /// It tells the watchdog that all is well.
    Alive,
    /// It reports that the watchdog will end the process, because the scheduler has been silent for so
    /// long.
    Silent(Duration),
}

impl Watchdog {
    /// One that wants to hear from the daemon so often.
    pub(super) fn new(period: Option<Duration>, now: Instant) -> Self {
        Self {
            period,
            beaten: now,
            is_silent: false,
        }
    }

    /// What to do now that the loop has turned; the scheduler has been silent for so long.
    pub(super) fn turn(&mut self, now: Instant, silence: Duration) -> Beat {
        let since = now.saturating_duration_since(self.beaten);
        let is_due = self
            .period
            .is_some_and(|period| since + Duration::from_millis(20) >= period / 2);
        if !is_due {
            return Beat::None;
        }
        if silence <= SILENCE {
            self.beaten = now;
            self.is_silent = false;
            return Beat::Alive;
        }
        if std::mem::replace(&mut self.is_silent, true) {
            return Beat::None;
        }
        Beat::Silent(silence)
    }

    /// How long the loop may rest until the next beat; none where nobody wants one.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.beaten);
        let beat = (self.period? / 2).saturating_sub(since);
        Some(if self.is_silent { HELD_BACK } else { beat })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Beat, Watchdog};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_watchdog_is_fed_twice_a_period_unless_the_scheduler_is_silent() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Some(seconds(60)), start);
        for (second, silence, expected, rest) in [
            (0, 0, Beat::None, 30),
            (29, 3, Beat::None, 1),
            (30, 3, Beat::Alive, 30),
            (45, 44, Beat::None, 15),
            (60, 46, Beat::Silent(seconds(46)), 5),
            (65, 51, Beat::None, 5),
            (70, 1, Beat::Alive, 30),
            (100, 46, Beat::Silent(seconds(46)), 5),
        ] {
            let now = start + seconds(second);
            assert_eq!(watchdog.turn(now, seconds(silence)), expected, "{second}");
            assert_eq!(watchdog.rest(now), Some(seconds(rest)), "{second}");
        }
    }

    #[test]
    fn without_a_watchdog_nobody_is_reported() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(None, start);
        assert_eq!(watchdog.turn(start + seconds(3600), seconds(0)), Beat::None);
        assert_eq!(watchdog.rest(start), None);
    }
}
