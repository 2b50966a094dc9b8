//! How what was dumped becomes a backup: what it is called, and what its manifest says.

use chrono::{DateTime, FixedOffset};

use super::{Backup, Dumped, Origin};
use crate::config::DumpSettings;
use crate::jobs::JobError;
use crate::pipeline::census::{Census, Summary};
use crate::pipeline::{Digest, Phase, Sealer, write_census};
use crate::repository::{
    Artifact, CensusFile, Checked, ENCRYPTED_FORMAT, Globals, MANIFEST_FORMAT, Manifest,
    PARTIAL_FORMAT, RepositoryError, Role, SealedContent, Seconds, SkippedTable, Slug, Staging,
    Stem,
};

/// What only the manifest brings together.
struct Parts<'a> {
    origin: &'a Origin,
    artifact: &'a Checked,
    globals: Option<&'a Checked>,
    census: &'a Digest,
    skipped_tables: &'a [SkippedTable],
    verified: DateTime<FixedOffset>,
    seconds: Seconds,
    warnings: &'a [String],
    sealed: Option<&'a str>,
}

impl Backup<'_> {
    /// Writes the census, and gives all files of the backup their names, the manifest last.
    pub(super) fn publish(
        &self,
        staging: Staging<'_>,
        dumped: Dumped,
        warnings: &[String],
    ) -> Result<Manifest, JobError> {
        self.run.progress.enter(Phase::Publishing);
        let Dumped {
            origin,
            artifact,
            globals,
            skipped_tables,
            dump_time,
            check_time,
        } = dumped;
        let role = Role::Census(self.at_rest());
        let census = write_census(
            &artifact.stream_summary().census,
            staging.create(role)?,
            self.sealer.as_ref(),
        )
        .map_err(|source| RepositoryError::Io {
            doing: "write",
            path: staging.path(role),
            source,
        })?;
        let verified = self.run.now();
        let seconds = Seconds {
            dump: dump_time.as_secs_f64(),
            check: check_time.as_secs_f64(),
            total: self.began.elapsed().as_secs_f64(),
        };
        let mut origin = origin;
        let sealed = self.seal_content(&mut origin)?;
        let describe = |stem: &Stem, artifact: &Checked, globals: Option<&Checked>| {
            let parts = Parts {
                origin: &origin,
                artifact,
                globals,
                census: &census,
                skipped_tables: &skipped_tables,
                verified,
                seconds,
                warnings,
                sealed: sealed.as_deref(),
            };
            self.describe(stem, &parts)
        };
        Ok(staging.publish(artifact, globals, self.stem(), describe)?)
    }

    /// The name that is asked for; one that is taken gets a count.
    fn stem(&self) -> Stem {
        let manual = self.request.series.is_manual();
        Stem {
            series: self.request.series.clone(),
            slug: self.request.reason.filter(|_| manual).and_then(Slug::of),
            local: self.started.naive_local(),
            count: 1,
        }
    }

    fn describe(&self, stem: &Stem, parts: &Parts<'_>) -> Manifest {
        let file = |role: Role| format!("{stem}{}", role.suffix());
        let DumpSettings {
            format,
            compression,
            ..
        } = self.request.database.dump;
        let stream_summary = parts.artifact.stream_summary();
        Manifest {
            format: match (&self.sealer, parts.skipped_tables) {
                (Some(_), _) => ENCRYPTED_FORMAT,
                (None, []) => MANIFEST_FORMAT,
                (None, _) => PARTIAL_FORMAT,
            },
            program: concat!("pgbackupd ", env!("CARGO_PKG_VERSION")).to_owned(),
            name: stem.to_string(),
            run: self.run.id,
            database: self.name().to_owned(),
            series: self.request.series.clone(),
            reason: self.request.reason.map(str::to_owned),
            started: self.started,
            verified: parts.verified,
            zone: self.run.context.zone.name().to_owned(),
            artifact: Artifact {
                file: file(parts.artifact.role()),
                format,
                compression,
                digest: stream_summary.digest.clone(),
                text_bytes: stream_summary.text_bytes,
            },
            globals: parts.globals.map(|globals| Globals {
                file: file(globals.role()),
                digest: globals.stream_summary().digest.clone(),
                role_passwords: parts.origin.role_passwords,
            }),
            census: CensusFile {
                file: file(Role::Census(self.at_rest())),
                digest: parts.census.clone(),
                summary: self.summary(&stream_summary.census),
            },
            skipped_tables: parts.skipped_tables.to_vec(),
            encrypted_to: self
                .sealer
                .as_ref()
                .map_or_else(Vec::new, Sealer::fingerprints),
            seconds: parts.seconds,
            warnings: parts.warnings.to_vec(),
            recomputed: stream_summary
                .dependencies
                .recomputed
                .iter()
                .cloned()
                .collect(),
            left_out: parts.origin.left_out.clone(),
            requested_by: self.run.context.requester.clone(),
            pg_dump: parts.origin.programs.version.text.clone(),
            server: parts.origin.server.clone(),
            properties: parts.origin.properties.clone(),
            sealed: parts.sealed.map(str::to_owned),
        }
    }

    /// The census in a few numbers; of an encrypted backup without what fingerprints its content.
    fn summary(&self, census: &Census) -> Summary {
        let summary = census.summary();
        Summary {
            hash: summary.hash.filter(|_| self.sealer.is_none()),
            ..summary
        }
    }

    /// Of an encrypted backup takes out of what is known of server and database what can be a secret; gives it
    /// encrypted.
    fn seal_content(&self, origin: &mut Origin) -> Result<Option<String>, JobError> {
        let Some(sealer) = &self.sealer else {
            return Ok(None);
        };
        let content = SealedContent::take(&mut origin.server, &mut origin.properties);
        let closed = serde_json::to_vec(&content)
            .map_err(std::io::Error::from)
            .and_then(|text| sealer.seal_text(&text));
        closed
            .map(Some)
            .map_err(|error| JobError::Internal(format!("cannot encrypt: {error}")))
    }
}
