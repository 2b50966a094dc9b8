//! Finding the backups that a command names.

use std::path::Path;

use super::failure::{Failure, FailureKind};
use crate::config::{Compression, Format};
use crate::jobs::Place;
use crate::repository::{Manifest, Quarantined, Repository, Role, Stem};

/// The stem that an operator means: the name that `list` shows, or any of the backup's files, with
/// or without a directory.
fn stem(text: &str) -> Result<Stem, Failure> {
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

/// Whether a text can be the name of a backup, or of one of its files.
pub(super) fn is_name(text: &str) -> bool {
    stem(text).is_ok()
}

/// The backup that an operator means, and the places that hold it, at least one. A path means the
/// backup in that directory, configured or not; a bare name means it wherever it is configured.
pub(super) fn holding(places: &[Place], text: &str) -> Result<(Stem, Vec<Place>), Failure> {
    let stem = stem(text)?;
    let directory = Path::new(text)
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    let found: Vec<Place> = match directory {
        None => places
            .iter()
            .filter(|place| place.repository.path(&stem, Role::Manifest).exists())
            .cloned()
            .collect(),
        Some(directory) => in_directory(places, directory, &stem).into_iter().collect(),
    };
    if found.is_empty() {
        let place = match directory {
            None => String::new(),
            Some(directory) => format!(" in {}", directory.display()),
        };
        let way_out = match in_quarantine(places, &stem) {
            Some(there) => format!(
                "it was damaged and is in quarantine, in {}; `pgbackupd release {}` gives it its \
                 place back once it is whole",
                there.directory.display(),
                there.name
            ),
            None => "`pgbackupd list` shows what there is".to_owned(),
        };
        return Err(Failure::new(
            FailureKind::Usage,
            format!("there is no backup {stem}{place}; {way_out}"),
        ));
    }
    Ok((stem, found))
}

fn in_quarantine(places: &[Place], stem: &Stem) -> Option<Quarantined> {
    let all = places
        .iter()
        .filter_map(|place| place.repository.quarantined().ok());
    all.flatten().find(|one| one.stem == *stem)
}

fn in_directory(places: &[Place], directory: &Path, stem: &Stem) -> Option<Place> {
    let same = |place: &&Place| {
        let configured = place.repository.directory().canonicalize();
        configured.is_ok_and(|configured| Some(configured) == directory.canonicalize().ok())
    };
    if let Some(configured) = places.iter().find(same) {
        let manifest = configured.repository.path(stem, Role::Manifest);
        return manifest.exists().then(|| configured.clone());
    }
    let repository = Repository::at(directory);
    let manifest = repository.path(stem, Role::Manifest);
    if !manifest.exists() {
        return None;
    }
    // A damaged manifest is for the check to find.
    let database = Manifest::read(&manifest).map_or_else(
        |_| format!("in {}", directory.display()),
        |manifest| manifest.database,
    );
    Some(Place {
        database,
        repository,
    })
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
