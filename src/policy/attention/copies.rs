//! Whether the backups of a database are also elsewhere.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::concern::{Concern, ConcernKind};
use super::facts::DatabaseFacts;
use crate::display::{joined_lines, one_line, rough_span, shell_word};
use crate::policy::copying::CopyFacts;

/// What fails for less than this may pass: a network that is away, a store that restarts.
const PASSING: Duration = Duration::from_secs(15 * 60);

/// What the copies of a database give cause for. `limit` is how old the newest backup without a copy may be.
pub(super) fn judge_copies(
    facts: &DatabaseFacts,
    limit: Duration,
    now: DateTime<Utc>,
) -> Vec<Concern> {
    let database = shell_word(&facts.label);
    let age = |since: DateTime<Utc>| (now - since).to_std().unwrap_or_default();
    let judge = |copies: &CopyFacts| {
        let destination = &copies.destination;
        let way_out = format!("run `pgbackupd copy --to {destination} --database {database}`");
        let late = copies.missing.as_ref();
        let late = late.filter(|missing| age(missing.since) > limit);
        let failure = copies.failure.as_ref();
        let failure = failure.filter(|(since, _)| late.is_some() || age(*since) > PASSING);
        let (kind, sentence) = match (late, failure) {
            (Some(missing), failure) => {
                let why = failure.map_or_else(String::new, |(_, why)| {
                    format!(": {}", one_line(&joined_lines(why)))
                });
                let which = missing.backup.as_str();
                let sentence = format!(
                    "{which} has had no copy at {destination} for {}, longer than objectives.copy_age ({})\
                     {why}; {way_out}",
                    rough_span(age(missing.since)),
                    rough_span(limit)
                );
                (ConcernKind::CopyOverdue, sentence)
            }
            (None, Some((since, why))) => {
                let sentence = format!(
                    "copying to {destination} has failed for {}: {}; {way_out}",
                    rough_span(age(*since)),
                    one_line(&joined_lines(why))
                );
                (ConcernKind::CopyFailed, sentence)
            }
            (None, None) => return None,
        };
        Some(Concern::new(kind, sentence).about(destination))
    };
    facts.copies.iter().filter_map(judge).collect()
}
