//! How a command ends that goes over several databases, one after the other.

use std::io::Write;

use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::interrupt::Interrupt;
use super::report::{counted, json, one_line, signal_name};

/// Whether a signal ends the command before the turn of these databases. That it does is a failure,
/// if there are any.
pub(super) fn ends_before<'a>(
    left: impl Iterator<Item = &'a String>,
    interrupt: &Interrupt,
    failures: &mut Vec<Failure>,
) -> bool {
    failures.extend(not_reached(left, interrupt));
    interrupt.signal().is_some()
}

/// The end: one document for programs, where people were told of each database in its turn, and all
/// failures as one.
pub(super) fn conclude<T: Serialize>(
    results: &[T],
    failures: &[Failure],
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if env.json {
        json(&results, out)?;
    }
    out.flush()?;
    together(failures)
}

/// What is between two failures: each has the program's name, as the first one gets it.
pub(super) const NEXT: &str = "\npgbackupd: ";

/// Several failures as one: the first one's kind unless a signal ended the command, all sentences.
pub(super) fn together(failures: &[Failure]) -> Result<(), Failure> {
    let by_signal = |failure: &&Failure| matches!(failure.kind, FailureKind::Interrupted(_));
    let Some(first) = failures.iter().find(by_signal).or(failures.first()) else {
        return Ok(());
    };
    let messages: Vec<&str> = failures
        .iter()
        .map(|failure| failure.message.as_str())
        .collect();
    Err(Failure::new(first.kind, messages.join(NEXT)))
}

/// The databases whose turn did not come because a signal ended the command; none if none is left.
fn not_reached<'a>(
    databases: impl Iterator<Item = &'a String>,
    interrupt: &Interrupt,
) -> Option<Failure> {
    let signal = interrupt.signal()?;
    let names: Vec<String> = databases.map(|name| one_line(name)).collect();
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
