//! What every command is given, and how it loads the configuration: each as strictly as what it is going
//! to do asks for.

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::run_as;
use crate::config::{Loaded, Problem, Runs, Source, load, load_what_is_right};
use crate::repository::Owner;

/// What every command is given.
pub(super) struct CommandEnv<'a> {
    pub(super) source: Source,
    pub(super) json: bool,
    pub(super) interrupt: &'a Interrupt,
}

impl CommandEnv<'_> {
    /// The checked configuration, its warnings reported.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        self.load_for(None)
    }

    /// The same, for a service whose user may have written the configuration.
    pub(super) fn load_for(&self, service: Option<&Owner>) -> Result<Loaded, Failure> {
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
    pub(super) fn load_to_run(&self, runs: Runs) -> Result<Loaded, Failure> {
        let loaded = self.load()?;
        loaded.refuse_commands_of_others(runs)?;
        Ok(loaded)
    }

    /// The same, of a restore of what is named by its path: a new machine has no configuration, and then
    /// the server is the one that libpq finds.
    pub(super) fn load_to_restore(&self) -> Result<Loaded, Failure> {
        self.load_or_do_without(
            Runs::ProgramsAndApplication,
            Some("without it, on the server that libpq finds (PGHOST, PGPORT, PGUSER)"),
        )
    }

    /// The same, where a database may be replaced: a configuration whose mistake may be about the server is
    /// not done without, since the database of that name on another server is another database.
    pub(super) fn load_to_replace(&self) -> Result<Loaded, Failure> {
        self.load_or_do_without(Runs::ProgramsAndApplication, None)
    }

    /// The same, of a command that reads what is named by its path, and needs no server.
    pub(super) fn load_for_path(&self) -> Result<Loaded, Failure> {
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
    pub(super) fn load_to_read(&self) -> Result<Loaded, Failure> {
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
}

/// The way out where a command that replaces a database does not go on without the configuration.
const OTHER_SERVER: &str = "\nhint: fix it; with --config /dev/null the command does without a configuration, \
    on the server that libpq finds (PGHOST, PGPORT, PGUSER)";

/// Reports that a command goes on although the configuration is wrong.
fn warn_of(problems: &[Problem], how: &str) {
    let Some(first) = problems.first() else {
        return;
    };
    tracing::warn!(
        "the configuration has a mistake, and the command goes on {how}: {}\nhint: `pgbackupd config check` \
         shows all of it",
        first.in_short()
    );
}
