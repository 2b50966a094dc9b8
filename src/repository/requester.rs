//! Who asked for an operation (P22).

use std::fmt;

use rustix::process::getuid;
use serde::{Deserialize, Serialize};

use crate::identity::{self, user_name};

/// Who asked for an operation, as far as the operating system tells. The variables among these
/// can be set by anyone; the user and login user can not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The user who asked, by name, else by number: whom the process runs as, or was started as.
    pub user: String,
    /// The user whom a process of root's became before it did anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_as: Option<String>,
    /// The user that logged in, whom `su` and `sudo` do not change (Linux's audit user id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_user: Option<String>,
    /// Who ran sudo, by its own variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
    /// The terminal, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
}

/// What the kernel gives when nobody logged in.
const NOBODY_LOGGED_IN: u32 = u32::MAX;

impl Requester {
    /// Whether the process may still run: one of this number and of our own name does, on this
    /// machine.
    pub fn may_be_alive(&self) -> bool {
        let name = |pid: &str| std::fs::read(format!("/proc/{pid}/comm")).ok();
        let host = rustix::system::uname();
        let found = name(&self.pid.to_string());
        host.nodename().to_bytes() == self.host.as_bytes()
            && found.is_some()
            && found == name("self")
    }

    /// Whoever runs this process.
    pub fn of_this_process() -> Self {
        let login_user = std::fs::read_to_string("/proc/self/loginuid")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .filter(|uid| *uid != NOBODY_LOGGED_IN)
            .map(user_name);
        let became = identity::became();
        let user = became.map_or_else(
            || user_name(getuid().as_raw()),
            |became| became.asked.clone(),
        );
        Self {
            user,
            ran_as: became.map(|became| became.user.clone()),
            login_user,
            sudo_user: std::env::var("SUDO_USER").ok(),
            terminal: rustix::termios::ttyname(rustix::stdio::stdin(), Vec::new())
                .ok()
                .map(|name| name.to_string_lossy().into_owned()),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            pid: std::process::id(),
        }
    }
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        if let Some(ran_as) = &self.ran_as {
            write!(f, " as {ran_as}")?;
        }
        write!(f, " (process {}", self.pid)?;
        if let Some(sudo_user) = &self.sudo_user {
            write!(f, ", by sudo from {sudo_user}")?;
        }
        if let Some(terminal) = &self.terminal {
            write!(f, ", on {terminal}")?;
        }
        f.write_str(")")
    }
}
