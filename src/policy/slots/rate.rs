//! How many slots were done, and whether that is enough.

use std::fmt;

use super::{Slot, SlotOutcome};

/// How many slots came to which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotTally {
    /// A backup was made.
    pub done: u64,
    /// Every run failed.
    pub failed: u64,
    /// No run started.
    pub missed: u64,
    /// The configuration wanted none; they do not count.
    pub skipped: u64,
    /// Not yet decided; they do not count.
    pub pending: u64,
}

impl SlotTally {
    /// Counts slots.
    pub fn of<'a>(slots: impl IntoIterator<Item = &'a Slot>) -> Self {
        let mut tally = Self::default();
        for slot in slots {
            let count = match slot.outcome {
                SlotOutcome::Done => &mut tally.done,
                SlotOutcome::Failed => &mut tally.failed,
                SlotOutcome::Missed => &mut tally.missed,
                SlotOutcome::Skipped => &mut tally.skipped,
                SlotOutcome::Pending => &mut tally.pending,
            };
            *count += 1;
        }
        tally
    }

    /// The slots that should have had a backup, and that are decided.
    pub fn counted(self) -> u64 {
        self.done + self.without_backup()
    }

    /// The slots that failed or were missed.
    pub fn without_backup(self) -> u64 {
        self.failed + self.missed
    }

    /// Whether the success rate is met; none where no slot counts.
    pub fn meets(self, wanted: SuccessRate) -> Option<bool> {
        let counted = self.counted();
        (counted > 0).then(|| self.without_backup() <= wanted.allowed_failures(counted))
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            failed: self.failed + other.failed,
            missed: self.missed + other.missed,
            skipped: self.skipped + other.skipped,
            pending: self.pending + other.pending,
        }
    }
}

/// A share of slots that has to be done, in thousandths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuccessRate(u32);

/// All slots, in thousandths of a percent.
const ALL: u32 = 100_000;

impl SuccessRate {
    /// Every slot.
    pub const ALL: Self = Self(ALL);

    /// From thousandths of a percent; none beyond 100 % and for 0.
    pub fn from_thousandths(thousandths: u32) -> Option<Self> {
        (1..=ALL)
            .contains(&thousandths)
            .then_some(Self(thousandths))
    }

    /// The share, from 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(ALL)
    }

    /// So many of these slots may fail or be missed.
    pub fn allowed_failures(self, slots: u64) -> u64 {
        let allowed = u128::from(slots) * u128::from(ALL - self.0) / u128::from(ALL);
        u64::try_from(allowed).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for SuccessRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        let rest = format!("{rest:03}");
        match rest.trim_end_matches('0') {
            "" => write!(f, "{whole} %"),
            rest => write!(f, "{whole}.{rest} %"),
        }
    }
}

/// A share in percent, rounded down: what is not all is never shown as 100 %.
pub fn share(part: u64, all: u64) -> Option<String> {
    let tenths = (u128::from(part) * 1000).checked_div(u128::from(all))?;
    Some(match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} %"),
        (whole, tenth) => format!("{whole}.{tenth} %"),
    })
}
