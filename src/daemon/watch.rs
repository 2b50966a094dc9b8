//! Watching: how things stand is judged after every run, when time changes a verdict, and every five
//! minutes. What has changed goes to the log and to the channels of alerts.
//!
//! It all happens in a task of its own, and directories are looked at on a thread: the loop that
//! schedules waits for none of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::fleet::Fleet;
use super::reports::Reports;
use crate::config::{Plan, Settings};
use crate::display::{counted, one_line};
use crate::emit;
use crate::jobs::{
    Attempt, JobContext, LastFacts, StatusReport, collect_status, deliver, metrics, next_moment,
    read_alerts, retry_now, take_in, write_metrics,
};
use crate::policy::{AlertBook, Change, NoticeItem};
use crate::threads;
use crate::web::Feed;

/// At least so often things are judged.
const EVERY: Duration = Duration::from_secs(5 * 60);

/// After a run has ended, others may be about to: what they change goes into the same message.
const QUIET: Duration = Duration::from_secs(2);

/// However long judging takes, nothing else has to happen for so long at most.
const LONGEST_QUIET: Duration = Duration::from_secs(20);

/// So long others are waited for at most: a thousand databases that fail one after the other are one
/// message.
const LONGEST_WAIT: Duration = Duration::from_secs(2 * 60);

/// So long the end of the service waits for messages that are being sent.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the daemon goes by.
#[derive(Clone)]
pub(super) struct InForce {
    /// The plan.
    pub plan: Arc<Plan>,
    /// What it follows from.
    pub settings: Settings,
    /// The process's environment.
    pub environment: Arc<BTreeMap<String, String>>,
}

/// The task that watches.
pub(super) struct Watch {
    /// What to go by, and how often it has changed; a change of nothing only wakes the task.
    in_force: watch::Sender<(u64, InForce)>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Starts the task, which hands each judgement to the page.
    pub(super) fn start(in_force: InForce, page: Feed) -> Self {
        let (sender, receiver) = watch::channel((0, in_force));
        Self {
            in_force: sender,
            task: tokio::spawn(watch(receiver, page)),
        }
    }

    /// Something has happened: things may stand otherwise.
    pub(super) fn wake(&self) {
        self.in_force.send_modify(|_| {});
    }

    /// Another configuration is in force.
    pub(super) fn adopt(&self, in_force: InForce) {
        self.in_force
            .send_modify(|(generation, old)| (*generation, *old) = (*generation + 1, in_force));
    }

    /// Ends the task. A message that is being sent is waited for a moment; else the next start sends it
    /// again.
    pub(super) async fn end(self) {
        drop(self.in_force);
        let task = self.task;
        let abort = task.abort_handle();
        if timeout(PATIENCE, task).await.is_err() {
            abort.abort();
        }
    }
}

async fn watch(mut in_force: watch::Receiver<(u64, InForce)>, page: Feed) {
    let mut memory = Memory::default();
    let mut known = None;
    // Until the service is ready, its state says nothing.
    let (mut rest, mut cost) = (Duration::MAX, Duration::ZERO);
    loop {
        tokio::select! {
            changed = in_force.changed() => {
                if changed.is_err() || settle_down(&mut in_force, cost).await.is_err() {
                    return;
                }
            }
            () = sleep(rest) => {}
        }
        let (generation, now_in_force) = in_force.borrow_and_update().clone();
        let is_new = known.replace(generation) != Some(generation);
        let began = Instant::now();
        let round = Round::of(now_in_force, is_new);
        rest = round.carry_out(&mut memory, &page).await;
        cost = began.elapsed();
    }
}

/// Waits until nothing has happened for a moment, and long enough for judging to stay cheap.
///
/// # Errors
/// The service ends.
async fn settle_down(
    in_force: &mut watch::Receiver<(u64, InForce)>,
    cost: Duration,
) -> Result<(), watch::error::RecvError> {
    let end = Instant::now() + LONGEST_WAIT;
    loop {
        let quiet = cost.saturating_mul(10).clamp(QUIET, LONGEST_QUIET);
        let quiet = Instant::now() + quiet;
        match timeout_at(quiet.min(end), in_force.changed()).await {
            Ok(changed) => changed?,
            Err(_) => return Ok(()),
        }
    }
}

/// What one judgement knows of those before it.
#[derive(Default)]
struct Memory {
    /// How things were when they were seen last.
    facts: LastFacts,
    /// Whether it has been reported that the state directory cannot be used.
    is_state_failure_known: bool,
    /// What puts the state at the destinations.
    fleet: Fleet,
}

/// One judgement, and what is sent because of it.
struct Round {
    in_force: InForce,
    context: JobContext,
    /// Whether the configuration is new: channels that failed may have been corrected.
    is_new: bool,
}

impl Round {
    fn of(in_force: InForce, is_new: bool) -> Self {
        let context = JobContext::new(&in_force.plan, &in_force.environment);
        Self {
            in_force,
            context,
            is_new,
        }
    }

    /// Judges and sends; gives how long to rest.
    async fn carry_out(self, memory: &mut Memory, page: &Feed) -> Duration {
        let Some(mut status) = self.look().await else {
            return EVERY;
        };
        memory.facts.complete(&mut status);
        let status = Arc::new(status);
        self.write_metrics(&status).await;
        let made = self.reports().make(&status).await;
        memory
            .fleet
            .put(&self.context, (&self.in_force.plan, &status));
        let rest = self.alert(&status, page).await;
        if rest.is_err() {
            page.give_judgement(&status, AlertBook::default());
        }
        let sent = self.reports().send().await;
        match made.and(sent).and(rest) {
            Ok(rest) => {
                memory.is_state_failure_known = false;
                rest
            }
            Err(error) => {
                if !std::mem::replace(&mut memory.is_state_failure_known, true) {
                    self.log_state_failure(&error);
                }
                EVERY
            }
        }
    }

    /// Takes in how things are and sends what is owed; gives how long to rest.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    async fn alert(&self, status: &Arc<StatusReport>, page: &Feed) -> std::io::Result<Duration> {
        let (plan, judged) = (Arc::clone(&self.in_force.plan), Arc::clone(status));
        let now = self.context.now();
        let is_new = self.is_new;
        let (news, next, alerts) = threads::io("alerts", move || {
            if is_new {
                retry_now(&plan, now)?;
            }
            let next = next_verdict(&plan, &judged, now.to_utc());
            let news = take_in(&plan, &judged, now)?;
            Ok((news, next, read_alerts(&plan)?))
        })
        .await?;
        page.give_judgement(status, alerts);
        for item in &news {
            self.log(item);
        }
        let attempts = deliver(&self.in_force.plan, &self.context).await?;
        attempts.iter().for_each(log_attempt);
        let plan = Arc::clone(&self.in_force.plan);
        let of_alerts = threads::io("alerts", move || {
            Ok((next_moment(&plan, now)?, read_alerts(&plan)?))
        });
        let (of_alerts, alerts) = of_alerts.await?;
        page.give_judgement(status, alerts);
        let of_alerts = of_alerts.map(|moment| moment.to_utc());
        let now = Utc::now();
        let rest = [next, of_alerts, self.reports().next()]
            .into_iter()
            .flatten()
            .min();
        Ok(rest
            .and_then(|moment| (moment - now).to_std().ok())
            .map_or(EVERY, |rest| rest.clamp(Duration::from_secs(1), EVERY)))
    }

    fn reports(&self) -> Reports<'_> {
        Reports {
            plan: &self.in_force.plan,
            settings: &self.in_force.settings,
            context: &self.context,
        }
    }

    /// Writes metrics to the file for them. A file that cannot be written is reported each time, since
    /// nothing else would notice; what reads it sees that it is old.
    async fn write_metrics(&self, status: &Arc<StatusReport>) {
        let Some(file) = self.in_force.plan.metrics.clone() else {
            return;
        };
        let (plan, status) = (Arc::clone(&self.in_force.plan), Arc::clone(status));
        let path = file.clone();
        let writing = threads::io("alerts", move || {
            let alerts = read_alerts(&plan).unwrap_or_default();
            let text = metrics(&status, &alerts).map_err(std::io::Error::other)?;
            write_metrics(&path, &text)
        });
        if let Err(error) = writing.await {
            tracing::warn!(
                "metrics cannot be written to {} (metrics.file): {error}",
                file.display()
            );
        }
    }

    /// How things stand; none where that cannot be seen.
    async fn look(&self) -> Option<StatusReport> {
        let (in_force, context) = (self.in_force.clone(), self.context.clone());
        let looking = threads::start("watch", move || {
            collect_status(&context, (&in_force.plan, &in_force.settings), &[])
        });
        let looked = match looking {
            Ok(thread) => thread.await.ok()?.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        looked
            .inspect_err(|error| tracing::warn!("how things stand cannot be seen: {error}"))
            .ok()
    }

    /// Once, until it can be used again.
    fn log_state_failure(&self, error: &std::io::Error) {
        emit!(
            DirectoryUnusable,
            {},
            "cannot make or note alerts and reports, with the state directory {}: {error}; what is not noted is \
             not sent",
            self.in_force.plan.daemon.state_directory.display()
        );
    }

    fn log(&self, item: &NoticeItem) {
        let alert = &item.alert;
        let about = match (&alert.server, &alert.database) {
            (Some(server), Some(database)) => {
                let label = self.in_force.plan.label(server, database);
                format!("database {}: ", one_line(&label))
            }
            _ => String::new(),
        };
        let severity = alert.severity.word();
        match item.change {
            Change::Resolved => emit!(
                AlertResolved,
                { alert = alert.id, severity },
                "alert {} is over: {about}{}",
                alert.id,
                alert.sentence
            ),
            Change::Opened | Change::Worsened | Change::Reminded => emit!(
                AlertOpened,
                { alert = alert.id, severity },
                "alert {} ({severity}): {about}{}",
                alert.id,
                alert.sentence
            ),
        }
    }
}

fn log_attempt(attempt: &Attempt) {
    let channel = &attempt.channel;
    let alerts = counted(attempt.notice.items.len() as u64, "alert", "alerts");
    match &attempt.outcome {
        Ok(answer) => {
            emit!(
                AlertSent,
                { channel },
                "channel {channel}: a message with {alerts} has been sent: {}",
                answer.said
            );
            if let Some(complaint) = &answer.complaint {
                tracing::warn!("channel {channel}: {complaint}");
            }
        }
        // Once, and then in `status`.
        Err(error) if attempt.failed_before == 0 => emit!(
            AlertChannelFails,
            { channel },
            "channel {channel}: a message with {alerts} could not be sent: {error}; it is tried \
             again; `pgbackupd alerts test {channel}` shows what the channel answers"
        ),
        Err(error) => tracing::info!("channel {channel} still fails: {error}"),
    }
}

/// When time alone changes a verdict: a backup becomes too old, or a slot overdue.
fn next_verdict(plan: &Plan, status: &StatusReport, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let expectation = plan.objectives;
    let grace = TimeDelta::from_std(expectation.grace).ok()?;
    let age = TimeDelta::from_std(expectation.recovery_point).ok()? + grace;
    let too_old = status
        .databases
        .iter()
        .filter_map(|database| Some(database.newest?.to_utc() + age));
    let overdue = plan.jobs.iter().filter_map(|job| {
        let slot = job.schedule.next_after(now - grace)?;
        Some(slot.to_utc() + grace)
    });
    let moments = too_old.chain(overdue);
    // Just after it.
    let moments = moments.map(|moment| moment + TimeDelta::seconds(1));
    moments.filter(|moment| *moment > now).min()
}
