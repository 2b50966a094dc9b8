//! `pgbackupd status`: whether all is well, and what needs attention if not.

mod fleet;
mod nagios;
mod spark;
mod text;

use std::io::Write;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::from::{FromArgs, HEADING, IdentityArgs};
use super::hint::Hints;
use super::session::Session;
use super::{report, select};
use crate::jobs::{StatusDocument, StatusReport, collect_status};
use crate::policy::Severity;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd status
      Show backup health
  pgbackupd status --json
      The same, for programs
  pgbackupd status --nagios
      The same in one line, for Nagios, Icinga or Checkmk
  pgbackupd status --from offsite --identity key.txt
      Show all hosts that have copies at a destination, and which have gone silent";

/// Show backup health (exit 1 for warnings, 2 if something is critical).
///
/// Looks at the backups, their ledgers, the free space and the daemon, if one runs. It takes no
/// lock, writes nothing and connects to no server, so you can run it at any time, even without the
/// daemon. The exit code is 0 if all is well, 1 if something needs attention, and 2 if something is
/// critical: data is lost or unprotected.
///
/// With --from, shows every host that has copies at a destination: when it was last heard, when its next state is
/// due, and its newest copies. Only what a trusted key has signed counts. It needs neither configuration nor
/// state, and the exit code is 1 if a host needs attention.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_long_help = EXAMPLES,
    mut_arg("identity", |it| it.requires("from").help_heading(HEADING))
)]
pub(super) struct Args {
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
    /// Print one line with performance data, as monitoring plugins do; exit code 3 (unknown) if the
    /// status could not be determined
    #[arg(long, conflicts_with_all = ["json", "from"])]
    nagios: bool,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    hints: &Hints,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.from.is_given() {
        return fleet::run(args, env, out).await;
    }
    let status = match look(args, env, hints) {
        Err(failure) if args.nagios => return Err(nagios::unknown(&failure, out)),
        status => status?,
    };
    if args.nagios {
        nagios::print(&status, out)?;
    } else if env.json {
        report::json(&StatusDocument::of(&status), out)?;
    } else {
        text::print(&status, spark::Letters::of_process(), out)?;
    }
    out.flush()?;
    let kind = match status.severity() {
        None => return Ok(()),
        Some(Severity::Warning) => FailureKind::Attention,
        Some(Severity::Critical) => FailureKind::Critical,
    };
    Err(Failure::new(kind, "something needs attention"))
}

fn look(args: &Args, env: &CommandEnv<'_>, hints: &Hints) -> Result<StatusReport, Failure> {
    let session = Session::new(env, env.load()?);
    let loaded = &session.loaded;
    let configuration = (&loaded.plan, &loaded.settings);
    let mut status = collect_status(&session.context, configuration, &args.databases)
        .map_err(|error| session.failure(&error))?;
    if !env.json {
        // Before lines are broken where a command stands.
        let concerns = status
            .concerns
            .iter_mut()
            .map(|concern| &mut concern.sentence);
        for sentence in concerns.chain(&mut status.remarks) {
            *sentence = hints.complete(sentence).into_owned();
        }
    }
    Ok(status)
}

#[cfg(test)]
mod tests;
