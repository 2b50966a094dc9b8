//! How every restore begins, of a whole database or of single tables: with an account of it, the lock,
//! the backup, and a connection to a database that has no part in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::account::Account;
use super::cut_short::CutShort;
use super::maintenance::connect_beside;
use super::source::Source;
use super::{RestoreSource, Tell, close_open_runs};
use crate::config::Connection;
use crate::jobs::limit::Limit;
use crate::jobs::{JobContext, JobError};
use crate::pipeline::Progress;
use crate::pipeline::census::Needs;
use crate::postgres::{Client, Conninfo, Premises, missing_label_providers, premises};
use crate::repository::{BesideNames, Event, Holder, Lock, Record, Repository, RestoreDetails};

/// What is prepared for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jobs) enum Depth {
    /// Nothing is locked and nothing made, and no backup is read in full: problems are told.
    Ask,
    /// The same, and a file that no manifest speaks for is read in full.
    Look,
    /// The backup is read in full; problems are errors.
    Work,
}

/// What every restore is asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::jobs) struct Asked<'a> {
    /// The run's identity, in the ledger and the log.
    pub(in crate::jobs) run: Uuid,
    /// What is restored.
    pub(in crate::jobs) source: &'a RestoreSource,
    /// The server.
    pub(in crate::jobs) connection: &'a Connection,
    /// The database whose lock is taken and in whose name it is on record.
    pub(in crate::jobs) database: &'a str,
    /// The database that is restored into.
    pub(in crate::jobs) into: &'a str,
    /// The directory whose lock is taken and whose `restore.log` is written.
    pub(in crate::jobs) repository: &'a Repository,
    /// How long it should take (P18).
    pub(in crate::jobs) objective: Duration,
    /// How old a backup may be (P18).
    pub(in crate::jobs) recovery_point: Duration,
}

/// What every restore begins with.
pub(in crate::jobs) struct Beginning {
    /// Keeps backups, clean-ups and other restores away; none for a look.
    pub(in crate::jobs) lock: Option<Lock>,
    /// Restores that were killed before.
    pub(in crate::jobs) cut_short: Vec<CutShort>,
    pub(in crate::jobs) source: Source,
    pub(in crate::jobs) client: Client,
    /// To the database that the client is connected to, which has no part in it.
    pub(in crate::jobs) maintenance: Conninfo,
    pub(in crate::jobs) premises: Premises,
}

impl Asked<'_> {
    /// A record of the ledger, with what has been done up to now.
    pub(in crate::jobs) fn record(
        &self,
        context: &JobContext,
        event: Event,
        account: &Account,
        beside: Option<BesideNames>,
    ) -> Record {
        let backup = match self.source {
            RestoreSource::Backup(_, stem) => stem.to_string(),
            RestoreSource::Bare(path) => path.display().to_string(),
        };
        let details = RestoreDetails {
            backup: Some(backup),
            beside,
            restoration: Some(Box::new(account.so_far())),
        };
        context.record(self.run, event, self.database, details)
    }

    /// Prepares a restore, with an account of every step; if that fails, it is in `restore.log`.
    pub(in crate::jobs) async fn on_record<T>(
        &self,
        context: &JobContext,
        tell: Tell<'_>,
        prepare: impl AsyncFnOnce(&Arc<Account>, Tell<'_>) -> Result<T, JobError>,
    ) -> Result<T, JobError> {
        self.repository.create()?;
        let account = Arc::new(Account::default());
        account.note(|facts| {
            facts.recovery_point = Some(self.recovery_point.as_secs_f64());
            facts.recovery_time = Some(self.objective.as_secs_f64());
        });
        let say = |step: &str| {
            account.begin(context.now(), step);
            tell(step);
        };
        let prepared = prepare(&account, &say).await;
        account.pause();
        prepared.inspect_err(|error| {
            let mut end = self.record(context, Event::Failed, &account, None);
            end.requested_by = Some(context.requester.clone());
            end.message = Some(error.to_string());
            // The failure itself is what the operator must hear of.
            if let Err(unwritten) = self.repository.restore_ledger().append(&end) {
                tracing::warn!("the failure could not be written to restore.log: {unwritten}");
            }
        })
    }

    /// Takes the lock, opens the backup, and looks at what the server has.
    pub(in crate::jobs) async fn begin(
        &self,
        context: &JobContext,
        depth: Depth,
        account: &Account,
        limit: &Limit,
        progress: &Arc<Progress>,
    ) -> Result<Beginning, JobError> {
        let (lock, cut_short) = match depth {
            Depth::Ask | Depth::Look => (None, Vec::new()),
            Depth::Work => {
                let (lock, found) = lock(context, self.repository, "restore")?;
                (Some(lock), found)
            }
        };
        let source = Source::open(self.source, limit, progress).await?;
        account.note(|facts| {
            facts.file = Some(source.path.display().to_string());
            facts.backup_started = source.started();
        });
        let connecting = connect_beside(context, self.connection, self.into);
        let client = limit.wait_for(connecting).await??;
        let maintenance = client.conninfo().clone();
        account.note(|facts| facts.server = Some(maintenance.server()));
        let premises = limit.wait_for(premises(&client)).await??;
        Ok(Beginning {
            lock,
            cut_short,
            source,
            client,
            maintenance,
            premises,
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
    let lock = repository.lock(&Holder {
        operation: operation.to_owned(),
        since: context.now(),
        requested_by: context.requester.clone(),
    })?;
    let found = close_open_runs(context, repository)?;
    Ok((lock, found.into_iter().map(|(_, cut)| cut).collect()))
}

/// The providers of labels, of a dump or of these, that the server has not loaded.
pub(in crate::jobs) async fn missing_providers(
    context: &JobContext,
    server: &Conninfo,
    needs: Option<&Needs>,
    mut others: BTreeSet<String>,
    limit: &Limit,
) -> Result<Vec<String>, JobError> {
    let of_dump = needs.iter().flat_map(|needs| &needs.label_providers);
    others.extend(of_dump.map(|name| String::from_utf8_lossy(name).into_owned()));
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let connect = context.limits.connect;
    let asking = async {
        let client = Client::connect(server, connect).await?;
        Ok::<_, JobError>(missing_label_providers(&client, &others, connect).await?)
    };
    limit.wait_for(asking).await?
}
