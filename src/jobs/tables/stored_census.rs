//! What a backup holds, as its census says, before it is read in full.

use crate::display::command;
use crate::jobs::JobError;
use crate::jobs::error::census_damage;
use crate::jobs::restore::source::Source;
use crate::jobs::restore::{RestoreOrder, RestoreSource};
use crate::pipeline::census::Census;
use crate::pipeline::read_census;

/// The census that a backup has next to it.
pub(super) fn stored_census(order: &RestoreOrder<'_>, source: &Source) -> Result<Census, JobError> {
    let (RestoreSource::Backup(backup_directory, stem), Some(backup)) =
        (order.source, source.backup(order.source))
    else {
        return Err(JobError::Internal("a file has no census".to_owned()));
    };
    let damaged = |what: String| {
        JobError::Damaged(format!(
            "the backup {stem} is damaged: {what}\nhint: `{}` lists the others",
            command("list", &backup_directory.label, "")
        ))
    };
    match read_census(&backup.census()) {
        Ok((census, digest)) if digest == backup.manifest.census.digest => Ok(census),
        Ok(_) => Err(damaged("its census has been changed".to_owned())),
        Err(error) => Err(damaged(census_damage(&error))),
    }
}
