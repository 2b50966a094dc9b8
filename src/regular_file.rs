//! Opening files that others may have put where we look: what is read is a file, and never makes us
//! wait.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};

/// Opens a file to read it. Whoever opens a pipe waits for a writer, perhaps for ever; what a device
/// gives may have no end.
///
/// # Errors
/// When it cannot be opened, or is a pipe, a device or a socket. A directory is for the reading to
/// refuse.
pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<File> {
    open_with(OpenOptions::new().read(true), path.as_ref())
}

/// The same with other options.
pub(crate) fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.custom_flags(without_waiting).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        Ok(file)
    } else {
        Err(io::Error::other("it is a pipe or a device, and no file"))
    }
}

/// All bytes of a file, as [`open`] opens it.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All text of a file, as [`open`] opens it.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The longest file that is read of those that people write, in bytes: as a configuration, it has room for ten
/// thousand databases, each with settings of its own.
pub(crate) const LONGEST_BY_HAND: u64 = 1 << 20;

/// What is wrong with a longer one.
pub(crate) const TOO_LONG: &str = "longer than 1 MiB";

/// All bytes of a file that people write, as [`open`] opens it: a secret, a key, a certificate.
///
/// # Errors
/// When it cannot be read, or is longer than such a file.
pub(crate) fn read_by_hand(path: &Path) -> io::Result<Vec<u8>> {
    bytes_by_hand(open(path)?)
}

/// All bytes of such a file that is open.
pub(crate) fn bytes_by_hand(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST_BY_HAND + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_BY_HAND {
        let message = format!("it is {TOO_LONG}");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// The bytes of such a file as text.
///
/// # Errors
/// When they are none.
pub(crate) fn text_by_hand(bytes: Vec<u8>) -> io::Result<String> {
    let no_text = |_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(bytes).map_err(no_text)
}

/// What was just written still stands in memory; the proof wanted is of the disk. Where the file
/// system does not take the advice, the bytes are checked all the same.
pub(crate) fn forget_cached(file: &File) {
    let _ = fadvise(file, 0, None, Advice::DontNeed);
    let _ = fadvise(file, 0, None, Advice::Sequential);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::{LONGEST_BY_HAND, open, read_by_hand, read_to_string};

    #[test]
    fn only_files_are_opened_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "text").unwrap();
        assert_eq!(read_to_string(&file).unwrap(), "text");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_to_string(&link).unwrap(), "text");

        let pipe = directory.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = open(path).unwrap_err();
            assert_eq!(error.to_string(), "it is a pipe or a device, and no file");
        }
    }

    #[test]
    fn a_file_of_peoples_is_read_up_to_a_length() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for (length, is_read) in [
            (0, true),
            (LONGEST_BY_HAND, true),
            (LONGEST_BY_HAND + 1, false),
            (1 << 40, false),
        ] {
            fs::File::create(&file).unwrap().set_len(length).unwrap();
            let read = read_by_hand(&file).map(|bytes| bytes.len() as u64);
            match read {
                Ok(found) => assert!(is_read && found == length, "{length}: {found}"),
                Err(error) => {
                    assert!(!is_read, "{length}: {error}");
                    assert_eq!(error.to_string(), "it is longer than 1 MiB");
                }
            }
        }
    }
}
