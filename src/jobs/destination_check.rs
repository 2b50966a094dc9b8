//! The check of a destination: whether it can be used, and whether whoever breaks into this host could destroy
//! the copies there.

use std::path::{Path, PathBuf};

use chrono::Utc;

use super::error::JobError;
use super::run::Run;
use crate::config::{DestinationAddress, DestinationSettings};
use crate::copies::layout;
use crate::destination::{Mount, Store};
use crate::policy::protection::{Assessment, Circumstances, ending_credentials, judge};
use crate::threads;

/// Which destination is checked.
#[derive(Clone, Copy, Debug)]
pub struct DestinationCheck<'a> {
    /// This host's name there.
    pub host: &'a str,
    /// How it is reached.
    pub settings: &'a DestinationSettings,
    /// The longest rule of retention there, in days; none where no rule has a length.
    pub longest_days: Option<u64>,
    /// Below which directories backups lie.
    pub backups: &'a [PathBuf],
}

/// What a check has found.
#[derive(Clone, Debug)]
pub struct CheckedDestination {
    /// What it means.
    pub assessment: Assessment,
    /// So many objects of the probe are left there.
    pub left: u64,
}

/// Checks a destination, by objects of a few bytes.
///
/// # Errors
/// When it cannot be reached, or the run is to end.
pub async fn check_destination(
    run: &Run<'_>,
    store: &dyn Store,
    check: DestinationCheck<'_>,
) -> Result<CheckedDestination, JobError> {
    let folder = layout::probe(check.host).map_err(|error| JobError::failed(error.to_string()))?;
    let probed = run.wait_for(store.probe(&folder)).await??;
    let clock = run.wait_for(store.clock_offset()).await??;
    let circumstances = Circumstances {
        longest_days: check.longest_days,
        clock_ahead: clock.map(|ahead| ahead.num_seconds()),
        is_backups_device: is_backups_device(check).await,
    };
    let mut assessment = judge(&probed, &circumstances);
    let end = store.credentials_end();
    let row = end.and_then(|end| ending_credentials(end, Utc::now()));
    assessment.rows.extend(row);
    Ok(CheckedDestination {
        assessment,
        left: probed.left,
    })
}

/// Whether a directory is on a device that backups are on; none where that cannot be seen.
async fn is_backups_device(check: DestinationCheck<'_>) -> Option<bool> {
    let DestinationAddress::Directory { path, .. } = &check.settings.address else {
        return None;
    };
    let (path, backups) = (path.clone(), check.backups.to_vec());
    // A file system whose server is gone does not answer.
    let looking = threads::io("mounts", move || {
        let there = Mount::of(&path)?;
        let here: Vec<Mount> = backups.iter().filter_map(|one| nearest(one)).collect();
        let shares = |one: &Mount| one.shares_device(&there);
        Ok((!here.is_empty()).then(|| here.iter().any(shares)))
    });
    let looked = tokio::time::timeout(check.settings.timeout, looking).await;
    looked.ok()?.ok()?
}

/// What a directory is on, or would be.
fn nearest(directory: &Path) -> Option<Mount> {
    directory.ancestors().find_map(|one| Mount::of(one).ok())
}
