//! Making one backup of one database.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::blocked::Watch;
use super::dump::{Dumper, Remarks, write_and_check};
use super::error::{JobError, JobErrorKind};
use super::limit::Limit;
use super::prune::{self, PruneReport};
use super::remarks::{forecast, passed_over};
use super::{Context, archive, recovery};
use crate::config::{Compression, Connection, Database, DumpSettings, Format};
use crate::pipeline::compression::Settings;
use crate::pipeline::{Digest, Phase, Progress, write_census};
use crate::policy::{ClockTrust, Series};
use crate::postgres::{
    Client, Confinement, Conninfo, DatabaseProperties, DumpCommand, Programs, ServerProperties,
    archive_as_sql_arguments, database_properties, globals_arguments, may_read_role_passwords,
    server_properties,
};
use crate::repository::{
    Artifact, CensusFile, Checked, Event, Globals, Holder, Lock, MANIFEST_FORMAT, Manifest,
    Operation, Record, Repository, RepositoryError, Role, Seconds, Slug, Staging, Stem,
};

/// A backup to make.
#[derive(Clone, Copy, Debug)]
pub struct BackupRequest<'a> {
    /// The run's identity, in the ledger, the log and the manifest.
    pub run: Uuid,
    /// How the server is reached.
    pub connection: &'a Connection,
    /// The database, where its backups stand, and how it is dumped.
    pub database: &'a Database,
    /// The series that the backup belongs to.
    pub series: &'a Series,
    /// Why it is made, in the words of whoever asks.
    pub reason: Option<&'a str>,
    /// What may fail without failing the backup.
    pub strictness: Strictness,
}

/// What may fail without failing the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Nothing that is configured.
    Usual,
    /// Everything but the dump itself and its check: globals, ledger, retention.
    Emergency,
}

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// Its manifest.
    pub manifest: Manifest,
    /// Where it stands.
    pub repository: Repository,
    /// What retention did after it; none in an emergency.
    pub pruned: Option<PruneReport>,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// A run: what is fixed from its start on.
struct Run<'a> {
    context: &'a Context,
    request: BackupRequest<'a>,
    repository: &'a Repository,
    id: Uuid,
    started: DateTime<FixedOffset>,
    began: Instant,
    progress: &'a Arc<Progress>,
    limit: Limit,
}

/// Makes a backup, records it in the ledger, and lets retention remove what it makes superfluous.
///
/// # Errors
/// In one sentence; the database's directory then holds what it held before, and the ledger says
/// that and why the run failed.
pub async fn back_up(
    context: &Context,
    request: BackupRequest<'_>,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<BackupReport, JobError> {
    let repository = Repository::at(&request.database.directory);
    let run = Run {
        context,
        request,
        repository: &repository,
        id: request.run,
        started: context.now(),
        began: Instant::now(),
        progress,
        limit: Limit::new(cancel.clone(), "total", context.limits.total),
    };
    repository.create()?;
    let lock = run.lock()?;
    let mut warnings = run.put_in_order(&lock)?;
    run.record_start()?;

    let outcome = run.make(&lock, &mut warnings).await;
    let outcome = match outcome {
        // Only a success lets retention loose, and only on its own series.
        Ok(manifest) => run.finish(manifest, &lock, &mut warnings),
        Err(error) => {
            let event = match error.kind() {
                JobErrorKind::Interrupted => Event::Interrupted,
                _ => Event::Failed,
            };
            let mut record = run.end_record(event);
            record.message = Some(error.to_string());
            // The failure itself is what the operator must hear of, even with a full disk.
            if let Err(unwritten) = repository.ledger().append(&record) {
                tracing::warn!("the failure could not be written to the ledger: {unwritten}");
            }
            return Err(error);
        }
    };
    let (manifest, pruned) = outcome?;
    Ok(BackupReport {
        manifest,
        repository: repository.clone(),
        pruned,
        warnings,
    })
}

/// Where the dump comes from, and what it is made with.
struct Origin {
    conninfo: Conninfo,
    server: ServerProperties,
    properties: DatabaseProperties,
    role_passwords: bool,
    programs: Programs,
}

/// What only the manifest brings together.
struct Parts<'a> {
    origin: &'a Origin,
    checked: &'a Checked,
    globals: Option<&'a DumpedGlobals>,
    census: &'a Digest,
    verified: DateTime<FixedOffset>,
    seconds: Seconds,
    warnings: &'a [String],
}

/// The cluster's globals in their temporary file.
struct DumpedGlobals {
    digest: Digest,
    role_passwords: bool,
}

impl Run<'_> {
    fn name(&self) -> &str {
        &self.request.database.name
    }

    fn is_emergency(&self) -> bool {
        self.request.strictness == Strictness::Emergency
    }

    /// Takes the database's lock; a run that finds it taken is on record as skipped.
    fn lock(&self) -> Result<Lock, JobError> {
        let holder = Holder {
            operation: "backup".to_owned(),
            since: self.started,
            requested_by: self.context.requester.clone(),
        };
        self.repository.lock(&holder).map_err(|error| {
            if let RepositoryError::Busy { .. } = error {
                let mut record = self.record(Event::Skipped);
                record.message = Some(error.to_string());
                record.requested_by = Some(self.context.requester.clone());
                if let Err(unwritten) = self.repository.ledger().append(&record) {
                    tracing::warn!("the ledger could not be written: {unwritten}");
                }
            }
            error.into()
        })
    }

    /// Puts right what earlier runs left, and looks at what there is before anything is begun.
    fn put_in_order(&self, lock: &Lock) -> Result<Vec<String>, JobError> {
        let mut warnings = Vec::new();
        let (recovery, catalogue) = recovery::sweep(self.repository, lock)?;
        for run in &recovery.swept {
            tracing::info!("removed the temporary files of run {run}, which was cut short");
        }
        for name in &recovery.completed {
            warnings.push(format!(
                "{name}, whole and checked, was completed: its run had been cut short at the end"
            ));
        }
        match recovery::close_open_runs(self.context, self.repository, &catalogue) {
            Err(error) if !self.is_emergency() => return Err(error),
            _ => {}
        }
        if let Some(newest) = catalogue.backups.last()
            && newest.database != *self.name()
        {
            return Err(RepositoryError::OtherDatabase {
                directory: self.repository.directory().to_owned(),
                found: newest.database.clone(),
                wanted: self.name().to_owned(),
            }
            .into());
        }
        let free = self.repository.free_space()?;
        let last = catalogue
            .backups
            .iter()
            .rev()
            .find(|entry| entry.stem.series == *self.request.series)
            .or(catalogue.backups.last());
        warnings.extend(forecast(
            free,
            self.context.limits.free_space.as_u64(),
            last.map(|e| e.bytes),
        ));
        Ok(warnings)
    }

    fn record(&self, event: Event) -> Record {
        let mut record = self
            .context
            .record(self.id, Operation::Backup, event, self.name());
        record.series = Some(self.request.series.clone());
        record.reason = self.request.reason.map(str::to_owned);
        record
    }

    fn end_record(&self, event: Event) -> Record {
        let mut record = self.record(event);
        record.seconds = Some(self.began.elapsed().as_secs_f64());
        record
    }

    fn record_start(&self) -> Result<(), JobError> {
        let mut record = self.record(Event::Started);
        record.requested_by = Some(self.context.requester.clone());
        self.append(&record)
    }

    /// Appends to the ledger before anything else is done.
    fn append(&self, record: &Record) -> Result<(), JobError> {
        match self.repository.ledger().append(record) {
            Err(error) if !self.is_emergency() => Err(self.unrecorded(error)),
            _ => Ok(()),
        }
    }

    fn unrecorded(&self, source: std::io::Error) -> JobError {
        JobError::Unrecorded {
            done: "nothing was done because".to_owned(),
            ledger: self.repository.ledger().path().display().to_string(),
            source,
        }
    }

    /// Everything between the ledger's two records.
    async fn make(&self, lock: &Lock, warnings: &mut Vec<String>) -> Result<Manifest, JobError> {
        let Context { limits, .. } = self.context;
        let database = self.request.database;
        // Every step has a limit of its own, but a signal must not have to wait for it.
        let (origin, client) = self.limit.wait_for(Box::pin(self.connect())).await??;
        warnings.extend(passed_over(
            self.context.programs.as_deref(),
            &origin.programs,
        ));
        let application = format!("pgbackupd {}", self.id);
        let watch = Watch::start(client, application.clone());
        let remarks = Remarks::default();
        let staging = self.repository.stage(self.id, lock);
        let dumper = |program, arguments| Dumper {
            program,
            arguments,
            application: &application,
            conninfo: &origin.conninfo,
            connect: limits.connect,
            watch: &watch,
            remarks: &remarks,
            confinement: Confinement::default(),
        };

        let globals = if database.dump.globals {
            let passwords = origin.role_passwords;
            let arguments = globals_arguments(&origin.conninfo, passwords, limits.lock_wait);
            let pg_dumpall = dumper(origin.programs.pg_dumpall(), arguments);
            self.dump_globals(&pg_dumpall, &staging, passwords, warnings)
                .await?
        } else {
            None
        };

        let path = staging.path(self.role());
        let arguments = DumpCommand::new(&database.dump, &path).arguments(
            &origin.programs.version,
            &origin.conninfo,
            limits.lock_wait,
        )?;
        let pg_dump = dumper(origin.programs.pg_dump(), arguments);
        let pg_restore = dumper(
            origin.programs.pg_restore(),
            archive_as_sql_arguments(&path),
        );
        let (checked, dump_time, check_time) =
            self.dump_database(&pg_dump, &pg_restore, &staging).await?;
        drop(watch);
        warnings.extend(remarks.into_inner().unwrap_or_else(PoisonError::into_inner));
        tracing::info!(
            "dumped in {:.1} s, read back and found whole in {:.1} s",
            dump_time.as_secs_f64(),
            check_time.as_secs_f64()
        );

        self.progress.enter(Phase::Publishing);
        let census = write_census(&checked.passage().census, staging.create(Role::Census)?)
            .map_err(|source| RepositoryError::Io {
                doing: "write",
                path: staging.path(Role::Census),
                source,
            })?;
        let mut roles = Vec::from_iter(globals.as_ref().map(|_| Role::Globals));
        roles.extend([Role::Census, self.role()]);
        let parts = Parts {
            origin: &origin,
            checked: &checked,
            globals: globals.as_ref(),
            census: &census,
            verified: self.context.now(),
            seconds: Seconds {
                dump: dump_time.as_secs_f64(),
                check: check_time.as_secs_f64(),
                total: self.began.elapsed().as_secs_f64(),
            },
            warnings,
        };
        let describe = |stem: &Stem| self.describe(stem, &parts);
        Ok(staging.publish(&checked, self.stem(), &roles, describe)?)
    }

    /// Connects, and finds out what is to be known of server and database before the dump.
    async fn connect(&self) -> Result<(Origin, Client), JobError> {
        let Context {
            limits,
            programs,
            environment,
            ..
        } = self.context;
        let conninfo = Conninfo::resolve(self.request.connection, environment, Some(self.name()))?;
        let client = Client::connect(&conninfo, limits.connect).await?;
        let origin = Origin {
            server: server_properties(&client).await?,
            properties: database_properties(&client).await?,
            role_passwords: may_read_role_passwords(&client).await?,
            programs: Programs::locate(programs.as_deref(), client.server_major()).await?,
            // Of several hosts, the programs go to the one that answered.
            conninfo: client.conninfo().clone(),
        };
        tracing::info!(
            "connected to PostgreSQL {} at {} as {}; dumping with {}",
            origin.server.major(),
            origin.conninfo.server(),
            origin.conninfo.user(),
            origin.programs.pg_dump().display()
        );
        Ok((origin, client))
    }

    async fn dump_database(
        &self,
        pg_dump: &Dumper<'_>,
        pg_restore: &Dumper<'_>,
        staging: &Staging<'_>,
    ) -> Result<(Checked, Duration, Duration), JobError> {
        let dump_limit = self.limit.within("dump", self.context.limits.dump);
        let limits = (&dump_limit, &self.limit);
        let DumpSettings {
            format,
            compression,
            level,
            threads,
            ..
        } = self.request.database.dump;
        self.progress.enter(Phase::Dumping);
        if format == Format::Plain {
            let settings = Settings::new(compression, level, threads);
            let role = self.role();
            return write_and_check(pg_dump, staging, role, settings, limits, self.progress).await;
        }
        let role = self.role();
        archive::write_and_check(pg_dump, pg_restore, staging, role, limits, self.progress).await
    }

    fn describe(&self, stem: &Stem, parts: &Parts<'_>) -> Manifest {
        let file = |role: Role| format!("{stem}{}", role.suffix());
        let DumpSettings {
            format,
            compression,
            ..
        } = self.request.database.dump;
        let passage = parts.checked.passage();
        Manifest {
            format: MANIFEST_FORMAT,
            program: concat!("pgbackupd ", env!("CARGO_PKG_VERSION")).to_owned(),
            name: stem.to_string(),
            run: self.id,
            database: self.name().to_owned(),
            series: self.request.series.clone(),
            reason: self.request.reason.map(str::to_owned),
            started: self.started,
            verified: parts.verified,
            zone: self.context.zone.name().to_owned(),
            artifact: Artifact {
                file: file(self.role()),
                format,
                compression,
                digest: passage.digest.clone(),
                text_bytes: passage.text_bytes,
            },
            globals: parts.globals.map(|globals| Globals {
                file: file(Role::Globals),
                digest: globals.digest.clone(),
                role_passwords: globals.role_passwords,
            }),
            census: CensusFile {
                file: file(Role::Census),
                digest: parts.census.clone(),
                summary: passage.census.summary(),
            },
            seconds: parts.seconds,
            warnings: parts.warnings.to_vec(),
            requested_by: self.context.requester.clone(),
            pg_dump: parts.origin.programs.version.text.clone(),
            server: parts.origin.server.clone(),
            properties: parts.origin.properties.clone(),
        }
    }

    fn role(&self) -> Role {
        let dump = &self.request.database.dump;
        Role::Artifact(dump.format, dump.compression)
    }

    fn stem(&self) -> Stem {
        let manual = self.request.series.is_manual();
        Stem {
            series: self.request.series.clone(),
            slug: self.request.reason.filter(|_| manual).and_then(Slug::of),
            local: self.started.naive_local(),
            count: 1,
        }
    }

    async fn dump_globals(
        &self,
        dumper: &Dumper<'_>,
        staging: &Staging<'_>,
        role_passwords: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Option<DumpedGlobals>, JobError> {
        let settings = Settings::new(Compression::Gzip, None, Some(std::num::NonZeroU8::MIN));
        let limits = (&self.limit, &self.limit);
        let role = Role::Globals;
        match write_and_check(dumper, staging, role, settings, limits, self.progress).await {
            Ok((checked, _, _)) => {
                if !role_passwords {
                    warnings.push(format!(
                        "the roles' passwords are not in the backup: user {} may not read them, \
                         which takes a superuser or a member of pg_read_all_data",
                        dumper.conninfo.user()
                    ));
                }
                Ok(Some(DumpedGlobals {
                    digest: checked.passage().digest.clone(),
                    role_passwords,
                }))
            }
            Err(error) if self.is_emergency() && error.kind() == JobErrorKind::Unavailable => {
                warnings.push(format!(
                    "roles and tablespaces are not in the backup: {error}"
                ));
                Ok(None)
            }
            Err(JobError::Failed { message, may_pass }) => Err(JobError::Failed {
                message: format!(
                    "the cluster's roles and tablespaces could not be dumped (globals = false \
                     leaves them out): {message}"
                ),
                may_pass,
            }),
            Err(error) => Err(error),
        }
    }

    /// Lets retention remove what the new backup makes superfluous, and closes the ledger's entry.
    /// The backup stands whatever happens here.
    fn finish(
        &self,
        manifest: Manifest,
        lock: &Lock,
        warnings: &mut Vec<String>,
    ) -> Result<(Manifest, Option<PruneReport>), JobError> {
        let mut record = self.end_record(Event::Succeeded);
        record.backup = Some(manifest.name.clone());
        record.bytes = Some(manifest.bytes());
        let mut pruned = None;
        if !self.is_emergency() {
            let only = Some(&manifest.series);
            let outcome = prune::carry_out(
                self.context,
                self.repository,
                lock,
                self.id,
                only,
                ClockTrust::IfPlausible,
                &mut record.removed,
            );
            match outcome {
                Ok(report) => {
                    warnings.extend(prune::doubts(&report));
                    pruned = Some(report);
                }
                Err(error) => {
                    warnings.push(format!("retention could not remove a backup: {error}"));
                }
            }
        }
        record.message = (!warnings.is_empty()).then(|| warnings.join("; "));
        match self.repository.ledger().append(&record) {
            Err(source) if !self.is_emergency() => Err(JobError::UnrecordedBackup {
                backup: manifest.name,
                ledger: self.repository.ledger().path().display().to_string(),
                source,
            }),
            _ => Ok((manifest, pruned)),
        }
    }
}
