//! The few ways in which this program changes a directory, each complete with its syncs.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Makes a file that was not there, for its owner alone (P19).
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(path)?;
    hand_over(&file, path)?;
    Ok(file)
}

/// Opens a file to append to it, and makes it where it is not there, for its owner alone (P19).
pub(super) fn open_to_append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    loop {
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match create_new(path) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // It was not opened for appending.
            made => drop(made?),
        }
    }
}

/// Gives what root has made to the owner of the directory that it is in: a command of root's must
/// not leave files there that the service cannot open. To be called only with what was made just
/// now, never with what was found.
fn hand_over(made: &File, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let owner = directory.unwrap_or(Path::new(".")).metadata()?;
    if owner.uid() == 0 {
        return Ok(());
    }
    fchown(made, Some(owner.uid()), Some(owner.gid()))
}

/// Makes a directory that was not there, for its owner alone (P19), and its parents.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|above| !above.exists()).count();
    DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    // Each new name stands in the directory above it; that of a bare name is the working one.
    for above in path.ancestors().skip(1).take(missing) {
        let bare = above.as_os_str().is_empty();
        sync_directory(if bare { Path::new(".") } else { above })?;
    }
    Ok(())
}

/// Puts on the disk which names a directory holds: without this a power cut undoes renames
/// (fsync(2): "calling `fsync()` does not necessarily ensure that the entry in the directory
/// containing the file has also reached disk").
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Closes a file to others and syncs it.
pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.sync_all()
}

/// Closes a directory and every file in it to others, and syncs them; `pg_dump`'s directory format
/// has no deeper levels.
pub(super) fn sync_directory_and_files(path: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(path)? {
        sync_file(&entry?.path())?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o700))?;
    sync_directory(path)
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
