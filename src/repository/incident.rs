//! What a restore leaves next to the ledger for people: incident reports (`incident_20250709_143000.md`), and
//! what a salvage could not bring back (`salvage_20250709_143000.todo.sql`, `salvage_20250709_143000.rows.sql`).

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};

use super::durable;

/// Nobody ends so many restores of a database in a second.
const MOST_IN_A_SECOND: u32 = 1000;

/// Writes a report under a name that is free, and syncs it.
pub(super) fn write(
    directory: &Path,
    at: DateTime<FixedOffset>,
    text: &str,
) -> io::Result<PathBuf> {
    let (path, mut file) = create(directory, at, ["incident", "md"])?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a report says less than the ledger, from which it can be made again.
        let _ = durable::remove(&path);
        return Err(error);
    }
    durable::sync_directory(directory)?;
    Ok(path)
}

/// Makes a file under a name of this moment that is free, with these words before and behind it.
pub(super) fn create(
    directory: &Path,
    at: DateTime<FixedOffset>,
    [kind, suffix]: [&str; 2],
) -> io::Result<(PathBuf, File)> {
    let name = format!("{kind}_{}", at.naive_local().format("%Y%m%d_%H%M%S"));
    for count in 1..MOST_IN_A_SECOND {
        let path = directory.join(match count {
            1 => format!("{name}.{suffix}"),
            _ => format!("{name}_{count}.{suffix}"),
        });
        match durable::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            outcome => return outcome.map(|file| (path, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_report_is_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let at = DateTime::parse_from_rfc3339("2025-07-09T14:30:00+03:00").unwrap();
        let first = write(directory.path(), at, "one").unwrap();
        let second = write(directory.path(), at, "two").unwrap();
        assert_eq!(first, directory.path().join("incident_20250709_143000.md"));
        assert_eq!(
            second,
            directory.path().join("incident_20250709_143000_2.md")
        );
        assert_eq!(std::fs::read_to_string(&first).unwrap(), "one");
        let mode = first.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
