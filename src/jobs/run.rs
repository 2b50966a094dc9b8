//! One run of a job: under which identity it is on record, how long it may take, and who follows it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::JobContext;
use super::error::JobError;
use super::limit::{Limit, Stop};
use super::step_log::StepLog;
use crate::pipeline::Progress;
use crate::postgres::{Client, Conninfo};
use crate::repository::{Details, Event, Record};

/// Reports the step that begins, in one phrase.
pub type ReportStep<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// One run of a job.
#[derive(Clone)]
pub struct Run<'a> {
    /// Its identity, in the ledger, the log and the manifest.
    pub id: Uuid,
    /// The settings, and who asks.
    pub context: &'a JobContext,
    /// What ends it from outside.
    pub(super) limit: Limit,
    /// How far it has come.
    pub(super) progress: Arc<Progress>,
    /// What a restore has done and found so far.
    pub(super) step_log: Arc<StepLog>,
    report_step: ReportStep<'a>,
}

impl<'a> Run<'a> {
    /// A run that begins now, and may take as long as `limits.total` allows.
    pub fn begin(
        context: &'a JobContext,
        progress: &Arc<Progress>,
        cancel: &CancellationToken,
    ) -> Self {
        Self {
            id: Uuid::now_v7(),
            context,
            limit: Limit::new(cancel.clone(), "total", context.limits.total),
            progress: Arc::clone(progress),
            step_log: Arc::default(),
            report_step: &silent,
        }
    }

    /// A run that nobody follows and nobody interrupts.
    pub fn alone(context: &'a JobContext) -> Self {
        Self::begin(context, &Arc::default(), &CancellationToken::new())
    }

    /// How far it has come.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The same run under this identity.
    #[must_use]
    pub fn with_id(self, id: Uuid) -> Self {
        Self { id, ..self }
    }

    /// The same run, each of whose steps is reported as it begins.
    #[must_use]
    pub fn reporting_steps(self, tell: ReportStep<'a>) -> Self {
        Self {
            report_step: tell,
            ..self
        }
    }

    /// The same run with other settings.
    pub(super) fn in_context<'b>(self, context: &'b JobContext) -> Run<'b>
    where
        'a: 'b,
    {
        Run { context, ..self }
    }

    /// The same run, whose time begins again.
    pub(super) fn renewed(&self) -> Self {
        let limit = self.limit.renewed("total", self.context.limits.total);
        Self {
            limit,
            ..self.clone()
        }
    }

    /// The same run for a look that changes nothing: nobody follows it, and nothing of it is recorded.
    pub(super) fn for_a_look(&self) -> Self {
        Self {
            progress: Arc::default(),
            step_log: Arc::default(),
            report_step: &silent,
            ..self.renewed()
        }
    }

    /// The same run within a further limit, which has this name in the configuration.
    pub(super) fn within(&self, what: &'static str, allowed: Duration) -> Self {
        Self {
            limit: self.limit.within(what, allowed),
            ..self.clone()
        }
    }

    /// A part of the run, which can also be ended by itself: by cancelling what is given with it.
    pub(super) fn part(&self) -> (Self, CancellationToken) {
        let (limit, end) = self.limit.of_a_part();
        let part = Self {
            limit,
            ..self.clone()
        };
        (part, end)
    }

    /// The same run where nothing is counted.
    pub(super) fn uncounted(&self) -> Self {
        Self {
            progress: Arc::default(),
            ..self.clone()
        }
    }

    /// Reports the step that begins.
    pub(super) fn step(&self, what: &str) {
        tracing::debug!("{what}");
        self.step_log.begin(self.now(), what);
        (self.report_step)(what);
    }

    /// Waits for something, but not beyond the limit.
    ///
    /// # Errors
    /// When the run is to end first.
    pub(super) async fn wait_for<T>(&self, future: impl Future<Output = T>) -> Result<T, Stop> {
        self.limit.wait_for(future).await
    }

    /// Now, on the wall clock of the schedule's zone.
    pub(super) fn now(&self) -> DateTime<FixedOffset> {
        self.context.now()
    }

    /// For each attempt to connect.
    pub(super) fn connect_limit(&self) -> Duration {
        self.context.limits.connect
    }

    /// Connects, but not beyond the limit.
    ///
    /// # Errors
    /// When the server cannot be reached, or refuses; or when the run is to end first.
    pub(super) async fn connect(&self, conninfo: &Conninfo) -> Result<Client, JobError> {
        let connecting = Client::connect(conninfo, self.connect_limit());
        Ok(self.wait_for(connecting).await??)
    }

    /// A record of the run, with the job and the slot that it is for.
    pub(super) fn record(
        &self,
        event: Event,
        database: &str,
        details: impl Into<Details>,
    ) -> Record {
        let context = self.context;
        let mut record = Record::new(self.now(), self.id, event, database, details);
        record.job = context.tick.as_ref().map(|tick| tick.job.clone());
        record.due = context.tick.as_ref().map(|tick| context.local(tick.due));
        record
    }

    /// The same, which also says who asks.
    pub(super) fn record_with_requester(
        &self,
        event: Event,
        database: &str,
        details: impl Into<Details>,
    ) -> Record {
        let mut record = self.record(event, database, details);
        record.requested_by = Some(self.context.requester.clone());
        record
    }
}

/// Of a run that reports no step.
fn silent(_: &str) {}
