//! File systems of a test's own, mounted for it alone: small ones in memory, which fill up, and
//! real ones on a loop device, whose power can be cut. They go away with the value.
//!
//! Mounting takes root and, in a container, the right to mount. Where that is missing, a test says
//! so and passes: every maker returns `None` then, after a line that begins with `skipped:`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{StatVfs, statvfs};
use rustix::process::Pid;
use tempfile::TempDir;

use super::cluster::{short_temp_dir, wait_until};

/// Directories of file systems are named `<PREFIX><process id>-<random>`.
const PREFIX: &str = "pgbackupd-disk-";

/// The kinds of file system that are made in an image on a loop device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

/// A mounted file system. Dropping it unmounts it and removes its image.
pub(crate) struct Filesystem {
    home: TempDir,
    /// How it is mounted again: the words of mount(8) before the mount point.
    mount: Vec<String>,
}

impl Filesystem {
    /// One in memory, with mount options such as `size=64k` or `nr_inodes=10` (tmpfs(5)).
    pub(crate) fn in_memory(options: &str) -> Option<Self> {
        let home = home();
        let words = ["-t", "tmpfs", "-o", options, "tmpfs"];
        Self::mounted(home, words.map(str::to_owned).to_vec())
    }

    /// One on a loop device, with room for a few megabytes at least.
    pub(crate) fn on_image(kind: Kind) -> Option<Self> {
        let home = home();
        let image = home.path().join("image");
        // Sparse: only what is written takes space. mkfs.xfs refuses less than 300 MB.
        let (program, arguments, size) = match kind {
            Kind::Ext4 => ("mkfs.ext4", ["-q", "-F"].as_slice(), 32 << 20),
            Kind::Xfs => ("mkfs.xfs", ["-q", "-f"].as_slice(), 320 << 20),
        };
        File::create_new(&image)
            .and_then(|file| file.set_len(size))
            .expect("an image");
        let words = arguments.iter().map(OsStr::new).chain([image.as_os_str()]);
        if let Err(why) = run(program, words) {
            println!("skipped: {why}");
            return None;
        }
        let words = ["-o", "loop", image.to_str().expect("UTF-8")];
        Self::mounted(home, words.map(str::to_owned).to_vec())
    }

    fn mounted(home: TempDir, mount: Vec<String>) -> Option<Self> {
        fs::create_dir(home.path().join("mounted")).expect("a mount point");
        let filesystem = Self { home, mount };
        if let Err(why) = filesystem.mount() {
            println!("skipped: a file system cannot be mounted: {why}");
            return None;
        }
        // Whoever runs the program may enter; the directory of backups is closed by itself.
        fs::set_permissions(filesystem.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        Some(filesystem)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("mounted")
    }

    /// Changes its mount options: `ro`, `size=128k`, ….
    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run(
            "mount",
            ["-o".as_ref(), options.as_ref(), self.path().as_os_str()],
        )
        .expect("remount");
    }

    /// Its size, its free blocks and inodes.
    pub(crate) fn space(&self) -> StatVfs {
        statvfs(self.path()).expect("statvfs")
    }

    /// Leaves exactly so many blocks free, by means of a file at the root. Takes one inode.
    pub(crate) fn leave_blocks(&self, free: u64) {
        let filler = self.path().join("filler");
        fs::remove_file(&filler).ok();
        File::create_new(&filler).expect("a filler");
        let space = self.space();
        let length = space
            .f_bfree
            .checked_sub(free)
            .expect("so many free blocks")
            * space.f_frsize;
        let zeros = vec![0; usize::try_from(length).expect("a small file system")];
        fs::write(&filler, zeros).expect("a full disk");
        assert_eq!(self.space().f_bfree, free);
    }

    /// Takes the filler away.
    pub(crate) fn free_blocks(&self) {
        fs::remove_file(self.path().join("filler")).expect("the filler");
    }

    /// Cuts the power, and lets the machine come up again: whatever was not synced is gone.
    pub(crate) fn cut_power(&self) {
        let point = self.path();
        // Without a flush of the journal: what a real cut leaves.
        let words = ["-x", "-c", "shutdown"].map(OsStr::new);
        run("xfs_io", words.into_iter().chain([point.as_os_str()])).expect("xfs_io");
        self.unmount();
        self.mount().expect("mount after a power cut");
    }

    fn mount(&self) -> Result<(), String> {
        let words = self.mount.iter().map(OsStr::new);
        run("mount", words.chain([self.path().as_os_str()]))
    }

    fn unmount(&self) {
        // Programs that were killed a moment ago may still hold a file.
        wait_until("the file system can be unmounted", || {
            run("umount", [self.path().as_os_str()]).is_ok()
        });
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        // Lazily, whatever holds it; a file system that was never mounted has nothing to unmount.
        run("umount", ["--lazy".as_ref(), self.path().as_os_str()]).ok();
    }
}

/// A directory over which a file system is mounted that never answers, as one over a network does
/// whose server is gone. Whoever waits in it is let go with an error when the value is dropped.
pub(crate) struct HangingDirectory {
    point: PathBuf,
    /// The end where fuse(4) hands questions out; nobody reads them.
    _questions: File,
}

impl HangingDirectory {
    /// Over a directory that is there.
    pub(crate) fn over(point: PathBuf) -> Option<Self> {
        let questions = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(questions) => questions,
            Err(error) => {
                println!("skipped: /dev/fuse: {error}");
                return None;
            }
        };
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o"])
            .arg("fd=0,rootmode=40000,user_id=0,group_id=0,allow_other")
            .arg("nobody")
            .arg(&point)
            .stdin(questions.try_clone().expect("a descriptor"))
            .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
            .output()
            .expect("mount");
        if !mounted.status.success() {
            let why = String::from_utf8_lossy(&mounted.stderr);
            println!("skipped: a file system cannot be mounted: {}", why.trim());
            return None;
        }
        Some(Self {
            point,
            _questions: questions,
        })
    }

    /// Waits until a thread of the process hangs in it.
    pub(crate) fn wait_for_caller(&self, process: Pid) {
        let threads = format!("/proc/{}/task", process.as_raw_nonzero());
        let what = format!("a thread hangs in {}", self.point.display());
        wait_until(&what, || {
            let threads = fs::read_dir(&threads).into_iter().flatten().flatten();
            threads
                .map(|thread| fs::read_to_string(thread.path().join("wchan")))
                .any(|place| place.is_ok_and(|place| place.contains("fuse")))
        });
    }
}

impl Drop for HangingDirectory {
    fn drop(&mut self) {
        run("umount", ["--lazy".as_ref(), self.point.as_os_str()]).ok();
    }
}

/// Whether `xfs_io(8)`, by which the power is cut, is there; says so when not.
pub(crate) fn can_cut_power() -> bool {
    can_run("xfs_io", "-V")
}

/// Whether strace(1) is there and may trace; says so when not.
pub(crate) fn can_trace() -> bool {
    match run("strace", ["-f", "-o", "/dev/null", "true"].map(OsStr::new)) {
        Ok(()) => true,
        Err(why) => {
            println!("skipped: {why}");
            false
        }
    }
}

fn can_run(program: &str, argument: &str) -> bool {
    match run(program, [OsStr::new(argument)]) {
        Ok(()) => true,
        Err(why) => {
            println!("skipped: {why}");
            false
        }
    }
}

/// Runs an administrator's program, found also by a user whose path lacks the directories of such;
/// what it said if it fails.
fn run<'a>(program: &str, words: impl IntoIterator<Item = &'a OsStr>) -> Result<(), String> {
    let output = Command::new(program)
        .args(words)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program}: {}", said.trim()))
}

fn home() -> TempDir {
    sweep_leftovers();
    let home = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(short_temp_dir())
        .expect("a temporary directory");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    home
}

/// Unmounts and removes what tests that were killed have left behind.
fn sweep_leftovers() {
    for entry in fs::read_dir(short_temp_dir())
        .expect("the temporary directory")
        .flatten()
    {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok())
            .and_then(Pid::from_raw);
        if let Some(owner) = owner
            && !is_alive(owner)
        {
            let point = entry.path().join("mounted");
            run("umount", ["--lazy".as_ref(), point.as_os_str()]).ok();
            // Another test may do the same, or it belongs to another user.
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

fn is_alive(pid: Pid) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
