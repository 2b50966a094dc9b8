//! Whether there is room for what is going to be fetched, before the first byte is.

use std::path::Path;

use crate::display::{shell_word, size};
use crate::jobs::error::JobError;

/// A file system rounds up, and others write as well: so much more is asked for, in percent.
const RESERVE: u64 = 5;

/// Refuses what does not fit: `bytes` are still to be written, `free` are there.
///
/// # Errors
/// When it does not fit.
pub(super) fn check(bytes: u64, free: u64, directory: &Path) -> Result<(), JobError> {
    let needed = bytes.saturating_add(bytes.saturating_mul(RESERVE) / 100);
    if needed <= free {
        return Ok(());
    }
    Err(JobError::NoSpace(format!(
        "not enough space in {}: {} are needed, {} are free; nothing more was fetched\n\
         hint: free some space there, or name another directory; look with df -h {}",
        directory.display(),
        size(needed),
        size(free),
        shell_word(&directory.to_string_lossy())
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_more_than_the_bytes_have_to_be_free() {
        let path = Path::new("/restore here");
        for (bytes, free, fits) in [
            (0, 0, true),
            (1000, 1050, true),
            (1000, 1049, false),
            (1000, 0, false),
            (u64::MAX, u64::MAX, true),
        ] {
            assert_eq!(check(bytes, free, path).is_ok(), fits, "{bytes} {free}");
        }
        let refused = check(10 << 30, 1 << 30, path).unwrap_err().to_string();
        assert_eq!(
            refused,
            "not enough space in /restore here: 10.5 GiB are needed, 1.0 GiB are free; nothing more was \
             fetched\nhint: free some space there, or name another directory; look with df -h '/restore here'"
        );
    }
}
