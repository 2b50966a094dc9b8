//! What commands share in telling: jobs' errors as failures, sizes, times, JSON.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};
use uuid::Uuid;

use super::failure::{Failure, FailureKind};
use super::interrupt::Interrupt;
use crate::config::{Databases, Plan, Server};
use crate::display::is_hostile;
pub(super) use crate::display::{count, counted, duration, moment, one_line, size, span};
use crate::jobs::{JobError, JobErrorKind};
use crate::repository::{Entry, Fault, Stem};

/// A job's error as a command's failure.
pub(super) fn failure(error: &JobError, interrupt: &Interrupt) -> Failure {
    let kind = match (error.kind(), interrupt.signal()) {
        (JobErrorKind::Interrupted, Some(signal)) => FailureKind::Interrupted(signal),
        _ => kind(error),
    };
    let message = match kind {
        FailureKind::Interrupted(signal) => format!("{error} by {}", signal_name(signal)),
        _ => match error.said() {
            Some(said) => format!("{error}\nfull output:\n{said}"),
            None => error.to_string(),
        },
    };
    Failure::new(kind, message)
}

/// The kind of a job's error that no signal has caused.
pub(super) fn kind(error: &JobError) -> FailureKind {
    match error.kind() {
        JobErrorKind::Unavailable => FailureKind::Unavailable,
        JobErrorKind::CannotCreate => FailureKind::CannotCreate,
        JobErrorKind::Busy => FailureKind::Busy,
        JobErrorKind::Configuration => FailureKind::Configuration,
        JobErrorKind::Damaged => FailureKind::Damaged,
        JobErrorKind::Usage => FailureKind::Usage,
        JobErrorKind::Internal | JobErrorKind::Interrupted => FailureKind::Internal,
    }
}

/// What stands before the name of a backup in a line: its database, where there may be several.
pub(super) fn prefix(plan: &Plan, label: &str) -> String {
    let has_several = |server: &Server| match &server.databases {
        Databases::Named(names) => names.len() > 1,
        Databases::All(_) => true,
        Databases::FromEnvironment => false,
    };
    if plan.servers.len() > 1 || plan.servers.iter().any(has_several) {
        format!("{}: ", one_line(label))
    } else {
        String::new()
    }
}

/// The name of a signal that a command listens for.
pub(super) fn signal_name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}

/// When a backup was last found intact, or in a word why it does not count as verified.
pub(super) fn last_check(backup: &Entry) -> String {
    match backup.state.fault() {
        None if backup.state.unreadable.is_some() => "unknown".to_owned(),
        None => moment(backup.last_check()),
        Some(Fault::Damaged(_)) => "DAMAGED".to_owned(),
        Some(Fault::Unrestorable(_)) => "DOES NOT RESTORE".to_owned(),
    }
}

/// Tells the journal of a backup that a command found bad, as the daemon would.
#[expect(
    clippy::too_many_arguments,
    reason = "the fields of the event, and its sentence"
)]
pub(super) fn alarm(
    run: Uuid,
    database: &str,
    backup: &Stem,
    quarantine: Option<&Path>,
    said: &str,
) {
    crate::emit!(
        BackupDamaged,
        {
            database = database,
            run_id = %run,
            backup = %backup,
            quarantine = quarantine.map(|path| path.display().to_string()),
        },
        "backup {backup} of {} {said}",
        one_line(database)
    );
}

/// Prints a JSON document, with nothing in it that a terminal would obey.
pub(super) fn json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    let mut serializer = Serializer::with_formatter(&mut *out, Plain::default());
    value.serialize(&mut serializer).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Indented JSON. RFC 8259 wants only the first 32 control characters escaped; others a terminal
/// obeys, or what strips colours takes them away.
#[derive(Default)]
struct Plain(PrettyFormatter<'static>);

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hostile) {
            let (before, after) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut after = after.chars();
            for c in after.by_ref().take(1) {
                // All of them are below U+10000, so one escape is enough.
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            rest = after.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object_value(out)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn what_a_terminal_obeys_is_escaped_in_json_and_read_as_it_was() {
        let value = json!({"\u{9b}31m": ["\u{7f}\u{1b}\u{202e}قاعدة\n", {}, [], 1, null]});
        let mut out = Vec::new();
        super::json(&value, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\n  \"\\u009b31m\": [\n    \"\\u007f\\u001b\\u202eقاعدة\\n\",\n    {},\n    [],\n    1,\n    \
             null\n  ]\n}\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
