//! Who is at work in a directory, seen from outside. Nothing is locked and nothing is written: a
//! look must never be what keeps a run from its lock.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, major, minor, statx};
use uuid::Uuid;

use super::lock::{Holder, LOCK_FILE};
use super::names::Role;
use super::temporary;

/// The locks that are held on this machine, by the number of the file, as the kernel lists them in
/// `/proc/locks` (proc(5)).
#[derive(Clone, Debug, Default)]
pub struct HeldLocks {
    by_inode: BTreeMap<u64, Vec<HeldLock>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeldLock {
    pid: u32,
    device: (u32, u32),
}

/// A run that holds a directory's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtWork {
    /// Who, as the holder wrote it down; none if that cannot be read.
    pub holder: Option<Holder>,
    /// Bytes in its temporary files so far.
    pub written: u64,
    /// Whether all is written and checked, and its files are about to get their names.
    pub publishing: bool,
}

impl HeldLocks {
    /// The locks that are held now.
    ///
    /// # Errors
    /// When the kernel does not show them.
    pub fn now() -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string("/proc/locks")?))
    }

    fn parse(text: &str) -> Self {
        let mut locks = Self::default();
        for (inode, lock) in text.lines().filter_map(parse_line) {
            locks.by_inode.entry(inode).or_default().push(lock);
        }
        locks
    }

    fn hold(&self, file: &Metadata, recorded: Option<u32>) -> bool {
        let device = (major(file.dev()), minor(file.dev()));
        let held = self.by_inode.get(&file.ino());
        held.into_iter().flatten().any(|lock| {
            // Btrfs and overlayfs list another device than stat(2) gives; then the process decides.
            lock.device == device || Some(lock.pid) == recorded
        })
    }
}

/// `1: FLOCK  ADVISORY  WRITE 459 fe:00:10731734 0 EOF`; the device in hexadecimal. One that only
/// waits for the lock has an arrow after its number.
fn parse_line(line: &str) -> Option<(u64, HeldLock)> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? != "FLOCK" {
        return None;
    }
    let mut words = words.skip(2);
    let pid = words.next()?.parse().ok()?;
    let mut file = words.next()?.split(':');
    let mut device = || u32::from_str_radix(file.next()?, 16).ok();
    let device = (device()?, device()?);
    let inode = file.next()?.parse().ok()?;
    Some((inode, HeldLock { pid, device }))
}

/// Who is at work in a directory; none when nobody is, or the directory is not there.
pub(super) fn at_work(directory: &Path, locks: &HeldLocks) -> io::Result<Option<AtWork>> {
    let path = directory.join(LOCK_FILE);
    let file = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    // The file is its owner's alone; that it is locked, everybody sees.
    let holder: Option<Holder> = crate::regular_file::read(&path)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let recorded = holder.as_ref().map(|holder| holder.requested_by.pid);
    if !locks.hold(&file, recorded) {
        return Ok(None);
    }
    let mut runs: BTreeMap<Uuid, AtWork> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((run, word)) = name.to_str().and_then(temporary::parse) else {
            continue;
        };
        // A verification notes what it found without the lock.
        if word == Role::State.word() || !temporary::UNPUBLISHED.contains(&word) {
            continue;
        }
        let of_run = runs.entry(run).or_insert(AtWork {
            holder: None,
            written: 0,
            publishing: false,
        });
        of_run.publishing |= word == Role::Manifest.word();
        of_run.written += bytes(&entry.path());
    }
    // Ids of runs are in the order of time: what a run cut short has left does not count.
    let newest = runs.into_values().next_back().unwrap_or(AtWork {
        holder: None,
        written: 0,
        publishing: false,
    });
    Ok(Some(AtWork { holder, ..newest }))
}

/// Bytes of a file, or of the files in a directory; nothing for one that has just gone.
fn bytes(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .sum()
}

/// When a directory was made, in seconds since 1970; none where the file system does not keep it.
pub(super) fn made_at(directory: &Path) -> Option<i64> {
    let found = statx(CWD, directory, AtFlags::empty(), StatxFlags::BTIME).ok()?;
    (found.stx_mask & StatxFlags::BTIME.bits() != 0).then_some(found.stx_btime.tv_sec)
}

#[cfg(test)]
mod tests {
    use super::{HeldLock, HeldLocks, at_work};
    use crate::repository::{Holder, Repository, Requester};

    #[test]
    fn the_kernels_list_of_locks_is_read() {
        let locks = HeldLocks::parse(
            "1: FLOCK  ADVISORY  WRITE 459 fe:00:10731734 0 EOF\n\
             2: POSIX  ADVISORY  READ 32549 fe:00:7 0 EOF\n\
             3: FLOCK  ADVISORY  WRITE 17 fe:00:8 0 EOF\n\
             3: -> FLOCK  ADVISORY  WRITE 18 fe:00:9 0 EOF\n",
        );
        let held: Vec<_> = locks.by_inode.iter().collect();
        let lock = |pid| {
            vec![HeldLock {
                pid,
                device: (0xfe, 0),
            }]
        };
        assert_eq!(held, [(&8, &lock(17)), (&10_731_734, &lock(459))]);
    }

    #[test]
    fn whoever_holds_the_lock_is_seen_with_what_it_has_written() {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository::at(directory.path());
        let look = || at_work(directory.path(), &HeldLocks::now().unwrap()).unwrap();
        assert_eq!(look(), None, "nobody was ever here");
        let holder = Holder {
            operation: "backup".to_owned(),
            since: chrono::DateTime::parse_from_rfc3339("2025-07-09T02:00:00+03:00").unwrap(),
            requested_by: Requester::of_this_process(),
        };
        let held = repository.lock(&holder).unwrap();
        let file = |run: u128, word: &str, bytes: usize| {
            let name = format!(".pgbackupd-{}.{word}", uuid::Uuid::from_u128(run));
            std::fs::write(directory.path().join(name), vec![0; bytes]).unwrap();
        };
        file(1, "artifact", 1000);
        file(2, "artifact", 20);
        file(2, "globals", 3);
        file(2, "state", 500);
        let work = look().unwrap();
        assert_eq!(work.holder.as_ref(), Some(&holder));
        assert_eq!((work.written, work.publishing), (23, false));
        file(2, "manifest", 4);
        assert!(look().unwrap().publishing);
        drop(held);
        assert_eq!(look(), None, "the note stays, the lock does not");
    }
}
