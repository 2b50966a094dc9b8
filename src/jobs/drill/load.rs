//! Loading a backup's roles and its dump into the temporary cluster, and who is to blame when that
//! fails.

use std::io::Write as _;

use super::Drill;
use super::preload::way_out;
use super::report::DrillOutcome;
use super::restored::Restored;
use super::roles::Prepared;
use crate::jobs::error::JobError;
use crate::jobs::load::{Loaded, NOT_PRELOADED, lacking};
use crate::jobs::proof::Material;
use crate::pipeline::StreamError;
use crate::pipeline::sql::statements;
use crate::postgres::{ProgramVersion, ServerProperties};
use crate::repository::Manifest;

impl Drill<'_> {
    pub(super) async fn load_globals(
        &self,
        restored: &mut Restored<'_>,
        manifest: &Manifest,
        prepared: &Prepared,
    ) -> Result<Option<DrillOutcome>, JobError> {
        for number in 0..prepared.tablespaces {
            restored.sandbox.make_tablespace_directory(number)?;
        }
        // Without the lines between them: our psql takes no commands of its own.
        let statements = statements(&prepared.script).into_iter();
        let script: Vec<u8> = statements
            .flat_map(|range| [&prepared.script[range], b"\n"].concat())
            .collect();
        let loaded = restored
            .loader()
            .load_text("cannot load the roles", move |mut psql| {
                psql.write_all(&script).map_err(StreamError::Write)
            })
            .await?;
        Ok(Self::refused(restored, manifest, "roles and tablespaces", loaded).await)
    }

    pub(super) async fn load(
        &self,
        restored: &mut Restored<'_>,
        manifest: &Manifest,
    ) -> Result<Option<DrillOutcome>, JobError> {
        let (text_bytes, rows) = (manifest.artifact.text_bytes, manifest.census.summary.rows);
        let loaded = Material::of_backup(&self.readable(manifest))
            .load(&restored.loader(), text_bytes, rows)
            .await?;
        Ok(Self::judge(restored, manifest, "the dump", loaded).await)
    }

    /// Whether it is the backup, its globals, its version or the machine that is to blame for what was not
    /// loaded.
    pub(super) async fn judge(
        restored: &mut Restored<'_>,
        manifest: &Manifest,
        what: &str,
        loaded: Loaded,
    ) -> Option<DrillOutcome> {
        let is_older = manifest.server.major() < restored.sandbox.major();
        let without_roles = manifest.globals.is_none();
        let Loaded::Refused(refusal) = &loaded else {
            return None;
        };
        let reason = refusal.reason();
        let lacks = lacking(&reason).is_some();
        if without_roles && !lacks && is_about_rights(&reason) {
            return Some(DrillOutcome::Impossible(format!(
                "it was made without the cluster's roles (globals = false), and it takes more than \
                 their names: {}",
                refusal.in_short()
            )));
        }
        if let Some(release) = behind(&manifest.server, &restored.programs.version)
            && !lacks
        {
            return Some(DrillOutcome::Impossible(format!(
                "the server is of the newer release {release}, and PostgreSQL {} does not take what was \
                 dumped from it: {}\nhint: upgrade postgresql-{}",
                restored.programs.version.text,
                refusal.in_short(),
                restored.sandbox.major()
            )));
        }
        if is_older && !lacks {
            return Some(DrillOutcome::Impossible(format!(
                "PostgreSQL {} does not take what {} has dumped: {}\nhint: install \
                 postgresql-{1}",
                restored.sandbox.major(),
                manifest.server.major(),
                refusal.in_short()
            )));
        }
        Self::refused(restored, manifest, what, loaded).await
    }

    /// Whether it is the backup or the machine that is to blame for what was not loaded.
    pub(super) async fn refused(
        restored: &mut Restored<'_>,
        manifest: &Manifest,
        what: &str,
        loaded: Loaded,
    ) -> Option<DrillOutcome> {
        let Loaded::Refused(refusal) = loaded else {
            return None;
        };
        if let Some(end) = restored.sandbox.ended().await {
            return Some(DrillOutcome::Impossible(format!(
                "the temporary cluster ended while {what} was loaded: {end}"
            )));
        }
        if let Some(lack) = lacking(&refusal.reason()) {
            let way_out = if lack == NOT_PRELOADED {
                format!("; {}", way_out(manifest.server.preload.as_deref()))
            } else {
                String::new()
            };
            return Some(DrillOutcome::Impossible(format!(
                "{lack}: {}{way_out}",
                refusal.in_short()
            )));
        }
        if refusal.may_pass() {
            return Some(DrillOutcome::Impossible(format!(
                "the temporary cluster refused {what} for a reason that has nothing to do with it: {}",
                refusal.in_short()
            )));
        }
        // A program that was killed has said nothing of the dump.
        if refusal.how.contains("was killed by") {
            return Some(DrillOutcome::Impossible(refusal.how));
        }
        Some(DrillOutcome::Refused {
            what: format!(
                "{} while {what} was loaded: {}",
                refusal.how,
                refusal.in_short()
            ),
            detail: refusal.detail,
        })
    }
}

/// The release of the server that was dumped, where this machine has an older one of the same major version.
fn behind(server: &ServerProperties, here: &ProgramVersion) -> Option<String> {
    let (major, minor) = (server.major(), server.version_number % 10_000);
    let is_behind = here.major == major && here.minor()? < minor;
    is_behind.then(|| format!("{major}.{minor}"))
}

/// Whether a server has refused something for who somebody is or what they may do.
fn is_about_rights(detail: &str) -> bool {
    let role_is_missing = detail.contains("role \"") && detail.contains("does not exist");
    role_is_missing
        || ["permission denied", "must be "]
            .iter()
            .any(|words| detail.contains(words))
}
