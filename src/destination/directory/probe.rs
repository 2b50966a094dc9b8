//! What a probe finds out about the file system of a directory.

use rustix::io::Errno;

use super::disk::Disk;
use super::fault::DiskFault;
use super::mount::Mount;
use crate::policy::protection::{Attempt, DirectoryProbe};

impl Disk {
    /// What the directory is on.
    pub(super) fn probe(&self) -> Result<DirectoryProbe, DiskFault> {
        let root = self.open()?;
        let sync = match rustix::fs::fsync(&root) {
            Ok(()) => Attempt::Done,
            Err(errno @ (Errno::INVAL | Errno::OPNOTSUPP)) => {
                Attempt::Unknown(format!("the file system has no such call: {errno}"))
            }
            Err(errno) => Attempt::Refused(errno.to_string()),
        };
        let mount = Mount::of(&self.root)?;
        let space = rustix::fs::fstatvfs(&root)?;
        Ok(DirectoryProbe {
            is_remote: mount.is_remote(),
            mount_point: mount.point.map(|point| point.display().to_string()),
            file_system: mount.kind,
            free: space.f_bavail.saturating_mul(space.f_frsize),
            sync,
        })
    }
}
