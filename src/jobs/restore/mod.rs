//! Bringing a database back from a backup (P10, P11): it is loaded next to the existing one,
//! compared with what was backed up, and only then given its name. Whatever fails before that moment
//! leaves the database serving that was there.

pub(super) mod application;
pub(super) mod begin;
mod content;
pub(super) mod create_target;
pub(super) mod cut_short;
mod dump_file;
mod left_out;
pub(super) mod maintenance;
mod name;
pub(super) mod preflight;
mod rights;
mod roles;
pub(super) mod send_check;
pub(super) mod side_names;
pub(super) mod source;
pub(super) mod steps;
pub(super) mod swap;
mod undo;
pub(super) mod work;

use std::collections::BTreeSet;
use std::num::NonZeroU8;

use chrono::{DateTime, FixedOffset};

use super::JobError;
use super::run::Run;
use crate::config::RestoreSettings;
use crate::pipeline::StreamSummary;
use crate::pipeline::census::Census;
use crate::postgres::{
    Client, Conninfo, DatabaseProperties, Dependents, ServerFacts, Standing, dependents, locales,
    missing_locales,
};
use crate::repository::{Content, Lock, Manifest, Replaced};
use begin::{Depth, RestoreStart, missing_providers};
use create_target::{forecast, free};
use preflight::{Judgement, Wanted};
use send_check::Stamp;
use side_names::Names;
use source::{Source, like_what, read_for_the_plan};

pub use begin::RestoreOrder;
pub(super) use begin::close_open_runs;
pub use cut_short::CutShort;
pub use send_check::about_functions;
pub use source::RestoreSource;
pub use steps::{LastDrill, PlannedStep, Preview};
pub use undo::{PreparedUndo, UndoReport, UndoRequest, prepare_undo, undo};
pub use work::{RestoreReport, Shown, restore};

/// A restore that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct RestoreRequest<'a> {
    /// What every restore is asked for.
    pub order: RestoreOrder<'a>,
    /// Whether it takes the place of the database that bears the name; else none may bear it.
    pub replace: bool,
    /// Whether roles that the server has are made as they were.
    pub overwrite_roles: bool,
    /// Whether the database that was replaced is dropped in the end.
    pub drop_old: bool,
    /// Connections that load at the same time.
    pub jobs: NonZeroU8,
    /// What surrounds it.
    pub settings: &'a RestoreSettings,
}

/// A restore for which everything is there, and nothing is touched yet. Holds the database's lock.
pub struct Prepared {
    /// What can be reported of it.
    pub plan: RestorePlan,
    _lock: Option<Lock>,
    pub(super) source: Source,
    stream_summary: Option<StreamSummary>,
    /// Of its files, from before they were read.
    stamp: Option<Stamp>,
    pub(super) server_facts: ServerFacts,
    /// To a database that is not the one that is replaced.
    maintenance: Conninfo,
    /// What the new database is made like, if anything is known.
    pub(super) like: Option<DatabaseProperties>,
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
pub async fn look(run: &Run<'_>, request: &RestoreRequest<'_>) -> Result<Preview, JobError> {
    let (prepared, problems) = Preparation::look(run, request, Depth::Look).await?;
    let Prepared {
        plan,
        source,
        server_facts,
        ..
    } = prepared;
    Ok(Preview {
        steps: steps::plan(request, &source, &plan, &server_facts),
        last_drill: LastDrill::newest(&request.order)?,
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
pub async fn look_ahead(run: &Run<'_>, request: &RestoreRequest<'_>) -> Result<Ahead, JobError> {
    let (prepared, problems) = Preparation::look(run, request, Depth::Ask).await?;
    let of_file = || {
        let metadata = prepared.source.path().metadata().ok()?;
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
/// Nothing is changed. For a salvage the backup is not read.
///
/// # Errors
/// When the backup is damaged, or something is missing: all of it is named. That is in
/// `restore.log` then.
pub async fn prepare(run: &Run<'_>, request: &RestoreRequest<'_>) -> Result<Prepared, JobError> {
    let preparation = Preparation {
        run: run.renewed(),
        request,
        depth: Depth::Work,
    };
    let preparing = async {
        match Box::pin(preparation.carry_out()).await? {
            (prepared, problems) if problems.is_empty() => Ok(prepared),
            (_, problems) => Err(JobError::failed(problems.join("\n"))),
        }
    };
    let prepared = request.order.on_record(run, preparing).await;
    prepared.map_err(|error| JobError::Restore {
        standing: "nothing was restored".to_owned(),
        source: Box::new(error),
        left: String::new(),
    })
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
) -> Result<Lookup, JobError> {
    let locales = source.properties().map_or_else(Vec::new, locales);
    Ok(Lookup {
        dependents: dependents(client, database).await?,
        missing_locales: missing_locales(client, &locales).await?,
    })
}

/// A restore that is prepared, or looked at.
struct Preparation<'a> {
    run: Run<'a>,
    request: &'a RestoreRequest<'a>,
    depth: Depth,
}

/// What the server has and lacks, beyond what is always asked.
struct Lookup {
    dependents: Dependents,
    missing_locales: Vec<String>,
}

impl Preparation<'_> {
    /// Looks what a restore would do, and what keeps it from being done.
    async fn look(
        run: &Run<'_>,
        request: &RestoreRequest<'_>,
        depth: Depth,
    ) -> Result<(Prepared, Vec<String>), JobError> {
        let preparation = Preparation {
            run: run.for_a_look(),
            request,
            depth,
        };
        Box::pin(preparation.carry_out()).await
    }

    /// Gives what keeps it from being done as well.
    async fn carry_out(&self) -> Result<(Prepared, Vec<String>), JobError> {
        let (run, request) = (&self.run, self.request);
        let database = request.order.database;
        let RestoreStart {
            lock,
            cut_short,
            source,
            client,
            maintenance,
            server_facts,
        } = request.order.begin(run, self.depth).await?;
        let looking = ties_and_lacks(&client, database, &source);
        let lookup = run.wait_for(looking).await??;
        drop(client);

        let replaces = self.replaces(&server_facts);
        let standing = replaces.as_ref().map(|_| maintenance.to_database(database));
        let like = source.properties_or_of(run, standing.as_ref()).await?;
        let names = Names::free(database, run.now(), &server_facts.databases);
        let plan = RestorePlan {
            backup: source.label.clone(),
            started: source.started(),
            rows: source.manifest.as_ref().map(|one| one.census.summary.rows),
            server: maintenance.server(),
            database: database.to_owned(),
            user: server_facts.user.clone(),
            compares_with: names.compares_with,
            loads_into: names.loads_into,
            keeps_as: replaces.as_ref().map(|_| names.keeps_as),
            replaces,
            warnings: self.known_before(&cut_short, &server_facts),
        };
        let mut prepared = Prepared {
            plan,
            _lock: lock,
            // Where there is nothing, reading it says so.
            stamp: Stamp::of(source.path()).ok(),
            source,
            stream_summary: None,
            server_facts,
            maintenance,
            like,
        };
        let judgement = self.read_and_judge(&mut prepared, &lookup).await?;
        if request.order.salvages {
            prepared.leave_out(&lookup);
        }
        let Prepared {
            plan: RestorePlan { warnings, .. },
            source,
            server_facts,
            like,
            ..
        } = &mut prepared;
        warnings.extend(source.remarks.iter().cloned());
        warnings.extend(like_what(source, server_facts, like.is_some()));
        warnings.extend(left_out::not_in_the_backup(source.manifest.as_ref()));
        warnings.extend(judgement.warnings);
        run.step_log
            .update(|facts| facts.warnings.clone_from(warnings));
        Ok((prepared, judgement.problems))
    }

    /// The database that it takes the place of, if it does.
    fn replaces(&self, server_facts: &ServerFacts) -> Option<Standing> {
        let standing = server_facts.databases.get(self.request.order.database);
        let replaces = standing.filter(|_| self.request.replace);
        self.run
            .step_log
            .update(|facts| facts.replaces = replaces.map(replaced));
        replaces.cloned()
    }

    /// Reads the backup in full where that is wanted, and judges whether the server has all that is needed.
    async fn read_and_judge(
        &self,
        prepared: &mut Prepared,
        lookup: &Lookup,
    ) -> Result<Judgement, JobError> {
        let server_facts = &prepared.server_facts;
        let database = self.request.order.database;
        let stands = server_facts.databases.contains_key(database);
        // Knowing more changes nothing of it, and reading a backup may take hours. What only lacks
        // something is named with all else that it lacks.
        let is_hopeless = server_facts.in_recovery || stands && !self.request.replace;
        if self.depth != Depth::Work || !is_hopeless {
            self.read_in_full(prepared).await?;
        }
        self.judge_prepared(prepared, lookup).await
    }

    /// Judges whether the server has all that is needed, as far as is known.
    async fn judge_prepared(
        &self,
        prepared: &Prepared,
        lookup: &Lookup,
    ) -> Result<Judgement, JobError> {
        let Prepared {
            source,
            stream_summary,
            server_facts,
            maintenance,
            ..
        } = prepared;
        let like = prepared.like.as_ref();
        let brought: BTreeSet<String> = roles::recorded(&source.globals);
        let dependencies = stream_summary
            .as_ref()
            .map(|stream_summary| &stream_summary.dependencies);
        let overwrites_roles = self.request.overwrite_roles;
        let roles_to_restore =
            roles::to_restore(&source.globals, &server_facts.roles, overwrites_roles);
        let labelled = label_providers(&roles_to_restore, like);
        let missing_providers =
            missing_providers(&self.run, maintenance, dependencies, labelled).await?;
        let tablespace = like.and_then(|like| like.tablespace.as_deref());
        let wanted = Wanted {
            name: self.request.order.database,
            may_replace: self.request.replace,
            drops_old: self.request.drop_old,
            properties: like,
            source_major: source.manifest.as_ref().map(|one| one.server.major()),
            roles: &brought,
            roles_to_restore: &roles_to_restore,
            overwrites_roles,
            dependencies,
            dependents: &lookup.dependents,
            missing_locales: &lookup.missing_locales,
            missing_providers: &missing_providers,
            forecast: forecast(source.properties(), stream_summary.as_ref()),
            free: free(maintenance, server_facts, tablespace),
        };
        Ok(if self.request.order.salvages {
            preflight::judge_salvage(server_facts, &wanted)
        } else {
            preflight::judge_restore(server_facts, &wanted)
        })
    }

    /// Reads a backup in full where that is wanted, and judges what of it is sent.
    ///
    /// # Errors
    /// When it cannot be read, or is not to be restored.
    async fn read_in_full(&self, prepared: &mut Prepared) -> Result<(), JobError> {
        let source = &prepared.source;
        let is_read = match self.depth {
            _ if self.request.order.salvages => false,
            Depth::Ask => false,
            Depth::Look => source.manifest.is_none(),
            Depth::Work => true,
        };
        if !is_read {
            return Ok(());
        }
        let (order, server_major) = (&self.request.order, prepared.server_facts.major);
        let (stream_summary, unexpected) =
            order.read_in_full(&self.run, source, server_major).await?;
        let of_the_plan = (self.depth == Depth::Look).then(|| read_for_the_plan(source));
        let expected = content(&stream_summary.census);
        self.run
            .step_log
            .update(|facts| facts.expected = Some(expected));
        let standing = &prepared.server_facts.databases;
        // The names are of the time at which it begins, and reading may have taken hours.
        let names = Names::free(order.database, self.run.now(), standing);
        let plan = &mut prepared.plan;
        plan.compares_with = names.compares_with;
        plan.loads_into = names.loads_into;
        plan.keeps_as = plan.keeps_as.take().map(|_| names.keeps_as);
        plan.rows = Some(stream_summary.census.summary().rows);
        plan.warnings
            .extend(unexpected.into_iter().chain(of_the_plan));
        prepared.stream_summary = Some(stream_summary);
        Ok(())
    }

    /// What the operator should know before anything is read: newer backups, and restores that were killed.
    fn known_before(&self, cut_short: &[CutShort], server_facts: &ServerFacts) -> Vec<String> {
        let order = &self.request.order;
        let mut warnings = order.passed_over.to_vec();
        let start = self.request.settings.start.as_deref();
        let (database, standing) = (order.database, &server_facts.databases);
        warnings.extend(cut_short::sentences(cut_short, database, standing, start));
        // Whatever fails from here on, the report has them.
        self.run
            .step_log
            .update(|facts| facts.warnings.clone_from(&warnings));
        warnings
    }
}

impl Prepared {
    /// Makes do with what the server has instead of what the database was like.
    fn leave_out(&mut self, lookup: &Lookup) {
        let server_facts = &self.server_facts;
        let like = self.like.take();
        self.like = like.map(|like| without_what_lacks(like, server_facts, lookup));
    }
}

/// What a database can be like on a server that lacks something of it: the server's own instead.
fn without_what_lacks(
    mut like: DatabaseProperties,
    server_facts: &ServerFacts,
    lookup: &Lookup,
) -> DatabaseProperties {
    if !server_facts.roles.contains_key(&like.owner) {
        like.owner.clone_from(&server_facts.user);
    }
    let has = |tablespace: &String| server_facts.tablespaces.contains_key(tablespace);
    like.tablespace = like.tablespace.filter(has);
    if !lookup.missing_locales.is_empty() {
        // It goes with every encoding.
        "libc".clone_into(&mut like.locale_provider);
        "C".clone_into(&mut like.lc_collate);
        "C".clone_into(&mut like.lc_ctype);
        like.locale = None;
        like.icu_rules = None;
    }
    like
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
