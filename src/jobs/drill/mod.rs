//! The proof that a backup restores: it is loaded into a throw-away server, dumped again, and the
//! two censuses are compared (P9).

mod choose;
mod judge;
mod report;
mod roles;
mod space;

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Context;
use super::blocked::Watch;
use super::dump::{Dumper, Remarks};
use super::error::{JobError, JobErrorKind};
use super::limit::Limit;
use super::load::{Loaded, Loader, lacking};
use super::target::Place;
use super::verify::{Examined, examine};
use crate::config::{Compression, Format};
use crate::pipeline::census::Census;
use crate::pipeline::{Phase, Progress, StreamError, feed_dump, read_text, take_census};
use crate::postgres::{
    Conninfo, DumpCommand, Enforcement, Programs, Running, Sandbox, SandboxError, SandboxSpec,
    globals_arguments, sweep_sandboxes,
};
use crate::repository::{
    Damage, Event, Manifest, Operation, PhaseTime, Record, Repository, Requester, Role, State, Stem,
};
use crate::words::{count, counted};

pub use choose::{WhichBackup, backups_to_drill};
pub use report::{DrillOutcome, DrillPhase, DrillReport};

use judge::{errors_in, in_words, is_comparable, major_of};
use roles::Prepared;
use space::shortage;

/// Globals are held in memory; a hundred thousand roles need a tenth of this.
const LONGEST_GLOBALS: usize = 256 << 20;

/// So many differences are named; beyond, they are only counted.
const MOST_NAMED: usize = 100;

/// Removes what test restores left that were killed.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep_drills(context: &Context) -> Result<Vec<PathBuf>, JobError> {
    let directory = &context.drill.directory;
    sweep_sandboxes(directory).map_err(|error| {
        JobError::failed(format!(
            "cannot sweep up what earlier test restores left in {}: {error}",
            directory.display()
        ))
    })
}

/// Restores a backup into a throw-away server, compares, and records what was found: in
/// `restore.log`, and in the backup's state, by which retention counts it as verified or not.
///
/// No lock is needed: a backup that retention removes meanwhile could not be tried.
///
/// # Errors
/// When the run was interrupted, or its outcome cannot be recorded in either place. A backup that is bad, or that
/// could not be tried, is a report and no error.
pub async fn drill(
    context: &Context,
    run: Uuid,
    place: &Place,
    stem: &Stem,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<DrillReport, JobError> {
    let repository = &place.repository;
    let began = Instant::now();
    let record = |event: Event| {
        let mut record = context.record(run, Operation::Drill, event, &place.database);
        record.backup = Some(stem.to_string());
        record.series = Some(stem.series.clone());
        record
    };
    close_open_runs(context, repository)?;
    let mut start = record(Event::Started);
    start.requested_by = Some(context.requester.clone());
    append(repository, &start, "nothing was restored because")?;
    if let Err(error) = sweep_drills(context) {
        tracing::warn!("{error}");
    }

    let mut drill = Drill {
        context,
        repository,
        run,
        stem,
        progress,
        limit: Limit::new(cancel.clone(), "total", context.limits.total),
        phases: Vec::new(),
        remarks: Vec::new(),
    };
    let outcome = Box::pin(drill.carry_out()).await;
    let noted = match &outcome {
        Ok(
            shown @ (DrillOutcome::Proven | DrillOutcome::Refused(_) | DrillOutcome::Differs(_)),
        ) => drill.note(|state| state.note_drill(context.now(), shown.failure())),
        _ => Ok(()),
    };
    let (phases, remarks) = (drill.phases, drill.remarks);
    let mut end = record(Event::Succeeded);
    end.seconds = Some(began.elapsed().as_secs_f64());
    end.phases = phases
        .iter()
        .map(|(phase, took)| PhaseTime {
            phase: phase.word().to_owned(),
            seconds: took.as_secs_f64(),
        })
        .collect();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == JobErrorKind::Interrupted => {
            end.event = Event::Interrupted;
            append(repository, &end, "the test restore was interrupted, and")?;
            return Err(error);
        }
        Err(_)
            if repository
                .path(stem, Role::Manifest)
                .symlink_metadata()
                .is_err() =>
        {
            DrillOutcome::Impossible("it was removed meanwhile".to_owned())
        }
        Err(error) => DrillOutcome::Impossible(error.to_string()),
    };
    let manifest = repository.manifest(stem).ok();
    let summary = manifest.as_ref().map(|manifest| &manifest.census.summary);
    let report = DrillReport {
        stem: stem.clone(),
        phases,
        took: began.elapsed(),
        rows: summary.map_or(0, |summary| summary.rows),
        tables: summary.map_or(0, |summary| summary.tables),
        bytes: manifest.as_ref().map_or(0, Manifest::bytes),
        remarks,
        outcome,
    };
    end.bytes = Some(report.bytes);
    if let Some(sentence) = report.outcome.sentence() {
        end.event = Event::Failed;
        if report.outcome.is_bad() {
            end.damaged = vec![Damage {
                backup: stem.to_string(),
                what: sentence.clone(),
                quarantine: None,
            }];
        }
        end.message = Some(format!("{stem}: {sentence}"));
    } else if !report.remarks.is_empty() {
        end.message = Some(report.remarks.join("; "));
    }
    append(repository, &end, "the test restore is done, but")?;
    // What retention counts on must not be lost in silence.
    noted.map(|()| report)
}

/// Test restores that a crash ended have no end in the ledger. They hold no lock; their processes
/// tell whether they are over.
fn close_open_runs(context: &Context, repository: &Repository) -> Result<(), JobError> {
    let ledger = repository.restore_ledger();
    let open = ledger.open_runs().map_err(|source| JobError::Unrecorded {
        done: "nothing was restored because".to_owned(),
        ledger: ledger.path().display().to_string(),
        source,
    })?;
    for open in open {
        let alive = open.requested_by.as_ref().map(Requester::may_be_alive);
        if open.operation != Operation::Drill || alive == Some(true) {
            continue;
        }
        let end = Record {
            at: context.now(),
            event: Event::Interrupted,
            message: Some("the process ended before the run did; found by a later run".to_owned()),
            requested_by: None,
            ..open
        };
        append(repository, &end, "nothing was restored because")?;
    }
    Ok(())
}

fn append(repository: &Repository, record: &Record, done: &str) -> Result<(), JobError> {
    let ledger = repository.restore_ledger();
    ledger
        .append(record)
        .map_err(|source| JobError::Unrecorded {
            done: done.to_owned(),
            ledger: ledger.path().display().to_string(),
            source,
        })
}

/// One test restore on its way.
struct Drill<'a> {
    context: &'a Context,
    repository: &'a Repository,
    run: Uuid,
    stem: &'a Stem,
    progress: &'a Arc<Progress>,
    limit: Limit,
    phases: Vec<(DrillPhase, Duration)>,
    remarks: Vec<String>,
}

/// A server and what is in it.
struct Restored<'a> {
    sandbox: &'a mut Sandbox,
    conninfo: Conninfo,
    programs: &'a Programs,
    application: String,
}

/// Of an error in making or using a throw-away server: none of them is about the backup.
impl From<SandboxError> for JobError {
    fn from(error: SandboxError) -> Self {
        Self::failed(error.to_string())
    }
}

impl Drill<'_> {
    /// Everything between the ledger's two records.
    async fn carry_out(&mut self) -> Result<DrillOutcome, JobError> {
        self.progress.enter(Phase::Checking);
        let began = Instant::now();
        let manifest = match self.repository.manifest(self.stem) {
            Ok(manifest) => manifest,
            Err(error) => {
                let error = JobError::from(error);
                return match error.kind() {
                    JobErrorKind::Damaged => Ok(DrillOutcome::Damaged(error.to_string())),
                    _ => Err(error),
                };
            }
        };
        let (repository, stem) = (self.repository, self.stem);
        let examined = examine(
            self.context,
            repository,
            stem,
            &manifest,
            &self.limit,
            self.progress,
        )
        .await?;
        self.took(DrillPhase::Verify, began);
        // A check like any other, whatever becomes of the rest.
        let now = self.context.now();
        let passage = match examined {
            Examined::Damaged(damage) => {
                self.note(|state| state.note_check(now, Some(damage.clone())))?;
                return Ok(DrillOutcome::Damaged(damage));
            }
            Examined::Whole(passage) => {
                self.note(|state| state.note_check(now, None))?;
                passage
            }
        };
        if let Some(foreign) = passage.foreign {
            return Ok(DrillOutcome::Impossible(format!(
                "it holds {foreign}, which pg_dump does not write; it was not loaded, because that \
                 could reach beyond the throw-away server"
            )));
        }

        let began = Instant::now();
        let directory = self.context.drill.directory.as_path();
        if let Some(shortage) = shortage(directory, &manifest)? {
            return Ok(DrillOutcome::Impossible(shortage));
        }
        let globals = self.read_globals(&manifest)?;
        if globals.as_deref().is_some_and(globals_are_foreign) {
            return Ok(DrillOutcome::Impossible(
                "its roles and tablespaces hold what pg_dumpall does not write; they were not \
                 loaded"
                    .to_owned(),
            ));
        }
        let programs = self.programs(&manifest).await?;
        let superuser = globals
            .as_deref()
            .map_or_else(|| manifest.properties.owner.clone(), roles::superuser);
        let spec = SandboxSpec {
            directory,
            programs: &programs,
            superuser: &superuser,
            encoding: &manifest.properties.encoding,
            patience: self.context.limits.connect,
        };
        let enforcement = Enforcement::of_this_machine();
        tracing::info!(
            "what the throw-away server and its programs may do is restricted: {}",
            enforcement.sentence()
        );
        self.remarks.extend(enforcement.shortfalls());
        let mut sandbox = self.limit.clone().wait_for(Sandbox::start(spec)).await??;
        let outcome = self
            .restore(
                &mut sandbox,
                &programs,
                &manifest,
                globals,
                &passage.census,
                began,
            )
            .await;
        // A server that does not end is the operator's to know, whatever the outcome is.
        if let Err(error) = sandbox.stop().await {
            self.remarks.push(error.to_string());
        }
        outcome
    }

    /// Notes something beside the backup, if that is still there.
    fn note(&self, change: impl FnOnce(&mut State)) -> Result<(), JobError> {
        self.repository.change_state(self.run, self.stem, change)?;
        Ok(())
    }

    fn took(&mut self, phase: DrillPhase, began: Instant) {
        self.phases.push((phase, began.elapsed()));
    }

    /// The roles and tablespaces of the cluster, as text.
    fn read_globals(&self, manifest: &Manifest) -> Result<Option<Vec<u8>>, JobError> {
        if manifest.globals.is_none() {
            return Ok(None);
        }
        let path = self.repository.path(self.stem, Role::Globals);
        let read = File::open(&path)
            .map_err(StreamError::Read)
            .and_then(|file| read_text(file, Compression::Gzip, LONGEST_GLOBALS));
        read.map(Some)
            .map_err(JobError::stream(format!("cannot read {}", path.display())))
    }

    /// The programs of the server's own version and of the version that made the dump, or of a
    /// newer one: a dump cannot be loaded into an older server.
    async fn programs(&mut self, manifest: &Manifest) -> Result<Programs, JobError> {
        let wanted = manifest
            .server
            .major()
            .max(major_of(&manifest.pg_dump).unwrap_or_default());
        let programs = Programs::locate_server(self.context.programs.as_deref(), wanted).await?;
        if !is_comparable(manifest, &programs) {
            self.remarks.push(format!(
                "restored into PostgreSQL {}, because none of version {wanted} is installed here: \
                 rows and large objects were compared, other objects were not, for versions write \
                 them differently",
                programs.version.major
            ));
        }
        Ok(programs)
    }

    async fn restore(
        &mut self,
        sandbox: &mut Sandbox,
        programs: &Programs,
        manifest: &Manifest,
        globals: Option<Vec<u8>>,
        expected: &Census,
        began: Instant,
    ) -> Result<DrillOutcome, JobError> {
        let limit = self.limit.clone();
        let missing = limit
            .wait_for(sandbox.missing_extensions(&manifest.properties))
            .await??;
        if !missing.is_empty() {
            return Ok(DrillOutcome::Impossible(format!(
                "the database uses extensions that are not installed on this machine for \
                 PostgreSQL {}: {}",
                programs.version.major,
                missing.join(", ")
            )));
        }
        let database = limit
            .wait_for(sandbox.create_database(&manifest.properties))
            .await??;
        self.took(DrillPhase::Server, began);
        if let Some(account) = sandbox.account() {
            tracing::debug!("the throw-away server runs as {}", account.name);
        }

        let mut restored = Restored {
            conninfo: sandbox.conninfo(&database)?,
            sandbox,
            programs,
            application: format!("pgbackupd {}", self.run),
        };
        let mut prepared = None;
        if let Some(globals) = globals {
            let began = Instant::now();
            match self.load_globals(&mut restored, &globals).await? {
                Ok(loaded) => prepared = Some(loaded),
                Err(outcome) => return Ok(outcome),
            }
            self.took(DrillPhase::Globals, began);
        }
        let began = Instant::now();
        if let Some(outcome) = self.load(&mut restored, manifest).await? {
            return Ok(outcome);
        }
        self.took(DrillPhase::Load, began);

        let began = Instant::now();
        self.progress.enter(Phase::Comparing);
        let found = self.dump(&restored).await?;
        let mut differences = Vec::new();
        if let (Some(prepared), Some(globals)) = (&prepared, &manifest.globals)
            && is_comparable(manifest, programs)
        {
            let found = self.dump_globals(&restored, globals.role_passwords).await?;
            differences = roles::differences(&prepared.expected, &found);
        }
        self.took(DrillPhase::Dump, began);

        let began = Instant::now();
        let all = found.differences(expected);
        let (mut named, passed_over) = in_words(&all, is_comparable(manifest, programs));
        named.append(&mut differences);
        if passed_over > 0 {
            self.remarks.push(format!(
                "{} written differently by this version",
                counted(passed_over, "object is", "objects are")
            ));
        }
        self.took(DrillPhase::Compare, began);
        if named.is_empty() {
            return Ok(DrillOutcome::Proven);
        }
        if named.len() > MOST_NAMED {
            let more = named.len() - MOST_NAMED;
            named.truncate(MOST_NAMED);
            named.push(format!("and {} more", count(more as u64)));
        }
        Ok(DrillOutcome::Differs(named))
    }

    async fn load_globals(
        &self,
        restored: &mut Restored<'_>,
        globals: &[u8],
    ) -> Result<Result<Prepared, DrillOutcome>, JobError> {
        let sandbox = &restored.sandbox;
        let prepared = roles::prepare(globals, sandbox.superuser(), &sandbox.tablespaces());
        for number in 0..prepared.tablespaces {
            sandbox.make_tablespace_directory(number)?;
        }
        let script = prepared.script.clone();
        let loaded = restored
            .loader(self.context)
            .load_text(
                &self.limit,
                self.progress,
                "cannot load the roles",
                move |mut psql| {
                    std::io::Write::write_all(&mut psql, &script).map_err(StreamError::Write)
                },
            )
            .await?;
        let refused = self
            .refused(restored, "roles and tablespaces", loaded)
            .await;
        Ok(refused.map_or(Ok(prepared), Err))
    }

    async fn load(
        &self,
        restored: &mut Restored<'_>,
        manifest: &Manifest,
    ) -> Result<Option<DrillOutcome>, JobError> {
        self.progress.enter(Phase::Loading);
        let artifact = &manifest.artifact;
        let compression = artifact.compression;
        let role = Role::Artifact(artifact.format, compression);
        let path = self.repository.path(self.stem, role);
        let target = restored.loader(self.context);
        let loaded = if artifact.format == Format::Plain {
            let progress = Arc::clone(self.progress);
            let doing = format!("cannot read {}", path.display());
            target
                .load_text(&self.limit, self.progress, &doing, move |psql| {
                    let file = File::open(path).map_err(StreamError::Read)?;
                    feed_dump(file, compression, psql, &progress)
                })
                .await?
        } else {
            target
                .load_archive(&path, self.context.drill.jobs, &self.limit)
                .await?
        };
        let is_older = manifest.server.major() < restored.sandbox.major();
        let without_roles = manifest.globals.is_none();
        let said = match &loaded {
            Loaded::Wholly => return Ok(None),
            Loaded::Refused { said, .. } => said.clone(),
        };
        if without_roles && said.contains("role \"") && said.contains("does not exist") {
            return Ok(Some(DrillOutcome::Impossible(format!(
                "it was made without the cluster's roles (globals = false), and needs one: {}",
                errors_in(&said)
            ))));
        }
        if is_older && lacking(&said).is_none() {
            return Ok(Some(DrillOutcome::Impossible(format!(
                "PostgreSQL {} does not take what {} has dumped: {}; install \
                 postgresql-{1}",
                restored.sandbox.major(),
                manifest.server.major(),
                errors_in(&said)
            ))));
        }
        Ok(self.refused(restored, "the dump", loaded).await)
    }

    /// Whether it is the backup or the machine that is to blame for what was not loaded.
    async fn refused(
        &self,
        restored: &mut Restored<'_>,
        what: &str,
        loaded: Loaded,
    ) -> Option<DrillOutcome> {
        let Loaded::Refused { how, said } = loaded else {
            return None;
        };
        if let Some(end) = restored.sandbox.ended().await {
            return Some(DrillOutcome::Impossible(format!(
                "the throw-away server ended while {what} was loaded: {end}"
            )));
        }
        if let Some(lack) = lacking(&said) {
            return Some(DrillOutcome::Impossible(format!(
                "{lack}: {}",
                errors_in(&said)
            )));
        }
        // A program that was killed has said nothing of the dump.
        if how.contains("was killed by") {
            return Some(DrillOutcome::Impossible(how));
        }
        Some(DrillOutcome::Refused(format!(
            "{how} while {what} was loaded: {}",
            errors_in(&said)
        )))
    }

    /// Dumps what was restored, straight into a census.
    async fn dump(&self, restored: &Restored<'_>) -> Result<Census, JobError> {
        let arguments = DumpCommand::Plain.arguments(
            &restored.programs.version,
            &restored.conninfo,
            self.context.limits.lock_wait,
        )?;
        let (watch, remarks) = (Watch::default(), Remarks::default());
        let dumper = restored.dumper(
            self.context,
            (restored.programs.pg_dump(), arguments),
            &watch,
            &remarks,
        );
        let counted = Arc::clone(self.progress);
        let doing = "cannot dump what was restored";
        let (census, ..) = dumper
            .stream(&self.limit, self.progress, doing, move |source| {
                take_census(source, &counted)
            })
            .await?;
        let said = remarks.into_inner().unwrap_or_else(PoisonError::into_inner);
        for remark in said {
            tracing::debug!("{remark}");
        }
        Ok(census)
    }

    async fn dump_globals(
        &self,
        restored: &Restored<'_>,
        passwords: bool,
    ) -> Result<Vec<u8>, JobError> {
        let limits = &self.context.limits;
        let arguments = globals_arguments(&restored.conninfo, passwords, limits.lock_wait);
        let (watch, remarks) = (Watch::default(), Remarks::default());
        let mut dumper = restored.dumper(
            self.context,
            (restored.programs.pg_dumpall(), arguments),
            &watch,
            &remarks,
        );
        if let Some(bounds) = &mut dumper.confinement.bounds {
            // It asks pg_dump for its version, by a shell.
            bounds.running = Running::Programs;
        }
        let doing = "cannot dump the roles that were restored";
        dumper
            .stream(&self.limit, self.progress, doing, move |mut source| {
                let mut text = Vec::new();
                source.read_to_end(&mut text).map_err(StreamError::Read)?;
                Ok(text)
            })
            .await
    }
}

impl Restored<'_> {
    fn loader(&self, context: &Context) -> Loader<'_> {
        Loader {
            programs: self.programs,
            conninfo: &self.conninfo,
            application: &self.application,
            connect: context.limits.connect,
            confinement: self.sandbox.confinement(),
        }
    }

    fn dumper<'a>(
        &'a self,
        context: &Context,
        (program, arguments): (PathBuf, Vec<std::ffi::OsString>),
        watch: &'a Watch,
        remarks: &'a Remarks,
    ) -> Dumper<'a> {
        Dumper {
            program,
            arguments,
            application: &self.application,
            conninfo: &self.conninfo,
            connect: context.limits.connect,
            watch,
            remarks,
            confinement: self.sandbox.confinement(),
        }
    }
}

/// Whether the globals have anything that `pg_dumpall` does not write.
fn globals_are_foreign(globals: &[u8]) -> bool {
    let mut scanner = crate::pipeline::census::Scanner::new();
    scanner.push(globals).is_err() || scanner.foreign().is_some()
}
