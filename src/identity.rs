//! As whom this process runs, and who asked for it: a command that root types runs as the service's
//! user.
//!
//! Root's own process stays root and keeps the terminal. It starts this program once more, in a
//! session without a terminal, which becomes the user before it does anything else:
//!
//! ```text
//! shell ─▶ root's process: passes signals on, waits, has the exit code
//!            └▶ the user's process: all the work, and every program that it starts
//! ```
//!
//! So whoever can trace or take over a process of that user still cannot type into root's terminal
//! (`TIOCSTI` needs it to be one's own), and `HOME`, `USER` and `PATH` are that user's from the start.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, getppid, setsid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use uzers::os::unix::UserExt as _;
use uzers::{Group, User};

use crate::display::shell_word;

/// The variable by which root's process says whom the second one is to become. It counts only for
/// root, and only from the process that it names.
pub(crate) const VARIABLE: &str = "PGBACKUPD_RUN_AS";

/// Where the user's programs are looked for: root's own `PATH` may lead where only root comes.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What of root's environment the user's process keeps, besides libpq's variables, those of stores and our own: how
/// people read, what connections trust and pass through, and who asked.
const KEPT: [&str; 16] = [
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "CREDENTIALS_DIRECTORY",
    "HTTPS_PROXY",
    "LANG",
    "LANGUAGE",
    "NO_COLOR",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "STORAGE_EMULATOR_HOST",
    "SUDO_USER",
    "TERM",
    "TZ",
];

/// Whom root became, and who root was.
static BECAME: OnceLock<Became> = OnceLock::new();

/// How this process came to its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    /// Who asked, by name.
    pub asked: String,
    /// As whom it runs, by name.
    pub user: String,
}

/// A user of the system, with all that a process of theirs has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUser {
    name: String,
    user: u32,
    group: u32,
    groups: Vec<u32>,
    home: PathBuf,
}

impl ServiceUser {
    /// A user with a group that may be another than the user's own, and with the groups that the
    /// system's databases and a list of further ones give. None where a name has no UTF-8.
    pub fn new(user: &User, group: Option<&Group>, further: &[Group]) -> Option<Self> {
        let group = group.map_or(user.primary_group_id(), Group::gid);
        let mut groups: Vec<u32> = uzers::get_user_groups(user.name(), group)
            .unwrap_or_default()
            .iter()
            .chain(further)
            .map(Group::gid)
            .collect();
        groups.push(group);
        groups.sort_unstable();
        groups.dedup();
        Some(Self {
            name: user.name().to_str()?.to_owned(),
            user: user.uid(),
            group,
            groups,
            home: user.home_dir().to_owned(),
        })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is root.
    pub fn is_root(&self) -> bool {
        self.user == 0
    }

    /// All that the second process must know, and the process that says so.
    fn encode(&self, from: u32) -> String {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        format!(
            "{from}:{}:{}:{}:{}",
            self.user,
            self.group,
            groups.join(","),
            self.name
        )
    }

    fn decode(text: &str) -> Option<(u32, Self)> {
        let mut parts = text.splitn(5, ':');
        let mut number = || parts.next()?.parse().ok();
        let (from, user, group) = (number()?, number()?, number()?);
        let groups = parts.next()?.split(',').map(str::parse);
        let decoded = Self {
            groups: groups.collect::<Result<_, _>>().ok()?,
            name: parts.next()?.to_owned(),
            user,
            group,
            home: PathBuf::new(),
        };
        Some((from, decoded))
    }
}

/// Whether root stays root although the command is one of the service's user's: by `--as-me`, or
/// because the service's user is root or unknown.
static STAYS: OnceLock<bool> = OnceLock::new();

/// Notes that root stays root for a command that is one of the service's user's.
pub(crate) fn stay_root(as_me: bool) {
    STAYS.get_or_init(|| as_me);
}

/// Whether root stays root by `--as-me`, where root runs a command of the service's user's as root.
pub(crate) fn stays_root() -> Option<bool> {
    STAYS.get().copied()
}

/// User and group of the service, where root's process has found them out.
static SERVICE: OnceLock<(u32, u32)> = OnceLock::new();

/// Notes whom root's process gives advice about secrets for.
pub(crate) fn remember_service(user: &ServiceUser) {
    SERVICE.get_or_init(|| (user.user, user.group));
}

/// Whether the service's user has been noted.
pub(crate) fn knows_service() -> bool {
    SERVICE.get().is_some()
}

/// User and group that have to read secrets: this process's own, or the service's where root looks.
pub(crate) fn reader() -> (u32, u32) {
    let me = rustix::process::geteuid();
    match SERVICE.get() {
        Some(service) if me.is_root() => *service,
        _ => (me.as_raw(), rustix::process::getegid().as_raw()),
    }
}

/// The advice to run a command that takes root, in words for whoever reads it.
pub(crate) fn in_shell_of_root(command: &str) -> String {
    if rustix::process::geteuid().is_root() || became().is_some() {
        format!("run `{command}`")
    } else {
        format!("as root, run `{command}`")
    }
}

/// The name of this machine.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The command line that runs this very command as a user, for root's shell.
pub(crate) fn runuser(user: &str) -> String {
    format!("runuser -u {} -- {}", shell_word(user), this_command())
}

/// This very command, for a shell.
fn this_command() -> String {
    let arguments = std::env::args_os().skip(1);
    let words = arguments.filter(|word| word != "--as-me").map(|word| {
        let word = word.to_string_lossy();
        // Only where it is the command itself would an option need quotes.
        match word.strip_prefix("--") {
            Some(option) if !option.is_empty() && shell_word(option) == option => word.into_owned(),
            _ => shell_word(&word),
        }
    });
    let words: Vec<String> = words.collect();
    format!("pgbackupd {}", words.join(" "))
}

/// The command that runs this very command with a credential of the service, for root's shell.
pub(crate) fn with_credential(name: &str) -> String {
    let configuration = std::env::var("PGBACKUPD_CONFIG").map_or_else(
        |_| String::new(),
        |file| format!(" -E {}", shell_word(&format!("PGBACKUPD_CONFIG={file}"))),
    );
    format!(
        "systemd-run --quiet --pipe --wait{configuration} -p User={} -p \
         LoadCredential={name}:/etc/pgbackupd/credentials/{name} {}",
        shell_word(&user_name(reader().0)),
        this_command()
    )
}

/// Whom this process became, if root did not stay root.
pub fn became() -> Option<&'static Became> {
    BECAME.get()
}

/// Runs this very command as a user, in a process of its own, and gives its exit code.
///
/// # Errors
/// When it cannot be started or waited for.
pub fn run_as(user: &ServiceUser) -> io::Result<u8> {
    // Before it is there: a signal that comes now is passed on.
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD])?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let mut process = command
        .args(arguments)
        .env_clear()
        .envs(environment(user, std::env::vars_os()))
        .env(VARIABLE, user.encode(std::process::id()))
        .spawn()?;
    for signal in signals.forever() {
        if signal != SIGCHLD {
            pass_on(&process, signal);
        } else if let Some(status) = process.try_wait()? {
            return Ok(exit_code(status));
        }
    }
    process.wait().map(exit_code)
}

fn pass_on(process: &Child, signal: i32) {
    if let Some(signal) = Signal::from_named_raw(signal) {
        // It fails only when the process has just ended.
        rustix::process::kill_process(Pid::from_child(process), signal).ok();
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// The environment of a user's process, made of root's.
fn environment(
    user: &ServiceUser,
    of_root: impl Iterator<Item = (OsString, OsString)>,
) -> Vec<(OsString, OsString)> {
    let is_kept = |name: &OsStr| {
        let name = name.as_bytes();
        // `PGBACKUPD_…` among them.
        name.starts_with(b"PG")
            || name.starts_with(b"LC_")
            || name.starts_with(b"AWS_")
            || name.starts_with(b"AZURE_")
            || name.starts_with(b"GOOGLE_")
            || name.starts_with(b"SFTP_")
            || KEPT.iter().any(|kept| kept.as_bytes() == name)
    };
    let mut environment: Vec<(OsString, OsString)> =
        of_root.filter(|(name, _)| is_kept(name)).collect();
    environment.extend(
        [
            ("HOME", user.home.as_os_str()),
            ("USER", OsStr::new(&user.name)),
            ("LOGNAME", OsStr::new(&user.name)),
            ("PATH", OsStr::new(PATH)),
        ]
        .map(|(name, value)| (name.into(), value.to_owned())),
    );
    environment
}

/// Becomes whom root's process has named, where this is the second process. To be called before any
/// thread is started: threads have users of their own.
///
/// # Errors
/// When that fails, or the variable does not come from our parent. Then nothing may be done.
pub fn take_over() -> io::Result<()> {
    let Some(text) = std::env::var_os(VARIABLE) else {
        return Ok(());
    };
    // Anybody can set a variable; only root can become somebody.
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let handed_over = text.to_str().and_then(ServiceUser::decode);
    let parent = || getppid().map(|parent| parent.as_raw_nonzero().get().cast_unsigned());
    let Some((from, user)) = handed_over.filter(|(from, _)| parent() == Some(*from)) else {
        return Err(io::Error::other(format!(
            "{VARIABLE} is for pgbackupd's internal use: unset it"
        )));
    };
    // No terminal is this session's from now on, nor that of any program that is started in it.
    setsid()?;
    become_user(&user)?;
    // Changing the user takes this away, so it comes last; and root's process may be gone by now.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if parent() != Some(from) {
        return Err(io::Error::other("root's process has ended"));
    }
    let became = Became {
        asked: user_name(0),
        user: user.name,
    };
    BECAME.get_or_init(|| became);
    Ok(())
}

fn become_user(user: &ServiceUser) -> io::Result<()> {
    use rustix::process::{Gid, Uid, getegid, geteuid, getgid, getuid};
    let alone = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if alone != 1 {
        return Err(io::Error::other("threads run already"));
    }
    let groups: Vec<Gid> = user.groups.iter().map(|id| Gid::from_raw(*id)).collect();
    let (gid, uid) = (Gid::from_raw(user.group), Uid::from_raw(user.user));
    set_thread_groups(&groups)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    let is_done = (getuid(), geteuid(), getgid(), getegid()) == (uid, uid, gid, gid);
    if !is_done || (!uid.is_root() && set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()) {
        return Err(io::Error::other("the system did not change the user"));
    }
    Ok(())
}

/// A user's name, else the number.
pub(crate) fn user_name(uid: u32) -> String {
    uzers::get_user_by_uid(uid).map_or_else(
        || uid.to_string(),
        |user| user.name().to_string_lossy().into_owned(),
    )
}

/// A group's name, else the number.
pub(crate) fn group_name(gid: u32) -> String {
    uzers::get_group_by_gid(gid).map_or_else(
        || gid.to_string(),
        |group| group.name().to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> ServiceUser {
        ServiceUser {
            name: "postgres".to_owned(),
            user: 101,
            group: 103,
            groups: vec![102, 103],
            home: PathBuf::from("/var/lib/postgresql"),
        }
    }

    #[test]
    fn the_second_process_reads_what_the_first_one_wrote() {
        let text = user().encode(4711);
        assert_eq!(text, "4711:101:103:102,103:postgres");
        let home = PathBuf::new();
        assert_eq!(
            ServiceUser::decode(&text),
            Some((4711, ServiceUser { home, ..user() }))
        );
        for text in ["", "1", "1:2:3:x:me", "1:2:3::me", "1:2:3:4", "x:2:3:4:me"] {
            assert_eq!(ServiceUser::decode(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_users_environment_has_a_home_and_a_path_of_its_own_and_keeps_libpqs_variables() {
        let of_root = [
            ("HOME", "/root"),
            ("PATH", "/root/bin"),
            ("USER", "root"),
            ("PGHOST", "/run/postgresql"),
            ("PGBACKUPD_CONFIG", "/etc/x.toml"),
            ("AWS_REGION", "eu-west-1"),
            ("LC_ALL", "C"),
            ("SFTP_IDENTITY_FILE", "/etc/key"),
            ("SUDO_USER", "noura"),
            ("TMPDIR", "/tmp/user/0"),
            ("XDG_RUNTIME_DIR", "/run/user/0"),
            ("LD_PRELOAD", "/root/lib.so"),
        ];
        let of_root = of_root
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let mut found = environment(&user(), of_root);
        found.sort();
        let expected = [
            ("AWS_REGION", "eu-west-1"),
            ("HOME", "/var/lib/postgresql"),
            ("LC_ALL", "C"),
            ("LOGNAME", "postgres"),
            ("PATH", PATH),
            ("PGBACKUPD_CONFIG", "/etc/x.toml"),
            ("PGHOST", "/run/postgresql"),
            ("SFTP_IDENTITY_FILE", "/etc/key"),
            ("SUDO_USER", "noura"),
            ("USER", "postgres"),
        ]
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        assert_eq!(found, expected);
    }

    #[test]
    fn an_exit_code_is_passed_on_and_a_signal_is_128_and_its_number() {
        for (raw, expected) in [(0, 0), (75 << 8, 75), (9, 137), (15, 143)] {
            assert_eq!(exit_code(ExitStatus::from_raw(raw)), expected);
        }
    }
}
