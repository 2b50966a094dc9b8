//! How a program has ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Its exit status, or the signal that killed it.
    pub status: ExitStatus,
    /// What it said on stderr: the first and the last 16 KiB, without secrets.
    pub stderr: String,
    /// The bytes that the service may have, where the kernel has killed a program of it meanwhile because
    /// they were used up.
    pub memory_limit: Option<u64>,
}

impl Exit {
    /// Whether it ended by itself with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

impl fmt::Display for Exit {
    /// The status in words, to follow the program's name: `pg_dump was killed by SIGKILL`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(number) = self.status.signal() else {
            // One that was not killed has a code.
            return write!(
                f,
                "ended with status {}",
                self.status.code().unwrap_or_default()
            );
        };
        if let (9, Some(limit)) = (number, self.memory_limit) {
            return write!(
                f,
                "was killed by the kernel: the service has reached its memory limit, {} (MemoryMax=); \
                 `systemctl edit pgbackupd` raises it, and fewer runs at a time need less",
                crate::display::size(limit)
            );
        }
        let name = match number {
            1 => "SIGHUP",
            2 => "SIGINT",
            3 => "SIGQUIT",
            6 => "SIGABRT",
            7 => "SIGBUS",
            9 => "SIGKILL (by the operator, or by the kernel for lack of memory)",
            11 => "SIGSEGV",
            13 => "SIGPIPE",
            15 => "SIGTERM",
            24 => "SIGXCPU",
            25 => "SIGXFSZ",
            31 => "SIGSYS",
            _ => return write!(f, "was killed by signal {number}"),
        };
        write!(f, "was killed by {name}")
    }
}
