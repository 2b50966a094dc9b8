//! `pgbackupd status`: whether all is well, and what needs attention if not.

mod json;
mod spark;
mod text;

use std::io::Write;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::hint::Hints;
use super::{report, select};
use crate::jobs::collect_status;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd status
      Show backup health
  pgbackupd status --json
      The same, for a monitoring system";

/// Show backup health (exit 1 if something needs attention).
///
/// Looks at the backups, their ledgers, the free space and the daemon, if one runs. It takes no
/// lock, writes nothing and connects to no server, so you can run it at any time, even without the
/// daemon. The exit code is 0 if all is well, and 1 if something needs attention, for monitoring.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
}

pub(super) fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    hints: &Hints,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = env.load()?;
    let context = env.context(&loaded);
    let mut status = collect_status(&context, &loaded, &args.databases)
        .map_err(|error| report::failure(&error, env.interrupt))?;
    if env.json {
        report::json(&json::Status::of(&status), out)?;
    } else {
        // Before lines are broken where a command stands.
        let concerns = status
            .concerns
            .iter_mut()
            .map(|concern| &mut concern.sentence);
        for sentence in concerns.chain(&mut status.remarks) {
            *sentence = hints.complete(sentence).into_owned();
        }
        text::print(&status, spark::Letters::of_process(), out)?;
    }
    out.flush()?;
    if status.concerns.is_empty() {
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
