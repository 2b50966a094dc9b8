//! What every job is given: the settings that it needs, who asks, and the slot that it is for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};
use chrono_tz::Tz;

use super::JobError;
use crate::config::{AnomalySettings, DrillSettings, Limits, PasswordSource, Plan, Retention};
use crate::pipeline::{Opener, Sealer};
use crate::recipient::Recipient;
use crate::repository::{Holder, Requester};

/// The settings that jobs share, the process's environment, and who asks.
#[derive(Clone, Debug)]
pub struct JobContext {
    /// The zone of the schedule, of time stamps in names, and of the ledger.
    pub zone: Tz,
    /// How long anything may take.
    pub limits: Limits,
    /// What is kept.
    pub retention: Retention,
    /// Where and how test restores are made.
    pub drill: DrillSettings,
    /// To whom backups on this host are encrypted; none where they stay in the clear.
    pub recipients: Option<Vec<Recipient>>,
    /// What opens encrypted backups, where an identity was given.
    pub opener: Option<Opener>,
    /// What counts as odd in a backup.
    pub anomaly: AnomalySettings,
    /// How long a restore may take (P18).
    pub recovery_time: Duration,
    /// This host's name at destinations, where one is configured.
    pub name: Option<String>,
    /// Where the key comes from that signs this host's copies, when not from the state directory.
    pub signer: Option<PasswordSource>,
    /// Where the service remembers what no directory of backups can: which was the newest.
    pub state_directory: PathBuf,
    /// Where `PostgreSQL`'s programs are looked for first.
    pub programs: Option<PathBuf>,
    /// The process's environment, for libpq's variables.
    pub environment: BTreeMap<String, String>,
    /// Who asks.
    pub requester: Requester,
    /// The slot that the job is for, if a schedule asks.
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

impl JobContext {
    /// The context of a job that this process runs by `plan`.
    pub fn new(plan: &Plan, environment: &BTreeMap<String, String>) -> Self {
        Self {
            zone: plan.zone,
            limits: plan.limits.clone(),
            retention: plan.retention.clone(),
            drill: plan.drill.clone(),
            recipients: plan.encrypts_backups().then(|| plan.recipients.clone()),
            opener: None,
            anomaly: plan.anomaly.clone(),
            recovery_time: plan.objectives.recovery_time,
            name: plan.name.clone(),
            signer: plan.signer.clone(),
            state_directory: plan.daemon.state_directory.clone(),
            programs: plan.programs.clone(),
            environment: environment.clone(),
            requester: Requester::of_this_process(),
            tick: None,
        }
    }

    /// What encrypts the files of one backup; none where they stay in the clear.
    ///
    /// # Errors
    /// When there is nobody to encrypt them to: then nothing is written.
    pub(super) fn sealer(&self) -> Result<Option<Sealer>, JobError> {
        let Some(recipients) = &self.recipients else {
            return Ok(None);
        };
        Sealer::new(recipients).map(Some).ok_or_else(|| {
            JobError::failed("backups are to be encrypted, and there is no recipient")
        })
    }

    /// Now, on the wall clock of the schedule's zone.
    pub fn now(&self) -> DateTime<FixedOffset> {
        self.local(Utc::now())
    }

    /// A moment on the wall clock of the schedule's zone.
    pub fn local(&self, moment: DateTime<Utc>) -> DateTime<FixedOffset> {
        moment.with_timezone(&self.zone).fixed_offset()
    }

    /// Who holds a lock that is taken now for this operation.
    pub(super) fn holder(&self, operation: &str) -> Holder {
        Holder {
            operation: operation.to_owned(),
            since: self.now(),
            requested_by: self.requester.clone(),
        }
    }
}
