//! What commands share in telling: jobs' errors as failures, sizes, times, JSON.

use std::io::Write;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;

use super::failure::{Failure, FailureKind};
use super::interrupt::Interrupt;
use crate::jobs::{JobError, JobErrorKind};

/// A job's error as a command's failure.
pub(super) fn failure(error: &JobError, interrupt: &Interrupt) -> Failure {
    let kind = match error.kind() {
        JobErrorKind::Unavailable => FailureKind::Unavailable,
        JobErrorKind::CannotCreate => FailureKind::CannotCreate,
        JobErrorKind::Busy => FailureKind::Busy,
        JobErrorKind::Configuration => FailureKind::Configuration,
        JobErrorKind::Damaged => FailureKind::Damaged,
        JobErrorKind::Usage => FailureKind::Usage,
        JobErrorKind::Internal => FailureKind::Internal,
        JobErrorKind::Interrupted => match interrupt.signal() {
            Some(signal) => FailureKind::Interrupted(signal),
            None => FailureKind::Internal,
        },
    };
    let message = match kind {
        FailureKind::Interrupted(signal) => format!("{error} by {}", signal_name(signal)),
        _ => error.to_string(),
    };
    Failure::new(kind, message)
}

/// The databases whose turn did not come because a signal ended the command; none if none is left.
pub(super) fn not_reached<'a>(
    databases: impl Iterator<Item = &'a String>,
    interrupt: &Interrupt,
) -> Option<Failure> {
    let signal = interrupt.signal()?;
    let names: Vec<String> = databases.map(|name| one_line(name)).collect();
    (!names.is_empty()).then(|| {
        let message = format!(
            "interrupted by {} before the turn of {}: {}",
            signal_name(signal),
            counted(names.len() as u64, "database", "databases"),
            names.join(", ")
        );
        Failure::new(FailureKind::Interrupted(signal), message)
    })
}

/// Of those that a command listens for.
fn signal_name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}

/// A count with its thousands set apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A duration as people read it.
pub(super) fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// A moment on the wall clock of its zone.
pub(super) fn moment(moment: DateTime<FixedOffset>) -> String {
    moment.format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// Text that may hold anything, on one line.
pub(super) fn one_line(text: &str) -> String {
    let control = |c: char| c.is_control();
    if text.contains(control) {
        text.escape_debug().to_string()
    } else {
        text.to_owned()
    }
}

/// Prints a JSON document.
pub(super) fn json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn numbers_read_well() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_204_338, "1,204,338"),
        ] {
            assert_eq!(super::count(number), text);
        }
        assert_eq!(super::counted(1, "row", "rows"), "1 row");
        assert_eq!(super::duration(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(super::duration(Duration::from_secs(3720)), "1h 2m");
    }
}
