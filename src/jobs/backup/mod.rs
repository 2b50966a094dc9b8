//! Making one backup of one database: the run from its lock to the ledger's last line.

mod dumping;
mod globals;
mod ledger;
mod order;
mod publication;
mod remarks;
mod skipping;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};

use super::JobContext;
use super::blocked::Watch;
use super::connections::{explain_missing, is_missing};
use super::continuity::{self, FoundLost};
use super::dump::Overheard;
use super::error::JobError;
use super::known_recipients::note_backup;
use super::prune::{self, PruneReport};
use super::rows::rows_of;
use super::run::Run;
use crate::config::{Connection, Database};
use crate::display::{counted, duration, one_line, size};
use crate::pipeline::Sealer;
use crate::policy::{ClockTrust, Series, Tables};
use crate::postgres::{
    Client, Conninfo, DatabaseProperties, LeftOut, Programs, ServerProperties, database_properties,
    left_out, may_read_role_passwords, server_properties, server_settings,
};
use crate::repository::{AtRest, Checked, Event, Lock, Manifest, Repository, Role, SkippedTable};
use dumping::Dumping;
use remarks::{POOLED, other_release, passed_over, says_again};

/// A backup to make.
#[derive(Clone, Copy, Debug)]
pub struct BackupRequest<'a> {
    /// The server's name in the configuration.
    pub server: &'a str,
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
    /// That, and the rows of tables that cannot be read; the backup is partial then.
    SkippingDamaged,
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
    /// What was lost of the database since the backups before, and not accepted, one sentence each.
    pub losses: Vec<String>,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
}

impl BackupReport {
    /// What was backed up and proved, and how long that took.
    pub fn summary(&self, took: Duration) -> String {
        let summary = &self.manifest.census.summary;
        format!(
            "{} in {}, {}, read back and intact, in {}",
            counted(summary.rows, "row", "rows"),
            counted(summary.tables, "table", "tables"),
            size(self.manifest.bytes()),
            duration(took)
        )
    }
}

/// A backup that is made: what is fixed from its start on.
struct Backup<'a> {
    run: &'a Run<'a>,
    request: BackupRequest<'a>,
    repository: &'a Repository,
    started: DateTime<FixedOffset>,
    began: Instant,
    /// What encrypts its files, where they are encrypted.
    sealer: Option<Sealer>,
}

/// Makes a backup, records it in the ledger, and lets retention remove what it makes superfluous.
///
/// # Errors
/// In one sentence; the database's directory then holds what it held before, and the ledger says
/// that and why the run failed.
pub async fn back_up(run: &Run<'_>, request: BackupRequest<'_>) -> Result<BackupReport, JobError> {
    let repository = Repository::at(&request.database.directory);
    let backup = Backup {
        run,
        request,
        repository: &repository,
        started: run.now(),
        began: Instant::now(),
        sealer: run.context.sealer()?,
    };
    repository.create()?;
    let lock = backup.lock()?;
    let mut warnings = backup.put_in_order(&lock)?;
    backup.record_start()?;

    let (manifest, pruned, losses) = match backup.make(&lock, &mut warnings).await {
        // Only a success lets retention loose, and only on its own series.
        Ok(made) => {
            warnings.extend(note_backup(run.context, &repository, &made.manifest));
            backup.finish(made, &lock, &mut warnings)?
        }
        Err(error) => {
            backup.record_failure(&error);
            return Err(error);
        }
    };
    Ok(BackupReport {
        manifest,
        repository: repository.clone(),
        pruned,
        losses,
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
    /// What the dump will not have.
    left_out: Vec<LeftOut>,
}

/// What was dumped, in temporary files, and found whole.
struct Dumped {
    origin: Origin,
    artifact: Checked,
    /// None if they are not wanted, or not to be had in an emergency.
    globals: Option<Checked>,
    /// The tables whose rows are not in it.
    skipped_tables: Vec<SkippedTable>,
    dump_time: Duration,
    check_time: Duration,
}

/// A backup that is published.
struct Made {
    manifest: Manifest,
    /// The rows of each of its tables.
    rows: Tables,
}

impl Backup<'_> {
    fn name(&self) -> &str {
        &self.request.database.name
    }

    /// What the dump is in the repository.
    fn role(&self) -> Role {
        let dump = &self.request.database.dump;
        Role::Artifact(dump.format, dump.compression, self.at_rest())
    }

    /// How its files are stored.
    fn at_rest(&self) -> AtRest {
        match self.sealer {
            Some(_) => AtRest::Encrypted,
            None => AtRest::Clear,
        }
    }

    fn is_emergency(&self) -> bool {
        self.request.strictness != Strictness::Usual
    }

    fn skips_damaged(&self) -> bool {
        self.request.strictness == Strictness::SkippingDamaged
    }

    /// Asks what the dump will not have, and warns of it: a job, only of what the newest backup does not
    /// record too.
    async fn left_out(
        &self,
        client: &Client,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<LeftOut>, JobError> {
        let found = self.run.wait_for(left_out(client)).await?;
        let found = found.unwrap_or_else(|error| {
            warnings.push(format!("what pg_dump leaves out is not known: {error}"));
            Vec::new()
        });
        let known = match self.run.context.tick {
            Some(_) => self.recorded_left_out(),
            None => Vec::new(),
        };
        let is_new = |one: &&LeftOut| !known.contains(one);
        warnings.extend(found.iter().filter(is_new).map(LeftOut::sentence));
        Ok(found)
    }

    /// What the newest backup does not have; nothing if that cannot be read.
    fn recorded_left_out(&self) -> Vec<LeftOut> {
        let catalogue = self.repository.catalogue().ok();
        let newest = catalogue.and_then(|mut catalogue| catalogue.backups.pop());
        let manifest = newest.and_then(|newest| self.repository.manifest(&newest.stem).ok());
        manifest.map_or_else(Vec::new, |manifest| manifest.left_out)
    }

    /// Everything between the ledger's two records.
    async fn make(&self, lock: &Lock, warnings: &mut Vec<String>) -> Result<Made, JobError> {
        let JobContext {
            limits, programs, ..
        } = self.run.context;
        // Every step has a limit of its own, but a signal must not have to wait for it.
        let (mut origin, client) = self.run.wait_for(Box::pin(self.connect())).await??;
        warnings.extend(passed_over(programs.as_deref(), &origin.programs));
        if !client.keeps_options() {
            warnings.push(POOLED.to_owned());
        }
        let (server, pg_dump) = (&origin.server, &origin.programs.version);
        warnings.extend(other_release(server.version_number, pg_dump));
        origin.left_out = self.left_out(&client, warnings).await?;
        let application = format!("pgbackupd {}", self.run.id);
        let client = Arc::new(client);
        let watch = Watch::start(Arc::clone(&client), application.clone(), limits.lock_wait);
        let overheard = Overheard::with(watch, !self.skips_damaged());
        let staging = self.repository.stage(self.run.id, lock);
        let dumping = Dumping {
            backup: self,
            origin: &origin,
            application: &application,
            overheard: &overheard,
            staging: &staging,
        };
        let globals = if self.request.database.dump.globals {
            dumping.globals(warnings).await?
        } else {
            None
        };
        let (dumped, skipped_tables) = dumping.database().await?;
        let (artifact, dump_time, check_time) = dumped;
        let mut remarks = overheard.into_remarks();
        remarks.retain(|remark| !says_again(remark, &origin.left_out));
        let mentioned = &artifact.stream_summary().dependencies.settings;
        let asking = server_settings(&client, mentioned, &origin.properties.settings);
        match self.run.wait_for(asking).await? {
            Ok(settings) => origin.server.settings = settings,
            Err(error) => warnings.push(format!(
                "what the server sets for functions of the database is not in the backup: {error}"
            )),
        }
        drop(client);
        warnings.extend(remarks);
        tracing::info!(
            "dumped in {:.1} s, read back and found intact in {:.1} s",
            dump_time.as_secs_f64(),
            check_time.as_secs_f64()
        );

        let dumped = Dumped {
            origin,
            artifact,
            globals,
            skipped_tables,
            dump_time,
            check_time,
        };
        let rows = rows_of(&dumped.artifact.stream_summary().census);
        let manifest = self.publish(staging, dumped, warnings)?;
        Ok(Made { manifest, rows })
    }

    /// Connects, and finds out what is to be known of server and database before the dump.
    async fn connect(&self) -> Result<(Origin, Client), JobError> {
        let JobContext {
            limits,
            programs,
            environment,
            ..
        } = self.run.context;
        let conninfo = Conninfo::resolve(self.request.connection, environment, Some(self.name()))?;
        let client = match Client::connect(&conninfo, limits.connect).await {
            Err(error) if is_missing(&error) => {
                let connection = self.request.connection;
                return Err(explain_missing(self.run.context, connection, self.name()).await);
            }
            client => client?,
        };
        let origin = Origin {
            server: server_properties(&client).await?,
            properties: database_properties(&client).await?,
            role_passwords: may_read_role_passwords(&client).await?,
            programs: Programs::locate(programs.as_deref(), client.server_major()).await?,
            left_out: Vec::new(),
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

    /// Lets retention remove what the new backup makes superfluous, and closes the ledger's entry.
    /// The backup stands whatever happens here.
    fn finish(
        &self,
        Made { manifest, rows }: Made,
        lock: &Lock,
        warnings: &mut Vec<String>,
    ) -> Result<(Manifest, Option<PruneReport>, Vec<String>), JobError> {
        let (at, took) = (self.run.now(), self.began.elapsed());
        let mut details = self.details();
        details.backup = Some(manifest.name.clone());
        details.bytes = Some(manifest.bytes());
        details.partial = manifest.is_partial();
        let found =
            continuity::after_a_backup(self.run.context, self.repository, (&manifest, rows))
                .inspect_err(|error| {
                    warnings.push(format!("the earlier backups could not be read: {error}"));
                })
                .ok();
        for growth in found.iter().flat_map(|found| &found.grown) {
            tracing::info!("database {}: {growth}", one_line(self.name()));
        }
        // A partial one shows nothing, and what is open stays so.
        let shown = found.as_ref().filter(|_| !details.partial);
        details.lost = shown.map(FoundLost::by_the_backup);
        let mut pruned = None;
        if !self.is_emergency() {
            let scope = prune::Scope {
                names: (self.request.server, self.name()),
                only: Some(&manifest.series),
                next_bytes: manifest.bytes() + prune::OVERHEAD,
                losses: found.as_ref().map(|found| found.losses.as_slice()),
                trust: ClockTrust::IfPlausible,
            };
            let pruning = prune::Pruning {
                run: self.run,
                repository: self.repository,
                lock,
            };
            let outcome = pruning.carry_out(scope, &mut details.removed);
            match outcome {
                Ok(report) => {
                    warnings.extend(prune::doubts(&report));
                    warnings.extend(prune::removed_without_copy(&report));
                    pruned = Some(report);
                }
                Err(error) => {
                    warnings.push(format!("retention could not remove a backup: {error}"));
                }
            }
        }
        let losses = found.map_or_else(Vec::new, |found| found.sentences);
        let sentences: Vec<&str> = losses
            .iter()
            .chain(&*warnings)
            .map(String::as_str)
            .collect();
        let mut record = self.run.record(Event::Succeeded, self.name(), details);
        record.at = at;
        record.seconds = Some(took.as_secs_f64());
        record.message = (!sentences.is_empty()).then(|| sentences.join("; "));
        match self.repository.ledger().append(&record) {
            Err(source) if !self.is_emergency() => Err(JobError::UnrecordedBackup {
                backup: manifest.name,
                ledger: self.repository.ledger().path().display().to_string(),
                source,
            }),
            _ => Ok((manifest, pruned, losses)),
        }
    }
}
