//! What a command or a tick of the schedule carries out, from the first check to the ledger's last
//! line. Nothing here prints: progress goes to [`Progress`](crate::pipeline::Progress), results
//! and errors to the caller.

mod archive;
mod backup;
mod blocked;
mod connections;
mod continuity;
mod directories;
mod drill;
mod dump;
mod error;
mod globals;
mod incident;
mod limit;
mod load;
mod pin;
mod program_failure;
mod proof;
mod prune;
mod quarantine;
mod record;
mod recovery;
mod restore;
mod survey;
mod tables;
mod target;
mod tick;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};
use chrono_tz::Tz;
use uuid::Uuid;

use crate::config::{DrillSettings, Limits, Plan, Retention};
use crate::repository::{Details, Event, Record, Requester};

pub use backup::{BackupReport, BackupRequest, Strictness, back_up};
pub use connections::{
    ConnectionFailure, ConnectionFailureKind, ServerConnections, check_connections, check_readable,
    missing_credential,
};
pub use continuity::accept;
pub use directories::{
    Discovery, WantedDirectory, discover_as, discover_databases, needs_discovery,
    wanted_directories, wished_databases,
};
pub use drill::{
    DrillOutcome, DrillPhase, DrillReport, WhichBackup, backups_to_drill, drill, missed_drill,
    passed_over_by_drill, sweep_drills,
};
pub use error::{JobError, JobErrorKind};
pub use incident::{Incident, incidents, write_incident};
pub use limit::{Limit, Stop};
pub use pin::set_pin;
pub use prune::{PruneMode, PruneReport, SeriesReport, prune};
pub use quarantine::release;
pub use recovery::{Recovery, recover};
pub use restore::{
    Ahead, Candidate, Criteria, CutShort, LastDrill, Outlook, PassedOver, PlannedStep, Prepared,
    PreparedUndo, RestorePlan, RestoreReport, RestoreRequest, RestoreSource, Tell, UndoReport,
    about_functions, choose as choose_backup, look as look_at_restore, look_ahead, passed_over,
    prepare as prepare_restore, prepare_undo, restore, undo,
};
pub use survey::{
    DaemonView, Ended, Line, NextRun, Outcomes, RunningNow, Survey, Surveyed, TREND, survey,
};
pub use tables::{
    PlannedTable, PreparedTables, TablesAhead, TablesPlan, TablesReport, TablesRequest,
    look_ahead_at_tables, look_at_tables, prepare_tables, restore_tables,
};
pub use target::{Place, Places, Target, Targets, places, places_on, targets, targets_on};
pub use tick::{newest_success, record_skip};
pub use verify::{Finding, Selection, VerifyReport, VerifyRequest, verify};

/// What every job needs to know of the world around it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The zone of the schedule, of time stamps in names, and of the ledger.
    pub zone: Tz,
    /// How long anything may take.
    pub limits: Limits,
    /// What is kept.
    pub retention: Retention,
    /// Where and how test restores are made.
    pub drill: DrillSettings,
    /// How long a restore may take (P18).
    pub recovery_time: Duration,
    /// Where the service remembers what no directory of backups can: which was the newest.
    pub state_directory: PathBuf,
    /// Where `PostgreSQL`'s programs are looked for first.
    pub programs: Option<PathBuf>,
    /// The process's environment, for libpq's variables.
    pub environment: BTreeMap<String, String>,
    /// Who asks.
    pub requester: Requester,
    /// The tick of a schedule that asks, if one does.
    pub tick: Option<Tick>,
}

/// One job coming due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The job's name.
    pub job: String,
    /// The slot of its schedule: when it was due.
    pub due: DateTime<Utc>,
}

impl Context {
    /// The world as a plan and a process's environment describe it.
    pub fn new(plan: &Plan, environment: &BTreeMap<String, String>) -> Self {
        Self {
            zone: plan.zone,
            limits: plan.limits.clone(),
            retention: plan.retention.clone(),
            drill: plan.drill.clone(),
            recovery_time: plan.objectives.recovery_time,
            state_directory: plan.daemon.state_directory.clone(),
            programs: plan.programs.clone(),
            environment: environment.clone(),
            requester: Requester::of_this_process(),
            tick: None,
        }
    }

    /// Now, on the wall clock of the schedule's zone.
    pub fn now(&self) -> DateTime<FixedOffset> {
        self.local(Utc::now())
    }

    /// A moment on the wall clock of the schedule's zone.
    pub fn local(&self, moment: DateTime<Utc>) -> DateTime<FixedOffset> {
        moment.with_timezone(&self.zone).fixed_offset()
    }

    /// A record of a run, with the job and the slot that it is for.
    fn record(
        &self,
        run: Uuid,
        event: Event,
        database: &str,
        details: impl Into<Details>,
    ) -> Record {
        let mut record = Record::new(self.now(), run, event, database, details);
        record.job = self.tick.as_ref().map(|tick| tick.job.clone());
        record.due = self.tick.as_ref().map(|tick| self.local(tick.due));
        record
    }
}
