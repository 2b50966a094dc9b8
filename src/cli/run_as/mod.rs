//! Root is who is logged in: a command that connects to a server, typed by root, runs as the user of
//! the service, whom the server knows and whose the backups are.

mod files;
mod owners;
mod unit;

use std::io::Write as _;
use std::path::PathBuf;

use owners::Unclear;
use unit::UNIT;

use super::failure::{Failure, FailureKind};
use super::{Cli, Command};
use crate::config::{ConfigError, Loaded, Source, load, load_what_is_right};
use crate::identity::{self, ServiceUser};

/// Why nobody can be named whom root's command should become.
#[derive(Debug)]
enum Unknown {
    /// The unit names somebody whom the machine does not know.
    Unit(String),
    /// The directories do not say it either.
    Directories(Unclear),
    /// The owner of all directories has no entry among the users.
    Owner(u32),
    /// The configuration cannot be read.
    Configuration,
}

impl Cli {
    /// Runs the command as the user of the service where root has typed it, and gives its exit code;
    /// none where this process itself is to carry it out.
    ///
    /// # Errors
    /// When it cannot be known who that user is, or nobody can be become.
    pub fn run_as_service_user(&self) -> Result<Option<u8>, Failure> {
        let is_root = rustix::process::geteuid().is_root();
        if !is_root || !self.command.is_the_service_users() {
            return Ok(None);
        }
        if self.as_me {
            identity::stay_root(true);
            return Ok(None);
        }
        let found = service_user(&Source::of_process(self.config.clone()));
        let is_emergency = matches!(self.command, Command::Emergency(_));
        match found {
            Ok(user) if user.is_root() => {}
            Ok(user) => return self.hand_over(&user).map(Some),
            // The command itself reports what is wrong with it.
            Err(Unknown::Configuration) => {}
            Err(unknown) if is_emergency => {
                self.print_on_stderr(&format!("running as root: {unknown}"));
            }
            Err(unknown) => {
                return Err(Failure::new(FailureKind::Configuration, unknown.refusal()));
            }
        }
        identity::stay_root(false);
        Ok(None)
    }

    fn hand_over(&self, user: &ServiceUser) -> Result<u8, Failure> {
        self.print_on_stderr(&format!(
            "running as {}, the service's user (--as-me keeps root)",
            user.name()
        ));
        identity::run_as(user).map_err(|error| {
            Failure::new(
                FailureKind::Internal,
                format!(
                    "cannot run the command as {}: {error}\nhint: --as-me keeps root",
                    user.name()
                ),
            )
        })
    }

    /// Says something on stderr, where people read.
    fn print_on_stderr(&self, sentence: &str) {
        if !self.json {
            // A terminal that is gone is no reason to make no backup.
            let _ = writeln!(anstream::stderr(), "{sentence}");
        }
    }

    /// Sees to it that the files named on the command line are of use to the user that root became.
    ///
    /// # Errors
    /// When one is not, with the way out.
    pub(super) fn check_named_files(&self) -> Result<(), Failure> {
        let Some(became) = identity::became() else {
            return Ok(());
        };
        let (to_read, to_write): (Vec<PathBuf>, Vec<PathBuf>) = self.command.named_files();
        let configuration = self.config.iter().filter_map(|path| {
            let found = files::unreadable(path)?;
            Some(found.explain_configuration(&became.user))
        });
        let to_read = to_read.iter().filter_map(|path| files::unreadable(path));
        let to_read = configuration.chain(to_read.map(|found| found.explain(&became.user)));
        if let Some(sentence) = to_read.into_iter().next() {
            return Err(Failure::new(FailureKind::Configuration, sentence));
        }
        let to_write = to_write.iter().filter_map(|path| files::unwritable(path));
        match to_write.into_iter().next() {
            None => Ok(()),
            Some(found) => Err(Failure::new(
                FailureKind::CannotCreate,
                found.explain(&became.user),
            )),
        }
    }
}

/// The configuration. Where root reads it and something is wrong, the ways out are those that leave it to
/// the service, too.
pub(super) fn load_for_reader(source: &Source) -> Result<Loaded, ConfigError> {
    let loaded = load(source);
    let is_root = rustix::process::geteuid().is_root();
    let is_right = loaded
        .as_ref()
        .is_ok_and(|loaded| loaded.unusable.is_empty());
    if is_right || !is_root || identity::knows_service() {
        return loaded;
    }
    match service_user(source) {
        Ok(user) => {
            identity::remember_service(&user);
            load(source)
        }
        Err(_) => loaded,
    }
}

/// Whom a command of root's becomes: the unit's user, else the one owner of all configured
/// directories.
fn service_user(source: &Source) -> Result<ServiceUser, Unknown> {
    if let Some(unit) = unit::ask() {
        return unit.resolve().map_err(Unknown::Unit);
    }
    // What is wrong is for that user to say, whose way out it has to be.
    let (loaded, _) = load_what_is_right(source).map_err(|_| Unknown::Configuration)?;
    let owner = owners::only_one(&owners::look(&loaded.plan)).map_err(Unknown::Directories)?;
    uzers::get_user_by_uid(owner)
        .and_then(|user| ServiceUser::new(&user, None, &[]))
        .ok_or(Unknown::Owner(owner))
}

impl Unknown {
    /// Why the command is refused, and the ways out.
    fn refusal(&self) -> String {
        let other = match self {
            Self::Unit(_) => {
                format!("correct User= and Group= by `systemctl edit {UNIT}`")
            }
            Self::Directories(unclear) => {
                let user = unclear.an_owner_but_root();
                let user = user.map_or_else(|| "postgres".to_owned(), identity::user_name);
                let command = identity::runuser(&user);
                format!("run it as the user who owns the backups, `{command}`")
            }
            Self::Owner(_) => "give the directories to a user by `chown`".to_owned(),
            Self::Configuration => "correct the configuration".to_owned(),
        };
        format!(
            "cannot find out which user to run as: {self}\nhint: {other}, or stay root with --as-me"
        )
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unit(why) => f.write_str(why),
            Self::Directories(unclear) => {
                write!(f, "systemd knows no user of {UNIT}, and {unclear}")
            }
            Self::Owner(number) => write!(
                f,
                "the directories for backups belong to user {number}, who does not exist on this \
                 machine"
            ),
            Self::Configuration => f.write_str("the configuration cannot be used"),
        }
    }
}
