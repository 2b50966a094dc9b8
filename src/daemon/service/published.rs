//! When the state for `pgbackupd status` is written: with every change, and not too often.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// It is written no more often than this.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// What was written last of a state.
#[derive(Debug)]
pub(super) struct Published<S> {
    /// The newest state that the writer has, and since when.
    written: Option<(Instant, Arc<S>)>,
    /// Whether something may have happened that is not in it.
    is_behind: bool,
}

impl<S> Default for Published<S> {
    fn default() -> Self {
        Self {
            written: None,
            is_behind: false,
        }
    }
}

impl<S: PartialEq> Published<S> {
    /// The state that is to be written now; none where it is too early, or nothing has changed. `state`
    /// is asked only when it is time: with a thousand databases waiting it is large.
    pub(super) fn next(&mut self, now: Instant, state: impl FnOnce() -> S) -> Option<Arc<S>> {
        let written = self.written.as_ref();
        self.is_behind = written.is_some_and(|(then, _)| now.duration_since(*then) < PAUSE);
        if self.is_behind {
            return None;
        }
        let state = state();
        if written.is_some_and(|(_, written)| **written == state) {
            return None;
        }
        let state = Arc::new(state);
        self.written = Some((now, Arc::clone(&state)));
        Some(state)
    }

    /// What was written last.
    pub(super) fn newest(&self) -> Option<&Arc<S>> {
        self.written.as_ref().map(|(_, state)| state)
    }

    /// Lets the next state be written at once, whatever it is.
    pub(super) fn forget(&mut self) {
        self.written = None;
    }

    /// Whether something may have happened that is not in what was written.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_when_it_has_changed_and_its_time_has_come() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut published = Published::default();
        let mut next = |milliseconds, state: u32| {
            let mut asked = false;
            let next = published.next(at(milliseconds), || {
                asked = true;
                state
            });
            (next.map(|state| *state), asked, published.is_behind())
        };
        assert_eq!(next(0, 1), (Some(1), true, false));
        // Too early: nobody makes the state, and it is known that one is due.
        assert_eq!(next(499, 2), (None, false, true));
        assert_eq!(next(500, 2), (Some(2), true, false));
        // Nothing new: the pause counts from the state that was written.
        assert_eq!(next(2000, 2), (None, true, false));
        assert_eq!(next(2001, 3), (Some(3), true, false));
        published.forget();
        let again = published.next(at(2002), || 3);
        assert_eq!(again.map(|state| *state), Some(3), "at once, and the same");
    }
}
