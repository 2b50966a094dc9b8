//! The command line: one file a command. Nothing outside this module prints.

mod accept;
mod backup;
mod completions;
mod config;
mod confirm;
mod daemon;
mod directories;
mod drill;
mod emergency;
mod failure;
mod hint;
mod incident;
mod interrupt;
mod list;
mod output;
mod pin;
mod progress;
mod prune;
mod release;
mod report;
mod restore;
mod run_as;
mod schedule;
mod select;
mod several;
mod status;
mod table;
mod undo_restore;
mod verify;

use std::io::Write;
use std::path::PathBuf;

use chrono::Utc;
use clap::{Parser, Subcommand};

pub use failure::{Failure, FailureKind};
pub use interrupt::Interrupt;

use crate::config::{Loaded, Problem, Runs, Source, load, load_what_is_right};
use crate::jobs::JobContext;
use crate::repository::Owner;
use crate::telemetry;
use hint::{Diagnostics, Hints};

/// What `main` makes of a [`FailureKind`], for whoever asks.
const EXIT_CODES: &str = "\
Exit codes:
      0  done
      1  something needs attention (see `status`)
     64  invalid usage
     65  a backup is damaged, or does not restore
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
    Verify(verify::Args),
    Drill(drill::Args),
    Prune(prune::Args),
    Restore(restore::Args),
    UndoRestore(undo_restore::Args),
    Incident(incident::Args),
    #[command(about = "Keep a backup regardless of retention")]
    Pin(pin::Args),
    #[command(about = "Let retention remove a pinned backup again")]
    Unpin(pin::Args),
    Release(release::Args),
    Accept(accept::Args),
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
            Self::Backup(_) | Self::Emergency(_) | Self::Restore(_) | Self::UndoRestore(_) => true,
            Self::Config(args) => args.is_check(),
            // A test restore of root's has a stronger user than the service's for its server, and
            // connects to no other.
            Self::Drill(_)
            | Self::Status(_)
            | Self::List(_)
            | Self::Verify(_)
            | Self::Prune(_)
            | Self::Incident(_)
            | Self::Pin(_)
            | Self::Unpin(_)
            | Self::Release(_)
            | Self::Accept(_)
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

/// What every command is given.
struct CommandEnv<'a> {
    source: Source,
    json: bool,
    interrupt: &'a Interrupt,
}

impl CommandEnv<'_> {
    /// The checked configuration, its warnings told.
    fn load(&self) -> Result<Loaded, Failure> {
        self.load_for(None)
    }

    /// The same, for a service whose user may have written the configuration.
    fn load_for(&self, service: Option<&Owner>) -> Result<Loaded, Failure> {
        let source = self.source.clone();
        let loaded = run_as::load_for_reader(&match service {
            Some(owner) => source.trusting(owner.uid),
            None => source,
        })?;
        for warning in &loaded.plan.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }

    /// The same, of a command that is going to run what the configuration names.
    fn load_to_run(&self, runs: Runs) -> Result<Loaded, Failure> {
        let loaded = self.load()?;
        loaded.refuse_commands_of_others(runs)?;
        Ok(loaded)
    }

    /// The same, of a restore of what is named by its path: a new machine has no configuration, and then
    /// the server is the one that libpq finds.
    fn load_to_restore(&self) -> Result<Loaded, Failure> {
        self.load_or_do_without(
            Runs::ProgramsAndApplication,
            Some("without it, on the server that libpq finds (PGHOST, PGPORT, PGUSER)"),
        )
    }

    /// The same, where a database may be replaced: a configuration whose mistake may be about the server is
    /// not done without, since the database of that name on another server is another database.
    fn load_to_replace(&self) -> Result<Loaded, Failure> {
        self.load_or_do_without(Runs::ProgramsAndApplication, None)
    }

    /// The same, of a command that reads what is named by its path, and needs no server.
    fn load_for_path(&self) -> Result<Loaded, Failure> {
        self.load_or_do_without(Runs::Programs, Some("without it"))
    }

    /// The configuration; without what is wrong in it, if that is not about places or servers; else
    /// without any, if it is said how the command goes on then.
    fn load_or_do_without(&self, runs: Runs, how: Option<&str>) -> Result<Loaded, Failure> {
        let Err(error) = run_as::load_for_reader(&self.source) else {
            return self.load_to_run(runs);
        };
        let mut source = self.source.clone();
        if !error.names_no_database() {
            if let Some(loaded) = self.what_is_right() {
                loaded.refuse_commands_of_others(runs)?;
                return Ok(loaded);
            }
            let Some(how) = how else {
                let mut failure = Failure::from(error);
                failure.message.push_str(OTHER_SERVER);
                return Err(failure);
            };
            warn_of(&error.problems, how);
            source = source.without_file();
            source
                .environment
                .retain(|name, _| !name.starts_with("PGBACKUPD_"));
        }
        let usual = ("PGDATABASE".to_owned(), "postgres".to_owned());
        source.environment.extend([usual]);
        let loaded = load(&source)?;
        loaded.refuse_commands_of_others(runs)?;
        Ok(loaded)
    }

    /// The configuration of a command that only reads: what is wrong with it is no hindrance where it
    /// still says where the backups are.
    fn load_to_read(&self) -> Result<Loaded, Failure> {
        match run_as::load_for_reader(&self.source) {
            Ok(_) => self.load(),
            Err(error) => self.what_is_right().ok_or_else(|| error.into()),
        }
    }

    /// The configuration without single settings that are wrong, with a warning; none where they may say
    /// where backups and servers are.
    fn what_is_right(&self) -> Option<Loaded> {
        let (loaded, problems) = load_what_is_right(&self.source).ok()?;
        if !problems.iter().all(Problem::concerns_no_place) {
            return None;
        }
        warn_of(&problems, "without that setting");
        Some(loaded)
    }

    /// What jobs need to know of the world.
    fn context(&self, loaded: &Loaded) -> JobContext {
        JobContext::new(&loaded.plan, &self.source.environment)
    }
}

/// That a command goes on although the configuration is wrong.
/// The way out where a command that replaces a database does not go on without the configuration.
const OTHER_SERVER: &str = "\nhint: fix it; with --config /dev/null the command does without a configuration, \
    on the server that libpq finds (PGHOST, PGPORT, PGUSER)";

fn warn_of(problems: &[Problem], how: &str) {
    let Some(first) = problems.first() else {
        return;
    };
    tracing::warn!(
        "the configuration has a mistake, and the command goes on {how}: {}; `pgbackupd config check` \
         shows all of it",
        first.in_short()
    );
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
        match self.command {
            Command::Status(args) => status::run(&args, &env, hints, out),
            Command::Backup(args) => backup::run(&args, &env, out).await,
            Command::Emergency(args) => emergency::run(&args, &env, out).await,
            Command::List(args) => list::run(&args, &env, out),
            Command::Verify(args) => verify::run(&args, &env, out).await,
            Command::Drill(args) => drill::run(&args, &env, out).await,
            Command::Prune(args) => prune::run(&args, &env, out),
            Command::Restore(args) => Box::pin(restore::run(&args, &env, out)).await,
            Command::UndoRestore(args) => undo_restore::run(&args, &env, out).await,
            Command::Incident(args) => incident::run(&args, &env, out),
            Command::Pin(args) => pin::run(&args, true, &env, out),
            Command::Unpin(args) => pin::run(&args, false, &env, out),
            Command::Release(args) => release::run(&args, &env, out).await,
            Command::Accept(args) => accept::run(&args, &env, out),
            Command::Schedule(args) => {
                let loaded = env.load()?;
                schedule::run(&args, &loaded, Utc::now(), env.json, out)
            }
            Command::Directories(args) => directories::run(&args, &env, out).await,
            Command::Completions(args) => completions::run(&args, out),
            Command::Config(args) => config::run(&args, &env, out).await,
            Command::Daemon(args) => daemon::run(&args, env.source).await,
        }?;
        output.finish()
    }
}
