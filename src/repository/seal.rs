//! The seal of a small JSON file: a checksum as its last member, of every byte before it, so that
//! whatever has changed in it since it was written is seen.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use memchr::memmem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_128;

use super::durable;

/// What a sealed file in the state directory is called.
pub struct Names<'a> {
    /// The file.
    pub(super) file: &'a str,
    /// The file that is locked while it is changed.
    pub(super) lock: &'static str,
    /// What it means that the file is spoilt, for the log.
    pub(super) when_spoilt: &'static str,
}

/// Reads a sealed file; it has its default where there is none.
///
/// # Errors
/// When it cannot be read, or is not as it was written.
pub(super) fn read<T: DeserializeOwned + Default>(
    state: &Path,
    names: &Names<'_>,
) -> io::Result<T> {
    let text = match crate::regular_file::read(&state.join(names.file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        text => text?,
    };
    parse(&text).ok_or_else(|| {
        let message = format!("{} has been changed since it was written", names.file);
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// What the text of a sealed file has; none where it is not as it was written.
pub(super) fn parse<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    fits(text).then(|| serde_json::from_slice(text).ok())?
}

/// Writes a sealed file, wholly or not at all, and waits until that is on the disk.
///
/// # Errors
/// When it cannot be written; the old one then stays.
pub(super) fn replace<T: Serialize>(path: &Path, content: &T) -> io::Result<()> {
    durable::replace(path, sealed(content)?.as_bytes())
}

/// Changes a sealed file, and waits until that is on the disk. One that is spoilt is replaced by a new
/// one.
///
/// # Errors
/// When it cannot be read or written; the old one then stays.
pub(super) fn change<T, R>(
    state: &Path,
    names: &Names<'_>,
    change: impl FnOnce(&mut T) -> R,
) -> io::Result<R>
where
    T: Clone + Default + PartialEq + Serialize + DeserializeOwned,
{
    if !state.is_dir() {
        durable::create_directory(state)?;
    }
    let _turn = wait_for_turn(&state.join(names.lock))?;
    let before: Option<T> = match read(state, names) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!("{error}; {}", names.when_spoilt);
            None
        }
        before => Some(before?),
    };
    let mut content = before.clone().unwrap_or_default();
    let result = change(&mut content);
    if before.as_ref() != Some(&content) {
        replace(&state.join(names.file), &content)?;
    }
    Ok(result)
}

/// So long nobody takes to write one small file.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until nobody else changes what this file guards.
fn wait_for_turn(path: &Path) -> io::Result<File> {
    let file = durable::open_to_append(path)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} has been locked for too long", path.display());
                return Err(io::Error::other(message));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// What ends the file behind the checksum.
const END: &[u8] = b"\"\n}\n";

/// Where the checksum starts in the file; the file's last member.
const CHECKSUM: &[u8] = b"\"checksum\": \"";

#[derive(Serialize)]
struct Sealed<'a, T> {
    #[serde(flatten)]
    content: &'a T,
    /// The XXH3-128 of every byte of the file before this member.
    checksum: &'static str,
}

/// The text of a file with this content and its seal.
///
/// # Errors
/// Only by a fault of the program's own.
pub(super) fn sealed<T: Serialize>(content: &T) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&Sealed {
        content,
        checksum: "",
    })?;
    if let Some(at) = memmem::rfind(text.as_bytes(), CHECKSUM) {
        let checksum = format!("{:032x}", xxh3_128(&text.as_bytes()[..at]));
        text.insert_str(at + CHECKSUM.len(), &checksum);
    }
    text.push('\n');
    Ok(text)
}

/// Whether a text bears a seal that fits.
pub(super) fn fits(text: &[u8]) -> bool {
    let sealed = || {
        let at = memmem::rfind(text, CHECKSUM)?;
        let (before, member) = text.split_at(at);
        let (digits, end) = member[CHECKSUM.len()..].split_at_checked(32)?;
        let expected = xxh3_128(before);
        let fits = digits.iter().enumerate().all(|(index, digit)| {
            let nibble = (expected >> (4 * (31 - index))) & 15;
            char::from(*digit).to_digit(16).map(u128::from) == Some(nibble)
                && !digit.is_ascii_uppercase()
        });
        Some(fits && end == END)
    };
    sealed() == Some(true)
}
