//! What `status --nagios` prints: one line with performance data, as the Monitoring Plugins Development
//! Guidelines have it.

use std::fmt::Write as _;
use std::io::Write;

use crate::cli::failure::{Failure, FailureKind};
use crate::display::one_line;
use crate::jobs::StatusReport;
use crate::policy::{Severity, age};

/// Monitoring servers cut a longer line, and with it the performance data.
const LONGEST: usize = 1000;

/// The code of a plugin that could not determine the status.
const UNKNOWN: &str = "UNKNOWN";

/// Prints the line.
pub(super) fn print(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    let state = match status.severity() {
        None => "OK",
        Some(Severity::Warning) => "WARNING",
        Some(Severity::Critical) => "CRITICAL",
    };
    let text = match status.concerns.as_slice() {
        [] => match status.databases.len() {
            0 => "no database is backed up here yet".to_owned(),
            1 => "all is well with 1 database".to_owned(),
            many => format!("all is well with {many} databases"),
        },
        [first, others @ ..] => {
            let about = status.about(first);
            let about = about.map_or_else(String::new, |about| format!("{about}: "));
            let first = excerpt(&format!("{about}{}", first.sentence));
            match others.len() {
                0 => first,
                more => format!("{first} (and {more} more)"),
            }
        }
    };
    let data = performance_data(status);
    writeln!(out, "PGBACKUPD {state} - {} | {data}", plain(&text))?;
    Ok(())
}

/// Prints that the status could not be determined, and gives the failure with a plugin's exit code.
pub(super) fn unknown(failure: &Failure, out: &mut dyn Write) -> Failure {
    // Its reader may be gone: the exit code says it as well.
    let text = excerpt(&plain(&failure.message));
    let _ = writeln!(out, "PGBACKUPD {UNKNOWN} - {text}");
    let _ = out.flush();
    Failure::new(FailureKind::Unknown, failure.message.clone())
}

fn performance_data(status: &StatusReport) -> String {
    let count = |severity| {
        let concerns = status.concerns.iter();
        concerns
            .filter(|concern| concern.severity == severity)
            .count()
    };
    let mut data = format!(
        "databases={} critical={} warning={}",
        status.databases.len(),
        count(Severity::Critical),
        count(Severity::Warning)
    );
    let ages = status.databases.iter();
    let oldest = ages
        .filter_map(|database| Some(age(database.newest?, status.at).as_secs()))
        .max();
    if let Some(oldest) = oldest {
        let limit = status.expectation.recovery_point.as_secs();
        let _ = write!(data, " oldest_newest_backup={oldest}s;;{limit}");
    }
    if let Some(least) = status.spaces.iter().min_by_key(|space| space.free) {
        // The range is what must not be left: less than wanted.
        let _ = write!(data, " least_free_space={}B;{}:", least.free, least.wanted);
    }
    data
}

/// A bar would begin the performance data, a line break the long text.
fn plain(text: &str) -> String {
    one_line(&text.replace('|', "/").replace('\n', "; "))
}

fn excerpt(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let front: String = text.chars().take(LONGEST).collect();
    format!("{front}…")
}
