//! Becoming a program within bounds, and the command line by which one asks for that.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Parser, ValueEnum};
use rustix::process::{Pid, Signal};

use super::calls::{self, CallsError};
use super::files::{self, Rules, installation_of, of_the_system};
use super::{Bounds, Enforcement, Files, Reach, Running};

/// The name under which our own executable puts itself within bounds and becomes another program.
/// Of no use to anybody by hand: it only takes away.
pub const LAUNCHER: &str = "pgbackupd-confined";

/// Our own executable, whatever stands under its path by now, and for whomever we have become.
const OURSELVES: &str = "/proc/self/exe";

/// Why a program does not run within its bounds. Then it does not run at all.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The command line is not one of ours.
    #[error("{0}")]
    Usage(#[from] clap::Error),
    /// Who asked for it is gone.
    #[error("the process that requested {} has ended", program.display())]
    Orphaned {
        /// The program.
        program: PathBuf,
    },
    /// Landlock.
    #[error("cannot confine {} to its files: {source}", program.display())]
    Files {
        /// The program.
        program: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The filter.
    #[error("cannot filter the system calls of {}: {source}", program.display())]
    Calls {
        /// The program.
        program: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program.
    #[error("cannot start {}: {source}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the launcher is given.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(name = LAUNCHER, disable_help_flag = true)]
struct Launch {
    /// Who starts it; it is not to outlive that process.
    #[arg(long)]
    parent: i32,
    /// Which signal it gets when that process ends.
    #[arg(long)]
    death_signal: DeathSignal,
    #[arg(long)]
    reach: Reach,
    /// What it may run.
    #[arg(long)]
    execute: Vec<PathBuf>,
    /// It may use whatever file its user may.
    #[arg(long)]
    any_file: bool,
    #[arg(long)]
    read: Vec<PathBuf>,
    #[arg(long)]
    write: Vec<PathBuf>,
    #[arg(long)]
    call: Vec<PathBuf>,
    /// It runs although files cannot be kept from it here.
    #[arg(long)]
    without_landlock: bool,
    /// It runs although its system calls cannot be filtered here.
    #[arg(long)]
    without_filter: bool,
    /// The program with its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DeathSignal {
    Kill,
    Quit,
}

impl ValueEnum for Reach {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Anyone, Self::Sockets, Self::Nobody]
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(match self {
            Self::Anyone => "anyone",
            Self::Sockets => "sockets",
            Self::Nobody => "nobody",
        }))
    }
}

/// The command that puts itself within the bounds and becomes a program; its arguments are to be
/// added. The program gets the signal when the thread that started it ends.
pub(in crate::postgres) fn command(
    bounds: &Bounds,
    enforcement: &Enforcement,
    death_signal: Signal,
    program: &Path,
) -> Command {
    let mut command = Command::new(OURSELVES);
    command.arg0(LAUNCHER);
    let me = rustix::process::getpid().as_raw_nonzero().to_string();
    let signal = if death_signal == Signal::QUIT {
        "quit"
    } else {
        "kill"
    };
    let reach = bounds.reach.to_possible_value();
    command.args(["--parent", &me, "--death-signal", signal]);
    command.args([
        "--reach",
        reach.as_ref().map_or("nobody", |value| value.get_name()),
    ]);
    let mut name = |option: &str, paths: &[PathBuf]| {
        for path in paths {
            let mut argument = OsString::from(option);
            argument.push("=");
            argument.push(path);
            command.arg(argument);
        }
    };
    let installation = installation_of(program);
    if bounds.running == Running::Itself && !is_script(program) {
        name("--execute", &[program.to_owned()]);
    } else {
        name("--execute", &installation);
        name("--execute", &of_the_system().collect::<Vec<_>>());
    }
    match &bounds.files {
        None => {
            command.arg("--any-file");
        }
        Some(Files {
            readable,
            writable,
            callable,
        }) => {
            name("--read", &installation);
            name("--read", readable);
            name("--write", writable);
            name("--call", callable);
        }
    }
    if enforcement.landlock.is_none() {
        command.arg("--without-landlock");
    }
    if !enforcement.calls {
        command.arg("--without-filter");
    }
    command.arg("--").arg(program);
    command
}

/// Whether a program is a script, which is run by others and runs others.
fn is_script(program: &Path) -> bool {
    use std::io::Read as _;
    let mut beginning = [0; 2];
    std::fs::File::open(program)
        .and_then(|mut file| file.read_exact(&mut beginning))
        .is_ok_and(|()| &beginning == b"#!")
}

/// Puts this process within bounds, and becomes a program; comes back only with the reason why not.
/// None when the command line, with the name it was called by, does not ask for that.
pub fn launch(arguments: impl IntoIterator<Item = OsString>) -> Option<LaunchError> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next()?;
    if name != OsStr::new(LAUNCHER) {
        return None;
    }
    let all = std::iter::once(name).chain(arguments);
    Some(match Launch::try_parse_from(all) {
        Ok(launch) => launch.carry_out(),
        Err(error) => error.into(),
    })
}

impl Launch {
    fn carry_out(self) -> LaunchError {
        let Some((program, arguments)) = self.command.split_first() else {
            return io_error(PathBuf::new(), io::ErrorKind::InvalidInput.into());
        };
        let program = PathBuf::from(program);
        let signal = match self.death_signal {
            DeathSignal::Kill => Signal::KILL,
            DeathSignal::Quit => Signal::QUIT,
        };
        if let Err(error) = rustix::process::set_parent_process_death_signal(Some(signal)) {
            return io_error(program, error.into());
        }
        // It may have ended before it could be asked for its signal.
        let parent = rustix::process::getppid().map(Pid::as_raw_nonzero);
        if parent.is_none_or(|parent| parent.get() != self.parent) {
            return LaunchError::Orphaned { program };
        }
        let rules = Rules {
            any_file: self.any_file,
            executable: self.execute,
            readable: self.read,
            writable: self.write,
            callable: self.call,
        };
        let landlock = match files::restrict(&rules) {
            Ok(None) if !self.without_landlock => {
                let source = "the kernel has no Landlock".into();
                return LaunchError::Files { program, source };
            }
            Err(error) if !self.without_landlock => {
                let source = error.into();
                return LaunchError::Files { program, source };
            }
            enforced => enforced.unwrap_or(None),
        };
        match calls::restrict(self.reach, landlock) {
            Err(error) if !self.without_filter => calls_error(program, error),
            _ => {
                let source = Command::new(&program).args(arguments).exec();
                io_error(program, source)
            }
        }
    }
}

fn io_error(program: PathBuf, source: io::Error) -> LaunchError {
    LaunchError::Start { program, source }
}

fn calls_error(program: PathBuf, error: CallsError) -> LaunchError {
    LaunchError::Calls {
        program,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(files: Option<Files>, running: Running) -> Bounds {
        Bounds {
            running,
            reach: Reach::Sockets,
            files,
        }
    }

    #[test]
    fn what_a_command_is_reported_is_what_the_launcher_understands() {
        let complete = Enforcement {
            landlock: Some(7),
            calls: true,
        };
        let files = Files {
            readable: vec!["/var/backups/a b".into()],
            writable: vec!["/tmp/--write".into()],
            callable: vec!["/tmp/socket".into()],
        };
        let bounds = bounds(Some(files), Running::Itself);
        let mut command = command(&bounds, &complete, Signal::QUIT, Path::new("/opt/x/psql"));
        command.args(["--file", "-"]);
        let line = std::iter::once(OsString::from(LAUNCHER))
            .chain(command.get_args().map(OsStr::to_owned));
        let launch = Launch::try_parse_from(line).unwrap();
        assert_eq!(
            launch,
            Launch {
                parent: rustix::process::getpid().as_raw_nonzero().get(),
                death_signal: DeathSignal::Quit,
                reach: Reach::Sockets,
                execute: vec!["/opt/x/psql".into()],
                any_file: false,
                read: vec!["/opt/x".into(), "/var/backups/a b".into()],
                write: vec!["/tmp/--write".into()],
                call: vec!["/tmp/socket".into()],
                without_landlock: false,
                without_filter: false,
                command: ["/opt/x/psql", "--file", "-"].map(OsString::from).into(),
            }
        );
    }

    #[test]
    fn a_script_may_run_what_it_needs_and_so_may_who_starts_programs() {
        let nothing = Enforcement {
            landlock: None,
            calls: false,
        };
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("psql");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        for (running, program, programs) in [
            (Running::Itself, script.as_path(), true),
            (Running::Itself, Path::new("/bin/true"), false),
            (Running::Programs, Path::new("/bin/true"), true),
        ] {
            let command = command(&bounds(None, running), &nothing, Signal::KILL, program);
            let arguments: Vec<&OsStr> = command.get_args().collect();
            assert_eq!(
                arguments.contains(&OsStr::new("--execute=/usr/bin")),
                programs,
                "{arguments:?}"
            );
            for lacking in ["--any-file", "--without-landlock", "--without-filter"] {
                assert!(arguments.contains(&OsStr::new(lacking)), "{arguments:?}");
            }
        }
    }

    #[test]
    fn under_any_other_name_nothing_is_launched() {
        assert!(launch([]).is_none());
        assert!(launch(["pgbackupd".into(), "--parent".into()]).is_none());
        let error = launch([LAUNCHER.into(), "--parent".into()]).unwrap();
        assert!(matches!(error, LaunchError::Usage(_)), "{error}");
    }
}
