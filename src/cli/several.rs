//! How a command goes over several databases, one after the other, and how it ends.

use std::io::Write;

use serde::Serialize;

use super::failure::{Failure, FailureKind, together};
use super::interrupt::Interrupt;
use super::report::{counted, json, one_line, signal_name};
use super::session::Session;
use crate::jobs::JobError;

/// A command's way through its databases: what has come of them so far. The failure of one keeps no
/// other from its turn.
pub(super) struct Turns<'a, T> {
    pub(super) session: &'a Session<'a>,
    pub(super) failures: Vec<Failure>,
    results: Vec<T>,
    out: &'a mut dyn Write,
}

impl<'a, T: Serialize> Turns<'a, T> {
    /// Before the first one; `failures` is what is known to fail already.
    pub(super) fn new(
        session: &'a Session<'a>,
        failures: Vec<Failure>,
        out: &'a mut dyn Write,
    ) -> Self {
        Self {
            session,
            failures,
            results: Vec::new(),
            out,
        }
    }

    /// Takes each database in its turn, until a signal ends the command: that it does is a failure, if
    /// there are any left.
    pub(super) async fn each<D>(
        &mut self,
        databases: &[D],
        label: impl Fn(&D) -> &str,
        mut work: impl AsyncFnMut(&mut Self, &D) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for (index, database) in databases.iter().enumerate() {
            work(self, database).await?;
            let left = databases[index + 1..].iter().map(&label);
            self.failures
                .extend(not_reached(left, self.session.env.interrupt));
            if self.session.env.interrupt.signal().is_some() {
                break;
            }
        }
        Ok(())
    }

    /// A result, which people see at once, and programs with all others at the end.
    pub(super) fn add(
        &mut self,
        result: T,
        print: impl FnOnce(&T, &mut dyn Write) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if !self.session.env.json {
            print(&result, self.out)?;
        }
        self.results.push(result);
        Ok(())
    }

    /// A job that failed.
    pub(super) fn fail(&mut self, error: &JobError) {
        self.failures.push(self.session.failure(error));
    }

    /// The end: one document for programs, and all failures as one.
    pub(super) fn conclude(self) -> Result<(), Failure> {
        if self.session.env.json {
            json(&self.results, self.out)?;
        }
        self.out.flush()?;
        together(&self.failures)
    }
}

/// The databases whose turn did not come because a signal ended the command; none if none is left.
fn not_reached<'a>(
    databases: impl Iterator<Item = &'a str>,
    interrupt: &Interrupt,
) -> Option<Failure> {
    let signal = interrupt.signal()?;
    let names: Vec<String> = databases.map(one_line).collect();
    (!names.is_empty()).then(|| {
        let message = format!(
            "interrupted by {} with {} left: {}",
            signal_name(signal),
            counted(names.len() as u64, "database", "databases"),
            names.join(", ")
        );
        Failure::new(FailureKind::Interrupted(signal), message)
    })
}
