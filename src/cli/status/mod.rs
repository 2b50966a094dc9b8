//! `pgbackupd status`: whether all is well, and what needs attention if not.

mod json;
mod spark;
mod text;

use std::io::Write;

use super::Surroundings;
use super::failure::{Failure, FailureKind};
use super::{report, select};
use crate::jobs::survey;

/// Say whether all is well, what needs attention if not, and how everything stands.
///
/// Looks at the backups, their ledgers, the free space and the daemon, if one runs. Nothing is
/// locked or written and no server is asked, so that it can be called at any time, also without the
/// daemon. The exit code is 0 when all is well, and 1 when something needs attention, for
/// monitoring.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Only this database, as NAME or SERVER/NAME; may be given several times
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
}

pub(super) fn run(
    args: &Args,
    surroundings: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = surroundings.load()?;
    let context = surroundings.context(&loaded);
    let survey = survey(&context, &loaded, &args.databases)
        .map_err(|error| report::failure(&error, surroundings.interrupt))?;
    if surroundings.json {
        report::json(&json::Status::of(&survey), out)?;
    } else {
        text::print(&survey, spark::Letters::of_process(), out)?;
    }
    out.flush()?;
    if survey.concerns.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(
            FailureKind::Attention,
            "something needs attention",
        ))
    }
}

#[cfg(test)]
mod tests;
