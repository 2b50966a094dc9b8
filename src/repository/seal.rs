//! The seal of a small JSON file: a checksum as its last member, of every byte before it, so that
//! whatever has changed in it since it was written is seen.

use memchr::memmem;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

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
