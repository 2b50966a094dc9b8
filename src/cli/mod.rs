//! The command line: one file a command. Nothing outside this module prints.

mod accept;
mod adopt;
mod alerts;
mod backup;
mod check;
mod completions;
mod config;
mod confirm;
mod copy;
mod daemon;
mod directories;
mod drill;
mod emergency;
mod env;
mod failure;
mod fetch;
mod from;
mod hint;
mod identities;
mod incident;
mod interrupt;
mod key;
mod length_of_time;
mod list;
mod moment;
mod output;
mod own_copies;
mod passphrase;
mod pin;
mod progress;
mod prune;
mod rehearse;
mod release;
mod report;
mod reports;
mod restore;
mod run_as;
mod schedule;
mod select;
mod session;
mod several;
mod status;
mod table;
mod terminal;
mod undo_restore;
mod verify;
mod wrap;

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use failure::{Failure, FailureKind};
pub use interrupt::Interrupt;

use crate::config::Source;
use crate::telemetry;
use env::CommandEnv;
use hint::{Diagnostics, Hints};

/// What `main` makes of a [`FailureKind`], for whoever asks.
const EXIT_CODES: &str = "\
Exit codes:
      0  done
      1  something needs attention (see `status`)
      2  something critical does: data is lost or unprotected
      3  `status --nagios`: unknown, the status could not be determined
     64  invalid usage
     65  a backup is damaged, partial, or does not restore
     69  a server, a program or a backup that is needed is not available
     70  internal error (please report)
     73  a file cannot be written
     75  another run is in progress on the database
     78  the configuration is wrong
  128+N  ended by signal N";

/// Back up PostgreSQL databases, and prove that every backup restores
#[derive(Debug, Parser)]
#[command(
    name = "pgbackupd",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// Configuration file; /dev/null for none [default: /etc/pgbackupd/pgbackupd.toml, if it
    /// exists]
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "FILE",
        env = CONFIG_VARIABLE,
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Report progress on stderr; twice: also the programs that are run, with their arguments
    #[arg(long, short, global = true, help_heading = GLOBAL, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Stay root; without it, a command that connects to a server runs as the service's user when
    /// root calls it
    #[arg(long, global = true, help_heading = GLOBAL)]
    as_me: bool,
    #[command(subcommand)]
    command: Command,
}

/// The variable that names the configuration where no option does.
const CONFIG_VARIABLE: &str = "PGBACKUPD_CONFIG";

/// The options that every command has stand apart from its own.
const GLOBAL: &str = "Global options";

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Args),
    Backup(backup::Args),
    Emergency(emergency::Args),
    List(list::Args),
    Fetch(fetch::Args),
    Verify(verify::Args),
    Drill(drill::Args),
    Rehearse(rehearse::Args),
    Prune(prune::Args),
    Copy(copy::Args),
    Check(check::Args),
    Key(key::Args),
    Adopt(adopt::Args),
    Restore(restore::Args),
    UndoRestore(undo_restore::Args),
    Incident(incident::Args),
    #[command(about = "Keep a backup regardless of retention")]
    Pin(pin::Args),
    #[command(about = "Let retention remove a pinned backup again")]
    Unpin(pin::Args),
    Release(release::Args),
    Accept(accept::Args),
    Alerts(alerts::Args),
    Report(reports::Args),
    Schedule(schedule::Args),
    Config(config::Args),
    Daemon(daemon::Args),
    Directories(directories::Args),
    Completions(completions::Args),
}

impl Command {
    /// Whether root leaves it to the service's user: what connects to a server, which seldom knows
    /// root, and what says whether the service can work so.
    fn is_the_service_users(&self) -> bool {
        match self {
            Self::Backup(_)
            | Self::Check(_)
            | Self::Copy(_)
            | Self::Adopt(_)
            | Self::Emergency(_)
            | Self::Restore(_)
            | Self::UndoRestore(_) => true,
            Self::Config(args) => args.is_check(),
            Self::Alerts(args) => args.is_the_service_users(),
            Self::Key(args) => args.is_the_service_users(),
            Self::Pin(args) | Self::Unpin(args) => args.is_the_service_users(),
            Self::Prune(args) => args.is_the_service_users(),
            // A test restore of root's has a stronger user than the service's for its server, and
            // connects to no other.
            Self::Drill(_)
            | Self::Status(_)
            | Self::List(_)
            | Self::Fetch(_)
            | Self::Verify(_)
            | Self::Rehearse(_)
            | Self::Incident(_)
            | Self::Release(_)
            | Self::Accept(_)
            | Self::Report(_)
            | Self::Schedule(_)
            | Self::Daemon(_)
            | Self::Directories(_)
            | Self::Completions(_) => false,
        }
    }

    /// The files that are named on the command line: those to be read, and directories to be written
    /// to.
    fn named_files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        match self {
            Self::Restore(args) => (args.named_file().into_iter().collect(), Vec::new()),
            Self::Emergency(args) => (Vec::new(), args.to.iter().cloned().collect()),
            _ => (Vec::new(), Vec::new()),
        }
    }
}

impl Cli {
    /// Whether this is the service itself, which handles signals on its own.
    pub fn is_daemon(&self) -> bool {
        matches!(self.command, Command::Daemon(_))
    }

    /// Carries the command out; its output goes to `out`, diagnostics to stderr.
    ///
    /// # Errors
    /// With a sentence for the operator and the kind that the exit code is made from.
    pub async fn run(self, interrupt: &Interrupt, out: &mut dyn Write) -> Result<(), Failure> {
        let variable = std::env::var_os(CONFIG_VARIABLE);
        let hints = Hints::of(self.config.as_deref(), variable.as_deref());
        // The daemon's log is set up from its configuration.
        if !self.is_daemon() {
            let hints = hints.clone();
            telemetry::to_terminal(self.verbose, move || Diagnostics(hints.clone()));
        }
        let outcome = self.carry_out(interrupt, &hints, out).await;
        outcome.map_err(|failure| hints.complete_failure(failure))
    }

    async fn carry_out(
        self,
        interrupt: &Interrupt,
        hints: &Hints,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        self.check_named_files()?;
        let env = CommandEnv {
            source: Source::of_process(self.config),
            json: self.json,
            interrupt,
        };
        // What programs read has the commands as records have them.
        let in_text = (!self.json).then_some(hints);
        let mut output = output::Output::new(out, in_text);
        let out = &mut output;
        let outcome = match self.command {
            Command::Status(args) => Box::pin(status::run(&args, &env, hints, out)).await,
            Command::Backup(args) => backup::run(&args, &env, out).await,
            Command::Emergency(args) => emergency::run(&args, &env, out).await,
            Command::List(args) => Box::pin(list::run(&args, &env, out)).await,
            Command::Fetch(args) => Box::pin(fetch::run(&args, &env, out)).await,
            Command::Verify(args) => Box::pin(verify::run(&args, &env, out)).await,
            Command::Drill(args) => drill::run(&args, &env, out).await,
            Command::Rehearse(args) => Box::pin(rehearse::run(&args, &env, out)).await,
            Command::Prune(args) => prune::run(&args, &env, out).await,
            Command::Copy(args) => Box::pin(copy::run(&args, &env, out)).await,
            Command::Check(args) => Box::pin(check::run(&args, &env, out)).await,
            Command::Key(args) => Box::pin(key::run(&args, &env, out)).await,
            Command::Adopt(args) => Box::pin(adopt::run(&args, &env, out)).await,
            Command::Restore(args) => Box::pin(restore::run(&args, &env, out)).await,
            Command::UndoRestore(args) => undo_restore::run(&args, &env, out).await,
            Command::Incident(args) => incident::run(&args, &env, out),
            Command::Pin(args) => Box::pin(pin::run(&args, true, &env, out)).await,
            Command::Unpin(args) => Box::pin(pin::run(&args, false, &env, out)).await,
            Command::Release(args) => release::run(&args, &env, out).await,
            Command::Accept(args) => accept::run(&args, &env, out),
            Command::Alerts(args) => Box::pin(alerts::run(&args, &env, out)).await,
            Command::Report(args) => reports::run(&args, &env, out),
            Command::Schedule(args) => schedule::run(&args, &env, out),
            Command::Directories(args) => directories::run(&args, &env, out).await,
            Command::Completions(args) => completions::run(&args, out),
            Command::Config(args) => config::run(&args, &env, out).await,
            Command::Daemon(args) => daemon::run(&args, env.source).await,
        };
        let printed = output.finish();
        outcome.and(printed)
    }
}
