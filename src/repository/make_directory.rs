//! A directory made by root for the user who will write backups into it, in a place that this user
//! or another may change at the same moment.
//!
//! Nothing here goes by a path twice: every level is opened below the one that is open already, no
//! symbolic link is followed that somebody but root could have put there, and owner and mode are
//! changed through the open directory, never through its name.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Gid, Mode, OFlags, RawMode, Stat, Uid};
use rustix::io::Errno;

use super::error::advice;

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;

/// Nobody but the owner.
const CLOSED: RawMode = 0o700;

/// For whom a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's name.
    pub name: String,
    /// The user.
    pub uid: u32,
    /// The user's own group.
    pub gid: u32,
    /// The user's home.
    pub home: Option<PathBuf>,
}

impl Owner {
    /// The user of this name; none if the system has no such user.
    pub fn named(name: &str) -> Option<Self> {
        use uzers::os::unix::UserExt as _;
        let user = uzers::get_user_by_name(name)?;
        Some(Self {
            name: name.to_owned(),
            uid: user.uid(),
            gid: user.primary_group_id(),
            home: Some(user.home_dir().to_owned()),
        })
    }
}

/// What a directory is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The directories of a server's databases. One that is there may be shared, as `/var/backups`
    /// is, and then stays root's.
    Server,
    /// The backups of a database.
    Database,
}

/// What was done about a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provided {
    /// Nothing: it was as it should be.
    Stood,
    /// It was made.
    Made,
    /// It was empty and root's, and was given to its owner.
    Given,
    /// Others could enter it; its mode was this one.
    Closed(u32),
}

/// Why a directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProvideError {
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}{}", .path.display(), advice(.source))]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A symbolic link that is not followed.
    #[error(
        "{} is a symbolic link, and root does not follow one where somebody else could turn it \
         elsewhere\nhint: name the directory that is meant in the configuration", .0.display()
    )]
    Link(PathBuf),
    /// Something else has its name.
    #[error(
        "{} exists and is not a directory\nhint: move it away, or name another directory in the \
         configuration", .0.display()
    )]
    NotADirectory(PathBuf),
    /// It belongs to somebody else.
    #[error(
        "{path} belongs to {found}, not to {owner}\nhint: if what is in it is {owner}'s, run \
         `chown --recursive --no-dereference {owner}: '{path}'`; if not, name another directory in \
         the configuration", path = .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        found: String,
        /// Who should own it.
        owner: String,
    },
    /// Root's own directory, in which the owner could not work.
    #[error(
        "{path} belongs to root and {why}\nhint: run `chmod 0755 '{path}'`, or name another directory in \
         the configuration", path = .path.display()
    )]
    Unsuitable {
        /// The directory.
        path: PathBuf,
        /// What keeps it from being used.
        why: &'static str,
    },
}

/// Sees to it that a directory is there and belongs to its owner, alone.
///
/// What is above it and missing is made for root. Only a directory that was made here, or that is
/// empty and root's, is given away; one of somebody else's is an error. To be called as root; the
/// path is absolute.
///
/// # Errors
/// When it cannot be made, or belongs to somebody else.
pub fn provide(path: &Path, level: Level, owner: &Owner) -> Result<Provided, ProvideError> {
    let failed = |doing| {
        move |source: Errno| ProvideError::Io {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    };
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(failed("give away")(Errno::INVAL));
    };
    let above = open_above(above)?;
    let made = match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(CLOSED)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(failed("create the directory")(error)),
    };
    let directory = match open(&above, name, OFlags::RDONLY | OFlags::DIRECTORY) {
        // Linux says ENOTDIR of a symbolic link too, where a directory was asked for.
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(no_directory(&above, name, path)),
        opened => opened.map_err(failed("open"))?,
    };
    let stat = rustix::fs::fstat(&directory).map_err(failed("look at"))?;
    let found = Found {
        uid: stat.st_uid,
        mode: stat.st_mode & 0o7777,
        is_empty: is_empty(&directory).map_err(failed("read"))?,
    };
    let closed = Mode::from_raw_mode(CLOSED);
    let provided = match judge_directory(level, &found, owner.uid) {
        Verdict::Stands => Provided::Stood,
        Verdict::Close => {
            rustix::fs::fchmod(&directory, closed).map_err(failed("change the mode of"))?;
            Provided::Closed(found.mode)
        }
        Verdict::Give => {
            rustix::fs::fchmod(&directory, closed).map_err(failed("change the mode of"))?;
            let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
            rustix::fs::fchown(&directory, Some(uid), Some(gid))
                .map_err(failed("change the owner of"))?;
            Provided::Given
        }
        Verdict::Foreign => {
            return Err(ProvideError::Foreign {
                path: path.to_owned(),
                found: user_name(found.uid),
                owner: owner.name.clone(),
            });
        }
        Verdict::Unsuitable(why) => {
            return Err(ProvideError::Unsuitable {
                path: path.to_owned(),
                why,
            });
        }
    };
    if !made {
        return Ok(provided);
    }
    sync(&above).map_err(failed("sync the directory above"))?;
    Ok(Provided::Made)
}

/// A directory as it was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    uid: u32,
    mode: u32,
    is_empty: bool,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stands,
    Close,
    Give,
    Foreign,
    Unsuitable(&'static str),
}

fn judge_directory(level: Level, found: &Found, owner: u32) -> Verdict {
    const ROOT: u32 = 0;
    let for_others = found.mode & 0o077;
    let can_be_searched = found.mode & 0o001 != 0;
    let can_be_written = found.mode & 0o022 != 0 && found.mode & 0o1000 == 0;
    match level {
        Level::Database if found.uid == owner && for_others != 0 => Verdict::Close,
        // The operator may have opened the level above to somebody on purpose.
        _ if found.uid == owner => Verdict::Stands,
        Level::Database if found.uid == ROOT && found.is_empty => Verdict::Give,
        // What was made here and not given away, because that was cut short.
        Level::Server if found.uid == ROOT && found.is_empty && !can_be_searched => Verdict::Give,
        Level::Server if found.uid == ROOT && !can_be_searched => {
            Verdict::Unsuitable("others cannot enter it")
        }
        Level::Server if found.uid == ROOT && can_be_written => {
            Verdict::Unsuitable("others can replace what is in it")
        }
        Level::Server if found.uid == ROOT => Verdict::Stands,
        _ => Verdict::Foreign,
    }
}

/// Opens the directory at an absolute path, and makes what is missing of it, for root and open to
/// all as usual.
fn open_above(path: &Path) -> Result<OwnedFd, ProvideError> {
    let failed = |doing, at: &Path| {
        let path = at.to_owned();
        move |source: Errno| ProvideError::Io {
            doing,
            path,
            source: source.into(),
        }
    };
    let root = || open(&CWD, OsStr::new("/"), OFlags::PATH | OFlags::DIRECTORY);
    let mut directory = root().map_err(failed("open", Path::new("/")))?;
    // Where we are, for messages.
    let mut at = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        let next = at.join(&name);
        let opened = match open(&directory, &name, OFlags::PATH) {
            Err(Errno::NOENT) => {
                make(&directory, &name).map_err(failed("create the directory", &next))?;
                open(&directory, &name, OFlags::PATH)
            }
            opened => opened,
        }
        .map_err(failed("open", &next))?;
        let stat = rustix::fs::fstat(&opened).map_err(failed("look at", &next))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                directory = opened;
                at = next;
            }
            FileType::Symlink => {
                let around = rustix::fs::fstat(&directory).map_err(failed("look at", &at))?;
                links += 1;
                if !is_roots_alone(&stat, &around) || links > MOST_LINKS {
                    return Err(ProvideError::Link(next));
                }
                let target = rustix::fs::readlinkat(&opened, "", Vec::new())
                    .map_err(failed("read the symbolic link", &next))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if target.is_absolute() {
                    directory = root().map_err(failed("open", Path::new("/")))?;
                    at = PathBuf::from("/");
                }
                for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(name);
                }
            }
            _ => return Err(ProvideError::NotADirectory(next)),
        }
    }
    Ok(directory)
}

/// Whether a symbolic link was put there by root, into a directory that nobody else can change.
fn is_roots_alone(link: &Stat, around: &Stat) -> bool {
    link.st_uid == 0 && around.st_uid == 0 && around.st_mode & 0o022 == 0
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Makes a directory that is missing on the way.
fn make(above: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(0o755)) {
        // Somebody was faster; what it is shows when it is opened.
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    let directory = open(above, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let stat = rustix::fs::fstat(&directory)?;
    // The umask has closed it. Whatever has come in its place meanwhile stays as it is.
    if stat.st_uid == 0 && is_empty(&directory)? {
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(0o755))?;
    }
    sync(above)
}

/// Opens one level, which is not followed if it is a symbolic link.
fn open(
    above: &impl std::os::fd::AsFd,
    name: &OsStr,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        above,
        name,
        flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Syncs a directory that was opened as a mere place, which cannot be synced itself.
fn sync(place: &OwnedFd) -> rustix::io::Result<()> {
    let directory = open(
        &place.as_fd(),
        OsStr::new("."),
        OFlags::RDONLY | OFlags::DIRECTORY,
    )?;
    rustix::fs::fsync(directory)
}

fn no_directory(above: &OwnedFd, name: &OsStr, path: &Path) -> ProvideError {
    let stat = rustix::fs::statat(above, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Symlink) => ProvideError::Link(path.to_owned()),
        _ => ProvideError::NotADirectory(path.to_owned()),
    }
}

fn user_name(uid: u32) -> String {
    uzers::get_user_by_uid(uid).map_or_else(
        || format!("the user of number {uid}"),
        |user| user.name().to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::{Found, Level, Verdict, judge_directory};

    const ROOT: u32 = 0;
    const OWNER: u32 = 101;
    const OTHER: u32 = 1000;

    #[test]
    fn only_what_is_ours_or_nobodys_is_changed() {
        use Verdict::{Close, Foreign, Give, Stands};
        let unsearchable = Verdict::Unsuitable("others cannot enter it");
        let writable = Verdict::Unsuitable("others can replace what is in it");
        // The owner, the mode, whether it is empty; what becomes of a database's directory, and of
        // a server's.
        let table = [
            (OWNER, 0o700, true, Stands, Stands),
            (OWNER, 0o700, false, Stands, Stands),
            (OWNER, 0o750, false, Close, Stands),
            (OWNER, 0o777, true, Close, Stands),
            // Tighter than usual is as good.
            (OWNER, 0o500, false, Stands, Stands),
            (ROOT, 0o700, true, Give, Give),
            (ROOT, 0o700, false, Foreign, unsearchable),
            (ROOT, 0o755, true, Give, Stands),
            (ROOT, 0o755, false, Foreign, Stands),
            (ROOT, 0o777, false, Foreign, writable),
            (ROOT, 0o1777, false, Foreign, Stands),
            (OTHER, 0o700, true, Foreign, Foreign),
            (OTHER, 0o755, false, Foreign, Foreign),
            (OTHER, 0o777, true, Foreign, Foreign),
        ];
        for (uid, mode, is_empty, database, server) in table {
            let found = Found {
                uid,
                mode,
                is_empty,
            };
            assert_eq!(
                judge_directory(Level::Database, &found, OWNER),
                database,
                "{found:?}"
            );
            assert_eq!(
                judge_directory(Level::Server, &found, OWNER),
                server,
                "{found:?}"
            );
        }
    }
}
