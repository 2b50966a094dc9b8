//! What of a job's schedule was missed, and how long a run may wait for its turn.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Schedule;

/// The one slot to make up for: the newest at or before `now`, if it is later than `known`.
///
/// `known` is the later of two moments: since when the job is known to be in force with this very
/// schedule, and the newest slot that was carried out. Nothing was missed where neither is known,
/// nor where `known` lies ahead of `now`: then the clock was put back, and what it shows has been
/// there before.
pub fn missed(
    schedule: &Schedule,
    known: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let known = known.filter(|known| *known <= now)?;
    let latest = schedule.latest_at_or_before(now)?.to_utc();
    (latest > known).then_some(latest)
}

/// When the window of a slot ends: so long after it, but not later than the next slot, which has
/// the same work to do.
pub fn window_end(schedule: &Schedule, slot: DateTime<Utc>, window: Duration) -> DateTime<Utc> {
    let end = TimeDelta::from_std(window)
        .ok()
        .and_then(|window| slot.checked_add_signed(window))
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    match schedule.next_after(slot) {
        Some(next) => end.min(next.to_utc()),
        None => end,
    }
}
