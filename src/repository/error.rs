//! What can go wrong on the disk.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::lock::LockError;
use super::manifest::ManifestError;
use crate::display::shell_word;
use crate::identity;
use crate::threads::is_exhaustion;

/// What can go wrong in a database's directory.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}{}", .path.display(), way_out(.doing, .path, .source))]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something was done, and whether it outlasts a power cut is not known.
    #[error(
        "cannot sync the directory {}: {source}; {stands}, unless the power fails before the disk has it{}",
        .directory.display(),
        advice(.source)
    )]
    Unsynced {
        /// The directory.
        directory: PathBuf,
        /// What stands all the same.
        stands: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Another run is at work on the directory.
    #[error("{} is busy: {source}", .directory.display())]
    Busy {
        /// The directory.
        directory: PathBuf,
        /// Who holds the lock.
        source: LockError,
    },
    /// A backup cannot have its place back.
    #[error(
        "{} exists already: a backup that is released replaces nothing\nhint: move that away first",
        .path.display()
    )]
    Taken {
        /// What is in its place.
        path: PathBuf,
    },
    /// A backup that comes from elsewhere has a name that is taken.
    #[error(
        "{} exists already, and is not replaced\nhint: name another directory, or move that backup away first",
        .path.display()
    )]
    Exists {
        /// The manifest that would be replaced.
        path: PathBuf,
    },
    /// A file of a backup that comes from elsewhere is not the one of its manifest.
    #[error("its {file} is not the file that its manifest describes: {what}")]
    NotTheManifests {
        /// Which: the end of its name.
        file: String,
        /// What does not agree.
        what: String,
    },
    /// The directory holds the backups of another database.
    #[error(
        "{} holds backups of database {found:?}, not of {wanted:?}\nhint: give each database a \
         directory of its own",
        .directory.display()
    )]
    OtherDatabase {
        /// The directory.
        directory: PathBuf,
        /// Whose backups it holds.
        found: String,
        /// Whose backups were looked for.
        wanted: String,
    },
    /// A manifest cannot be used.
    #[error("the manifest {} cannot be used: {source}", .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// What was read back is not what was written.
    #[error(
        "what was read back from {} is not what was written ({what}): the disk, the memory or \
         the file system is failing; nothing was kept",
        .path.display()
    )]
    ReadBack {
        /// The temporary file.
        path: PathBuf,
        /// What does not agree.
        what: String,
    },
    /// A file is not published for a check of another one: a fault of the program's own.
    #[error(
        "internal error (please report): {} cannot be published, for it is {} that was checked",
        .path.display(),
        .found.display()
    )]
    NotItsCheck {
        /// The temporary file.
        path: PathBuf,
        /// The file that was checked.
        found: PathBuf,
    },
}

/// What is being done where a directory is made.
pub(super) const MAKE: &str = "create the directory";

/// The way out, also of a directory that only root can make or give away.
fn way_out(doing: &str, path: &Path, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return advice(error).to_owned();
    }
    if doing == MAKE {
        return format!(
            "\nhint: {}",
            identity::in_shell_of_root(&making_command(path))
        );
    }
    let me = rustix::process::geteuid().as_raw();
    let others = |path: &Path| path.metadata().ok().filter(|found| found.uid() != me);
    // What everybody may enter is the system's, and keeps its owner.
    let is_private = |found: &Metadata| found.is_file() || found.mode() & 0o005 == 0;
    let candidates = [Some(path), path.parent()];
    let found = candidates.into_iter().flatten().find_map(|path| {
        let found = others(path).filter(is_private)?;
        Some((path, found))
    });
    match found {
        Some((path, found)) => giving_away(path, &found, me),
        None => advice(error).to_owned(),
    }
}

fn giving_away(path: &Path, found: &Metadata, me: u32) -> String {
    let user = identity::user_name(me);
    let options = if found.is_dir() {
        "--recursive --no-dereference "
    } else {
        ""
    };
    let shown = path.display();
    let command = format!(
        "chown {options}{}: {}",
        shell_word(&user),
        shell_word(&shown.to_string())
    );
    format!(
        "\nhint: {shown} belongs to {}: if what is in it is {user}'s, {}; if not, name another directory in \
         the configuration",
        identity::user_name(found.uid()),
        identity::in_shell_of_root(&command)
    )
}

/// The command that makes a directory for this process's user, whatever is missing above it, and lets
/// that user pass through what is above.
pub(crate) fn making_command(path: &Path) -> String {
    let word = |path: &Path| shell_word(&path.display().to_string());
    let mut command = format!(
        "install -d -o {} -g {} -m 0700 {}",
        shell_word(&identity::user_name(rustix::process::geteuid().as_raw())),
        shell_word(&identity::group_name(rustix::process::getegid().as_raw())),
        word(path),
    );
    // Nobody can tell what is in a directory that is closed, so all below it are opened.
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    let closed = above
        .iter()
        .rposition(|above| above.is_dir() && access(*above, Access::EXEC_OK).is_err());
    if let Some(closed) = closed {
        let closed: Vec<String> = above[..=closed]
            .iter()
            .rev()
            .map(|above| word(above))
            .collect();
        command.push_str(" && chmod o+x ");
        command.push_str(&closed.join(" "));
    }
    command
}

/// The way out, where the operating system's word alone does not show it.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => {
            "\nhint: free some space or inodes there (df -h, df -i), then run it again"
        }
        io::ErrorKind::QuotaExceeded => ": the user's quota there is used up",
        io::ErrorKind::ReadOnlyFilesystem => {
            ": the file system is mounted read-only, or the service may not write there \
             (ReadWritePaths= in its unit)"
        }
        io::ErrorKind::PermissionDenied => {
            "\nhint: run as the user who owns the backup directory, or change its owner or mode (chown, chmod)"
        }
        _ if is_exhaustion(error) => {
            "\nhint: check how many processes, threads and open files the user and the service may have \
             (`ulimit -u -n`, TasksMax=, LimitNOFILE=), and what else runs here"
        }
        _ => "",
    }
}

impl RepositoryError {
    /// What stands in a directory that could not be synced.
    pub(super) fn unsynced<'a>(
        directory: &'a Path,
        stands: impl FnOnce() -> String + 'a,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Unsynced {
            directory: directory.to_owned(),
            stands: stands(),
            source,
        }
    }

    /// What the operating system refused while something, a verb, was done to a path.
    pub fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}
