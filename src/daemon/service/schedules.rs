//! Which schedules are in force since when, and which slots of theirs have work left.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::config::Job;
use crate::repository::{InForce, SchedulesInForce};

/// What is known of the schedules: by that, a slot that was missed is found after the next start.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    in_force: SchedulesInForce,
    /// Whether those that were in force before this start are among them: none is written before.
    is_read: bool,
    /// Of what is done by a job that is no backup, the slots that have work left.
    open: Vec<(String, DateTime<Utc>)>,
}

impl Schedules {
    /// Puts the schedules of these jobs into force from now on, those that were not already.
    pub(super) fn bring_into_force(&mut self, jobs: &[Job], now: DateTime<Utc>) {
        let wanted = jobs.iter().map(|job| {
            let schedule = &job.schedule;
            (job.name.as_str(), schedule.text(), schedule.zone().name())
        });
        self.in_force.replace(wanted, now);
    }

    /// Takes in those that were in force before this start. What was handled meanwhile stays handled.
    pub(super) fn take_earlier(
        &mut self,
        before: SchedulesInForce,
        jobs: &[Job],
        now: DateTime<Utc>,
    ) {
        let meanwhile = std::mem::replace(&mut self.in_force, before);
        self.is_read = true;
        self.bring_into_force(jobs, now);
        for (job, slot) in meanwhile.handled() {
            self.in_force.handle(job, slot);
        }
    }

    /// Since when a job's schedule is in force, and its newest slot for which everything was done.
    pub(super) fn of(&self, job: &str) -> Option<&InForce> {
        self.in_force.of(job)
    }

    /// Notes that a slot has work.
    pub(super) fn open(&mut self, job: &str, slot: DateTime<Utc>) {
        self.open.push((job.to_owned(), slot));
    }

    /// Notes the slots that have no work left; whether there are any.
    pub(super) fn settle(&mut self, has_left: impl Fn(&str, DateTime<Utc>) -> bool) -> bool {
        let all = std::mem::take(&mut self.open).into_iter();
        let (open, settled): (Vec<_>, Vec<_>) = all.partition(|(job, slot)| has_left(job, *slot));
        self.open = open;
        for (job, slot) in &settled {
            self.in_force.handle(job, *slot);
        }
        !settled.is_empty()
    }

    /// What is to be written; nothing before it is known what was in force before this start.
    pub(super) fn to_write(&self) -> Option<Arc<SchedulesInForce>> {
        self.is_read.then(|| Arc::new(self.in_force.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::changes::tests::loaded;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_is_written_before_the_earlier_ones_are_read_and_what_was_handled_stays() {
        let plan = loaded("database = \"sales\"").plan;
        let (start, later) = (at("2026-11-28T00:00:00Z"), at("2026-11-29T00:00:00Z"));
        let mut before = Schedules::default();
        before.take_earlier(SchedulesInForce::default(), &plan.jobs, start);
        let before = before.to_write().expect("they are read");

        let mut schedules = Schedules::default();
        schedules.bring_into_force(&plan.jobs, later);
        let slot = at("2026-11-28T23:00:00Z");
        schedules.open("verify", slot);
        assert!(!schedules.settle(|_, _| true), "work is left");
        assert!(schedules.settle(|job, _| job != "verify"));
        assert!(!schedules.settle(|_, _| false), "nothing is open any more");
        assert!(
            schedules.to_write().is_none(),
            "what was before is not known"
        );

        schedules.take_earlier((*before).clone(), &plan.jobs, later);
        let known = schedules.of("verify").unwrap();
        assert_eq!((known.since, known.handled), (start, Some(slot)));
        assert_eq!(schedules.of("daily").unwrap().since, start);
        assert!(schedules.of("no such job").is_none());
        assert!(schedules.to_write().is_some());

        // A schedule that changes is in force since then, and nothing of it is handled.
        let changed = loaded("database = \"sales\"\njobs.verify.schedule = \"0 6 * * *\"").plan;
        schedules.bring_into_force(&changed.jobs, later);
        let known = schedules.of("verify").unwrap();
        assert_eq!((known.since, known.handled), (later, None));
        assert_eq!(schedules.of("daily").unwrap().since, start);
    }
}
