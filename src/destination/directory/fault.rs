//! What a disk refuses, in words: its kind, why, and the way out.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::destination::error::{DestinationError, DestinationErrorKind};
use crate::destination::judgement::Judgement;
use crate::display::shell_word;
use crate::identity::{in_shell_of_root, user_name};
use crate::threads::is_exhaustion;

/// Something on the disk failed.
#[derive(Debug)]
pub(super) enum DiskFault {
    /// The system refused a call.
    System(io::Error),
    /// A directory that was there a moment ago is gone.
    MissingDirectory(io::Error),
    /// Our own judgement of what is there.
    Judged(DestinationErrorKind, String),
}

impl From<Errno> for DiskFault {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

impl From<io::Error> for DiskFault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Judgement> for DiskFault {
    fn from((kind, cause): Judgement) -> Self {
        Self::Judged(kind, cause)
    }
}

impl DiskFault {
    /// The root cannot be opened.
    pub(super) fn of_root(errno: Errno, root: &Path) -> Self {
        let shown = root.display();
        match errno {
            Errno::NOENT => Self::Judged(
                DestinationErrorKind::Missing,
                format!(
                    "there is no directory {shown}\nhint: mount what belongs there, or make it: {}",
                    making(root)
                ),
            ),
            Errno::NOTDIR => Self::Judged(
                DestinationErrorKind::Settings,
                format!("{shown} is not a directory\nhint: set url to a directory"),
            ),
            errno => errno.into(),
        }
    }

    /// A directory below the root cannot be used as one that was just seen.
    pub(super) fn of_directory(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::MissingDirectory(errno.into()),
            errno => errno.into(),
        }
    }

    /// Whether a directory has been removed that was there a moment ago.
    pub(super) fn is_missing_directory(&self) -> bool {
        matches!(self, Self::MissingDirectory(_))
    }

    /// Nothing is mounted where something has to be.
    pub(super) fn not_mounted(root: &Path) -> Self {
        let shown = root.display();
        Self::Judged(
            DestinationErrorKind::Missing,
            format!(
                "nothing is mounted on {shown}\nhint: mount it: mount {}; or set mounted = false, if this \
                 directory is not a mount point itself",
                shell_word(&root.to_string_lossy())
            ),
        )
    }

    /// The file system can name a file only by replacing another.
    pub(super) fn replaces() -> Self {
        Self::Judged(
            DestinationErrorKind::Denied,
            "its file system can neither rename without replacing nor make hard links\nhint: use a file \
             system of Linux's own or NFS"
                .to_owned(),
        )
    }

    /// The error, with what was being done.
    pub(super) fn while_doing(self, doing: String) -> DestinationError {
        let (kind, cause) = match self {
            Self::Judged(kind, cause) => (kind, cause),
            Self::System(error) | Self::MissingDirectory(error) => {
                let (kind, hint) = meaning(&error);
                (kind, format!("{error}{hint}"))
            }
        };
        DestinationError { doing, kind, cause }
    }
}

/// Of which kind an error of the system is, and the way out.
fn meaning(error: &io::Error) -> (DestinationErrorKind, &'static str) {
    use DestinationErrorKind::{Damaged, Denied, Full, Missing, Unavailable};
    if is_exhaustion(error) {
        return (Unavailable, "");
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return (Damaged, "");
    }
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => (Full, "\nhint: free space there, or keep fewer copies"),
        Some(Errno::DQUOT) => (Full, "\nhint: raise the quota, or keep fewer copies"),
        Some(Errno::ROFS) => (
            Denied,
            "\nhint: mount it for writing, once the reason in the kernel's log is fixed",
        ),
        Some(Errno::ACCESS | Errno::PERM) => (
            Denied,
            "\nhint: let the service's user own the directory and what is in it",
        ),
        Some(Errno::NAMETOOLONG) => (Denied, ""),
        Some(Errno::NOENT) => (Missing, ""),
        Some(Errno::EXIST | Errno::ISDIR | Errno::NOTDIR) => (
            DestinationErrorKind::Exists,
            "\nhint: move away what has this name",
        ),
        _ => (Unavailable, ""),
    }
}

/// The advice that makes a directory for the user of this process.
fn making(root: &Path) -> String {
    let user = shell_word(&user_name(rustix::process::geteuid().as_raw()));
    let path = shell_word(&root.to_string_lossy());
    in_shell_of_root(&format!("install -d -o {user} -m 0700 {path}"))
}
