//! Finding the backups that a command names.

use std::path::Path;

use super::failure::{Failure, FailureKind};
use crate::config::{Compression, Format};
use crate::jobs::Place;
use crate::repository::{Role, Stem};

/// The stem that an operator means: the name that `list` shows, or any of the backup's files, with
/// or without a directory.
pub(super) fn stem(text: &str) -> Result<Stem, Failure> {
    let name = Path::new(text)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(text);
    let roles = [
        Role::Artifact(Format::Plain, Compression::Gzip),
        Role::Artifact(Format::Plain, Compression::Zstd),
        Role::Artifact(Format::Plain, Compression::None),
        Role::Artifact(Format::Custom, Compression::None),
        Role::Artifact(Format::Directory, Compression::None),
        Role::Globals,
        Role::Census,
        Role::Manifest,
        Role::State,
    ];
    let bare = roles
        .iter()
        .find_map(|role| name.strip_suffix(role.suffix()))
        .unwrap_or(name);
    bare.parse().map_err(|error| {
        Failure::new(
            FailureKind::Usage,
            format!("{error}; `pgbackupd list` shows the names there are"),
        )
    })
}

/// The places that hold this backup, at least one.
pub(super) fn holding<'a>(places: &'a [Place], stem: &Stem) -> Result<Vec<&'a Place>, Failure> {
    let found: Vec<&Place> = places
        .iter()
        .filter(|place| place.repository.path(stem, Role::Manifest).exists())
        .collect();
    if found.is_empty() {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("there is no backup {stem}; `pgbackupd list` shows what there is"),
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn a_backup_is_meant_by_its_name_or_any_of_its_files() {
        for text in [
            "backup_20250709_020000",
            "backup_20250709_020000.sql.gz",
            "/var/backups/x.sql.gz/backup_20250709_020000.json",
            "./backup_20250709_020000.globals.gz",
        ] {
            assert_eq!(
                stem(text).unwrap().to_string(),
                "backup_20250709_020000",
                "{text}"
            );
        }
        assert_eq!(
            stem("backup_2025").unwrap_err().to_string(),
            "\"backup_2025\" is not the name of a backup; `pgbackupd list` shows the names there are"
        );
    }
}
