//! tokio-cron-scheduler, with its time-keeping replaced by ours.
//!
//! The scheduler asks its metadata store twice a second which jobs are due, and reckons every tick
//! after the first with the offset from UTC that was in force when the job was added. Both are
//! fixed in the store, which is ours to write (`MetaDataStorage`):
//! - What is due comes from our [`Timetable`]: five-field patterns, read in the job's own zone.
//! - The question "which jobs are due?" is only answered when one is, or after a change. The
//!   scheduler's loop waits in it, so that an idle daemon wakes up every [`LOOK`] and not twice a
//!   second; and a job that is due is reported at once.
//!
//! The closures that the scheduler calls send the job's id and nothing else. Which slot it is for
//! is kept here, so that even a call that gets lost loses no run.

use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, mpsc};
use tokio_cron_scheduler::job::job_data::{JobAndNextTick, JobStoredData, JobType};
use tokio_cron_scheduler::store::{DataStore, InitStore};
use tokio_cron_scheduler::{
    Job as Entry, JobScheduler, JobSchedulerError, MetaDataStorage, SimpleJobCode,
    SimpleMetadataStore, SimpleNotificationCode, SimpleNotificationStore,
};
use uuid::Uuid;

use super::clock::{Clock, Clocks, SystemClock, until};
use super::timetable::{Due, Timetable};
use crate::policy::Schedule;

/// How often the clock is looked at when nothing is due: within so long, a clock that was set or a
/// machine that slept is noticed.
pub(super) const LOOK: Duration = Duration::from_secs(10);

/// Entries of the scheduler need a pattern of six fields; ours are reckoned elsewhere.
const ANY_PATTERN: &str = "0 0 0 1 1 *";

/// The length of each of the scheduler's ten channels, which are allocated as a whole: 1,024 would
/// be most of what an idle daemon has on its heap.
const CHANNEL: usize = 128;

/// So many of the jobs that come due at one moment are reported to the scheduler: it has up to three
/// messages for each in one channel. A single call is enough for the daemon to fetch them all.
const TOLD: usize = CHANNEL / 4;

/// The running scheduler.
pub(super) struct Ticker {
    scheduler: JobScheduler,
    shared: Arc<Shared>,
    jobs: Vec<(String, Uuid)>,
}

/// What is known between the scheduler's loop and ours.
struct Shared {
    clock: Box<dyn Clock>,
    /// How often the clock is looked at when nothing is due.
    interval: Duration,
    inner: Mutex<Inner>,
    /// Gives word to the daemon that there is something to take: a job that is due, by its id, or
    /// none when the clock was set.
    calls: mpsc::UnboundedSender<Option<Uuid>>,
    /// Wakes the scheduler's loop before its time.
    changed: Notify,
}

struct Inner {
    timetable: Timetable,
    clocks: Clocks,
    /// Given to the scheduler as due, not yet fetched by the daemon.
    due: Vec<Due>,
    /// Jumps of the clock that the daemon has not heard of.
    jump: Option<TimeDelta>,
    /// While entries come and go the store must not be waited in.
    is_changing: bool,
    /// When the scheduler's loop last looked at the clock.
    looked: Instant,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here is left half by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look at the clock.
    fn look(&self) -> Look {
        let mut guard = self.inner();
        let inner = &mut *guard;
        let (now, monotonic) = (self.clock.wall(), self.clock.monotonic());
        inner.looked = monotonic;
        if let Some(jump) = inner.clocks.jump(now, monotonic) {
            inner.jump = Some(inner.jump.map_or(jump, |earlier| earlier + jump));
            inner.timetable.calculate_again(now);
            // The next runs have changed, even when nothing is due.
            let _ = self.calls.send(None);
        }
        let due = inner.timetable.take_due(now);
        if due.is_empty() && !inner.is_changing {
            let wait = inner
                .timetable
                .first()
                .map_or(self.interval, |first| until(first, now).min(self.interval));
            return Look::Nothing(wait);
        }
        // A tick in the distant past is due for the scheduler whatever its own look at the clock says.
        let ticks = due.iter().take(TOLD).map(|due| JobAndNextTick {
            id: Some(due.id.into()),
            job_type: JobType::Cron.into(),
            next_tick: 1,
            last_tick: None,
        });
        let ticks = ticks.collect();
        inner.due.extend(due);
        Look::Due(ticks)
    }
}

impl Ticker {
    /// Starts the scheduler without any job. Whenever jobs are due or the clock was set, the
    /// receiver gets word.
    ///
    /// # Errors
    /// When the scheduler cannot be started.
    pub(super) async fn start()
    -> Result<(Self, mpsc::UnboundedReceiver<Option<Uuid>>), JobSchedulerError> {
        Self::by(Box::new(SystemClock), LOOK).await
    }

    /// Starts it by this clock, looked at this often when nothing is due.
    async fn by(
        clock: Box<dyn Clock>,
        interval: Duration,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Option<Uuid>>), JobSchedulerError> {
        let (wall, monotonic) = (clock.wall(), clock.monotonic());
        let (calls, called) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            calls,
            clock,
            interval,
            inner: Mutex::new(Inner {
                timetable: Timetable::default(),
                clocks: Clocks::at(wall, monotonic),
                due: Vec::new(),
                jump: None,
                is_changing: false,
                looked: monotonic,
            }),
            changed: Notify::new(),
        });
        let store = Store {
            entries: SimpleMetadataStore::default(),
            shared: Arc::clone(&shared),
        };
        let scheduler = JobScheduler::new_with_storage_and_code(
            Box::new(store),
            Box::new(SimpleNotificationStore::default()),
            Box::new(SimpleJobCode::default()),
            Box::new(SimpleNotificationCode::default()),
            CHANNEL,
        )
        .await?;
        scheduler.start().await?;
        let ticker = Self {
            scheduler,
            shared,
            jobs: Vec::new(),
        };
        Ok((ticker, called))
    }

    /// Takes jobs out and puts others in, one after the other (many at once hang the scheduler).
    ///
    /// # Errors
    /// When the scheduler refuses; some of the changes may be made then.
    pub(super) async fn change(
        &mut self,
        out: &[String],
        into: &[(String, Schedule)],
    ) -> Result<(), JobSchedulerError> {
        self.shared.inner().is_changing = true;
        self.shared.changed.notify_one();
        let outcome = self.change_entries(out, into).await;
        self.shared.inner().is_changing = false;
        outcome
    }

    async fn change_entries(
        &mut self,
        out: &[String],
        into: &[(String, Schedule)],
    ) -> Result<(), JobSchedulerError> {
        for name in out {
            while let Some(index) = self.jobs.iter().position(|(job, _)| job == name) {
                let (_, id) = self.jobs.remove(index);
                self.shared.inner().timetable.remove(id);
                self.scheduler.remove(&id).await?;
            }
        }
        for (name, schedule) in into {
            let calls = self.shared.calls.clone();
            let entry = Entry::new(ANY_PATTERN, move |id, _| {
                // The daemon is ending when nobody listens any more.
                let _ = calls.send(Some(id));
            })?;
            let id = entry.guid();
            let (schedule, now) = (schedule.clone(), self.shared.clock.wall());
            self.shared
                .inner()
                .timetable
                .insert(id, name, schedule, now);
            self.scheduler.add(entry).await?;
            self.jobs.push((name.clone(), id));
        }
        Ok(())
    }

    /// What has come due since the last call.
    pub(super) fn take_due(&self) -> Vec<Due> {
        std::mem::take(&mut self.shared.inner().due)
    }

    /// By how much the clock was set since the last call, if it was.
    pub(super) fn take_jump(&self) -> Option<TimeDelta> {
        self.shared.inner().jump.take()
    }

    /// Every job with its next slot.
    pub(super) fn upcoming(&self) -> Vec<(String, Option<DateTime<Utc>>)> {
        self.shared.inner().timetable.upcoming()
    }

    /// For how long the scheduler's loop has not looked at the clock.
    pub(super) fn silence(&self) -> Duration {
        let now = self.shared.clock.monotonic();
        now.saturating_duration_since(self.shared.inner().looked)
    }

    /// Ends the scheduler's loop.
    pub(super) async fn stop(&mut self) {
        self.shared.inner().is_changing = true;
        self.shared.changed.notify_one();
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!("the scheduler did not stop in good order: {error}");
        }
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T, JobSchedulerError>> + Send>>;

/// The scheduler's metadata store: its own for the entries, ours for the times.
struct Store {
    entries: SimpleMetadataStore,
    shared: Arc<Shared>,
}

impl InitStore for Store {
    fn init(&mut self) -> Answer<()> {
        self.entries.init()
    }

    fn inited(&mut self) -> Answer<bool> {
        self.entries.inited()
    }
}

impl DataStore<JobStoredData> for Store {
    fn get(&mut self, id: Uuid) -> Answer<Option<JobStoredData>> {
        self.entries.get(id)
    }

    fn add_or_update(&mut self, data: JobStoredData) -> Answer<()> {
        self.entries.add_or_update(data)
    }

    fn delete(&mut self, id: Uuid) -> Answer<()> {
        self.entries.delete(id)
    }
}

impl MetaDataStorage for Store {
    /// Waits until a job is due, or until the entries are to change: the store is locked as long
    /// as its caller waits.
    fn list_next_ticks(&mut self) -> Answer<Vec<JobAndNextTick>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            loop {
                let wait = match shared.look() {
                    Look::Due(due) => return Ok(due),
                    Look::Nothing(wait) => wait,
                };
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shared.changed.notified() => {}
                }
            }
        })
    }

    /// The timetable has moved on already.
    fn set_next_and_last_tick(
        &mut self,
        _: Uuid,
        _: Option<DateTime<Utc>>,
        _: Option<DateTime<Utc>>,
    ) -> Answer<()> {
        Box::pin(ready(Ok(())))
    }

    fn time_till_next_job(&mut self) -> Answer<Option<Duration>> {
        let first = self.shared.inner().timetable.first();
        let now = self.shared.clock.wall();
        Box::pin(ready(Ok(first.map(|first| until(first, now)))))
    }
}

enum Look {
    /// For the scheduler to act on.
    Due(Vec<JobAndNextTick>),
    /// To be looked at again after so long.
    Nothing(Duration),
}

#[cfg(test)]
mod tests;
