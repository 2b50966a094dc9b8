//! `pgbackupd completions`: what a shell needs to complete this program's command lines.

use std::io::Write;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use super::failure::Failure;

/// Print a shell completion script.
///
/// The package installs those for bash, zsh and fish. By hand, for bash: pgbackupd completions bash
/// >/etc/bash_completion.d/pgbackupd
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs the command.
///
/// # Errors
///
/// Only when the output cannot be written.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    // Written by the library into memory first: it panics where writing fails, as into a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pgbackupd", &mut script);
    out.write_all(&script)?;
    Ok(())
}
