//! The few ways in which this program changes a directory, each complete with its syncs.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Uid, openat, renameat_with};
use rustix::io::Errno;

/// Makes a file that was not there, for its owner alone (P19); root gives it to the owner of its
/// directory.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path)?;
    DirectoryOwner::of(directory_of(path))?.give(&file)?;
    Ok(file)
}

/// Puts a file where another one may be, wholly or not at all, for its owner alone (P19); the old one
/// stays if that fails.
pub(super) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    through_temporary(path, |file| {
        file.write_all(text)?;
        file.sync_all()
    })?;
    sync_directory(directory_of(path))
}

/// The same, for everybody to read. What another program reads again and again need not be on the disk.
pub(super) fn replace_public(path: &Path, text: &[u8]) -> io::Result<()> {
    through_temporary(path, |file| {
        file.write_all(text)?;
        file.set_permissions(Permissions::from_mode(0o644))
    })
}

fn through_temporary(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    let replace = || {
        // What a crash left of an earlier attempt.
        remove(&temporary)?;
        write(&mut create_new(&temporary)?)?;
        std::fs::rename(&temporary, path)
    };
    replace().inspect_err(|_| {
        let _ = remove(&temporary);
    })
}

/// Opens a file to append to it, and makes it where it is not there, for its owner alone (P19).
pub(super) fn open_to_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    loop {
        match crate::regular_file::open_with(&mut options, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match create_new(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if let Some(dangling) = link_to_nothing(path) {
                    return Err(dangling);
                }
                // Another process was faster.
            }
            // It was not opened for appending.
            made => drop(made?),
        }
    }
}

/// Whom what root makes in a directory is given to: the directory's owner, for a command of root's
/// must not leave files there that the service cannot open. None where nothing is to be given.
#[derive(Clone, Copy, Debug)]
struct DirectoryOwner(Option<(Uid, Gid)>);

impl DirectoryOwner {
    fn of(directory: &Path) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let owner = directory.metadata()?;
        let ids = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
        Ok(Self((!ids.0.is_root()).then_some(ids)))
    }

    /// Gives away what was made just now.
    ///
    /// The owner of the directory can put something else in its place before it is opened. So it
    /// has to have been opened without following a link, and what is not root's, or has another
    /// name elsewhere, is refused.
    fn give(self, made: impl AsFd) -> io::Result<()> {
        let Some((user, group)) = self.0 else {
            return Ok(());
        };
        let stat = rustix::fs::fstat(&made)?;
        // Some file systems have one owner for everything.
        if stat.st_uid == user.as_raw() {
            return Ok(());
        }
        let is_one = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => true,
            FileType::RegularFile => stat.st_nlink == 1,
            _ => false,
        };
        if !is_one || stat.st_uid != 0 {
            return Err(io::Error::other(
                "somebody has put another one in its place",
            ));
        }
        Ok(rustix::fs::fchown(made, Some(user), Some(group))?)
    }
}

/// The directory that a name stands in; that of a bare one is the working directory.
fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes a directory that was not there, for its owner alone (P19), and its parents;
/// root gives each to the owner of the one above.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    let is_missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(directory) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            made => made?,
        }
        let above = directory_of(directory);
        DirectoryOwner::of(above)?.give(open_unfollowed(
            CWD,
            directory.as_os_str(),
            OFlags::DIRECTORY,
        )?)?;
        sync_directory(above)?;
    }
    if path.as_os_str().is_empty() || path.is_dir() {
        Ok(())
    } else {
        Err(link_to_nothing(path).unwrap_or_else(|| Errno::EXIST.into()))
    }
}

/// What to say of a name that is taken by a link whose target is not there: nothing can be made under
/// it, and nothing can be opened.
fn link_to_nothing(path: &Path) -> Option<io::Error> {
    let target = path.read_link().ok()?;
    let is_nothing = matches!(path.try_exists(), Ok(false));
    is_nothing.then(|| {
        let reason = format!(
            "it is a link to {}, which does not exist: bring that back, or remove the link",
            target.display()
        );
        io::Error::new(io::ErrorKind::NotFound, reason)
    })
}

/// Opens what a name stands for, unless that is a link.
fn open_unfollowed(directory: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::empty())?)
}

/// Puts on the disk which names a directory holds: without this a power cut undoes renames
/// (fsync(2): "calling `fsync()` does not necessarily ensure that the entry in the directory
/// containing the file has also reached disk").
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Closes a file to others and syncs it; root gives it to the owner of its directory.
pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    let file = open_unfollowed(CWD, path.as_os_str(), OFlags::empty())?;
    settle(file, DirectoryOwner::of(directory_of(path))?)
}

/// Closes a directory and every file in it to others, and syncs them; `pg_dump`'s directory format
/// has no deeper levels. Root gives them to the owner of the directory above.
///
/// Gives how many files there are.
pub(super) fn sync_directory_and_files(path: &Path) -> io::Result<usize> {
    let owner = DirectoryOwner::of(directory_of(path))?;
    let directory = open_unfollowed(CWD, path.as_os_str(), OFlags::DIRECTORY)?;
    let mut count = 0;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            settle(open_unfollowed(&directory, name, OFlags::empty())?, owner)?;
            count += 1;
        }
    }
    owner.give(&directory)?;
    let directory = File::from(directory);
    directory.set_permissions(Permissions::from_mode(0o700))?;
    directory.sync_all()?;
    Ok(count)
}

fn settle(file: OwnedFd, owner: DirectoryOwner) -> io::Result<()> {
    owner.give(&file)?;
    let file = File::from(file);
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.sync_all()
}

/// Renames without replacing: fails with `AlreadyExists` where the new name is taken.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems (NFS, older FUSE) do not know the flag. A hard link never replaces
        // either; a directory cannot have one, but cannot replace any but an empty one.
        Err(Errno::INVAL | Errno::NOSYS) if from.is_dir() => {
            if to.exists() {
                return Err(Errno::EXIST.into());
            }
            std::fs::rename(from, to)
        }
        Err(Errno::INVAL | Errno::NOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        outcome => outcome.map_err(io::Error::from),
    }
}

/// Removes a file or a directory with its content; fine when it is not there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// The owner of the directory could have put it there, for root to open it to nobody else.
    #[test]
    fn what_a_link_leads_to_is_neither_closed_nor_given_away() {
        let place = tempfile::tempdir().unwrap();
        let theirs = place.path().join("theirs");
        fs::write(&theirs, "").unwrap();
        fs::set_permissions(&theirs, Permissions::from_mode(0o644)).unwrap();
        let archive = place.path().join("archive");
        create_directory(&archive).unwrap();
        symlink(&theirs, archive.join("toc.dat")).unwrap();
        symlink(&archive, place.path().join("link")).unwrap();

        sync_file(&archive.join("toc.dat")).unwrap_err();
        sync_directory_and_files(&archive).unwrap_err();
        fs::remove_file(archive.join("toc.dat")).unwrap();
        sync_directory_and_files(&place.path().join("link")).unwrap_err();
        sync_directory_and_files(&archive).unwrap();
        assert_eq!(theirs.metadata().unwrap().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_link_to_nothing_is_neither_waited_for_nor_followed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        symlink("gone", at("dangling")).unwrap();
        symlink("dangling", at("further")).unwrap();
        symlink("ring", at("ring")).unwrap();
        for name in ["dangling", "further"] {
            let error = open_to_append(&at(name)).unwrap_err().to_string();
            assert!(error.contains("which does not exist"), "{name}: {error}");
            let error = create_directory(&at(name)).unwrap_err().to_string();
            assert!(error.contains("which does not exist"), "{name}: {error}");
        }
        open_to_append(&at("ring")).unwrap_err();
        create_directory(&at("ring")).unwrap_err();
        fs::write(at("file"), "").unwrap();
        symlink("file", at("good")).unwrap();
        open_to_append(&at("good")).unwrap();
    }

    #[test]
    fn what_has_another_name_elsewhere_is_not_given_away() {
        if !rustix::process::geteuid().is_root() {
            // Only root gives anything away.
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let theirs = place.path().join("theirs");
        fs::write(&theirs, "").unwrap();
        let directory = place.path().join("directory");
        fs::create_dir(&directory).unwrap();
        std::os::unix::fs::chown(&directory, Some(1), Some(1)).unwrap();
        let dump = directory.join("dump");
        fs::hard_link(&theirs, &dump).unwrap();

        sync_file(&dump).unwrap_err();
        assert_eq!(theirs.metadata().unwrap().uid(), 0);
        fs::remove_file(&theirs).unwrap();
        sync_file(&dump).unwrap();
        assert_eq!(dump.metadata().unwrap().uid(), 1);
    }
}
