//! The log that a restore keeps of itself while it goes on: its facts, and its steps with their
//! times. It goes into `restore.log`, and from there into the incident report (P11).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use chrono::{DateTime, FixedOffset};

use crate::repository::{Restoration, StepTime};

/// Written by whoever does something worth telling.
#[derive(Debug, Default)]
pub(in crate::jobs) struct StepLog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    facts: Restoration,
    /// When the last of its steps began, if that goes on.
    open: Option<Instant>,
}

impl StepLog {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while writing has left facts all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the facts.
    pub(in crate::jobs) fn update(&self, change: impl FnOnce(&mut Restoration)) {
        change(&mut self.state().facts);
    }

    /// A step begins, and with it the one before has ended.
    pub(in crate::jobs) fn begin(&self, at: DateTime<FixedOffset>, step: &str) {
        self.pause();
        let mut state = self.state();
        state.open = Some(Instant::now());
        state.facts.steps.push(StepTime {
            step: step.to_owned(),
            at,
            seconds: 0.0,
        });
    }

    /// The last step has ended, and no other begins.
    pub(in crate::jobs) fn pause(&self) {
        let mut state = self.state();
        if let (Some(began), Some(last)) = (state.open.take(), state.facts.steps.last_mut()) {
            last.seconds = began.elapsed().as_secs_f64();
        }
    }

    /// What is known by now; of a step that goes on, as far as it has come.
    pub(in crate::jobs) fn so_far(&self) -> Restoration {
        let state = self.state();
        let mut facts = state.facts.clone();
        if let (Some(began), Some(last)) = (state.open, facts.steps.last_mut()) {
            last.seconds = began.elapsed().as_secs_f64();
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_step_ends_where_the_next_begins_or_nothing_more_does() {
        let step_log = StepLog::default();
        let at = DateTime::parse_from_rfc3339("2025-07-09T14:30:00+03:00").unwrap();
        step_log.begin(at, "reading");
        std::thread::sleep(Duration::from_millis(20));
        step_log.pause();
        let reading = step_log.so_far().steps[0].seconds;
        assert!(reading >= 0.02, "{reading}");
        std::thread::sleep(Duration::from_millis(20));
        step_log.begin(at, "loading");
        step_log.update(|facts| facts.kept_as = Some("aside".to_owned()));
        let facts = step_log.so_far();
        assert!((facts.steps[0].seconds - reading).abs() < f64::EPSILON);
        assert_eq!(facts.steps[1].step, "loading");
        assert_eq!(facts.kept_as.as_deref(), Some("aside"));
    }
}
