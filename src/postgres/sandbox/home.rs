//! The directory of a temporary cluster: what is in it, how it differs from one that nobody uses any
//! more, and how that is swept away.
//!
//! ```text
//! <directory>/pgbackupd-drill-0f3a91c07d55/    ours
//!     lock            held for as long as we live
//!     data/           of the user that the server runs as, as everything below is
//!     socket/         0700
//!     home/           empty: working directory and HOME of the programs
//!     tablespaces/    one directory each
//! ```
//!
//! A backup that is fetched for one test restore has a directory of the same kind, with `backup/` in it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal};

use super::error::{SandboxError, at};
use crate::postgres::child::{Account, Confinement};
use crate::postgres::confine::Bounds;

/// What every sandbox's directory begins with.
const PREFIX: &str = "pgbackupd-drill-";

/// `sun_path` has 108 bytes, the last of them a NUL (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The server's socket in its directory.
const SOCKET: &str = "/socket/.s.PGSQL.5432";

/// What is held for as long as a sandbox is in use.
const LOCK: &str = "lock";

/// A directory without a lock that is younger is being made.
const BEING_MADE: Duration = Duration::from_secs(60);

/// The directory of a sandbox, removed when it is dropped.
pub(super) struct Home {
    pub(super) path: PathBuf,
    pub(super) account: Option<Account>,
    _lock: File,
}

impl Home {
    pub(super) fn make(directory: &Path) -> Result<Self, SandboxError> {
        let account = account()?;
        let path = new_path(directory);
        let length = path.as_os_str().as_bytes().len() + SOCKET.len();
        if length > LONGEST_SOCKET {
            return Err(SandboxError::PathTooLong {
                path: directory.to_owned(),
                longest: LONGEST_SOCKET.saturating_sub(SOCKET.len() + PREFIX.len() + 13),
            });
        }
        // Another user has to pass through it to what is its own.
        let mode = if account.is_some() { 0o711 } else { 0o700 };
        make(&path, mode)?;
        let home = Self {
            _lock: lock(&path)?,
            path,
            account,
        };
        for name in ["data", "socket", "home", "tablespaces"] {
            home.make_directory(name)?;
        }
        Ok(home)
    }

    /// Makes a directory that belongs to the server.
    pub(super) fn make_directory(&self, name: &str) -> Result<PathBuf, SandboxError> {
        let path = self.path.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(at("make the directory", &path))?;
        if let Some(account) = &self.account {
            chown(&path, Some(account.user), Some(account.group))
                .map_err(at("change the owner of", &path))?;
        }
        Ok(path)
    }

    /// What the server's user meets on the way to this directory that is closed to it, as far as
    /// modes tell.
    pub(super) fn closed(&self) -> Option<SandboxError> {
        let user = self.account.as_ref()?.name.clone();
        let mut above: Vec<&Path> = self.path.ancestors().skip(1).collect();
        above.reverse();
        let is_closed = |path: &&Path| {
            let mode = path.metadata().map(|metadata| metadata.mode());
            mode.is_ok_and(|mode| mode & 0o001 == 0)
        };
        let path = above.into_iter().find(is_closed)?.to_owned();
        Some(SandboxError::Closed { path, user })
    }

    /// As whom, where and within which bounds a program runs.
    pub(super) fn confinement(&self, bounds: Bounds) -> Confinement {
        Confinement {
            account: self.account.clone(),
            directory: Some(self.path.join("home")),
            bounds: Some(bounds),
        }
    }

    /// All that a program in the sandbox knows of the world outside.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("HOME", self.path.join("home").display().to_string()),
            ("LC_ALL", "C".to_owned()),
            ("TZ", "UTC".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        let _ = remove(&self.path);
    }
}

/// A directory for a backup that is fetched for one test restore, removed when it is dropped; after a crash by the
/// next sweep of sandboxes.
#[derive(Debug)]
pub struct FetchDirectory {
    path: PathBuf,
    _lock: File,
}

impl FetchDirectory {
    /// Makes one, for its owner alone (P19).
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(directory: &Path) -> Result<Self, SandboxError> {
        let path = new_path(directory);
        make(&path, 0o700)?;
        Ok(Self {
            _lock: lock(&path)?,
            path,
        })
    }

    /// Where the backup goes; not made yet.
    pub fn backup(&self) -> PathBuf {
        self.path.join("backup")
    }
}

impl Drop for FetchDirectory {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

/// A name that nothing has.
fn new_path(directory: &Path) -> PathBuf {
    // The last bytes of a version 7 UUID are random.
    let random = uuid::Uuid::now_v7().simple().to_string();
    directory.join(format!("{PREFIX}{}", &random[20..]))
}

/// Makes a directory with this mode, whatever the umask is.
fn make(path: &Path, mode: u32) -> Result<(), SandboxError> {
    DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(at("make the directory", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("make the directory", path))
}

/// Locks a new directory: whoever sweeps finds it locked or not at all.
fn lock(path: &Path) -> Result<File, SandboxError> {
    let (unlocked, locked) = (path.join("lock.new"), path.join(LOCK));
    let lock = File::create_new(&unlocked).map_err(at("make", &unlocked))?;
    lock.lock().map_err(at("lock", &unlocked))?;
    fs::rename(&unlocked, &locked).map_err(at("make", &locked))?;
    Ok(lock)
}

/// The user that a server of ours runs as: ourselves, but for root `nobody`, who owns nothing.
fn account() -> Result<Option<Account>, SandboxError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let nobody = uzers::get_user_by_name("nobody").ok_or(SandboxError::NoAccount)?;
    Ok(Some(Account {
        name: "nobody".to_owned(),
        user: nobody.uid(),
        group: nobody.primary_group_id(),
    }))
}

/// Removes what crashes left of sandboxes in a directory: processes first, then files. Gives the
/// directories that were removed. Sandboxes that are in use stay.
///
/// # Errors
/// When the directory cannot be read, or something in it cannot be removed.
pub fn sweep_sandboxes(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut removed = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_named = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes());
        if !is_named || !is_stale(&entry.path()) {
            continue;
        }
        end_servers_of(&entry.path());
        remove(&entry.path())?;
        removed.push(entry.path());
    }
    Ok(removed)
}

/// Whether a directory is of ours, and nobody uses it any more.
fn is_stale(path: &Path) -> bool {
    let Ok(metadata) = path.symlink_metadata() else {
        return false;
    };
    // In a directory that others can write to, anybody can give a name.
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return false;
    }
    match File::open(path.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => metadata
            .modified()
            .ok()
            .and_then(|made| SystemTime::now().duration_since(made).ok())
            .is_some_and(|age| age > BEING_MADE),
    }
}

/// Kills what is left of a server whose data is below a directory. Its processes work in there.
fn end_servers_of(directory: &Path) {
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        let works_there =
            fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        let is_postgres = fs::read_to_string(process.path().join("comm"))
            .is_ok_and(|comm| comm.trim_end() == "postgres");
        if works_there && is_postgres {
            // It fails only when it has just ended.
            rustix::process::kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// Removes a directory in which a server may be about to end.
fn remove(path: &Path) -> io::Result<()> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        match clear(path).and_then(|()| fs::remove_dir_all(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.symlink_metadata().is_err() {
                    return Ok(());
                }
            }
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
        sleep(Duration::from_millis(100));
    }
    clear(path)?;
    fs::remove_dir_all(path)
}

/// Removes everything in it but the lock: by that, the next sweep sees that nobody uses what could not be
/// removed.
fn clear(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name() == LOCK {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::make(directory.path()).unwrap();
        let stranger = directory.path().join("pgbackupd-drill-stranger");
        fs::create_dir(&stranger).unwrap();
        assert_eq!(
            sweep_sandboxes(directory.path()).unwrap(),
            [""; 0].map(PathBuf::from)
        );
        assert!(stranger.is_dir(), "it may be one that is being made");
        let path = home.path.clone();
        // As a process that was killed leaves it: its lock is gone, its files are not.
        let aside = directory.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        drop(home);
        fs::rename(&aside, &path).unwrap();
        assert_eq!(sweep_sandboxes(directory.path()).unwrap(), [path]);
    }

    #[test]
    fn the_lock_is_removed_last() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::make(directory.path()).unwrap();
        fs::create_dir_all(home.path.join("data/base")).unwrap();
        fs::write(home.path.join("data/base/1"), "x").unwrap();
        clear(&home.path).unwrap();
        let left: Vec<_> = fs::read_dir(&home.path)
            .unwrap()
            .map(|it| it.unwrap().file_name())
            .collect();
        assert_eq!(left, [LOCK]);
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(100));
        fs::create_dir(&long).unwrap();
        assert!(matches!(
            Home::make(&long),
            Err(SandboxError::PathTooLong { .. })
        ));
    }
}
