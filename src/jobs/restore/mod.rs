//! Bringing a database back from a backup (P10, P11): it is loaded beside the one that stands,
//! compared with what was backed up, and only then given its name. Whatever fails before that moment
//! leaves the database serving that was there.

pub(super) mod account;
mod application;
pub(super) mod begin;
pub(super) mod beside;
mod choose;
mod content;
pub(super) mod cut_short;
pub(super) mod ground;
mod maintenance;
mod name;
pub(super) mod preflight;
mod rights;
mod roles;
pub(super) mod sendable;
pub(super) mod source;
pub(super) mod steps;
pub(super) mod swap;
mod undo;
mod work;

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::limit::Limit;
use super::{JobContext, JobError};
use crate::config::{Connection, RestoreSettings};
use crate::jobs::record::unrecorded;
use crate::pipeline::census::Census;
use crate::pipeline::{Passage, Progress};
use crate::postgres::{
    Attached, Client, Conninfo, DatabaseProperties, Premises, Standing, attached, locales,
    missing_locales,
};
use crate::repository::{Content, Event, Lock, Manifest, Record, Replaced, Repository};
use account::Account;
use begin::{Asked, Beginning, Depth, missing_providers};
use beside::Names;
use ground::{forecast, free};
use preflight::Wanted;
use sendable::Stamp;
use source::Source;

pub use choose::{Candidate, Criteria, PassedOver, choose, passed_over};
pub use cut_short::CutShort;
pub use sendable::about_functions;
pub use source::RestoreSource;
pub use steps::{LastDrill, Outlook, PlannedStep};
pub use undo::{PreparedUndo, UndoReport, prepare_undo, undo};
pub use work::{RestoreReport, restore};

/// Tells what is done now, one phrase a step.
pub type Tell<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// A restore that is asked for.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option that may be given or not"
)]
pub struct RestoreRequest<'a> {
    /// The run's identity, in the ledger and the log.
    pub run: Uuid,
    /// What is restored.
    pub source: &'a RestoreSource,
    /// The server.
    pub connection: &'a Connection,
    /// The name that the restored database gets.
    pub database: &'a str,
    /// Whether it takes the place of the database that bears the name; else none may bear it.
    pub replace: bool,
    /// The directory whose lock is taken and whose `restore.log` is written.
    pub repository: &'a Repository,
    /// Newer backups that are passed over, one sentence each.
    pub passed_over: &'a [String],
    /// Whether roles that the server has are made as they were.
    pub overwrite_roles: bool,
    /// Whether the database that was replaced is dropped in the end.
    pub drop_old: bool,
    /// Whether statements of kinds that are not known are carried out.
    pub accept_unexpected: bool,
    /// Connections that load at the same time.
    pub jobs: NonZeroU8,
    /// What surrounds it.
    pub settings: &'a RestoreSettings,
    /// How long it should take (P18).
    pub objective: Duration,
    /// How old a backup may be (P18).
    pub recovery_point: Duration,
}

/// A restore for which everything is there, and nothing is touched yet. Holds the database's lock.
pub struct Prepared {
    /// What can be told of it.
    pub plan: RestorePlan,
    _lock: Option<Lock>,
    source: Source,
    passage: Option<Passage>,
    /// Of its files, from before they were read.
    stamp: Option<Stamp>,
    premises: Premises,
    /// To a database that is not the one that is replaced.
    maintenance: Conninfo,
    /// What the new database is made like, if anything is known.
    like: Option<DatabaseProperties>,
    account: Arc<Account>,
}

/// What a restore is going to do.
#[derive(Clone, Debug)]
pub struct RestorePlan {
    /// The backup's name, or the file's path.
    pub backup: String,
    /// When its contents were those of the database, if that is recorded.
    pub started: Option<DateTime<FixedOffset>>,
    /// Rows in it, if that is known.
    pub rows: Option<u64>,
    /// The server, as host and port.
    pub server: String,
    /// The database that is restored.
    pub database: String,
    /// The role that loads it.
    pub user: String,
    /// What bears its name now.
    pub replaces: Option<Standing>,
    /// Under which name it is loaded.
    pub loads_into: String,
    /// What the database is called in which definitions are loaded once more, should any be written
    /// differently; it is dropped before the end.
    pub compares_with: String,
    /// The name that the database that stands now will get.
    pub keeps_as: Option<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Says what a restore would do, and what keeps it from being done, without a lock. A backup is not read
/// in full for it; a file without a manifest is, since nothing else speaks for it.
///
/// # Errors
/// When the backup's manifest or the server cannot be asked.
pub async fn look(
    context: &JobContext,
    request: &RestoreRequest<'_>,
    cancel: &CancellationToken,
) -> Result<Outlook, JobError> {
    let limit = Limit::new(cancel.clone(), "total", context.limits.total);
    let progress = Arc::new(Progress::default());
    let account = Arc::default();
    let looking = (Depth::Look, &account);
    let looking = prepare_to(context, request, looking, &limit, &|_| (), &progress);
    let (prepared, problems) = Box::pin(looking).await?;
    let Prepared {
        plan,
        source,
        premises,
        ..
    } = prepared;
    Ok(Outlook {
        steps: steps::plan(request, &source, &plan, &premises),
        last_drill: LastDrill::newest(&request.asked())?,
        bytes: source.manifest.as_ref().map(Manifest::bytes),
        backup: plan.backup,
        database: plan.database,
        server: plan.server,
        problems,
        warnings: plan.warnings,
    })
}

/// What a restore would do, for whoever is asked before it is begun.
#[derive(Clone, Debug)]
pub struct Ahead {
    /// What it is going to do.
    pub plan: RestorePlan,
    /// Bytes that will be read of the backup before anything is done, if that is known.
    pub bytes: Option<u64>,
    /// What keeps it from being restored.
    pub problems: Vec<String>,
}

/// Looks at what a restore would replace, without reading the backup in full and without a lock.
///
/// # Errors
/// When the backup's manifest or the server cannot be asked.
pub async fn look_ahead(
    context: &JobContext,
    request: &RestoreRequest<'_>,
    cancel: &CancellationToken,
) -> Result<Ahead, JobError> {
    let limit = Limit::new(cancel.clone(), "total", context.limits.total);
    let progress = Arc::new(Progress::default());
    let account = Arc::default();
    let looking = (Depth::Ask, &account);
    let looking = prepare_to(context, request, looking, &limit, &|_| (), &progress);
    let (prepared, problems) = Box::pin(looking).await?;
    let of_file = || {
        let metadata = prepared.source.path.metadata().ok()?;
        metadata.is_file().then_some(metadata.len())
    };
    let manifest = prepared.source.manifest.as_ref();
    Ok(Ahead {
        bytes: manifest.map(Manifest::bytes).or_else(of_file),
        plan: prepared.plan,
        problems,
    })
}

/// Takes the lock, reads the backup in full, and looks whether the server has all that it needs.
/// Nothing is changed.
///
/// # Errors
/// When the backup is damaged, or something is missing: all of it is named. That is in
/// `restore.log` then.
pub async fn prepare(
    context: &JobContext,
    request: &RestoreRequest<'_>,
    tell: Tell<'_>,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<Prepared, JobError> {
    let limit = Limit::new(cancel.clone(), "total", context.limits.total);
    let prepared = request
        .asked()
        .on_record(context, tell, async |account, tell| {
            let working = (Depth::Work, account);
            let preparing = prepare_to(context, request, working, &limit, tell, progress);
            match Box::pin(preparing).await? {
                (prepared, problems) if problems.is_empty() => Ok(prepared),
                (_, problems) => Err(JobError::failed(problems.join("\n"))),
            }
        })
        .await;
    prepared.map_err(|error| JobError::Restore {
        standing: "nothing was restored".to_owned(),
        source: Box::new(error),
        left: String::new(),
    })
}

impl<'a> RestoreRequest<'a> {
    fn asked(&self) -> Asked<'a> {
        Asked {
            run: self.run,
            source: self.source,
            connection: self.connection,
            database: self.database,
            into: self.database,
            repository: self.repository,
            objective: self.objective,
            recovery_point: self.recovery_point,
        }
    }
}

/// Closes what `restore.log` has of restores that were killed, for whoever holds the lock. Gives
/// their ends as they are on record now, and what there is to know of them.
pub(super) fn close_open_runs(
    context: &JobContext,
    repository: &Repository,
) -> Result<Vec<(Record, CutShort)>, JobError> {
    let ledger = repository.restore_ledger();
    let told = |source| unrecorded(&ledger, "nothing was done because")(source);
    let mut closed = Vec::new();
    for open in ledger.open_runs().map_err(told)? {
        let Some(cut) = CutShort::of(&open) else {
            continue;
        };
        let found = "the process ended before the restore did; found later";
        let end = open.closed(context.now(), Event::Interrupted, found);
        ledger.append(&end).map_err(told)?;
        closed.push((end, cut));
    }
    Ok(closed)
}

fn replaced(standing: &Standing) -> Replaced {
    Replaced {
        bytes: standing.size_bytes,
        sessions: standing.sessions,
    }
}

/// What is attached to the database, and the locales of the backup that the server lacks.
async fn ties_and_lacks(
    client: &Client,
    database: &str,
    source: &Source,
) -> Result<(Attached, Vec<String>), JobError> {
    let locales = source.properties().map_or_else(Vec::new, locales);
    let attached = attached(client, database).await?;
    Ok((attached, missing_locales(client, &locales).await?))
}

async fn prepare_to(
    context: &JobContext,
    request: &RestoreRequest<'_>,
    (depth, account): (Depth, &Arc<Account>),
    limit: &Limit,
    tell: Tell<'_>,
    progress: &Arc<Progress>,
) -> Result<(Prepared, Vec<String>), JobError> {
    let asked = request.asked();
    let Beginning {
        lock,
        cut_short,
        source,
        client,
        maintenance,
        premises,
    } = asked
        .begin(context, depth, account, limit, progress)
        .await?;
    let looking = ties_and_lacks(&client, request.database, &source);
    let (attached, missing_locales) = limit.wait_for(looking).await??;
    drop(client);

    // Where there is nothing, reading it says so.
    let stamp = Stamp::of(&source.path).ok();
    let mut warnings = known_before(request, account, &cut_short, &premises);
    let reading = read_in_full(
        context,
        request,
        (depth, account),
        (&source, premises.major),
        limit,
        tell,
        progress,
    );
    let (passage, remarks) = reading.await?;
    warnings.extend(remarks);

    let standing = premises.databases.get(request.database).cloned();
    let replaces = standing.filter(|_| request.replace);
    account.note(|facts| facts.replaces = replaces.as_ref().map(replaced));
    let standing = replaces
        .is_some()
        .then(|| maintenance.to_database(request.database));
    let (like, remark) = what_it_is_like(context, &source, &premises, standing, limit).await?;
    warnings.extend(remark);
    let brought: BTreeSet<String> = roles::recorded(&source.globals);
    let needs = passage.as_ref().map(|passage| &passage.needs);
    let overwrites_roles = request.overwrite_roles;
    let roles_to_restore = roles::to_restore(&source.globals, &premises.roles, overwrites_roles);
    let labelled = label_providers(&roles_to_restore, like.as_ref());
    let missing_providers =
        missing_providers(context, &maintenance, needs, labelled, limit).await?;
    let tablespace = like.as_ref().and_then(|like| like.tablespace.as_deref());
    let judgement = preflight::judge(
        &premises,
        &Wanted {
            name: request.database,
            may_replace: request.replace,
            drops_old: request.drop_old,
            properties: like.as_ref(),
            source_major: source.manifest.as_ref().map(|one| one.server.major()),
            roles: &brought,
            roles_to_restore: &roles_to_restore,
            overwrites_roles,
            needs,
            attached: &attached,
            missing_locales: &missing_locales,
            missing_providers: &missing_providers,
            forecast: forecast(source.properties(), passage.as_ref()),
            free: free(&maintenance, &premises, tablespace),
        },
    );
    warnings.extend(judgement.warnings);
    account.note(|facts| facts.warnings.clone_from(&warnings));
    let names = Names::free(request.database, context.now(), &premises.databases);
    let plan = RestorePlan {
        backup: source.label.clone(),
        started: source.started(),
        rows: passage
            .as_ref()
            .map(|passage| passage.census.summary().rows)
            .or(source.manifest.as_ref().map(|one| one.census.summary.rows)),
        server: maintenance.server(),
        database: request.database.to_owned(),
        user: premises.user.clone(),
        compares_with: names.compares_with,
        loads_into: names.loads_into,
        keeps_as: replaces.as_ref().map(|_| names.keeps_as),
        replaces,
        warnings,
    };
    let prepared = Prepared {
        plan,
        _lock: lock,
        source,
        passage,
        stamp,
        premises,
        maintenance,
        like,
        account: Arc::clone(account),
    };
    Ok((prepared, judgement.problems))
}

/// Reads a backup in full where that is wanted, and judges what of it is sent; gives what there is to say
/// of it.
///
/// # Errors
/// When it cannot be read, or is not to be restored.
async fn read_in_full(
    context: &JobContext,
    request: &RestoreRequest<'_>,
    (depth, account): (Depth, &Account),
    (source, major): (&Source, u32),
    limit: &Limit,
    tell: Tell<'_>,
    progress: &Arc<Progress>,
) -> Result<(Option<Passage>, Vec<String>), JobError> {
    let is_read = match depth {
        Depth::Ask => false,
        Depth::Look => source.manifest.is_none(),
        Depth::Work => true,
    };
    if !is_read {
        return Ok((None, Vec::new()));
    }
    tell(&format!("reading {} in full", source.label));
    let passage = source
        .read(context, request.source, major, limit, progress)
        .await?;
    let unexpected = sendable::judge(source, &passage.findings, request.accept_unexpected)?;
    let of_the_plan = (depth == Depth::Look).then(|| read_for_the_plan(source));
    account.note(|facts| facts.expected = Some(content(&passage.census)));
    let remarks = unexpected.into_iter().chain(of_the_plan).collect();
    Ok((Some(passage), remarks))
}

/// What is said of a file that was read in full although nothing is done.
pub(in crate::jobs) fn read_for_the_plan(source: &Source) -> String {
    format!(
        "{} was read in full for this plan, since no manifest speaks for it; it holds nothing that a \
         restore does not send",
        source.label
    )
}

/// What the operator should know before anything is read: newer backups, and restores that were killed.
fn known_before(
    request: &RestoreRequest<'_>,
    account: &Account,
    cut_short: &[CutShort],
    premises: &Premises,
) -> Vec<String> {
    let mut warnings = request.passed_over.to_vec();
    let start = request.settings.start.as_deref();
    let (database, standing) = (request.database, &premises.databases);
    warnings.extend(cut_short::sentences(cut_short, database, standing, start));
    // Whatever fails from here on, the report has them.
    account.note(|facts| facts.warnings.clone_from(&warnings));
    warnings
}

/// What the new database is made like, if anything is known, and what to say of that. The database
/// that stands speaks where no manifest does.
async fn what_it_is_like(
    context: &JobContext,
    source: &Source,
    premises: &Premises,
    standing: Option<Conninfo>,
    limit: &Limit,
) -> Result<(Option<DatabaseProperties>, Option<String>), JobError> {
    if let Some(properties) = source.properties() {
        return Ok((Some(properties.clone()), None));
    }
    let Some(conninfo) = standing else {
        let remark = format!(
            "no manifest speaks for {}: the database gets the server's own encoding and locale, \
             belongs to user {}, and no role is restored",
            source.label, premises.user
        );
        return Ok((None, Some(remark)));
    };
    let asked = async {
        let client = Client::connect(&conninfo, context.limits.connect).await?;
        Ok::<_, JobError>(crate::postgres::database_properties(&client).await?)
    };
    let remark = format!(
        "no manifest speaks for {}: owner, encoding, locale, privileges and settings are taken \
         from the database that stands, and no role is restored",
        source.label
    );
    Ok((Some(limit.wait_for(asked).await??), Some(remark)))
}

/// The providers of the labels that roles and the database itself bear.
fn label_providers(
    roles: &roles::RolesToRestore,
    like: Option<&DatabaseProperties>,
) -> BTreeSet<String> {
    let mut providers = roles.label_providers();
    let labels = like.iter().flat_map(|like| &like.labels);
    providers.extend(labels.map(|one| one.provider.clone()));
    providers
}

/// How much a census has counted.
fn content(census: &Census) -> Content {
    let summary = census.summary();
    Content {
        rows: summary.rows,
        tables: summary.tables,
    }
}
