//! `pgbackupd check`: try what the service depends on.

mod destination;

use std::io::Write;

use super::env::CommandEnv;
use super::failure::Failure;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd check destination offsite
      Check a destination of the configuration
  pgbackupd check destination s3://backups/postgres
      Check one before it is configured, with the usual AWS_… variables";

/// Check whether a destination can be used, and whether copies are safe there.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Destination(destination::Args),
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match &args.command {
        Command::Destination(args) => destination::run(args, env, out).await,
    }
}
