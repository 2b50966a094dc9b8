//! How every restore begins, of a whole database or of single tables: with a log of its steps, the lock,
//! the backup, and a connection to a database that has no part in it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::cut_short::CutShort;
use super::maintenance::connect_to_another;
use super::send_check;
use super::source::{RestoreSource, Source};
use crate::config::Connection;
use crate::jobs::record::{append, unrecorded};
use crate::jobs::run::Run;
use crate::jobs::{JobContext, JobError};
use crate::pipeline::StreamSummary;
use crate::pipeline::census::Dependencies;
use crate::postgres::{Client, Conninfo, ServerFacts, missing_label_providers, server_facts};
use crate::repository::{Event, Lock, Record, Repository, RestoreDetails, SideNames};

/// What it means when the ledger cannot be used.
pub(in crate::jobs) const NOTHING_RESTORED: &str = "nothing was restored because";

/// What is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jobs) enum Depth {
    /// Nothing is locked and nothing made, and no backup is read in full: problems are reported.
    Ask,
    /// The same, and a file that there is no manifest for is read in full.
    Look,
    /// The backup is read in full; problems are errors.
    Work,
}

/// What every restore is asked for, of a whole database or of single tables.
#[derive(Clone, Copy, Debug)]
pub struct RestoreOrder<'a> {
    /// What is restored.
    pub source: &'a RestoreSource,
    /// The server.
    pub connection: &'a Connection,
    /// The database whose lock is taken and in whose name it is on record.
    pub database: &'a str,
    /// The database that is restored, or restored into.
    pub into: &'a str,
    /// The directory whose lock is taken and whose `restore.log` is written.
    pub repository: &'a Repository,
    /// Newer backups that are passed over, one sentence each.
    pub passed_over: &'a [String],
    /// Whether statements of kinds that are not known are carried out.
    pub accept_unexpected: bool,
    /// Whether what cannot be restored is left out: then the backup is not read before, and what the server
    /// lacks for it is a warning.
    pub salvages: bool,
    /// How long it should take (P18).
    pub objective: Duration,
    /// How old a backup may be (P18).
    pub recovery_point: Duration,
}

/// What every restore begins with.
pub(in crate::jobs) struct RestoreStart {
    /// Keeps backups, clean-ups and other restores away; none for a look.
    pub(in crate::jobs) lock: Option<Lock>,
    /// Restores that were killed before.
    pub(in crate::jobs) cut_short: Vec<CutShort>,
    pub(in crate::jobs) source: Source,
    pub(in crate::jobs) client: Client,
    /// To the database that the client is connected to, which has no part in it.
    pub(in crate::jobs) maintenance: Conninfo,
    pub(in crate::jobs) server_facts: ServerFacts,
}

impl RestoreOrder<'_> {
    /// What brings back the rest of a backup that failed so, as the end of a failure's text; nothing where
    /// the backup is not to blame.
    pub(in crate::jobs) fn salvage_hint(&self, error: &JobError) -> String {
        let is_of_the_backup = match error {
            JobError::Damaged(_) | JobError::Refused(_) | JobError::NotLoaded { .. } => true,
            JobError::Failed { may_pass, .. } => !may_pass,
            _ => false,
        };
        if self.salvages || !is_of_the_backup {
            return String::new();
        }
        let command = self.source.salvage_command(self.database);
        format!("\nhint: `{command}` salvages what it holds")
    }
}

impl RestoreOrder<'_> {
    /// A record of the ledger, with what has been done up to now.
    fn record(&self, run: &Run<'_>, event: Event, side_names: Option<SideNames>) -> Record {
        let backup = match self.source {
            RestoreSource::Backup(_, stem) => stem.to_string(),
            RestoreSource::DumpFile { path, .. } => path.display().to_string(),
        };
        let details = RestoreDetails {
            backup: Some(backup),
            side_names,
            restoration: Some(Box::new(run.step_log.so_far())),
        };
        run.record(event, self.database, details)
    }

    /// Prepares a restore, with a log of every step; if that fails, it is in `restore.log`.
    pub(in crate::jobs) async fn on_record<T>(
        &self,
        run: &Run<'_>,
        preparing: impl Future<Output = Result<T, JobError>>,
    ) -> Result<T, JobError> {
        self.repository.create()?;
        run.step_log.update(|facts| {
            facts.recovery_point = Some(self.recovery_point.as_secs_f64());
            facts.recovery_time = Some(self.objective.as_secs_f64());
        });
        let prepared = preparing.await;
        run.step_log.pause();
        prepared.inspect_err(|error| {
            let mut end = self.record(run, Event::Failed, None);
            end.requested_by = Some(run.context.requester.clone());
            end.message = Some(error.to_string());
            // The failure itself is what the operator must hear of.
            let ledger = self.repository.restore_ledger();
            if let Err(unwritten) = ledger.append(&end) {
                let path = ledger.path().display();
                tracing::warn!("the failure could not be written to {path}: {unwritten}");
            }
        })
    }

    /// Puts on record that the restore has begun, and the names of its databases.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub(in crate::jobs) fn record_start(
        &self,
        run: &Run<'_>,
        side_names: Option<SideNames>,
    ) -> Result<(), JobError> {
        let mut start = self.record(run, Event::Started, side_names);
        start.requested_by = Some(run.context.requester.clone());
        let ledger = self.repository.restore_ledger();
        append(&ledger, &start, NOTHING_RESTORED)
    }

    /// Puts on record how the restore has ended, and after how long.
    pub(in crate::jobs) fn record_end(
        &self,
        run: &Run<'_>,
        took: Duration,
        outcome: Result<String, &JobError>,
    ) {
        let (event, message) = match outcome {
            Ok(message) => (Event::Succeeded, message),
            Err(error) => (error.event(), error.to_string()),
        };
        let mut end = self.record(run, event, None);
        end.seconds = Some(took.as_secs_f64());
        end.message = Some(message);
        let ledger = self.repository.restore_ledger();
        if let Err(unwritten) = ledger.append(&end) {
            tracing::warn!(
                "the end of the restore could not be written to {}: {unwritten}",
                ledger.path().display()
            );
        }
    }

    /// Takes the lock, opens the backup, and looks at what the server has.
    pub(in crate::jobs) async fn begin(
        &self,
        run: &Run<'_>,
        depth: Depth,
    ) -> Result<RestoreStart, JobError> {
        let (lock, cut_short) = match depth {
            Depth::Ask | Depth::Look => (None, Vec::new()),
            Depth::Work => {
                let (lock, found) = lock(run.context, self.repository, "restore")?;
                (Some(lock), found)
            }
        };
        let mut source = Source::open(run, self.source, self.salvages).await?;
        run.step_log.update(|facts| {
            facts.file = Some(source.path().display().to_string());
            facts.backup_started = source.started();
        });
        let connecting = connect_to_another(run.context, self.connection, self.into);
        let client = run.wait_for(connecting).await??;
        let maintenance = client.conninfo().clone();
        run.step_log
            .update(|facts| facts.server = Some(maintenance.server()));
        let server_facts = run.wait_for(server_facts(&client)).await??;
        source.is_for(server_facts.major);
        Ok(RestoreStart {
            lock,
            cut_short,
            source,
            client,
            maintenance,
            server_facts,
        })
    }

    /// Reads the backup in full, and judges what of it is sent to a server of this major version; gives what
    /// the operator should know of that.
    ///
    /// # Errors
    /// When it cannot be read, or is not to be restored.
    pub(in crate::jobs) async fn read_in_full(
        &self,
        run: &Run<'_>,
        source: &Source,
        server_major: u32,
    ) -> Result<(StreamSummary, Option<String>), JobError> {
        run.step(&format!("reading {} in full", source.label));
        let reading = async {
            let stream_summary = source.read(run, self.source, server_major).await?;
            let findings = &stream_summary.findings;
            let unexpected = send_check::judge_findings(source, findings, self.accept_unexpected)?;
            Ok((stream_summary, unexpected))
        };
        reading.await.map_err(|error| {
            let hint = self.salvage_hint(&error);
            match error {
                JobError::Damaged(text) => JobError::Damaged(text + &hint),
                JobError::Refused(text) => JobError::Refused(text + &hint),
                error => error,
            }
        })
    }
}

/// Takes the lock that keeps backups, clean-ups and other restores of the database away, and closes
/// what `restore.log` has of restores that were killed: whoever holds the lock knows that they are
/// over. Gives these, too.
pub(in crate::jobs) fn lock(
    context: &JobContext,
    repository: &Repository,
    operation: &str,
) -> Result<(Lock, Vec<CutShort>), JobError> {
    let lock = repository.lock(&context.holder(operation))?;
    let found = close_open_runs(context, repository)?;
    Ok((lock, found.into_iter().map(|(_, cut)| cut).collect()))
}

/// Closes what `restore.log` has of restores that were killed, for whoever holds the lock. Gives
/// their ends as they are on record now, and what there is to know of them.
pub(in crate::jobs) fn close_open_runs(
    context: &JobContext,
    repository: &Repository,
) -> Result<Vec<(Record, CutShort)>, JobError> {
    let ledger = repository.restore_ledger();
    let to_error = |source| unrecorded(&ledger, "nothing was done because")(source);
    let mut closed = Vec::new();
    for open in ledger.open_runs().map_err(to_error)? {
        let Some(cut) = CutShort::of(&open) else {
            continue;
        };
        let found = "the process ended before the restore did; found later";
        let end = open.closed(context.now(), Event::Interrupted, found);
        ledger.append(&end).map_err(to_error)?;
        closed.push((end, cut));
    }
    Ok(closed)
}

/// The providers of labels, of a dump or of these, that the server has not loaded.
pub(in crate::jobs) async fn missing_providers(
    run: &Run<'_>,
    server: &Conninfo,
    dependencies: Option<&Dependencies>,
    mut others: BTreeSet<String>,
) -> Result<Vec<String>, JobError> {
    let of_dump = dependencies
        .iter()
        .flat_map(|dependencies| &dependencies.label_providers);
    others.extend(of_dump.map(|name| String::from_utf8_lossy(name).into_owned()));
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let client = run.connect(server).await?;
    let asking = missing_label_providers(&client, &others, run.connect_limit());
    Ok(run.wait_for(asking).await??)
}
