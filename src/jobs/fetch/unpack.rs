//! A dump in directory format, out of the archive as which it was copied: plain files, and nothing else.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use tar::{Archive, EntryType};

/// Unpacks an archive into a new directory.
///
/// # Errors
/// When the archive holds anything but plain files with plain names (an error of the kind `InvalidData`), or
/// cannot be read, or the files not be written.
pub(super) fn unpack(archive: &Path, into: &Path) -> io::Result<()> {
    let source = crate::regular_file::open(archive)?;
    mkdirat(CWD, into, Mode::RWXU)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, into, flags, Mode::empty())?;
    each_file(source, |name, content| {
        let mut file = create(&directory, name)?;
        io::copy(content, &mut file).map(drop)
    })
}

/// Hands over each file of an archive.
///
/// # Errors
/// As [`unpack`].
pub(super) fn each_file(
    source: impl Read,
    mut each: impl FnMut(&OsStr, &mut dyn Read) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = Archive::new(source);
    let mut seen = BTreeSet::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        if entry.header().entry_type() != EntryType::Regular || !is_plain(&name) {
            return Err(invalid(&name, "is no plain file"));
        }
        if !seen.insert(name.clone()) {
            return Err(invalid(&name, "is in it twice"));
        }
        let length = entry.size();
        let mut counted = Counted {
            inner: &mut entry,
            bytes: 0,
        };
        each(OsStr::from_bytes(&name), &mut counted)?;
        if counted.bytes != length {
            return Err(invalid(&name, "is cut short"));
        }
    }
    Ok(())
}

/// Whether a name is that of a file in a directory, and leads nowhere else.
fn is_plain(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

fn invalid(name: &[u8], what: &str) -> io::Error {
    let name = String::from_utf8_lossy(name);
    io::Error::new(io::ErrorKind::InvalidData, format!("{name:?} {what}"))
}

/// Makes a file in this very directory, whatever its name leads to by now.
fn create(directory: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory.as_fd(), name, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(file.into())
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// An archive with one entry, whatever its name is.
    fn archive(name: &[u8], kind: EntryType, content: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o600);
        header.set_size(content.len() as u64);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name_literal("/etc/passwd").unwrap();
        }
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, content).unwrap();
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, io::Result<()>) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("archive");
        fs::write(&path, bytes).unwrap();
        let outcome = unpack(&path, &home.path().join("dump"));
        (home, outcome)
    }

    #[test]
    fn plain_files_come_out_as_they_went_in() {
        let (home, outcome) = unpacked(&archive(b"toc.dat", EntryType::Regular, b"content"));
        outcome.unwrap();
        let found = fs::read(home.path().join("dump/toc.dat")).unwrap();
        assert_eq!(found, b"content");
    }

    #[test]
    fn whatever_is_no_plain_file_is_refused_and_nothing_is_written_elsewhere() {
        for (name, kind) in [
            (&b"../out"[..], EntryType::Regular),
            (b"/out", EntryType::Regular),
            (b"a/b", EntryType::Regular),
            (b"./out", EntryType::Regular),
            (b"..", EntryType::Regular),
            (b".", EntryType::Regular),
            (b"out", EntryType::Symlink),
            (b"out", EntryType::Link),
            (b"out", EntryType::Directory),
            (b"out", EntryType::Fifo),
            (b"out", EntryType::Block),
            (b"out", EntryType::Char),
        ] {
            let (home, outcome) = unpacked(&archive(name, kind, b""));
            let error = outcome.expect_err(&format!("{name:?} {kind:?}"));
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(!home.path().join("out").exists());
            let inside = fs::read_dir(home.path().join("dump")).unwrap();
            assert_eq!(inside.count(), 0, "{name:?} {kind:?}");
        }
    }

    #[test]
    fn a_name_twice_and_a_file_that_is_cut_short_are_refused() {
        let one = archive(b"toc.dat", EntryType::Regular, b"content");
        let twice = [&one[..1024], &one[..]].concat();
        unpacked(&twice).1.unwrap_err();
        let (_home, outcome) = unpacked(&one[..515]);
        outcome.unwrap_err();
    }
}
