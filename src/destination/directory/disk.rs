//! What a directory of objects does on the disk, on the thread that calls: nothing in it is replaced, and no
//! symbolic link below its root is followed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::fault::DiskFault;
use crate::destination::judgement;
use crate::destination::key::Key;
use crate::destination::{Listed, ObjectFacts, Stored};

/// What the name of a temporary file begins with. No key has this character in it.
const TEMPORARY: &str = "~";

/// A temporary file that is older than this is what a killed put left.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 60 * 60);

/// A directory that another process removes while a put makes it is made again so often.
const ATTEMPTS: u32 = 8;

/// So much is read at once for a digest, in bytes.
const BLOCK: usize = 1 << 20;

/// A directory of objects.
#[derive(Debug)]
pub(super) struct Disk {
    /// The directory, which has to exist.
    pub(super) root: PathBuf,
    /// Whether something has to be mounted on it.
    pub(super) mounted: bool,
}

/// The directories from the root to the one that an object lies in, opened, and the name in there.
struct Place<'k> {
    /// The root first.
    directories: Vec<OwnedFd>,
    name: &'k str,
}

impl Place<'_> {
    fn directory(&self) -> Result<&OwnedFd, DiskFault> {
        self.directories.last().ok_or(DiskFault::from(Errno::NOENT))
    }

    /// Puts the directories' entries on the disk, the deepest first. Also those that were there: whoever made
    /// them may have been killed before its own sync.
    fn sync(&self) -> Result<(), DiskFault> {
        for directory in self.directories.iter().rev() {
            sync_directory(directory)?;
        }
        Ok(())
    }
}

impl Disk {
    /// Opens the root, where it may be used.
    pub(super) fn open(&self) -> Result<OwnedFd, DiskFault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &self.root, flags, Mode::empty())
            .map_err(|errno| DiskFault::of_root(errno, &self.root))?;
        if self.mounted {
            let above = rustix::fs::openat(&root, "..", flags | OFlags::PATH, Mode::empty())?;
            if rustix::fs::fstat(&root)?.st_dev == rustix::fs::fstat(&above)?.st_dev {
                return Err(DiskFault::not_mounted(&self.root));
            }
        }
        Ok(root)
    }

    /// The place of an object; none where a directory on the way is not there.
    fn place<'k>(&self, key: &'k Key) -> Result<Option<Place<'k>>, DiskFault> {
        let (above, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let mut directories = vec![self.open()?];
        for segment in above.split('/').filter(|segment| !segment.is_empty()) {
            let Some(next) = enter(directories.last(), segment)? else {
                return Ok(None);
            };
            directories.push(next);
        }
        Ok(Some(Place { directories, name }))
    }

    /// The place of an object, with directories on the way made where they are not there.
    fn made_place<'k>(&self, key: &'k Key) -> Result<Place<'k>, DiskFault> {
        let (above, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
        let mut directories = vec![self.open()?];
        for segment in above.split('/').filter(|segment| !segment.is_empty()) {
            let next = match enter(directories.last(), segment)? {
                Some(next) => next,
                None => make_and_enter(directories.last(), segment)?,
            };
            directories.push(next);
        }
        Ok(Place { directories, name })
    }

    /// Puts an object under a key that has none.
    pub(super) fn put_new(&self, key: &Key, body: &Bytes) -> Result<Stored, DiskFault> {
        let mut attempt = 1;
        loop {
            let place = self.made_place(key);
            let put = place.and_then(|place| put_into(&place, body));
            match put {
                // A directory was removed between its making and its first entry.
                Err(fault) if fault.is_missing_directory() && attempt < ATTEMPTS => attempt += 1,
                put => return put,
            }
        }
    }

    /// Reads an object, or a range of it.
    pub(super) fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DiskFault> {
        let (file, stat) = self.object(key)?.ok_or_else(judgement::no_object)?;
        let length = length_of(&stat);
        let range = range.unwrap_or(0..length);
        if range.end > length {
            return Err(judgement::too_short(length, range.end).into());
        }
        let wanted = usize::try_from(range.end.saturating_sub(range.start));
        let mut content = vec![0; wanted.map_err(|_| Errno::FBIG)?];
        file.read_exact_at(&mut content, range.start)?;
        Ok(content.into())
    }

    /// What is known of an object; none where there is no such.
    pub(super) fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, DiskFault> {
        let found = self.object(key)?;
        Ok(found.map(|(_, stat)| ObjectFacts {
            bytes: length_of(&stat),
            sha256: None,
            modified: modified(&stat),
            version: None,
        }))
    }

    fn object(&self, key: &Key) -> Result<Option<(File, Stat)>, DiskFault> {
        match self.place(key)? {
            Some(place) => open_object(place.directory()?, place.name),
            None => Ok(None),
        }
    }

    /// The directory of this key, opened; none where there is no such.
    fn folder(&self, key: &Key) -> Result<Option<OwnedFd>, DiskFault> {
        let mut directory = self.open()?;
        for segment in key.as_str().split('/') {
            match enter(Some(&directory), segment)? {
                Some(next) => directory = next,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    /// The objects below a key, sorted.
    pub(super) fn list(&self, under: &Key) -> Result<Vec<Listed>, DiskFault> {
        let mut listed = Vec::new();
        let mut folders: Vec<(Key, OwnedFd)> = Vec::new();
        folders.extend(self.folder(under)?.map(|folder| (under.clone(), folder)));
        while let Some((above, folder)) = folders.pop() {
            for entry in Entries::of(&folder, &above)? {
                if entry.is_directory {
                    // It may have gone since.
                    let next = enter(Some(&folder), entry.key.name())?;
                    folders.extend(next.map(|next| (entry.key, next)));
                } else if let Some(stat) = stat_of(&folder, entry.key.name())? {
                    listed.push(Listed {
                        key: entry.key,
                        bytes: length_of(&stat),
                        modified: modified(&stat),
                    });
                }
            }
        }
        listed.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(listed)
    }

    /// The directories right below a key, sorted.
    pub(super) fn folders(&self, under: &Key) -> Result<Vec<Key>, DiskFault> {
        let Some(folder) = self.folder(under)? else {
            return Ok(Vec::new());
        };
        let entries = Entries::of(&folder, under)?.into_iter();
        let folders = entries.filter(|entry| entry.is_directory);
        let mut keys: Vec<Key> = folders.map(|entry| entry.key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Removes an object, and the directories that are empty then.
    pub(super) fn delete(&self, key: &Key) -> Result<(), DiskFault> {
        match self.place(key)? {
            Some(place) => delete_from(&place, key),
            None => Ok(()),
        }
    }

    /// Removes what killed puts left where an object is to lie.
    pub(super) fn sweep(&self, key: &Key) -> Result<(), DiskFault> {
        match self.place(key)? {
            Some(place) => sweep(place.directory()?).map(drop),
            None => Ok(()),
        }
    }
}

/// Puts an object under a temporary name, and then under its own unless that is taken.
fn put_into(place: &Place<'_>, body: &Bytes) -> Result<Stored, DiskFault> {
    let directory = place.directory()?;
    let temporary = format!("{TEMPORARY}{}", uuid::Uuid::now_v7());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, &temporary, flags, Mode::RUSR | Mode::WUSR);
    let file = opened.map_err(DiskFault::of_directory)?;
    let written = write_and_name(File::from(file), (directory, &temporary), place, body);
    if !matches!(written, Ok(Named::Moved)) {
        // Otherwise a later put sweeps it.
        let _ = rustix::fs::unlinkat(directory, &temporary, AtFlags::empty());
    }
    let is_checked = match written? {
        Named::Moved | Named::Linked => false,
        Named::Taken => {
            settle(directory, place.name, body)?;
            true
        }
    };
    place.sync()?;
    Ok(Stored {
        is_checked,
        version: None,
    })
}

/// How a temporary file got its name.
enum Named {
    /// It has been renamed.
    Moved,
    /// It has a second name, and the first has to go.
    Linked,
    /// The name is another's.
    Taken,
}

fn write_and_name(
    mut file: File,
    (directory, temporary): (&OwnedFd, &str),
    place: &Place<'_>,
    body: &Bytes,
) -> Result<Named, DiskFault> {
    file.write_all(body)?;
    // Without this a power cut can leave the name and no content.
    file.sync_all()?;
    let length = length_of(&rustix::fs::fstat(&file)?);
    if length != body.len() as u64 {
        return Err(judgement::other_length(length, body.len()).into());
    }
    let flags = RenameFlags::NOREPLACE;
    match rustix::fs::renameat_with(directory, temporary, directory, place.name, flags) {
        Ok(()) => return Ok(Named::Moved),
        Err(Errno::EXIST) => return Ok(Named::Taken),
        // NFS and older FUSE do not know the flag. A hard link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::linkat(
        directory,
        temporary,
        directory,
        place.name,
        AtFlags::empty(),
    ) {
        Ok(()) => Ok(Named::Linked),
        Err(Errno::EXIST) => Ok(Named::Taken),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Err(DiskFault::replaces()),
        Err(errno) => Err(errno.into()),
    }
}

/// Finds out whether what lies under a name is what was to be put: an earlier attempt whose end was not seen.
fn settle(directory: &OwnedFd, name: &str, body: &Bytes) -> Result<(), DiskFault> {
    let Some((file, stat)) = open_object(directory, name)? else {
        return Err(judgement::taken().into());
    };
    if length_of(&stat) != body.len() as u64 || digest(&file)? != Sha256::digest(body).as_slice() {
        return Err(judgement::taken().into());
    }
    // The attempt may have been killed before its syncs.
    Ok(file.sync_all()?)
}

fn digest(file: &File) -> Result<Vec<u8>, DiskFault> {
    let (mut sha256, mut block, mut at) = (Sha256::new(), vec![0; BLOCK], 0);
    loop {
        let read = file.read_at(&mut block, at)?;
        if read == 0 {
            return Ok(sha256.finalize().to_vec());
        }
        sha256.update(&block[..read]);
        at += read as u64;
    }
}

fn delete_from(place: &Place<'_>, key: &Key) -> Result<(), DiskFault> {
    match rustix::fs::unlinkat(place.directory()?, place.name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    sync_directory(place.directory()?)?;
    // From the deepest directory up, for as long as they are empty; never the root.
    let names: Vec<&str> = key.as_str().split('/').collect();
    for depth in (1..place.directories.len()).rev() {
        let (directory, above) = (&place.directories[depth], &place.directories[depth - 1]);
        let mut removed = remove_directory(above, names[depth - 1]);
        if removed == Err(Errno::NOTEMPTY) && sweep(directory)? {
            removed = remove_directory(above, names[depth - 1]);
        }
        match removed {
            Ok(()) | Err(Errno::NOENT) => sync_directory(above)?,
            // There is more in it, or another put has just made it its own.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn remove_directory(above: &OwnedFd, name: &str) -> Result<(), Errno> {
    rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR)
}

/// Removes what killed puts left in a directory; says whether there was any.
fn sweep(directory: &OwnedFd) -> Result<bool, DiskFault> {
    let mut has_swept = false;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.to_bytes().starts_with(TEMPORARY.as_bytes()) {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let age = SystemTime::now().duration_since(modified(&stat).into());
        if age.is_ok_and(|age| age > LEFT_BEHIND) {
            has_swept |= rustix::fs::unlinkat(directory, name, AtFlags::empty()).is_ok();
        }
    }
    Ok(has_swept)
}

/// Opens a directory below an open one; none where there is no such.
fn enter(above: Option<&OwnedFd>, segment: &str) -> Result<Option<OwnedFd>, DiskFault> {
    let Some(above) = above else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(above, segment, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        // A link gives the one or the other.
        Err(Errno::NOTDIR | Errno::LOOP) => match stat_of(above, segment) {
            Ok(_) => Err(judgement::in_the_way(segment).into()),
            Err(fault) => Err(fault),
        },
        Err(errno) => Err(errno.into()),
    }
}

fn make_and_enter(above: Option<&OwnedFd>, segment: &str) -> Result<OwnedFd, DiskFault> {
    let above = above.ok_or(Errno::NOENT)?;
    match rustix::fs::mkdirat(above, segment, Mode::RWXU) {
        // Another put was faster.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(DiskFault::of_directory(errno)),
    }
    enter(Some(above), segment)?.ok_or(DiskFault::of_directory(Errno::NOENT))
}

/// Opens an object; none where there is no file of this name.
fn open_object(directory: &OwnedFd, name: &str) -> Result<Option<(File, Stat)>, DiskFault> {
    // A pipe that somebody put there would be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => {
            let stat = rustix::fs::fstat(&file)?;
            let is_object = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            Ok(is_object.then(|| (File::from(file), stat)))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::LOOP) => Err(judgement::in_the_way(name).into()),
        Err(errno) => Err(errno.into()),
    }
}

/// What is known of a file without opening it; none where it has gone, or is no file.
fn stat_of(directory: &OwnedFd, name: &str) -> Result<Option<Stat>, DiskFault> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let is_object = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            Ok(is_object.then_some(stat))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// What is in a directory under names that a key can have.
struct Entries {
    key: Key,
    is_directory: bool,
}

impl Entries {
    fn of(directory: &OwnedFd, above: &Key) -> Result<Vec<Self>, DiskFault> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(directory.as_fd())? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            // Temporary files, `lost+found` and what else is none of ours.
            let Some(Ok(key)) = name.to_str().map(|name| above.below(name)) else {
                continue;
            };
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    let stat = rustix::fs::statat(directory, entry.file_name(), flags);
                    FileType::from_raw_mode(stat.map_or(0, |stat| stat.st_mode))
                }
                kind => kind,
            };
            if matches!(kind, FileType::RegularFile | FileType::Directory) {
                let is_directory = kind == FileType::Directory;
                entries.push(Self { key, is_directory });
            }
        }
        Ok(entries)
    }
}

fn sync_directory(directory: &OwnedFd) -> Result<(), DiskFault> {
    match rustix::fs::fsync(directory) {
        // Some network file systems have no such call for directories: their server does it by itself.
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn length_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a part of a second is below a billion"
)]
fn modified(stat: &Stat) -> DateTime<Utc> {
    let nanoseconds = stat.st_mtime_nsec as u32;
    DateTime::from_timestamp(stat.st_mtime, nanoseconds).unwrap_or_default()
}
