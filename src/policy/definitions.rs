//! When the definitions of a backup are loaded for a trial, apart from any test restore.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// What did not load is tried again after so long although nothing has changed in it: somebody may have
/// changed the machine. So it also stays within what `status` reads of a ledger.
const AGAIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// What loading the definitions of a backup has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DefinitionsResult {
    /// They load. Rows were not tried.
    Load,
    /// The server refuses one, whatever rows there are.
    Refused,
    /// They could not be tried here. That says nothing about them.
    NotTried,
}

/// A trial of definitions that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionsTrial {
    /// The digest of the definitions.
    pub digest: String,
    /// What came of it.
    pub result: DefinitionsResult,
    /// When.
    pub at: DateTime<Utc>,
}

/// Whether definitions of this digest are to be tried, after the newest trial of the database. One that
/// is dated after now counts for nothing but its success.
pub fn is_trial_due(last: Option<&DefinitionsTrial>, digest: &str, now: DateTime<Utc>) -> bool {
    let Some(last) = last.filter(|last| last.digest == digest) else {
        return true;
    };
    let again = TimeDelta::from_std(AGAIN).unwrap_or_default();
    let age = now - last.at;
    last.result != DefinitionsResult::Load && (age >= again || age < TimeDelta::zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_tried_and_what_did_not_load_again_after_a_week() {
        use DefinitionsResult::{Load, NotTried, Refused};
        let now: DateTime<Utc> = "2025-07-09T02:00:00Z".parse().unwrap();
        let trial = |digest: &str, result, days| DefinitionsTrial {
            digest: digest.to_owned(),
            result,
            at: now - TimeDelta::days(days),
        };
        assert!(is_trial_due(None, "a", now));
        for (result, days, is_due) in [
            (Load, 0, false),
            (Load, 4000, false),
            (Load, -1, false),
            (Refused, 0, false),
            (Refused, 6, false),
            (Refused, 7, true),
            (Refused, -1, true),
            (NotTried, 1, false),
            (NotTried, 7, true),
        ] {
            let last = trial("a", result, days);
            assert_eq!(is_trial_due(Some(&last), "a", now), is_due, "{last:?}");
            assert!(is_trial_due(Some(&last), "b", now), "{last:?}");
        }
    }
}
