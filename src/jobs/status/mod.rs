//! How things stand: what directories, ledgers and the daemon tell of every database. Nothing is
//! locked, nothing is written, and no server is asked.

mod activity;
mod channels;
mod copies;
mod daemon;
mod directories;
mod document;
mod gathered;
mod history;
mod inspection;
mod look;
pub(crate) mod phrases;
mod rehearsals;
mod responsiveness;
mod stores;
mod unconfigured;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chrono::{DateTime, FixedOffset, Utc};

use super::error::JobError;
use super::slots::{SeriesSlots, SlotGrids};
use super::target::named::{Known, meant};
use super::{JobContext, LastDrill};
use crate::config::{ChannelWay, Plan, Server, Settings};
use crate::display::{label, one_line};
use crate::policy::{
    Concern, ConcernKind, CopyFacts, DatabaseFacts, Expectation, Series, Severity, SpaceDays,
    SpaceFacts, age, days_until_full, judge_clocks, judge_database, judge_space,
};
use crate::repository::{DaemonState, Entry, HeldLocks, RunningJob};
use crate::threads::share;

use channels::judge_channels;
pub(super) use daemon::last_change;
use daemon::{
    daemon, is_changed_on_disk, judge_connections, judge_daemon, next_runs, remark_on_changes,
};
use directories::{Spot, Spots};
pub use document::StatusDocument;
pub use history::{Ended, Outcomes};
use inspection::Inspection;
use look::Look;
pub use rehearsals::RehearsalStatus;
use responsiveness::Answers;

/// Looking at many directories waits for the kernel more than it computes.
const THREADS: usize = 4;

/// How things stand.
#[derive(Clone, Debug)]
pub struct StatusReport {
    /// When it was taken, on the wall clock of the plan's zone.
    pub at: DateTime<FixedOffset>,
    /// Whether several servers are configured, so that databases are shown with theirs.
    pub several_servers: bool,
    /// What is asked of every database.
    pub expectation: Expectation,
    /// The daemon.
    pub daemon: DaemonView,
    /// The names of the configured channels that alerts go to.
    pub channels: Vec<String>,
    /// Whether the configuration's files have changed since the daemon read them; none where that is
    /// not known.
    pub is_changed_on_disk: Option<bool>,
    /// The databases, in the order of the configuration.
    pub databases: Vec<DatabaseStatus>,
    /// When jobs are due next, the first one first.
    pub next: Vec<NextRun>,
    /// The file systems that hold backups.
    pub spaces: Vec<SpaceFacts>,
    /// What needs attention, what is worst first.
    pub concerns: Vec<Concern>,
    /// What is good to know and needs no attention, one sentence each.
    pub remarks: Vec<String>,
    /// When the key that is kept offline was tried, at each destination with encrypted copies.
    pub rehearsals: Vec<RehearsalStatus>,
}

/// What is known of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum DaemonView {
    /// It lives, and says this.
    Alive(Box<DaemonState>),
    /// None lives.
    Absent,
    /// That could not be seen, for this reason.
    Hidden(String),
}

/// How one database stands.
#[derive(Clone, Debug)]
pub struct DatabaseStatus {
    /// What was judged.
    pub facts: DatabaseFacts,
    /// The backups of each series in the facts that has some.
    pub backups: BTreeMap<Series, Line>,
    /// When its newest sound backup started.
    pub newest: Option<DateTime<FixedOffset>>,
    /// How the runs of the last 30 days ended.
    pub outcomes: Outcomes,
    /// What became of the slots of each series that a job makes or that has scheduled runs on record.
    pub slots: BTreeMap<Series, SeriesSlots>,
    /// The newest verification.
    pub verified: Option<Ended>,
    /// The newest test restore.
    pub drilled: Option<Ended>,
    /// The newest one that came through, which measures the recovery time.
    pub recovery: Option<LastDrill>,
    /// What that one has shown to be equal, while its backup is there.
    pub proof: Option<Proof>,
    /// What runs now.
    pub running: Vec<RunningNow>,
    /// Files that look like backups and are none of ours.
    pub strangers: u64,
    /// What its backups do to the free space in the days to come.
    pub space_days: SpaceDays,
}

/// The backups of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How many.
    pub count: u64,
    /// The name of the newest sound one.
    pub newest: Option<String>,
    /// Rows of all tables in the newest one, intact or not.
    pub rows: Option<u64>,
    /// When that one was last read back in full and found intact.
    pub verified: Option<DateTime<FixedOffset>>,
    /// Bytes of the newest ones, oldest first, [`TREND`] at most.
    pub sizes: Vec<u64>,
    /// When the newest ones were made, and their bytes, oldest first, [`CHART`] at most.
    pub history: Vec<(DateTime<FixedOffset>, u64)>,
}

/// What a test restore has shown to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Tables of the backup.
    pub tables: u64,
    /// Rows of all of them.
    pub rows: u64,
}

/// The trend of sizes goes over so many backups.
pub const TREND: usize = 20;

/// A chart of sizes goes over so many backups.
const CHART: usize = 90;

/// What runs now on one database.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningNow {
    /// What is being done: `backup`, `clean-up`, `verification`, `test restore`, `restore`, `copy`; none if
    /// that cannot be read.
    pub operation: Option<String>,
    /// The job that the daemon runs it for.
    pub job: Option<String>,
    /// The backup that is restored or copied.
    pub backup: Option<String>,
    /// Since when.
    pub since: Option<DateTime<FixedOffset>>,
    /// Who asked for it.
    pub requested_by: Option<String>,
    /// Bytes written so far, of a run that writes.
    pub written: Option<u64>,
    /// Bytes of the newest backup of the series, to measure by.
    pub expected: Option<u64>,
    /// Whether all is written and checked.
    pub publishing: bool,
    /// Where the backup is copied to.
    pub destination: Option<String>,
}

/// When a job is due next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextRun {
    /// Its name.
    pub job: String,
    /// Its kind: `backup`, `verify`, `drill`, `prune`.
    pub kind: String,
    /// When, on the wall clock of its zone.
    pub at: Option<DateTime<FixedOffset>>,
}

/// Looks at all databases that are configured, or at those that are named.
///
/// # Errors
/// When a named one is not known, or the directory below which databases are found cannot be read.
pub fn collect_status(
    context: &JobContext,
    (plan, settings): (&Plan, &Settings),
    wanted: &[String],
) -> Result<StatusReport, JobError> {
    let now = Utc::now();
    let expectation = plan.objectives;
    let mut judged = Judged::default();
    let locks = held_locks(&mut judged.remarks);
    let daemon = daemon(plan);
    let is_changed_on_disk = is_changed_on_disk(&daemon, settings);
    let answers = Answers::known_to(&daemon);
    let (state_directory, of_state_directory) = state_directory(plan, &answers);
    let inspection = Inspection {
        context,
        plan,
        now,
        grids: SlotGrids::of_quarter(plan, state_directory.is_some(), now),
        state_directory,
        answers,
        locks,
        changed: last_change(settings),
        running: match &daemon {
            DaemonView::Alive(state) => &state.running,
            _ => &[],
        },
    };
    let Spots {
        found: spots,
        empty,
        unseen,
    } = directories::spots(context, plan, &inspection.answers)?;
    let found = look_at_all(&inspection, &spots);
    // What is wrong elsewhere is of no interest to whoever named a database.
    if wanted.is_empty() {
        judged.add_empty(&inspection, &empty, &daemon);
        judged.add_surroundings(&inspection, &spots, of_state_directory);
    }
    let (found, unseen) = keep_wanted(plan, found, &unseen, wanted)?;
    judged.concerns.extend(unseen);

    for look in found {
        judged.add_look(&inspection, look);
    }
    let spaces = std::mem::take(&mut judged.spaces).into_facts();
    let of_spaces = spaces.iter().filter_map(judge_space);
    judged.concerns.extend(of_spaces);
    judged.add_daemon(&inspection, &daemon, wanted.is_empty());
    if let DaemonView::Alive(state) = &daemon {
        remark_on_changes(state, is_changed_on_disk, &mut judged.remarks);
    }
    let worst_first = |concern: &Concern| std::cmp::Reverse(concern.severity);
    judged.concerns.sort_by_key(worst_first);
    Ok(StatusReport {
        at: context.local(now),
        several_servers: plan.servers.len() > 1,
        expectation,
        next: next_runs(plan, &daemon, now),
        daemon,
        channels: channels_of_alerts(plan),
        is_changed_on_disk,
        databases: judged.databases,
        spaces,
        concerns: judged.concerns,
        remarks: judged.remarks,
        rehearsals: judged.rehearsals,
    })
}

/// The state directory, unless it hangs; and what is wrong with it.
fn state_directory<'a>(plan: &'a Plan, answers: &Answers) -> (Option<&'a Path>, Option<Concern>) {
    let directory = plan.daemon.state_directory.as_path();
    match answers.concern(directory) {
        Some(hangs) => (None, Some(hangs)),
        None => (Some(directory), directories::unwritable_state(directory)),
    }
}

/// The names of the channels that alerts go to; a ping takes none.
fn channels_of_alerts(plan: &Plan) -> Vec<String> {
    let channels = plan.alerts.iter();
    channels
        .filter(|channel| !matches!(channel.way, ChannelWay::Ping(_)))
        .map(|channel| channel.name.clone())
        .collect()
}

/// The locks that are held; a remark where that cannot be seen.
fn held_locks(remarks: &mut Vec<String>) -> HeldLocks {
    HeldLocks::now().unwrap_or_else(|error| {
        remarks.push(format!(
            "what runs without the daemon cannot be seen: /proc/locks cannot be read: {error}"
        ));
        HeldLocks::default()
    })
}

/// What the looks at the databases come to.
#[derive(Default)]
struct Judged {
    databases: Vec<DatabaseStatus>,
    spaces: Spaces,
    concerns: Vec<Concern>,
    remarks: Vec<String>,
    rehearsals: Vec<RehearsalStatus>,
}

impl Judged {
    fn add_look(&mut self, inspection: &Inspection<'_>, look: Look) {
        self.concerns.extend(look.trouble);
        let Some(database) = look.status else {
            return;
        };
        self.spaces.add(inspection, &database);
        let now = inspection.context.local(inspection.now);
        let judgement = judge_database(&database.facts, inspection.plan.objectives, now);
        self.concerns.extend(judgement.concerns);
        let label = one_line(&database.facts.label);
        let named = |remark| format!("database {label}: {remark}");
        self.remarks
            .extend(judgement.remarks.into_iter().map(named));
        self.remarks.extend(look.remarks.into_iter().map(named));
        let of_copies = database.facts.copies.iter().flat_map(CopyFacts::remarks);
        self.remarks.extend(of_copies.map(named));
        self.databases.push(database);
    }

    /// Adds what it means that servers have no backup of any database.
    fn add_empty(&mut self, inspection: &Inspection<'_>, servers: &[&Server], daemon: &DaemonView) {
        for server in servers {
            match directories::nothing_found(inspection, server, daemon) {
                Ok(concern) => self.concerns.push(concern),
                Err(remark) => self.remarks.extend(remark),
            }
        }
    }

    /// Judges what belongs to no configured database.
    fn add_surroundings(
        &mut self,
        inspection: &Inspection<'_>,
        spots: &[Spot<'_>],
        of_directories: impl IntoIterator<Item = Concern>,
    ) {
        self.concerns.extend(of_directories);
        let unconfigured = unconfigured::remarks(inspection, spots);
        self.remarks.extend(unconfigured);
        let (of_stores, remarks) = stores::judge_stores(inspection);
        self.concerns.extend(of_stores);
        self.remarks.extend(remarks);
        let of_channels = judge_channels(inspection.plan, inspection.state_directory);
        self.concerns.extend(of_channels);
        let (plan, state) = (inspection.plan, inspection.state_directory);
        let (of_keys, rehearsals) = rehearsals::judge(plan, state, inspection.now);
        self.concerns.extend(of_keys);
        self.rehearsals = rehearsals;
    }

    /// Judges the daemon, after all databases; `is_all` where none was named.
    fn add_daemon(&mut self, inspection: &Inspection<'_>, daemon: &DaemonView, is_all: bool) {
        let Self {
            databases,
            concerns,
            remarks,
            ..
        } = self;
        let is_late = databases.iter().any(|database| database.facts.is_late());
        judge_daemon(daemon, is_late, concerns, remarks);
        if is_all {
            let of_answers = inspection.answers.concerns(concerns);
            concerns.extend(of_answers);
            concerns.extend(judge_clocks(databases.iter().map(|one| &one.facts)));
        }
        if let DaemonView::Alive(state) = daemon {
            judge_connections(state, databases, is_all, concerns);
        }
    }
}

/// Keeps what is named, everything if nothing is; and what may be missing from it.
fn keep_wanted(
    plan: &Plan,
    mut found: Vec<Look>,
    unseen: &[(&Server, JobError)],
    wanted: &[String],
) -> Result<(Vec<Look>, Vec<Concern>), JobError> {
    let is_seen = |server: &Server| !unseen.iter().any(|(other, _)| other.name == server.name);
    let servers = plan.servers.iter();
    let known: Vec<Known<'_>> = servers
        .map(|server| Known {
            server: &server.name,
            databases: found
                .iter()
                .filter(|look| look.server == server.name)
                .map(|look| look.database.as_str())
                .collect(),
            may_hold: Box::new(|_| !is_seen(server)),
        })
        .collect();
    let (mut chosen, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for text in wanted {
        let meant = meant(text, &known).map_err(JobError::NoSuchDatabase)?;
        let named = |at: usize| (known[at].server.to_owned(), meant.database.to_owned());
        chosen.extend(meant.found.into_iter().map(named));
        silent.extend(
            meant
                .silent
                .into_iter()
                .map(|at| known[at].server.to_owned()),
        );
    }
    drop(known);
    let concerns = unseen
        .iter()
        .filter(|(server, _)| wanted.is_empty() || silent.contains(&server.name))
        .map(|(server, why)| {
            let sentence = format!(
                "the backups of server {} cannot be read: {why}",
                server.name
            );
            Concern::new(ConcernKind::Directory, sentence)
                .of_server(&server.name)
                .in_directory(&server.directory)
        })
        .collect();
    if !wanted.is_empty() {
        found.retain(|look| chosen.contains(&(look.server.clone(), look.database.clone())));
    }
    Ok((found, concerns))
}

fn look_at_all(inspection: &Inspection<'_>, spots: &[Spot<'_>]) -> Vec<Look> {
    let next = AtomicUsize::new(0);
    let mut looks: Vec<(usize, Look)> = Vec::with_capacity(spots.len());
    thread::scope(|scope| {
        let parts: Vec<_> = (0..THREADS.min(spots.len()))
            .map(|_| {
                share(scope, || {
                    let mut part = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(spot) = spots.get(index) else {
                            return part;
                        };
                        part.extend(inspection.look_at(spot).map(|look| (index, look)));
                    }
                })
            })
            .collect();
        for part in parts {
            looks.extend(part.join());
        }
    });
    looks.sort_by_key(|(index, _)| *index);
    looks.into_iter().map(|(_, look)| look).collect()
}

/// The file systems, by the device that the kernel gives them.
#[derive(Default)]
struct Spaces {
    by_device: BTreeMap<u64, SpaceFacts>,
    growth: BTreeMap<u64, Growing>,
    seen: BTreeSet<PathBuf>,
}

/// How the backups on a file system grow.
#[derive(Default)]
struct Growing {
    days: SpaceDays,
    /// Bytes of the largest one.
    largest: u64,
}

impl Spaces {
    fn add(&mut self, inspection: &Inspection<'_>, database: &DatabaseStatus) {
        let plan = inspection.plan;
        let directory = &database.facts.directory;
        let Some((device, free, standing)) = directories::file_system(directory) else {
            return;
        };
        let facts = self.by_device.entry(device).or_insert_with(|| {
            // A directory above many says more than that of one.
            let answers = inspection.answers.trouble(&plan.directory).is_none();
            let root = answers
                .then(|| directories::file_system(&plan.directory))
                .flatten()
                .filter(|(of_root, ..)| *of_root == device)
                .map_or(standing, |(_, _, root)| root);
            SpaceFacts {
                directory: root,
                free,
                wanted: plan.limits.free_space.as_u64(),
                databases: 0,
                round: 0,
                full_in_days: None,
            }
        });
        if let Some(bytes) = database.bytes_of_the_newest()
            && self.seen.insert(directory.clone())
        {
            facts.databases += 1;
            facts.round += bytes;
            let growth = self.growth.entry(device).or_default();
            growth.largest = growth.largest.max(bytes);
            for (day, more) in growth.days.iter_mut().zip(database.space_days) {
                day.add(more);
            }
        }
    }

    fn into_facts(mut self) -> Vec<SpaceFacts> {
        for (device, growth) in self.growth {
            if let Some(facts) = self.by_device.get_mut(&device) {
                facts.full_in_days = days_until_full(facts.free, &growth.days, growth.largest);
            }
        }
        let mut facts: Vec<SpaceFacts> = self.by_device.into_values().collect();
        facts.sort_by(|a, b| a.directory.cmp(&b.directory));
        facts
    }
}

impl Line {
    /// Of the backups of a series, oldest first.
    fn of(entries: &[&Entry]) -> Self {
        let sound = entries.iter().rev().find(|entry| entry.is_sound());
        let newest = |many| &entries[entries.len().saturating_sub(many)..];
        let history = newest(CHART).iter();
        Self {
            count: entries.len() as u64,
            newest: sound.map(|entry| entry.stem.to_string()),
            verified: sound.and_then(|entry| entry.last_found_whole()),
            sizes: newest(TREND).iter().map(|entry| entry.bytes).collect(),
            history: history.map(|entry| (entry.started, entry.bytes)).collect(),
            rows: entries.last().map(|entry| entry.rows),
        }
    }
}

impl StatusReport {
    /// The worst of what needs attention; none if all is well.
    pub fn severity(&self) -> Option<Severity> {
        self.concerns.iter().map(|concern| concern.severity).max()
    }

    /// What a concern is about, as it is shown; none for one that names it in its sentence.
    pub fn about(&self, concern: &Concern) -> Option<String> {
        let directory = concern.directory.as_deref();
        let in_it = |database: &&DatabaseStatus| directory == Some(&database.facts.directory);
        match self.databases.iter().find(in_it) {
            Some(database) => Some(one_line(&database.facts.label)),
            None => Some(self.label(concern.server.as_ref()?, concern.database.as_ref()?)),
        }
    }

    /// The remarks on directories with backups that are not configured any more.
    pub(super) fn unconfigured(&self) -> Vec<String> {
        let remarks = self.remarks.iter();
        let about = remarks.filter(|remark| unconfigured::is_about(remark));
        about.cloned().collect()
    }

    /// A database as it is shown.
    pub fn label(&self, server: &str, database: &str) -> String {
        one_line(&label(self.several_servers, server, database))
    }
}

impl DatabaseStatus {
    /// When its newest sound backup was last read back in full and found intact; as `list` has it.
    pub fn newest_verified(&self) -> Option<DateTime<FixedOffset>> {
        let mut series = self.facts.series.iter();
        let newest =
            series.find(|series| series.newest.is_some() && series.newest == self.newest)?;
        self.backups.get(&newest.series)?.verified
    }

    /// Bytes of the newest backup of the largest series.
    fn bytes_of_the_newest(&self) -> Option<u64> {
        let lines = self.backups.values();
        lines.filter_map(|line| line.sizes.last()).max().copied()
    }
}

impl RunningNow {
    /// Bytes written a second, from its start to now; none where nothing is known of them.
    pub fn bytes_per_second(&self, now: DateTime<FixedOffset>) -> Option<u64> {
        let seconds = age(self.since?, now).as_secs().max(1);
        Some(self.written? / seconds)
    }
}

/// What the daemon runs on a directory, of the kinds that are meant: a copy runs beside all others.
fn running_job<'a>(
    running: &'a [RunningJob],
    directory: &Path,
    is_meant: impl Fn(&str) -> bool,
) -> Option<&'a RunningJob> {
    let mut running = running.iter();
    running.find(|job| job.directory == directory && is_meant(&job.kind))
}
