//! As whom systemd runs the service: what its unit and the drop-ins say.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use uzers::{Group, User};

use crate::identity::ServiceUser;

/// The service's unit.
pub(super) const UNIT: &str = "pgbackupd.service";

/// Where systemd's command is.
const SYSTEMCTL: [&str; 2] = ["/usr/bin/systemctl", "/bin/systemctl"];

/// Whoever makes this directory is systemd, and runs the machine (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);

/// More than it has to say.
const LONGEST_ANSWER: u64 = 64 << 10;

/// `User=`, `Group=` and `SupplementaryGroups=` of the unit, as names or numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UnitUser {
    pub(super) user: String,
    pub(super) group: String,
    pub(super) further: Vec<String>,
}

/// Asks systemd. None where it does not run the machine, does not know the unit, or the unit names
/// no user.
pub(super) fn ask() -> Option<UnitUser> {
    if !Path::new(BOOTED).is_dir() {
        return None;
    }
    let systemctl = SYSTEMCTL
        .into_iter()
        .find(|path| Path::new(path).exists())?;
    let mut process = Command::new(systemctl)
        .args(["show", "--property=User,Group,SupplementaryGroups", UNIT])
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let began = Instant::now();
    let is_done = loop {
        match process.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if began.elapsed() < PATIENCE => sleep(LOOK),
            Ok(None) | Err(_) => break false,
        }
    };
    if !is_done {
        process.kill().ok();
        process.wait().ok();
        return None;
    }
    let mut text = String::new();
    let stdout = process.stdout.take()?;
    stdout.take(LONGEST_ANSWER).read_to_string(&mut text).ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<UnitUser> {
    let value = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    let user = value("User").filter(|user| !user.is_empty())?;
    let further = value("SupplementaryGroups").unwrap_or_default();
    Some(UnitUser {
        user: user.to_owned(),
        group: value("Group").unwrap_or_default().to_owned(),
        further: further.split_whitespace().map(str::to_owned).collect(),
    })
}

impl UnitUser {
    /// Looks the names up; the error says which one is unknown.
    pub(super) fn resolve(&self) -> Result<ServiceUser, String> {
        let unknown = |what: &str, name: &str| {
            format!("{UNIT} runs as the {what} {name}, and this machine has no such {what}")
        };
        let user = user_named(&self.user).ok_or_else(|| unknown("user", &self.user))?;
        let group = match self.group.as_str() {
            "" => None,
            name => Some(group_named(name).ok_or_else(|| unknown("group", name))?),
        };
        let mut further = Vec::new();
        for name in &self.further {
            further.push(group_named(name).ok_or_else(|| unknown("group", name))?);
        }
        ServiceUser::new(&user, group.as_ref(), &further).ok_or_else(|| unknown("user", &self.user))
    }
}

fn user_named(name: &str) -> Option<User> {
    uzers::get_user_by_name(name).or_else(|| uzers::get_user_by_uid(name.parse().ok()?))
}

fn group_named(name: &str) -> Option<Group> {
    uzers::get_group_by_name(name).or_else(|| uzers::get_group_by_gid(name.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_read() {
        let unit = |user: &str, group: &str, further: &[&str]| UnitUser {
            user: user.to_owned(),
            group: group.to_owned(),
            further: further.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (text, expected) in [
            (
                "User=postgres\nGroup=postgres\nSupplementaryGroups=\n",
                Some(unit("postgres", "postgres", &[])),
            ),
            // The order is systemd's own, and a drop-in may add groups.
            (
                "Group=\nSupplementaryGroups=ssl-cert keys\nUser=backup\n",
                Some(unit("backup", "", &["ssl-cert", "keys"])),
            ),
            ("User=\nGroup=\nSupplementaryGroups=\n", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_and_numbers_are_looked_up_and_an_unknown_one_is_named() {
        let unit = |user: &str, group: &str| UnitUser {
            user: user.to_owned(),
            group: group.to_owned(),
            further: Vec::new(),
        };
        for (user, group) in [("root", ""), ("0", "0"), ("root", "root")] {
            let found = unit(user, group).resolve().unwrap();
            assert_eq!((found.name(), found.is_root()), ("root", true));
        }
        let error = unit("no-such-user", "").resolve().unwrap_err();
        assert!(error.contains("the user no-such-user"), "{error}");
        let error = unit("root", "no-such-group").resolve().unwrap_err();
        assert!(error.contains("the group no-such-group"), "{error}");
    }
}
