//! The trial of definitions that follows a backup: whether it is due, and carrying it out.

use crate::config::Plan;
use crate::jobs::{
    BackupDirectory, BackupReport, DefinitionsReport, JobError, Run, are_definitions_due,
    try_definitions,
};
use crate::repository::Stem;
use crate::threads;

/// The backup whose definitions are to be tried, if they are. That it cannot be known is no reason for the
/// backup to fail.
pub(super) async fn untried(
    plan: &Plan,
    server: &str,
    report: &BackupReport,
) -> Option<(BackupDirectory, Stem)> {
    if !plan.drill.definitions {
        return None;
    }
    let manifest = &report.manifest;
    let stem: Stem = manifest.name.parse().ok()?;
    let backup_directory = BackupDirectory {
        server: Some(server.to_owned()),
        database: manifest.database.clone(),
        label: plan.label(server, &manifest.database),
        repository: report.repository.clone(),
    };
    match is_due(&backup_directory, &stem).await {
        Ok(is_due) => is_due.then_some((backup_directory, stem)),
        Err(error) => {
            tracing::warn!("whether definitions have changed is not known: {error}");
            None
        }
    }
}

/// Tries the definitions of a backup; gives nothing if they have been tried meanwhile.
///
/// # Errors
/// As [`try_definitions`].
pub(super) async fn trial(
    run: &Run<'_>,
    backup_directory: &BackupDirectory,
    stem: &Stem,
) -> Result<Option<Box<DefinitionsReport>>, JobError> {
    if !is_due(backup_directory, stem).await? {
        return Ok(None);
    }
    let report = try_definitions(run, backup_directory, stem).await?;
    Ok(Some(Box::new(report)))
}

async fn is_due(backup_directory: &BackupDirectory, stem: &Stem) -> Result<bool, JobError> {
    let (repository, stem) = (backup_directory.repository.clone(), stem.clone());
    let looking = threads::start("look", move || are_definitions_due(&repository, &stem))?;
    looking.await?
}
