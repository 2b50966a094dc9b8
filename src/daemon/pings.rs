//! Services that hear of runs, the channels of the type "ping": of a job's slot when its first run begins and
//! when its last has ended, and of the daemon as long as its loop turns. A run that failed and is tried
//! again has not failed yet.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::board::Subject;
use crate::config::{AlertChannel, ChannelWay, PingAbout, Plan};
use crate::display::{joined_lines, with_hint_in_line};
use crate::jobs::alert_file;
use crate::notify::{self, Again, Ping, PingEvent};
use crate::repository::AlertFile;
use crate::threads;

/// So many reports wait for a service; further ones are dropped.
const ROOM: usize = 256;

/// The pauses between attempts. What is later than this is of no use to a service that measures time.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];

/// That nothing has changed is noted so often.
const NOTED_EVERY: Duration = Duration::from_secs(300);

/// So many failed runs are named in a report.
const NAMED: usize = 20;

/// What services hear.
pub(super) struct Pings {
    slots: Slots,
    listeners: Vec<Listener>,
}

/// A service that listens.
struct Listener {
    channel: AlertChannel,
    about: PingAbout,
    reports: Sender<Ping>,
    /// Ends when it is no longer configured.
    configured: CancellationToken,
    /// When it is due to hear that the daemon is alive.
    next_beat: Instant,
}

impl Pings {
    /// For the channels of a plan.
    pub(super) fn new(plan: &Plan, environment: &Arc<BTreeMap<String, String>>) -> Self {
        let mut pings = Self {
            slots: Slots::default(),
            listeners: Vec::new(),
        };
        pings.follow(plan, environment);
        pings
    }

    /// Reports to the channels of another plan from now on. What waits for a channel that has changed is
    /// still reported as it was.
    pub(super) fn follow(&mut self, plan: &Plan, environment: &Arc<BTreeMap<String, String>>) {
        let mut before = std::mem::take(&mut self.listeners);
        for channel in &plan.alerts {
            let ChannelWay::Ping(ping) = &channel.way else {
                continue;
            };
            if let Some(same) = before.iter().position(|one| one.channel == *channel) {
                self.listeners.push(before.swap_remove(same));
                continue;
            }
            let (reports, waiting) = mpsc::channel(ROOM);
            let configured = CancellationToken::new();
            let notes = Notes {
                file: alert_file(plan),
                zone: plan.zone,
                newest: None,
                configured: configured.clone(),
            };
            let service = (channel.clone(), Arc::clone(environment));
            tokio::spawn(deliver(service, waiting, notes));
            self.listeners.push(Listener {
                channel: channel.clone(),
                about: ping.about.clone(),
                reports,
                configured,
                next_beat: Instant::now(),
            });
        }
        for gone in before {
            gone.configured.cancel();
        }
    }

    /// A run begins.
    pub(super) fn began(&mut self, subject: &Subject, slot: DateTime<Utc>, run: Uuid) {
        if self.slots.began(&subject.job, slot, run) {
            self.report(&subject.job, run, &PingEvent::Start);
        }
    }

    /// A run succeeded, perhaps after it failed before.
    pub(super) fn succeeded(&mut self, subject: &Subject, slot: DateTime<Utc>) {
        self.slots.succeeded(subject, slot);
    }

    /// A run failed, or was skipped.
    pub(super) fn failed(&mut self, subject: &Subject, slot: DateTime<Utc>, why: &impl Display) {
        self.slots.failed(subject, slot, why.to_string());
    }

    /// Reports the slots that have no work left.
    pub(super) fn settle(&mut self, has_left: impl Fn(&str, DateTime<Utc>) -> bool) {
        for (job, run, event) in self.slots.settle(has_left) {
            self.report(&job, run, &event);
        }
    }

    fn report(&self, job: &str, run: Uuid, event: &PingEvent) {
        for listener in &self.listeners {
            let hears = match &listener.about {
                PingAbout::AllJobs => true,
                PingAbout::Jobs(jobs) => jobs.iter().any(|one| one == job),
                PingAbout::Daemon(_) => false,
            };
            if hears {
                listener.pass_on(Ping {
                    event: event.clone(),
                    run: Some(run),
                });
            }
        }
    }

    /// Reports that the loop turns, to those who are due to hear it.
    pub(super) fn beat(&mut self, now: Instant) {
        for listener in &mut self.listeners {
            if let PingAbout::Daemon(every) = listener.about
                && listener.next_beat <= now
            {
                listener.next_beat = now + every;
                listener.pass_on(Ping {
                    event: PingEvent::Success,
                    run: None,
                });
            }
        }
    }

    /// For how long nobody is due to hear that the loop turns.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let beats = self
            .listeners
            .iter()
            .filter(|listener| matches!(listener.about, PingAbout::Daemon(_)));
        let next = beats.map(|listener| listener.next_beat).min()?;
        Some(next.saturating_duration_since(now))
    }
}

impl Listener {
    fn pass_on(&self, ping: Ping) {
        // A service that does not answer is behind by so many reports, and its task says so.
        let _ = self.reports.try_send(ping);
    }
}

/// Sends one report after the other, until the channel is no longer configured.
async fn deliver(
    (channel, environment): (AlertChannel, Arc<BTreeMap<String, String>>),
    mut reports: Receiver<Ping>,
    mut notes: Notes,
) {
    let mut is_failing = false;
    while let Some(mut ping) = reports.recv().await {
        // Of heartbeats only the newest is of use.
        while ping.run.is_none()
            && let Ok(newer) = reports.try_recv()
        {
            ping = newer;
        }
        let outcome = deliver_one(&channel, &ping, &environment).await;
        notes.take(&channel.name, outcome.as_ref().err()).await;
        match outcome {
            Ok(()) if is_failing => {
                is_failing = false;
                tracing::info!("alerts.{}: pings arrive again", channel.name);
            }
            Ok(()) => {}
            // What waits for an address that is not configured any more is tried once.
            Err(_) if notes.configured.is_cancelled() => return,
            // Of a service that stays away, the log has one line.
            Err(_) if is_failing => {}
            Err(error) => {
                is_failing = true;
                tracing::warn!(
                    "alerts.{}: a ping was not sent: {}",
                    channel.name,
                    with_hint_in_line(&error)
                );
            }
        }
    }
}

/// Where it is noted how a channel does: one that fails is a problem that the other channels report.
struct Notes {
    file: AlertFile,
    zone: Tz,
    /// The newest note: whether the channel failed, and when it was made.
    newest: Option<(bool, Instant)>,
    /// Ends when the channel is no longer configured so: then its name is another one's.
    configured: CancellationToken,
}

impl Notes {
    /// Notes an outcome, if it is news or the note is old.
    async fn take(&mut self, channel: &str, error: Option<&String>) {
        let is_known = self
            .newest
            .is_some_and(|(failed, at)| failed == error.is_some() && at.elapsed() < NOTED_EVERY);
        if is_known || self.configured.is_cancelled() {
            return;
        }
        self.newest = Some((error.is_some(), Instant::now()));
        let (file, channel, error) = (self.file.clone(), channel.to_owned(), error.cloned());
        let now = Utc::now().with_timezone(&self.zone).fixed_offset();
        let noting = threads::start("pings", move || {
            file.change(|book| book.note_ping(&channel, error.as_deref(), now))
        });
        let noted = match noting {
            Ok(thread) => thread.await.map_err(io::Error::other).flatten(),
            Err(error) => Err(error.0),
        };
        if let Err(error) = noted {
            tracing::warn!("it cannot be noted how the pings do: {error}");
        }
    }
}

async fn deliver_one(
    channel: &AlertChannel,
    ping: &Ping,
    environment: &BTreeMap<String, String>,
) -> Result<(), String> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let Err(error) = notify::ping(channel, ping, environment).await else {
            return Ok(());
        };
        let pause = match (pauses.next(), error.again) {
            (Some(pause), Again::Later) => pause,
            (Some(pause), Again::After(asked)) if asked <= PAUSES[2] => pause.max(asked),
            _ => return Err(error.sentence),
        };
        tokio::time::sleep(pause).await;
    }
}

/// The slots that have work left, by job.
#[derive(Debug, Default)]
struct Slots(BTreeMap<(String, DateTime<Utc>), Slot>);

/// What is known of a slot.
#[derive(Debug)]
struct Slot {
    /// The id of its first run stands for all of them.
    run: Uuid,
    has_begun: bool,
    /// Why runs failed that have not succeeded since.
    failures: BTreeMap<Subject, String>,
}

impl Slots {
    fn slot(&mut self, job: &str, slot: DateTime<Utc>, run: Option<Uuid>) -> &mut Slot {
        self.0
            .entry((job.to_owned(), slot))
            .or_insert_with(|| Slot {
                run: run.unwrap_or_else(Uuid::now_v7),
                has_begun: false,
                failures: BTreeMap::new(),
            })
    }

    /// Whether the run is the slot's first.
    fn began(&mut self, job: &str, slot: DateTime<Utc>, run: Uuid) -> bool {
        let slot = self.slot(job, slot, Some(run));
        let is_first = !slot.has_begun;
        if is_first {
            (slot.has_begun, slot.run) = (true, run);
        }
        is_first
    }

    fn succeeded(&mut self, subject: &Subject, slot: DateTime<Utc>) {
        self.slot(&subject.job, slot, None).failures.remove(subject);
    }

    fn failed(&mut self, subject: &Subject, slot: DateTime<Utc>, why: String) {
        let slot = self.slot(&subject.job, slot, None);
        slot.failures.insert(subject.clone(), why);
    }

    /// Takes out the slots that have no work left.
    fn settle(
        &mut self,
        has_left: impl Fn(&str, DateTime<Utc>) -> bool,
    ) -> Vec<(String, Uuid, PingEvent)> {
        let all = std::mem::take(&mut self.0).into_iter();
        let (left, settled): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|((job, slot), _)| has_left(job, *slot));
        self.0 = left;
        settled
            .into_iter()
            .map(|((job, _), slot)| (job, slot.run, slot.event()))
            .collect()
    }
}

impl Slot {
    fn event(&self) -> PingEvent {
        if self.failures.is_empty() {
            return PingEvent::Success;
        }
        let named = self.failures.iter().take(NAMED).map(|(subject, why)| {
            let Subject {
                job,
                server,
                database,
            } = subject;
            let of = match database {
                Some(database) => format!("{server}/{database}"),
                None => format!("server {server}"),
            };
            joined_lines(&format!("{job} of {of}: {why}"))
        });
        let mut lines: Vec<String> = named.collect();
        match self.failures.len() - lines.len() {
            0 => {}
            more => lines.push(format!("… and {more} more")),
        }
        PingEvent::Failure(lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(database: &str) -> Subject {
        Subject {
            job: "daily".to_owned(),
            server: "main".to_owned(),
            database: Some(database.to_owned()),
        }
    }

    #[test]
    fn a_slot_is_one_run_to_a_service_and_fails_if_one_of_its_databases_does() {
        let slot = DateTime::UNIX_EPOCH;
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut slots = Slots::default();
        assert!(slots.began("daily", slot, first));
        assert!(!slots.began("daily", slot, second));
        slots.failed(&of("a"), slot, "no space\nhint: make some".to_owned());
        slots.succeeded(&of("b"), slot);
        assert!(slots.settle(|_, _| true).is_empty(), "it is tried again");
        let failure = PingEvent::Failure("daily of main/a: no space; hint: make some".to_owned());
        assert_eq!(
            slots.settle(|_, _| false),
            [("daily".to_owned(), first, failure)]
        );
        assert!(slots.settle(|_, _| false).is_empty());

        slots.began("daily", slot, second);
        slots.failed(&of("a"), slot, "the server does not answer".to_owned());
        slots.succeeded(&of("a"), slot);
        assert_eq!(
            slots.settle(|_, _| false),
            [("daily".to_owned(), second, PingEvent::Success)]
        );
    }

    #[test]
    fn a_slot_that_never_began_fails_too() {
        let mut slots = Slots::default();
        slots.failed(&of("a"), DateTime::UNIX_EPOCH, "skipped".to_owned());
        let settled = slots.settle(|_, _| false);
        let expected = PingEvent::Failure("daily of main/a: skipped".to_owned());
        assert_eq!(settled[0].2, expected);
    }
}
