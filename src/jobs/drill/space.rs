//! Whether there is room for a restored copy.

use std::path::Path;

use crate::display::size;
use crate::jobs::JobError;
use crate::repository::Manifest;

/// What a server without any data takes on the disk, with its write-ahead log.
const EMPTY_SERVER: u64 = 64 << 20;

/// What its write-ahead log begins with.
const FIRST_LOG: u64 = 16 << 20;

/// The most that the write-ahead log grows by, as the temporary cluster is set.
const MOST_LOG: u64 = 256 << 20;

/// Why there is too little space for a restored copy; none if there is enough.
pub(super) fn shortage(directory: &Path, manifest: &Manifest) -> Result<Option<String>, JobError> {
    let needed = needed(manifest.properties.size_bytes, manifest.artifact.text_bytes);
    compare(directory, needed, "a restored copy")
}

/// The same for a copy at a destination that is fetched into the same directory first: so many bytes.
pub(super) fn shortage_with_fetch(
    directory: &Path,
    manifest: &Manifest,
    fetched: u64,
) -> Result<Option<String>, JobError> {
    let needed = needed(manifest.properties.size_bytes, manifest.artifact.text_bytes);
    let needed = needed.saturating_add(fetched);
    compare(
        directory,
        needed,
        "a restored copy, with the backup that is fetched for it,",
    )
}

/// The same for the definitions alone.
pub(super) fn definitions_shortage(
    directory: &Path,
    manifest: &Manifest,
) -> Result<Option<String>, JobError> {
    let needed = needed_for_definitions(manifest.census.summary.objects);
    compare(directory, needed, "a copy of the definitions")
}

/// How many bytes so many empty objects need about: most are an entry in some catalogs, a table with its
/// indexes is a few pages. Pure.
fn needed_for_definitions(objects: u64) -> u64 {
    const OBJECT: u64 = 32 << 10;
    let data = objects.saturating_mul(OBJECT);
    data.saturating_add(EMPTY_SERVER)
        .saturating_add(data.clamp(FIRST_LOG, MOST_LOG))
}

fn compare(directory: &Path, needed: u64, what: &str) -> Result<Option<String>, JobError> {
    let space = rustix::fs::statvfs(directory).map_err(|error| {
        JobError::failed(format!(
            "cannot use {}, the directory for temporary clusters (drill.directory): {error}",
            directory.display()
        ))
    })?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    Ok((free < needed).then(|| {
        format!(
            "{what} needs about {} in {}, and only {} are free there\nhint: make room, or set \
             drill.directory to a larger file system",
            size(needed),
            directory.display(),
            size(free)
        )
    }))
}

/// How many bytes a restored copy needs about: as much as the database had on its server, but that
/// may be bloat, and four times its text, indexes included, is more than nearly any has. A tenth is
/// added, and what the server takes for itself. Pure.
fn needed(database: u64, text: u64) -> u64 {
    let data = database.min(text.saturating_mul(4)).max(text);
    data.saturating_add(data / 10)
        .saturating_add(EMPTY_SERVER)
        .saturating_add(data.min(MOST_LOG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_need_room_by_their_number() {
        const MIB: u64 = 1 << 20;
        assert_eq!(needed_for_definitions(0), 80 * MIB);
        assert_eq!(
            needed_for_definitions(10_000),
            (64 + 256) * MIB + 10_000 * (MIB / 32)
        );
        assert_eq!(needed_for_definitions(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_space_needed_is_forecast_from_the_database_and_its_text() {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        for (database, text, expected) in [
            (0, 0, 64 * MIB),
            // Less bloated than its text says is not possible.
            (10 * MIB, 20 * MIB, (64 + 20 + 20 + 2) * MIB),
            // Bloated a hundred times.
            (100 * GIB, GIB, 4 * GIB + 4 * GIB / 10 + 320 * MIB),
            (2 * GIB, GIB, 2 * GIB + 2 * GIB / 10 + 320 * MIB),
        ] {
            assert_eq!(needed(database, text), expected, "{database} {text}");
        }
        assert_eq!(needed(u64::MAX, u64::MAX), u64::MAX);
    }
}
