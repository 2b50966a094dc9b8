//! Whether the backups of a database are also elsewhere, and proved where they lie.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::concern::{Concern, ConcernKind};
use super::facts::{DatabaseFacts, Expectation};
use crate::display::{counted, database_option, joined_lines, one_line, rough_span};
use crate::policy::copying::{ClockDifference, CopyFacts, DamagedCopy, LostCopy};

/// What fails for less than this may pass: a network that is away, a store that restarts.
const PASSING: Duration = Duration::from_secs(15 * 60);

/// From here on, clocks differ by too much: what is dated later than the store has it counts for nothing there.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(5);

/// What the copies of a database give cause for.
pub(super) fn judge_copies(
    facts: &DatabaseFacts,
    expectation: Expectation,
    now: DateTime<Utc>,
) -> Vec<Concern> {
    let judge = |copies| {
        Judge {
            copies,
            database: database_option(&facts.label),
            expectation,
            now,
        }
        .concerns()
    };
    facts.copies.iter().flat_map(judge).collect()
}

/// What the clocks of the stores give cause for, once for each destination, however many databases go there.
pub fn judge_clocks<'a>(databases: impl IntoIterator<Item = &'a DatabaseFacts>) -> Vec<Concern> {
    let mut newest: BTreeMap<&str, ClockDifference> = BTreeMap::new();
    for copies in databases.into_iter().flat_map(|facts| &facts.copies) {
        let Some(clock) = copies.clock else { continue };
        let known = newest.entry(&copies.destination).or_insert(clock);
        if clock.at > known.at {
            *known = clock;
        }
    }
    let judge = |(destination, clock): (&str, ClockDifference)| {
        if clock.ahead.abs() < CLOCKS_DIFFER {
            return None;
        }
        let (direction, then) = if clock.ahead > TimeDelta::zero() {
            (
                "ahead of",
                "so no copy is made there: it would be dated later than the store has it",
            )
        } else {
            (
                "behind",
                "so what is copied there is dated earlier than it was made",
            )
        };
        let sentence = format!(
            "this machine's clock was {} {direction} that of {destination} when it was asked last, {then}; set \
             the clock (`timedatectl` shows whether it is synchronised), and run `pgbackupd copy --to \
             {destination}` to compare again",
            rough_span(clock.ahead.abs().to_std().unwrap_or_default())
        );
        Some(Concern::new(ConcernKind::ClockOff, sentence).about(destination))
    };
    newest.into_iter().filter_map(judge).collect()
}

/// The copies of a database at one destination.
struct Judge<'a> {
    copies: &'a CopyFacts,
    /// The database, as an option of a command.
    database: String,
    expectation: Expectation,
    now: DateTime<Utc>,
}

impl Judge<'_> {
    fn concerns(&self) -> Vec<Concern> {
        let mut concerns: Vec<Concern> = self.late().into_iter().collect();
        let damaged = self.copies.damaged.iter();
        concerns.extend(damaged.map(|damaged| self.damaged(damaged)));
        concerns.extend(self.lost());
        let is_read = self.copies.is_being_verified;
        concerns.extend((!is_read).then(|| self.old_proof()).flatten());
        concerns
    }

    fn age(&self, since: DateTime<Utc>) -> Duration {
        (self.now - since).to_std().unwrap_or_default()
    }

    /// The command that copies what is lacking.
    fn copy(&self) -> String {
        let destination = &self.copies.destination;
        format!("run `pgbackupd copy --to {destination} {}`", self.database)
    }

    /// The command that reads copies back.
    fn verify(&self, backup: &str) -> String {
        let destination = &self.copies.destination;
        format!(
            "`pgbackupd verify --from {destination} {}{backup}`",
            self.database
        )
    }

    /// That a backup has no copy for too long, or that copying fails.
    fn late(&self) -> Option<Concern> {
        let copies = self.copies;
        let destination = &copies.destination;
        let (limit, way_out) = (self.expectation.copy_age, self.copy());
        let late = copies.missing.as_ref();
        let late = late.filter(|missing| self.age(missing.since) > limit);
        let failure = copies.failure.as_ref();
        let failure = failure.filter(|(since, _)| late.is_some() || self.age(*since) > PASSING);
        let (kind, sentence) = match (late, failure) {
            (Some(missing), failure) => {
                let why = failure.map_or_else(String::new, |(_, why)| {
                    format!(": {}", one_line(&joined_lines(why)))
                });
                let which = missing.backup.as_str();
                let sentence = format!(
                    "{which} has had no copy at {destination} for {}, longer than objectives.copy_age ({})\
                     {why}; {way_out}",
                    rough_span(self.age(missing.since)),
                    rough_span(limit)
                );
                (ConcernKind::CopyOverdue, sentence)
            }
            (None, Some((since, why))) => {
                let sentence = format!(
                    "copying to {destination} has failed for {}: {}; {way_out}",
                    rough_span(self.age(*since)),
                    one_line(&joined_lines(why))
                );
                (ConcernKind::CopyFailed, sentence)
            }
            (None, None) => return None,
        };
        Some(Concern::new(kind, sentence).about(destination))
    }

    fn damaged(&self, damaged: &DamagedCopy) -> Concern {
        let DamagedCopy { backup, why, .. } = damaged;
        let destination = &self.copies.destination;
        let way_out = if damaged.is_here {
            format!(
                "the backup is here, and the next copy run makes the copy again: {}",
                self.copy()
            )
        } else {
            let again = self.verify(&format!(" {backup}"));
            format!(
                "the backup is no longer here; {again} reads it again once it has been brought back there, \
                 from another version or another copy of the store"
            )
        };
        let sentence = format!(
            "the copy of {backup} at {destination} was found damaged {} ago: {}; {way_out}",
            rough_span(self.age(damaged.since)),
            one_line(&joined_lines(why))
        );
        let object = format!("{backup} at {destination}");
        Concern::new(ConcernKind::CopyDamaged, sentence).about(object)
    }

    /// The copies that are gone, in one concern: who empties a store takes many.
    fn lost(&self) -> Option<Concern> {
        let LostCopy { backup, since, .. } = self.copies.lost.first()?;
        let destination = &self.copies.destination;
        let what = match self.copies.lost.len() as u64 {
            1 => format!("the copy of {backup} at {destination} is gone"),
            many => format!(
                "{} at {destination} are gone, the newest that of {backup}",
                counted(many, "copy", "copies")
            ),
        };
        let way_out = if self.copies.lost.iter().all(|lost| lost.is_here) {
            format!(
                "the next copy run makes what is here again: {}",
                self.copy()
            )
        } else {
            format!(
                "`pgbackupd list --from {destination} {}` shows what is left; the store's log tells \
                 who removed it, and its older versions may still have it",
                self.database
            )
        };
        let sentence = format!(
            "{what}, not listed for {}, and retention here did not remove it; {way_out}",
            rough_span(self.age(*since))
        );
        Some(Concern::new(ConcernKind::CopyMissing, sentence).about(destination))
    }

    /// That the newest copy of a series was read back too long ago. What is damaged is a concern of its own.
    fn old_proof(&self) -> Option<Concern> {
        let limit = self.expectation.copy_proof_age?;
        let newest = self.copies.newest_of_series.iter();
        let old = newest.filter(|copy| !copy.is_damaged && self.age(copy.proof.at) > limit);
        let oldest = old.min_by_key(|copy| copy.proof.at)?;
        let destination = &self.copies.destination;
        let sentence = format!(
            "the copy of {}, the newest of series {} at {destination}, was read back {} ago, longer than \
             objectives.copy_proof_age ({}); run {}",
            oldest.proof.backup,
            oldest.series,
            rough_span(self.age(oldest.proof.at)),
            rough_span(limit),
            self.verify("")
        );
        Some(Concern::new(ConcernKind::CopyProofAge, sentence).about(destination))
    }
}

#[cfg(test)]
mod tests;
