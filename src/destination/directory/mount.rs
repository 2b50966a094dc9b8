//! What a path is mounted from, by the kernel's own list.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// File systems of other machines.
const REMOTE: [&str; 17] = [
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.ceph",
    "fuse.davfs2",
    "fuse.glusterfs",
    "fuse.juicefs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
];

/// The file system that a path is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number of its device.
    pub device: u64,
    /// Where it is mounted; none where the kernel does not list it.
    pub point: Option<PathBuf>,
    /// Its kind, as the kernel calls it.
    pub kind: Option<String>,
    /// What it is mounted from.
    pub source: Option<String>,
}

impl Mount {
    /// The file system that a path is on. It can hang for as long as that does.
    ///
    /// # Errors
    /// When there is nothing at the path, or it cannot be looked at.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let path = path.canonicalize()?;
        let device = path.metadata()?.dev();
        let list = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        let line = innermost(&list, &path);
        Ok(Self {
            device,
            point: line.as_ref().map(|line| line.point.clone()),
            kind: line.as_ref().map(|line| line.kind.clone()),
            source: line.map(|line| line.source),
        })
    }

    /// Whether both are on one device.
    pub fn shares_device(&self, other: &Self) -> bool {
        // Subvolumes of one file system have numbers of their own.
        let is_device = |source: &&String| source.starts_with("/dev/");
        let source = self.source.as_ref().filter(is_device);
        self.device == other.device || (source.is_some() && source == other.source.as_ref())
    }

    /// Whether it is a file system of another machine; none where its kind does not say.
    pub fn is_remote(&self) -> Option<bool> {
        let kind = self.kind.as_deref()?;
        if REMOTE.contains(&kind) {
            Some(true)
        } else if kind.starts_with("fuse") || kind == "autofs" {
            None
        } else {
            Some(false)
        }
    }
}

/// A line of the list.
struct Line {
    point: PathBuf,
    kind: String,
    source: String,
}

impl Line {
    /// Reads a line of it, as proc(5) has them.
    fn read(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(" - ")?;
        let mut after = after.split(' ');
        Some(Self {
            point: unescaped(before.split(' ').nth(4)?),
            kind: after.next()?.to_owned(),
            source: unescaped(after.next()?).to_string_lossy().into_owned(),
        })
    }
}

/// Spaces and the like are three octal digits behind a backslash.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let digits = behind
            .get(..3)
            .and_then(|three| std::str::from_utf8(three).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// The mount that a path is below of: the deepest, and of several at one point the last.
fn innermost(list: &str, path: &Path) -> Option<Line> {
    let lines = list.lines().filter_map(Line::read);
    let around = lines.filter(|line| path.starts_with(&line.point));
    around.max_by_key(|line| line.point.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        30 22 0:40 / /mnt rw - autofs systemd-1 rw\n\
        31 30 0:41 / /mnt/nas\\040one rw,noatime shared:9 - nfs4 nas:/export rw,vers=4.2\n\
        32 22 0:42 /@ /srv rw - btrfs /dev/sdb1 rw\n\
        33 22 0:43 /@b /srv rw - btrfs /dev/sdb1 rw,subvol=/b\n\
        broken line\n";

    #[test]
    fn the_mount_of_a_path_is_the_deepest_and_the_last() {
        for (path, kind, source) in [
            ("/", "ext4", "/dev/sda1"),
            ("/mntx", "ext4", "/dev/sda1"),
            ("/mnt/other", "autofs", "systemd-1"),
            ("/mnt/nas one/x", "nfs4", "nas:/export"),
            ("/srv/a", "btrfs", "/dev/sdb1"),
        ] {
            let line = innermost(LIST, Path::new(path)).unwrap();
            assert_eq!((&*line.kind, &*line.source), (kind, source), "{path}");
        }
        assert!(innermost("", Path::new("/")).is_none());
    }

    #[test]
    fn one_device_is_known_by_its_number_or_its_source() {
        let mount = |device, kind: &str, source: &str| Mount {
            device,
            point: None,
            kind: Some(kind.to_owned()),
            source: Some(source.to_owned()),
        };
        let disk = mount(1, "btrfs", "/dev/sdb1");
        assert!(disk.shares_device(&mount(1, "ext4", "/dev/other")));
        assert!(disk.shares_device(&mount(2, "btrfs", "/dev/sdb1")));
        assert!(!disk.shares_device(&mount(2, "ext4", "/dev/sda1")));
        assert!(!mount(1, "tmpfs", "tmpfs").shares_device(&mount(2, "tmpfs", "tmpfs")));
        assert_eq!(disk.is_remote(), Some(false));
        assert_eq!(mount(1, "nfs4", "nas:/x").is_remote(), Some(true));
        assert_eq!(mount(1, "fuse.other", "x").is_remote(), None);
    }

    #[test]
    fn this_machine_has_a_root() {
        let root = Mount::of(Path::new("/")).unwrap();
        assert_eq!(root.point.as_deref(), Some(Path::new("/")));
        assert!(Mount::of(Path::new("/nowhere/at/all")).is_err());
    }
}
