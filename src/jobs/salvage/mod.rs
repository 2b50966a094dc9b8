//! Bringing back whatever a backup holds although a part of it cannot be restored: one statement that the
//! server refuses, rows that break a constraint, a file that is damaged.
//!
//! The dump is loaded one statement at a time. What is refused is tried again when more is there, and then
//! under the database's own `search_path`. Rows are sent in batches; for one that is refused, the condition
//! that the error names is left off, and what is refused still goes to a file. At the end the conditions come
//! back, and the copy is compared with the backup as after any restore.

mod byte_names;
mod compare;
mod conditions;
mod definitions;
mod files;
mod fixes;
mod large_objects;
mod load;
mod missing;
mod read;
mod rows;
mod sender;
mod state;
mod swap;

use std::time::{Duration, Instant};

use super::JobError;
use super::proof::{Refused, RestoredCopy, give_properties as given, without_statistics};
use super::restore::work::{Loading, Made, Restore, STATEMENT};
use super::restore::{Prepared, RestoreRequest};
use super::run::Run;
use super::step_log::StepLog;
use crate::config::Format;
use crate::display::counted;
use crate::pipeline::{Amount, Phase, ReadSoFar};
use crate::postgres::{Client, LoadSession, analyze, comment_on_database};
use crate::repository::Content;
use compare::{Compared, changed_parts};
use files::SalvageFiles;
use load::Loaded;
use state::Load;

pub use missing::{Missing, MissingState};
pub use swap::{PreparedSwap, SwapReport, SwapRequest, prepare_swap, swap_salvaged};

/// What a salvage has brought back, and what it has not.
#[derive(Clone, Debug)]
pub struct SalvageReport {
    /// The backup's name, or the file's path.
    pub backup: String,
    /// The new database.
    pub into: String,
    /// The database that the backup is of, if that is recorded.
    pub original: Option<String>,
    /// Rows that are in the new database.
    pub rows: u64,
    /// Rows that the backup holds.
    pub expected_rows: u64,
    /// Whether that is only what could be read of a damaged backup.
    pub expects_what_was_read: bool,
    /// Tables whose rows are all there.
    pub complete_tables: u64,
    /// Tables that the backup holds rows of, empty ones included.
    pub expected_tables: u64,
    /// What is missing, or came back in another form, in the dump's order.
    pub missing: Vec<Missing>,
    /// How the backup is damaged, if it is.
    pub damage: Option<String>,
    /// Statements that the server took only under the database's own `search_path`, with what to do about it
    /// where the backup comes from.
    pub by_own_path: Vec<Missing>,
    /// What is left to be done, as statements in their order.
    pub todo: Option<std::path::PathBuf>,
    /// Rows that the server refused.
    pub refused_rows: Option<std::path::PathBuf>,
    /// Roles that were created.
    pub roles: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl SalvageReport {
    /// Whether all that the backup holds is there.
    pub fn is_complete(&self) -> bool {
        self.damage.is_none() && self.missing.is_empty() && self.rows == self.expected_rows
    }

    /// Logs what the incident report says of it.
    fn log_to(&self, step_log: &StepLog) {
        /// So many differences are named.
        const NAMED: usize = 10;
        let differences = self.missing.iter().take(NAMED);
        step_log.update(|facts| {
            facts.found = Some(Content {
                rows: self.rows,
                tables: self.complete_tables,
            });
            facts.differences = differences
                .map(|one| format!("{}: {}", one.object, one.state.display()))
                .chain(
                    self.damage
                        .as_ref()
                        .map(|damage| format!("damaged: {damage}")),
                )
                .collect();
            facts.warnings.extend(self.warnings.iter().cloned());
            for (what, path) in [
                ("run what is left", &self.todo),
                ("correct the rows that were refused", &self.refused_rows),
            ] {
                let path = path.as_ref().map(|path| path.display());
                facts
                    .left
                    .extend(path.map(|path| format!("{what}: {path}")));
            }
        });
    }

    /// One line for records.
    fn display(&self) -> String {
        let rows = counted(self.rows, "row", "rows");
        if self.is_complete() {
            return format!(
                "{rows} salvaged into {} and compared: all is there",
                self.into
            );
        }
        format!(
            "{rows} of {} salvaged into {}; {} missing or changed",
            self.expected_rows,
            self.into,
            counted(self.missing.len() as u64, "thing is", "things are")
        )
    }
}

/// Loads what can be loaded of a backup into a new database.
///
/// # Errors
/// When the server or its disk fails, or the limit is reached: the new database is dropped then, and the
/// error says what remains, if anything does. What the server refuses is no error.
pub async fn salvage(
    run: &Run<'_>,
    request: &RestoreRequest<'_>,
    prepared: Prepared,
) -> Result<SalvageReport, JobError> {
    let began = Instant::now();
    let run = &run.renewed();
    let mut restore = Restore {
        run,
        request,
        prepared: &prepared,
        plan: prepared.plan.clone(),
    };
    run.step_log.update(|facts| facts.salvages = true);
    restore.record_names(&prepared.plan.compares_with)?;
    let mut made = Made::default();
    let outcome = Box::pin(carry_out(&mut restore, &mut made)).await;
    let left = match &outcome {
        Err(_) if !made.swapped => restore.clean_up(&made).await,
        _ => Vec::new(),
    };
    run.step_log.pause();
    let took = began.elapsed();
    let outcome = match outcome {
        Ok(mut report) => {
            report.took = took;
            report.log_to(&run.step_log);
            Ok(report)
        }
        Err(error) => Err(restore.failure(error, left, &mut made)),
    };
    run.step_log.update(|facts| facts.roles = made.roles);
    match &outcome {
        Ok(report) if !report.is_complete() => {
            let incomplete = JobError::Damaged(report.display());
            request.order.record_end(run, took, Err(&incomplete));
        }
        outcome => {
            let end = outcome.as_ref().map(SalvageReport::display);
            request.order.record_end(run, took, end);
        }
    }
    outcome
}

/// All steps, in their order.
async fn carry_out(restore: &mut Restore<'_>, made: &mut Made) -> Result<SalvageReport, JobError> {
    let run = restore.run;
    let client = run.wait_for(restore.maintenance()).await??;
    restore.drop_leftovers(&client, made).await?;
    restore_roles(restore, made).await?;
    restore.create_what_is_loaded(&client, made).await?;
    let conninfo = restore.to_database(restore.new_name());
    let (own, reader) = restore.programs().await?;
    let loading = Loading {
        own,
        reader,
        zone: restore.zone_to_load_in(&client, made).await?,
    };

    let (read, loaded) = Box::pin(load(restore, &loading)).await?;

    run.step("dumping it again and comparing it with the backup");
    let compared = Compared::of(restore, &loading, &read, &loaded).await?;
    let loaded_client = run.connect(&conninfo).await?;
    restore.report_left_out(&loaded_client, made).await?;
    let mut missing = loaded.missing;
    missing.extend(changed_parts(restore, &read, &compared).await?);
    missing.extend(compared.missing);
    missing.extend(give_properties(restore, &client, &loaded_client, made).await?);
    drop(loaded_client);

    let files = loaded.files.finish(&missing, &restore.plan.database)?;

    restore.go_on()?;
    restore.take_the_name(made).await?;
    mark(restore, &client).await?;
    restore.give_rights_to_roles(&client, made).await;
    Ok(SalvageReport {
        backup: restore.plan.backup.clone(),
        into: restore.plan.database.clone(),
        original: original(restore).map(str::to_owned),
        rows: compared.rows,
        expected_rows: compared.expected_rows,
        expects_what_was_read: compared.is_of_what_was_read && read.damage.is_some(),
        complete_tables: compared.complete_tables,
        expected_tables: compared.expected_tables,
        missing,
        damage: read.damage,
        by_own_path: loaded.by_own_path,
        todo: files.todo,
        refused_rows: files.rows,
        roles: made.roles.clone(),
        warnings: std::mem::take(&mut made.warnings),
        took: Duration::ZERO,
    })
}

/// Loads the dump; gives what was read, and what came of it.
async fn load(restore: &Restore<'_>, loading: &Loading) -> Result<(ReadSoFar, Loaded), JobError> {
    let run = restore.run;
    let conninfo = restore.to_database(restore.new_name());
    run.step(&format!("loading into {}", restore.new_name()));
    run.progress.enter(Phase::Loading);
    let source = &restore.prepared.source;
    if let Some(manifest) = &source.manifest
        && source.format == Format::Plain
    {
        let ahead = Amount::Bytes(manifest.artifact.text_bytes);
        run.progress.expect(ahead);
    }
    let to_load = conninfo.for_loading(loading.zone.as_deref(), true);
    let session = LoadSession::new(run.connect(&to_load).await?);
    let catalog = run.connect(&conninfo).await?;
    let repository = restore.request.order.repository.clone();
    let files = SalvageFiles::new(repository, run.now());
    let mut load = Load::new(restore, session, catalog, files);
    load.sender.begin().await?;
    let read = read::feed(restore, loading, &mut load).await?;
    run.step("bringing back what was refused or left off");
    let loaded = Box::pin(load.finish()).await?;
    Ok((read, loaded))
}

/// Creates the roles that the server lacks. In a session of its own: one statement that is refused takes the
/// others with it, and then none is made.
async fn restore_roles(restore: &Restore<'_>, made: &mut Made) -> Result<(), JobError> {
    let run = restore.run;
    let client = run.wait_for(restore.maintenance()).await??;
    match restore.restore_roles(&client, made).await {
        Err(JobError::Query(error)) if error.sqlstate.is_some() => {
            made.roles.clear();
            made.warnings
                .push(format!("the roles of the backup were not created: {error}"));
            Ok(())
        }
        outcome => outcome,
    }
}

/// Gives the new database its settings and privileges; gives what the server refuses.
async fn give_properties(
    restore: &Restore<'_>,
    client: &Client,
    loaded: &Client,
    made: &mut Made,
) -> Result<Vec<Missing>, JobError> {
    let Some(like) = &restore.prepared.like else {
        return Ok(Vec::new());
    };
    let copy = RestoredCopy {
        name: restore.new_name(),
        recorded: like,
        more: Vec::new(),
    };
    let refused = given(restore.run, client, copy).await?;
    let of_refused = |one: Refused| {
        let what = one.setting.map_or_else(
            || "a privilege or label of the database".to_owned(),
            |one| {
                let name = one.setting.split('=').next().unwrap_or_default();
                format!("setting {name} of the database")
            },
        );
        Missing {
            why: Some(one.error.reason().to_owned()),
            ..Missing::new(u64::MAX, what, MissingState::NotThere)
        }
    };
    let within = restore.run.context.limits.total;
    let analyzed = restore.run.wait_for(analyze(loaded, within)).await?;
    match analyzed {
        Ok(others) => made.warnings.extend(without_statistics(&others)),
        Err(error) => made.warnings.push(format!(
            "the planner's statistics were not refreshed: {error}"
        )),
    }
    Ok(refused.into_iter().map(of_refused).collect())
}

/// The database that the backup is of; of a file, if it says so.
fn original<'a>(restore: &'a Restore<'_>) -> Option<&'a str> {
    let source = &restore.prepared.source;
    let manifest = source.manifest.as_ref();
    let recorded = manifest.map(|manifest| manifest.database.as_str());
    let inside = || source.adaptation.as_ref()?.database.as_deref();
    recorded.or_else(|| std::str::from_utf8(inside()?).ok())
}

/// Says in the new database's comment what it is, so that it can be swapped in.
async fn mark(restore: &Restore<'_>, client: &Client) -> Result<(), JobError> {
    let host = &restore.run.context.requester.host;
    let mut mark = swap::mark(host, original(restore), &restore.plan.backup);
    let like = restore.prepared.like.as_ref();
    if let Some(own) = like.and_then(|like| like.comment.as_ref()) {
        mark.push('\n');
        mark.push_str(own);
    }
    let sql = comment_on_database(&restore.plan.database, Some(&mark));
    let marking = client.execute("comment on the new database", &sql, STATEMENT);
    Ok(restore.run.wait_for(marking).await??)
}
