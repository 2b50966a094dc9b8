//! The last 90 days of a series as a strip, a cell for each day. Pure.
//!
//! Each outcome has a shape of its own besides its colour. Days in a row are one line of dashes, so that a
//! strip stays small on a page with hundreds of them.

use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use maud::{Markup, html};

use crate::jobs::SeriesSlots;
use crate::policy::{Slot, SlotOutcome, SlotTally};

/// So many days.
const DAYS: usize = 90;

/// The width of a cell with the gap behind it, and without; the dashes of the style sheet are as long.
const STEP: usize = 7;
const CELL: usize = 5;

/// The height, and half of it.
const HEIGHT: usize = 20;
const MIDDLE: usize = 10;

/// The outcomes in the order in which they are counted and explained.
const OUTCOMES: [SlotOutcome; 5] = [
    SlotOutcome::Done,
    SlotOutcome::Failed,
    SlotOutcome::Missed,
    SlotOutcome::Skipped,
    SlotOutcome::Pending,
];

/// The strip of a series up to today. A day with several slots shows the one that matters most.
pub(super) fn strip(
    slots: &SeriesSlots,
    today: NaiveDate,
    local: impl Fn(DateTime<Utc>) -> NaiveDate,
) -> Markup {
    let days = days(&slots.newest, today, local);
    let title = format!("90 days: {}", tally(slots.quarter));
    let width = DAYS * STEP;
    html! {
        svg.strip viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img"
            aria-label=(title) {
            title { (title) }
            @for outcome in OUTCOMES {
                @let path = path(&days, Some(outcome));
                @if !path.is_empty() { path.(outcome.word()) d=(path) {} }
            }
            @let path = path(&days, None);
            @if !path.is_empty() { path.none d=(path) {} }
        }
    }
}

/// "88 done, 1 failed, 1 missed"
pub(super) fn tally(tally: SlotTally) -> String {
    let counts = [
        (tally.done, "done"),
        (tally.failed, "failed"),
        (tally.missed, "missed"),
        (tally.skipped, "skipped"),
        (tally.pending, "pending"),
    ];
    let some: Vec<String> = counts
        .iter()
        .filter(|(count, word)| *count > 0 || *word == "done")
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    some.join(", ")
}

/// What the shapes mean.
pub(super) fn legend() -> Markup {
    html! {
        p.legend {
            @for outcome in OUTCOMES {
                span {
                    svg.strip.key viewBox=(format!("-5 0 15 {HEIGHT}")) aria-hidden="true" {
                        path.(outcome.word()) d=(format!("M0 {MIDDLE}H{CELL}")) {}
                    }
                    " " (outcome.word())
                }
            }
        }
    }
}

/// What became of each day, the oldest first; none for a day without a slot.
fn days(
    slots: &[Slot],
    today: NaiveDate,
    local: impl Fn(DateTime<Utc>) -> NaiveDate,
) -> [Option<SlotOutcome>; DAYS] {
    let mut days = [None; DAYS];
    for slot in slots {
        let ago = (today - local(slot.at)).max(TimeDelta::zero()).num_days();
        let ago = usize::try_from(ago).unwrap_or(DAYS);
        let Some(index) = (DAYS - 1).checked_sub(ago) else {
            continue;
        };
        let shown: &mut Option<SlotOutcome> = &mut days[index];
        if shown.is_none_or(|shown| weight(slot.outcome) > weight(shown)) {
            *shown = Some(slot.outcome);
        }
    }
    days
}

/// How much an outcome matters against others of its day.
fn weight(outcome: SlotOutcome) -> u8 {
    match outcome {
        SlotOutcome::Skipped => 0,
        SlotOutcome::Done => 1,
        SlotOutcome::Pending => 2,
        SlotOutcome::Missed => 3,
        SlotOutcome::Failed => 4,
    }
}

/// The days of one outcome: a line for each row of them.
fn path(days: &[Option<SlotOutcome>], outcome: Option<SlotOutcome>) -> String {
    let mut path = String::new();
    let mut index = 0;
    while index < days.len() {
        let start = index;
        while days.get(index).is_some_and(|day| *day == outcome) {
            index += 1;
        }
        if index == start {
            index += 1;
            continue;
        }
        let (from, to) = (start * STEP, (index - 1) * STEP + CELL);
        // Writing to a string cannot fail.
        let _ = write!(path, "M{from} {MIDDLE}H{to}");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn days_in_a_row_are_one_line() {
        use SlotOutcome::{Done, Failed};
        let days = [Some(Done), Some(Done), Some(Failed), None, Some(Done)];
        assert_eq!(path(&days, Some(Done)), "M0 10H12M28 10H33");
        assert_eq!(path(&days, Some(Failed)), "M14 10H19");
        assert_eq!(path(&days, None), "M21 10H26");
        assert_eq!(path(&days, Some(SlotOutcome::Missed)), "");
    }

    #[test]
    fn a_day_shows_the_slot_that_matters_most_and_old_slots_are_left_out() {
        let slot = |at: &str, outcome| Slot {
            at: at.parse().unwrap(),
            outcome,
        };
        let slots = [
            slot("2025-01-01T02:00:00Z", SlotOutcome::Failed),
            slot("2025-07-08T02:00:00Z", SlotOutcome::Done),
            slot("2025-07-08T03:00:00Z", SlotOutcome::Failed),
            slot("2025-07-08T04:00:00Z", SlotOutcome::Done),
            slot("2025-07-09T02:00:00Z", SlotOutcome::Skipped),
            slot("2025-07-09T03:00:00Z", SlotOutcome::Pending),
            // The clock was set back since.
            slot("2025-07-11T03:00:00Z", SlotOutcome::Done),
        ];
        let days = days(&slots, day("2025-07-09"), |at| at.date_naive());
        assert_eq!(days[DAYS - 1], Some(SlotOutcome::Pending));
        assert_eq!(days[DAYS - 2], Some(SlotOutcome::Failed));
        assert!(days[..DAYS - 2].iter().all(Option::is_none));
    }
}
