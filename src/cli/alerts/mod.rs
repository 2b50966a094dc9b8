//! `pgbackupd alerts`: what needs attention, and who hears of it.

mod accept;
mod deliver;
mod list;
mod silence;
mod test;

use std::io::{self, Write};

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::report::one_line;
use super::session::Session;
use crate::repository::advice;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd alerts list
      List the open alerts
  pgbackupd alerts test
      Send a test message to every channel
  pgbackupd alerts silence overdue-7f3a91c2b0 --for 8h --reason maintenance
      Send nothing of this alert for a while";

/// List alerts, silence or accept them, and try the channels.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether root leaves it to the service's user, whose secrets it needs.
    pub(super) fn is_the_service_users(&self) -> bool {
        match self.command {
            Command::Test(_) | Command::Deliver(_) => true,
            Command::List(_) | Command::Silence(_) | Command::Accept(_) => false,
        }
    }
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Test(test::Args),
    Silence(silence::Args),
    Accept(accept::Args),
    Deliver(deliver::Args),
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match &args.command {
        Command::List(args) => list::run(args, env, out),
        Command::Test(args) => test::run(args, env, out).await,
        Command::Silence(args) => silence::run(args, env, out),
        Command::Accept(args) => accept::run(args, env, out),
        Command::Deliver(args) => deliver::run(args, env, out).await,
    }
}

/// That the state directory cannot be used.
fn state_failure(session: &Session<'_>, error: &io::Error) -> Failure {
    let directory = session.plan().daemon.state_directory.display();
    let way = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "\nhint: run the command as root or as the service's user"
        }
        _ => advice(error),
    };
    Failure::new(
        FailureKind::CannotCreate,
        format!("the alerts in {directory} cannot be used: {error}{way}"),
    )
}

/// That no alert of this id is open.
fn no_such_alert(id: &str) -> Failure {
    Failure::usage(format!(
        "there is no open alert {}\nhint: `pgbackupd alerts list` shows the open ones",
        one_line(id)
    ))
}
