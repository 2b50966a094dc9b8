//! Everything that is due: what may start now, what waits and for what, and what is given up. Pure;
//! given the time by whoever asks.
//!
//! The rules:
//! - No more runs at the same time than allowed in all and on one server.
//! - Never two runs on the same database: they would only meet at its lock.
//! - Whatever is due belongs to a slot and has until the end of that slot's window to start. Within
//!   it, it waits for its turn, for the end of a blackout, and for another try.
//! - A job that is still at work on a database when it is due there again is skipped there.
//! - To find out which databases a job is for is no run: it takes no turn and keeps to no blackout.
//!   Otherwise it would wait for the run that it overlaps with, and what is skipped would be on no
//!   database's record.
//! - Spare work (`spare.rs`) is done only while nothing else is, and nothing waits for it.
//! - Copies to one destination are made one after the other, next to all other work: they take no turn of
//!   its, and a destination that is slow or out of reach is in the way of nothing but its own copies.

mod spare;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::policy::{Admission, AtWork, Blackouts, Retry, SkipReason, admit, overlap};

/// What a piece of work is about: one job on one database of one server. A job that has yet to ask
/// a server for its databases has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subject {
    /// The job's name.
    pub job: String,
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: Option<String>,
}

/// What a piece of work shares its turns with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// The runs that the limits count.
    Runs,
    /// What is done only while nothing else is.
    Spare,
    /// The copies to this destination.
    Copies(String),
}

/// A piece of work: one job, due on one database.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Work<T> {
    /// What it is about.
    pub subject: Subject,
    /// The slot that it is for.
    pub slot: DateTime<Utc>,
    /// The end of the slot's window.
    pub ends: DateTime<Utc>,
    /// Before this it does not start: a random delay, or a pause between tries.
    pub not_before: DateTime<Utc>,
    /// Why it does not start before that.
    pub reason: Option<String>,
    /// Which try it is, counted from 1.
    pub attempt: u32,
    /// What it shares its turns with.
    pub lane: Lane,
    /// Whether it comes of another run of its job, and is none that the schedule asks for: the slot is over
    /// without it.
    pub is_follow_up: bool,
    /// When nothing starts.
    pub blackouts: Blackouts,
    /// The pauses between tries.
    pub retry: Retry,
    /// What to do.
    pub task: T,
}

impl<T> Work<T> {
    /// The moment before which it does not start; none when it only waits for its turn.
    pub(super) fn starts_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let pause = Some(self.not_before).filter(|moment| *moment > now);
        self.blackouts.ends_after(now).max(pause)
    }

    /// Why it does not start now, in a sentence.
    pub(super) fn waits_for(&self, now: DateTime<Utc>) -> &str {
        if self.blackouts.ends_after(now).is_some() {
            "a blackout window lasts until then"
        } else if let Some(reason) = self.reason.as_deref().filter(|_| self.not_before > now) {
            reason
        } else {
            "it waits for its turn"
        }
    }
}

/// Names a running piece of work.
pub(super) type Ticket = u64;

/// How many runs go on at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Concurrency {
    /// In all.
    pub total: usize,
    /// On one server.
    pub per_server: usize,
}

/// What is given up, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Skipped<T> {
    /// The work.
    pub work: Work<T>,
    /// Why, in words.
    pub reason: String,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step<T> {
    /// To be started, and reported by this ticket when it has ended.
    Start(Ticket, Work<T>),
    /// To be recorded as skipped.
    Skip(Skipped<T>),
}

/// How a run ended, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing is left to be done for this slot.
    Over,
    /// It failed for a reason that may pass; in words.
    MayPass(String),
}

/// All work that is due.
#[derive(Clone, Debug)]
pub(super) struct Board<T> {
    concurrency: Concurrency,
    waiting: Vec<Work<T>>,
    running: BTreeMap<Ticket, Running<T>>,
    tickets: Ticket,
}

/// Work that is being done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running<T> {
    /// The work.
    pub work: Work<T>,
    /// Since when.
    pub since: DateTime<Utc>,
}

impl<T: Clone> Board<T> {
    /// An empty board.
    pub(super) fn new(concurrency: Concurrency) -> Self {
        Self {
            concurrency,
            waiting: Vec::new(),
            running: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// Another limit counts from now on; what runs goes on.
    pub(super) fn set_concurrency(&mut self, concurrency: Concurrency) {
        self.concurrency = concurrency;
    }

    /// Puts work on the board, or gives it back with the reason why it is skipped. Work for an
    /// earlier slot that has not started by now is given back instead: the newer one does its part.
    pub(super) fn add(&mut self, work: Work<T>) -> Option<Skipped<T>> {
        if work.lane == Lane::Spare {
            self.add_spare(work);
            return None;
        }
        let same = |other: &Work<T>| other.subject == work.subject && other.lane == work.lane;
        let zone = work.blackouts.zone();
        let at_work = self.running.values().find(|running| same(&running.work));
        let at_work = at_work.map(|running| AtWork {
            slot: running.work.slot,
            since: running.since,
        });
        if let Some(reason) = overlap(at_work, zone) {
            return Some(Skipped {
                work,
                reason: reason.to_string(),
            });
        }
        let earlier = self.waiting.iter().position(same);
        let superseded = earlier.map(|index| {
            let earlier = self.waiting.remove(index);
            // Its window ends where the next slot begins.
            let reason = SkipReason::WindowOver {
                ended: work.slot.with_timezone(&zone),
            };
            given_up(earlier, &reason)
        });
        self.waiting.push(work);
        superseded
    }

    /// What is to be done now. Whatever may start counts as running from here on.
    pub(super) fn steps(&mut self, now: DateTime<Utc>) -> Vec<Step<T>> {
        let mut steps = Vec::new();
        // First come, first served; of one slot, in the order in which it was put on the board.
        self.waiting.sort_by_key(|work| work.slot);
        for work in std::mem::take(&mut self.waiting) {
            if work.lane == Lane::Spare {
                self.waiting.push(work);
                continue;
            }
            let admission = match work.subject.database {
                Some(_) => admit(now, work.ends, &work.blackouts),
                None => admit(now, work.ends, &Blackouts::none(work.blackouts.zone())),
            };
            match admission {
                Admission::Skip(reason) => steps.push(Step::Skip(given_up(work, &reason))),
                Admission::Start if work.not_before <= now && self.has_turn(&work) => {
                    self.tickets += 1;
                    let running = Running {
                        work: work.clone(),
                        since: now,
                    };
                    self.running.insert(self.tickets, running);
                    steps.push(Step::Start(self.tickets, work));
                }
                // The end of a blackout is looked up again each time: the clock may be set meanwhile.
                Admission::Start | Admission::Wait(_) => self.waiting.push(work),
            }
        }
        self.spare_steps(now, &mut steps);
        steps
    }

    fn has_turn(&self, work: &Work<T>) -> bool {
        let subject = &work.subject;
        let in_lane = self.running.values().map(|running| &running.work);
        let mut in_lane = in_lane.filter(|other| other.lane == work.lane);
        if matches!(work.lane, Lane::Copies(_)) {
            return in_lane.next().is_none();
        }
        if subject.database.is_none() {
            return true;
        }
        let runs = in_lane.map(|work| &work.subject);
        let runs = runs.filter(|other| other.database.is_some());
        let on_server = runs.clone().filter(|other| other.server == subject.server);
        runs.count() < self.concurrency.total
            && on_server.clone().count() < self.concurrency.per_server
            && !on_server
                .clone()
                .any(|other| other.database == subject.database)
    }

    /// Takes a run off that has ended. Gives the work back with the time of its next try, if it is
    /// to have one.
    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        ending: Ending,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let mut work = self.running.remove(&ticket)?.work;
        let Ending::MayPass(reason) = ending else {
            return None;
        };
        if work.lane == Lane::Spare {
            return None;
        }
        let again = work.retry.again(work.attempt, now, work.ends)?;
        work.attempt += 1;
        work.not_before = again;
        work.reason = Some(reason);
        self.waiting.push(work);
        Some(again)
    }

    /// When something may happen without anything ending first; none when nothing can.
    pub(super) fn wake_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.waiting
            .iter()
            // What only waits for its turn gives up at the end of its window.
            .map(|work| {
                work.starts_at(now)
                    .map_or(work.ends, |starts| starts.min(work.ends))
            })
            .min()
    }

    /// The wall clock was set by so much: what waits goes on waiting for as long as before.
    pub(super) fn shift(&mut self, by: TimeDelta) {
        let running = self.running.values_mut().map(|running| &mut running.work);
        for work in self.waiting.iter_mut().chain(running) {
            for moment in [&mut work.not_before, &mut work.ends] {
                *moment = moment.checked_add_signed(by).unwrap_or(*moment);
            }
        }
    }

    /// Lets waiting work follow a new configuration: each gets what it is to do now, or is taken off
    /// and given back where the configuration no longer has it.
    pub(super) fn rebase(&mut self, mut renew: impl FnMut(&mut Work<T>) -> bool) -> Vec<Work<T>> {
        let mut gone = Vec::new();
        for mut work in std::mem::take(&mut self.waiting) {
            if renew(&mut work) {
                self.waiting.push(work);
            } else {
                gone.push(work);
            }
        }
        gone
    }

    /// Whether any work of this job and slot is left, waiting or running.
    pub(super) fn has_left(&self, job: &str, slot: DateTime<Utc>) -> bool {
        let running = self.running.values().map(|running| &running.work);
        self.waiting
            .iter()
            .chain(running)
            .any(|work| work.subject.job == job && work.slot == slot && !work.is_follow_up)
    }

    /// What runs, by ticket.
    pub(super) fn running(&self) -> impl Iterator<Item = (Ticket, &Running<T>)> {
        self.running
            .iter()
            .map(|(ticket, running)| (*ticket, running))
    }

    /// What waits.
    pub(super) fn waiting(&self) -> &[Work<T>] {
        &self.waiting
    }
}

/// Work that is given up, with what kept it from starting: that says more than that its time has
/// run out.
fn given_up<T>(mut work: Work<T>, reason: &SkipReason) -> Skipped<T> {
    let reason = match work.reason.take() {
        Some(why) => format!("{reason}; {why}"),
        None => reason.to_string(),
    };
    Skipped { work, reason }
}

#[cfg(test)]
pub(super) mod tests;
