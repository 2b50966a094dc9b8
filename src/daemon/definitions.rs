//! The trial of definitions that follows a backup: whether it is due, and carrying it out.

use crate::config::Plan;
use crate::jobs::{
    BackupDirectory, BackupReport, DefinitionsReport, JobContext, JobError, Run,
    are_definitions_due, try_definitions,
};
use crate::repository::Stem;
use crate::threads;

/// The backup whose definitions are to be tried, if they are. That it cannot be known is no reason for the
/// backup to fail.
pub(super) async fn untried(
    (plan, context): (&Plan, &JobContext),
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
    // Without an identity, nobody can.
    if manifest.is_encrypted() && plan.drill.identity.is_none() {
        return None;
    }
    match is_due(context, &backup_directory, &stem).await {
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
    if !is_due(run.context, backup_directory, stem).await? {
        return Ok(None);
    }
    let report = try_definitions(run, backup_directory, stem).await?;
    Ok(Some(Box::new(report)))
}

async fn is_due(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    stem: &Stem,
) -> Result<bool, JobError> {
    let (repository, stem) = (backup_directory.repository.clone(), stem.clone());
    let context = context.clone();
    let looking = threads::start("look", move || {
        are_definitions_due(&context, &repository, &stem)
    })?;
    looking.await?
}
