//! The time that a program under test sees, by libfaketime: a clock that can be set while a daemon runs
//! by it, and a moment for one command.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};

use super::operator::{Operator, Output, Running};

/// The wall clock of a daemon, by libfaketime; other programs have the machine's.
pub(crate) struct WallClock {
    file: PathBuf,
    /// By how much it is ahead of the machine's.
    offset: Cell<TimeDelta>,
}

impl WallClock {
    /// A clock that shows this time now.
    pub(crate) fn at(operator: &Operator, time: &str) -> Self {
        let clock = Self {
            file: operator.path("wall-clock"),
            offset: Cell::default(),
        };
        clock.set(time);
        clock
    }

    /// Sets the clock: it shows this time now.
    pub(crate) fn set(&self, time: &str) {
        let time: DateTime<Utc> = time.parse().expect("a time in UTC");
        self.set_offset(time - machine_time());
    }

    /// Sets the clock by so much: forward, or back when it is negative.
    pub(crate) fn set_by(&self, by: TimeDelta) {
        self.set_offset(self.offset.get() + by);
    }

    /// What the clock shows now.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        machine_time() + self.offset.get()
    }

    fn set_offset(&self, offset: TimeDelta) {
        self.offset.set(offset);
        let sign = if offset < TimeDelta::zero() { '-' } else { '+' };
        let (seconds, rest) = (offset.abs().num_seconds(), offset.abs().subsec_millis());
        let text = format!("{sign}{seconds}.{rest:03}");
        // Never half: the daemon reads it with every look at the clock.
        let new = self.file.with_extension("new");
        fs::write(&new, text).expect("the clock's file");
        fs::rename(&new, &self.file).expect("the clock's file");
    }

    /// Runs a command under this clock to its end, and expects success.
    #[track_caller]
    pub(crate) fn run(&self, operator: &Operator, arguments: &[&str]) {
        let mut command = operator.command(arguments);
        self.give_to(&mut command);
        let output = Running::start(command).wait();
        assert_eq!(output.code, 0, "{output}");
    }

    /// Gives a command this clock.
    pub(super) fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            // It would count for more than the file, where the test itself has another date.
            .env_remove("FAKETIME")
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            // std's timed waits hang otherwise, and it is this clock that nobody can set.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// The machine's time, also where libfaketime gives the test another one: it does not stand between
/// rustix and the kernel.
pub(crate) fn machine_time() -> DateTime<Utc> {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let nanoseconds = u32::try_from(now.tv_nsec).expect("less than a second");
    DateTime::from_timestamp(now.tv_sec, nanoseconds).expect("a time of our century")
}

/// Runs a command by another clock: one that stands still at a moment in UTC (`2025-01-01 02:00:00`),
/// or one that is ahead of the machine's (`+3600s`) or behind it.
pub(crate) fn run_at(operator: &Operator, time: &str, arguments: &[&str]) -> Output {
    spawn_at(operator, time, arguments).wait()
}

/// Starts a command by such a clock.
pub(crate) fn spawn_at(operator: &Operator, time: &str, arguments: &[&str]) -> Running {
    let mut command = operator.command(arguments);
    command
        .env("LD_PRELOAD", library())
        .env("FAKETIME", time)
        // Limits of time go by the monotonic clock, which must go on.
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Running::start(command)
}

/// The library of the package faketime, wherever the machine's architecture has it.
fn library() -> PathBuf {
    let parents = [Path::new("/usr/lib"), Path::new("/usr/lib64")];
    parents
        .iter()
        .filter_map(|parent| fs::read_dir(parent).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
        .expect("libfaketime: install the package faketime")
}
