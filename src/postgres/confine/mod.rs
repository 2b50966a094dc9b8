//! Keeping a program within bounds that the kernel enforces: which files it may use (Landlock), whom
//! it may call (a filter of system calls), and what it may run.
//!
//! Nothing of that can be set from outside, and what is set in our own process would bind ourselves.
//! So a program that is to be confined is started through this very executable, under the name
//! [`LAUNCHER`]: it puts itself within the bounds, and becomes the program (execve(2)), which
//! inherits them, as does everything that it starts. They cannot be taken off again.
//!
//! ```text
//! Child::spawn ─▶ /proc/self/exe, as "pgbackupd-confined", with Bounds as arguments
//!                     ├ files.rs   landlock_restrict_self(2)
//!                     ├ calls.rs   seccomp(2)
//!                     └ execve(2) of initdb, postgres, psql, pg_restore, pg_dump
//! ```

mod calls;
mod files;
mod launch;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub(super) use launch::command;
pub use launch::{LAUNCHER, LaunchError, launch};

/// What a program is kept within.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What it may run.
    pub running: Running,
    /// Whom it may reach.
    pub reach: Reach,
    /// What it may use besides itself; none stands for whatever its user may.
    pub files: Option<Files>,
}

/// What a program may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Running {
    /// Only what it is itself: neither a shell nor anything else. A program that is a script cannot
    /// do without others, and may run what it may read.
    Itself,
    /// Whatever it may read of programs: `initdb` and `pg_dumpall` run others through a shell.
    Programs,
}

/// Whom a program may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Whomever its user may.
    Anyone,
    /// Sockets in the file system, and no network. Which ones, only kernels since 7.1 can tell.
    Sockets,
    /// Nobody: it may be called, and cannot call.
    Nobody,
}

/// Files and directories, the latter with all that is below them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// May be read.
    pub readable: Vec<PathBuf>,
    /// May be read, made, changed and removed.
    pub writable: Vec<PathBuf>,
    /// Have sockets that may be connected to.
    pub callable: Vec<PathBuf>,
}

/// What this machine can enforce of bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    /// The version of Landlock's interface (`LANDLOCK_CREATE_RULESET_VERSION`); none where the kernel
    /// has no Landlock, or does not let us have it.
    pub landlock: Option<i32>,
    /// Whether system calls can be filtered.
    pub calls: bool,
}

/// Since this version of its interface (Linux 6.12), Landlock keeps signals within the bounds.
const SIGNALS_SINCE: i32 = 6;

impl Enforcement {
    /// Finds out by doing it to a thread that ends with that. What the kernel can do is remembered;
    /// that something is missing may have other reasons, and is looked at again the next time.
    ///
    /// # Errors
    /// The machine refuses the thread.
    pub fn of_this_machine() -> io::Result<Self> {
        static COMPLETE: Mutex<Option<Enforcement>> = Mutex::new(None);
        let mut complete = COMPLETE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*complete {
            return Ok(found.clone());
        }
        let found = Self::find_out()?;
        if found.landlock.is_some() && found.calls {
            *complete = Some(found.clone());
        }
        Ok(found)
    }

    fn find_out() -> io::Result<Self> {
        let trial = std::thread::Builder::new()
            .name("confine".to_owned())
            .spawn(|| {
                let landlock = files::restrict(&files::Rules::default()).unwrap_or(None);
                let calls = calls::restrict(Reach::Nobody, landlock).is_ok();
                Self { landlock, calls }
            })?;
        let panicked = |_| io::Error::other("finding out what can be confined has panicked");
        trial.join().map_err(panicked)
    }

    /// What is in force, for the log.
    pub fn sentence(&self) -> String {
        let files = match self.landlock {
            Some(version) if version >= SIGNALS_SINCE => {
                format!("files and signals by Landlock (version {version} of its interface)")
            }
            Some(version) => format!(
                "files by Landlock (version {version} of its interface, which leaves signals alone)"
            ),
            None => "files not, for lack of Landlock".to_owned(),
        };
        let calls = if self.calls {
            "network and system calls by a filter"
        } else {
            "system calls not, for lack of a filter"
        };
        format!("{files}; {calls}")
    }

    /// Whether it cannot read the files of its user.
    pub fn keeps_files(&self) -> bool {
        self.landlock.is_some()
    }

    /// What is missing for bounds to be whole; a clause each, about "it".
    pub fn shortfalls(&self) -> Vec<String> {
        let mut shortfalls = Vec::new();
        if self.landlock.is_none() {
            shortfalls.push(
                "there is no Landlock here, which would keep it from the files of its user"
                    .to_owned(),
            );
        }
        if !self.calls {
            shortfalls.push(
                "system calls cannot be filtered here, which would keep it from the network"
                    .to_owned(),
            );
        }
        shortfalls
    }
}

#[cfg(test)]
mod tests {
    use super::Enforcement;

    #[test]
    fn what_is_in_force_is_reported_and_what_is_missing_by_itself() {
        for (landlock, calls, sentence, shortfalls) in [
            (
                Some(7),
                true,
                "files and signals by Landlock (version 7 of its interface); network and system \
                 calls by a filter",
                0,
            ),
            (
                Some(2),
                true,
                "files by Landlock (version 2 of its interface, which leaves signals alone); \
                 network and system calls by a filter",
                0,
            ),
            (
                None,
                false,
                "files not, for lack of Landlock; system calls not, for lack of a filter",
                2,
            ),
        ] {
            let enforcement = Enforcement { landlock, calls };
            assert_eq!(enforcement.sentence(), sentence);
            assert_eq!(enforcement.shortfalls().len(), shortfalls);
        }
    }
}
