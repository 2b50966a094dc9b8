//! What is kept: the rules of a series as written, at home and at a destination.

use std::collections::BTreeMap;

use super::findings::{Findings, key};
use super::fragment::{CopyRetentionFragment, DestinationFragment, Fragment, SeriesFragment};
use super::layer::Key;
use super::plan::CopyRetention;
use super::scalar::Keep;
use crate::policy::{Rules, Series};

/// The rules of a series.
pub(super) fn rules(written: &SeriesFragment) -> Rules {
    Rules {
        within: match written.keep {
            Some(Keep::For(age)) => Some(age),
            Some(Keep::NotByAge) | None => None,
        },
        last: written.keep_last.map(|count| count.0),
        daily: written.keep_daily.map(|count| count.0),
        weekly: written.keep_weekly.map(|count| count.0),
        monthly: written.keep_monthly.map(|count| count.0),
        yearly: written.keep_yearly.map(|count| count.0),
    }
}

/// What is kept of the copies at a destination, whose table has this key. Rules for a series that never comes
/// there are a mistake.
pub(super) fn of_copies(
    findings: &mut Findings<'_>,
    table: &Key,
    written: &DestinationFragment,
    all: &Fragment,
) -> CopyRetention {
    let own = match &written.retention {
        Some(CopyRetentionFragment::Never) => return CopyRetention::Everything,
        None => return CopyRetention::Rules(BTreeMap::new()),
        Some(CopyRetentionFragment::Own(own)) => own,
    };
    let mut kept = BTreeMap::new();
    for (name, written_rules) in own {
        let at = [table.as_slice(), &key(&["retention", name])].concat();
        let series = match name.parse::<Series>() {
            Ok(series) => series,
            Err(error) => {
                findings.refuse_key(&at, error.to_string(), None);
                continue;
            }
        };
        let is_made = || {
            let mut jobs = all.jobs.values();
            series.is_manual() || jobs.any(|job| job.series.as_ref() == Some(name))
        };
        if written
            .series
            .as_ref()
            .is_some_and(|only| !only.contains(name))
        {
            let at = at.join(".");
            findings.warn(format!("{at}: no backups of the series {name} go there"));
        } else if !is_made() {
            findings.warn(format!("{}: no job makes the series {name}", at.join(".")));
        }
        kept.insert(series, rules(written_rules));
    }
    CopyRetention::Rules(kept)
}
