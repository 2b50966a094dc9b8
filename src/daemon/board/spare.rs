//! Spare work: what is done only while nothing else is, and what nothing waits for. Pure.
//!
//! - It starts only where nothing runs on its server, nothing there is ready to run, and the limit in all
//!   leaves room; one at a time.
//! - Nothing ever waits for it: it counts in no limit, and keeps no other run from its database.
//! - It keeps to blackouts, as everything does.
//! - What newer work of its kind replaces, or what finds no time until its end, is dropped without a record:
//!   whoever put it up does so again.

use chrono::{DateTime, Utc};

use super::{Board, Lane, Running, Step, Work};
use crate::policy::{Admission, admit};

impl<T: Clone> Board<T> {
    /// Puts spare work on the board, in the place of other such work on its database that waits.
    pub(super) fn add_spare(&mut self, work: Work<T>) {
        self.waiting
            .retain(|other| !(is_spare(other) && is_on_one_database(other, &work)));
        self.waiting.push(work);
    }

    /// Starts spare work, if nothing else is to be done.
    pub(super) fn spare_steps(&mut self, now: DateTime<Utc>, steps: &mut Vec<Step<T>>) {
        self.waiting
            .retain(|work| !(is_spare(work) && is_given_up(work, now)));
        let Some(index) = self
            .waiting
            .iter()
            .position(|work| is_spare(work) && is_ready(work, now) && self.leaves_room(work, now))
        else {
            return;
        };
        let work = self.waiting.remove(index);
        self.tickets += 1;
        let running = Running {
            work: work.clone(),
            since: now,
        };
        self.running.insert(self.tickets, running);
        steps.push(Step::Start(self.tickets, work));
    }

    fn leaves_room(&self, spare: &Work<T>, now: DateTime<Utc>) -> bool {
        let server = &spare.subject.server;
        let (mut in_all, mut is_busy) = (0, false);
        for running in self.running.values().map(|running| &running.work) {
            if matches!(running.lane, Lane::Copies(_)) {
                continue;
            }
            in_all += usize::from(running.subject.database.is_some());
            // To find out which databases a job is for means that their runs come next.
            is_busy |= is_spare(running) || running.subject.server == *server;
        }
        is_busy |= self.waiting.iter().any(|work| {
            work.lane == Lane::Runs && work.subject.server == *server && is_ready(work, now)
        });
        !is_busy && in_all < self.concurrency.total
    }
}

fn is_spare<T>(work: &Work<T>) -> bool {
    work.lane == Lane::Spare
}

fn is_on_one_database<T>(one: &Work<T>, other: &Work<T>) -> bool {
    let of = |work: &Work<T>| (work.subject.server.clone(), work.subject.database.clone());
    of(one) == of(other)
}

fn is_ready<T>(work: &Work<T>, now: DateTime<Utc>) -> bool {
    work.not_before <= now && admit(now, work.ends, &work.blackouts) == Admission::Start
}

/// Whether it finds no time any more.
fn is_given_up<T>(work: &Work<T>, now: DateTime<Utc>) -> bool {
    matches!(admit(now, work.ends, &work.blackouts), Admission::Skip(_))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, blackouts, board, names, skipped, started, work};
    use super::super::{Board, Concurrency, Ending, Lane, Step, Work};

    const TWO: Concurrency = Concurrency {
        total: 2,
        per_server: 1,
    };

    fn spare(server: &str, database: &str, minute: i64) -> Work<()> {
        Work {
            lane: Lane::Spare,
            is_follow_up: true,
            ..work("daily", server, database, minute)
        }
    }

    fn with(board: &mut Board<()>, work: Work<()>) {
        assert_eq!(board.add(work), None);
    }

    #[test]
    fn it_starts_when_all_else_on_its_server_is_done_and_one_at_a_time() {
        let mut board = board(
            TWO,
            vec![work("daily", "a", "1", 0), work("daily", "a", "2", 0)],
        );
        with(&mut board, spare("a", "0", 0));
        with(&mut board, spare("a", "00", 0));
        let first = board.steps(at(0));
        assert_eq!(names(&first), ["1"]);
        board.finish(started(&first)[0].0, Ending::Over, at(1));
        let second = board.steps(at(1));
        assert_eq!(names(&second), ["2"], "what is ready goes first");
        board.finish(started(&second)[0].0, Ending::Over, at(2));
        let third = board.steps(at(2));
        assert_eq!(names(&third), ["0"]);
        assert!(board.steps(at(2)).is_empty());
        board.finish(started(&third)[0].0, Ending::MayPass(String::new()), at(3));
        assert_eq!(names(&board.steps(at(3))), ["00"], "it is not tried again");
    }

    #[test]
    fn nothing_waits_for_it() {
        let mut board = board(
            Concurrency {
                total: 1,
                per_server: 1,
            },
            vec![spare("a", "1", 0)],
        );
        assert_eq!(names(&board.steps(at(0))), ["1"]);
        with(&mut board, work("daily", "a", "1", 1));
        assert_eq!(names(&board.steps(at(1))), ["1"]);
        assert!(board.has_left("daily", at(1)));
        assert!(!board.has_left("daily", at(0)));
    }

    #[test]
    fn another_servers_runs_leave_room_up_to_the_limit_in_all() {
        for (total, expected) in [(1, &[][..]), (2, &["x"][..])] {
            let limits = Concurrency {
                total,
                per_server: 1,
            };
            let mut board = board(limits, vec![work("daily", "b", "1", 0)]);
            board.steps(at(0));
            with(&mut board, spare("a", "x", 0));
            assert_eq!(names(&board.steps(at(0))), expected, "{total}");
        }
    }

    #[test]
    fn while_databases_are_looked_for_their_runs_are_about_to_come() {
        let mut find = work("daily", "a", "", 0);
        find.subject.database = None;
        let mut board = board(TWO, vec![find]);
        with(&mut board, spare("a", "x", 0));
        let steps = board.steps(at(0));
        assert!(names(&steps).is_empty());
        let [Step::Start(ticket, _)] = steps.as_slice() else {
            panic!("{steps:?}")
        };
        board.finish(*ticket, Ending::Over, at(0));
        assert_eq!(names(&board.steps(at(0))), ["x"]);
    }

    #[test]
    fn it_keeps_to_blackouts_and_is_dropped_without_a_word() {
        let dark = Work {
            blackouts: blackouts(&["00:00-00:20"]),
            ..spare("a", "x", 0)
        };
        let late = spare("a", "late", -60);
        let mut board = board(TWO, vec![dark, late]);
        let steps = board.steps(at(1));
        assert!(steps.is_empty(), "{steps:?}");
        assert_eq!(board.waiting().len(), 1);
        assert_eq!(board.wake_at(at(1)), Some(at(20)));
        with(&mut board, spare("a", "x", 10));
        assert_eq!(board.waiting().len(), 1, "the newer one takes its place");
        let steps = board.steps(at(10));
        assert_eq!(
            (names(&steps), skipped(&steps)),
            (vec!["x".to_owned()], vec![])
        );
        with(&mut board, spare("a", "x", 11));
        assert_eq!(board.waiting().len(), 1, "after the one that runs");
    }
}
