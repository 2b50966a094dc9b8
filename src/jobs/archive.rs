//! Dumps in custom and directory format: `pg_dump` writes them itself, and `pg_restore` proves them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::dump::{Dumper, blocking};
use super::error::JobError;
use super::limit::Limit;
use crate::config::Format;
use crate::pipeline::{
    Passage, Phase, Progress, StreamError, digest_directory, digest_file, take_census,
};
use crate::repository::{Checked, Role, Staging};

/// How often the size of a growing archive is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// Lets `pg_dump` write an archive, syncs it, and has `pg_restore` decode all of it.
pub(super) async fn write_and_check(
    dumper: &Dumper<'_>,
    restorer: &Dumper<'_>,
    staging: &Staging<'_>,
    role: Role,
    limits: (&Limit, &Limit),
    progress: &Arc<Progress>,
) -> Result<(Checked, Duration, Duration), JobError> {
    let (dump_limit, limit) = limits;
    let path = staging.path(role);
    staging.create_archive(role)?;
    let began = Instant::now();
    tokio::select! {
        done = dumper.run(dump_limit) => done?,
        () = watch_size(path.clone(), progress) => {}
    }
    staging.sync(role)?;
    let dump_time = began.elapsed();

    progress.enter(Phase::Checking);
    let Role::Artifact(format, _) = role else {
        return Err(JobError::Internal("an archive is an artifact".to_owned()));
    };
    let read = read_archive(restorer, path, format, limit, progress).await;
    let passage = read.map_err(|error| match error {
        JobError::Failed { message, .. } => JobError::failed(format!(
            "what pg_dump has just written cannot be read back: {message}"
        )),
        error => error,
    })?;
    let checked = Checked::archive(passage);
    Ok((
        checked,
        dump_time,
        began.elapsed().saturating_sub(dump_time),
    ))
}

/// Takes the digest of an archive from the disk, and the census from what `pg_restore` makes of it.
pub(super) async fn read_archive(
    restorer: &Dumper<'_>,
    path: PathBuf,
    format: Format,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Passage, JobError> {
    let doing = format!("cannot read back {}", path.display());
    let counted = Arc::clone(progress);
    let digest = blocking(limit, progress, &doing, move || {
        if format == Format::Directory {
            return digest_directory(&path, &counted);
        }
        let file = crate::regular_file::open(path).map_err(StreamError::Read)?;
        digest_file(file, &counted)
    })
    .await?;
    let counted = Arc::clone(progress);
    let (census, text_bytes, foreign, needs) = restorer
        .stream(limit, progress, &doing, move |source| {
            take_census(source, &counted)
        })
        .await?;
    Ok(Passage {
        digest,
        text_bytes,
        census,
        foreign,
        needs,
    })
}

/// Tells how far an archive has grown; never ends by itself.
async fn watch_size(path: PathBuf, progress: &Progress) {
    loop {
        sleep(BETWEEN_LOOKS).await;
        let size = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        let bytes = match std::fs::read_dir(&path) {
            Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
            Err(_) => size(&path),
        };
        progress.set_stored_bytes(bytes);
    }
}
