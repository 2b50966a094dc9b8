//! Finding the backups that a command names.

use std::path::Path;

use super::failure::{Failure, FailureKind, together};
use super::report;
use crate::config::{Server, is_connection_string};
use crate::display::{command, database_option, option};
use crate::jobs::BackupDirectory;
use crate::repository::{Manifest, Quarantined, Repository, Role, Stem};

/// The stem that an operator means: the name that `list` shows, or any of the backup's files, with
/// or without a directory.
pub(super) fn stem(text: &str) -> Result<Stem, Failure> {
    let name = Path::new(text)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(text);
    let bare = Role::all()
        .find_map(|role| name.strip_suffix(role.suffix()))
        .unwrap_or(name);
    bare.parse()
        .map_err(|error| Failure::usage(format!("{error}\nhint: `pgbackupd list` shows the names")))
}

/// Reads the name of a database or a server as it is given. A connection string is none, and nothing shows
/// its password.
pub(super) fn database_name(text: &str) -> Result<String, String> {
    if is_connection_string(text) {
        Err("expected a name, found a connection string with a password\nhint: set it as uri or conninfo in \
             [connection] of the configuration"
            .to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// Whether a text can be the name of a backup, or of one of its files.
pub(super) fn is_name(text: &str) -> bool {
    stem(text).is_ok()
}

/// Whether this means a backup by where it is, rather than by a name that any place may have.
pub(super) fn is_path(text: &str) -> bool {
    Path::new(text)
        .parent()
        .is_some_and(|directory| !directory.as_os_str().is_empty())
}

/// Refuses to choose among several databases, or among none; `way` names one.
pub(super) fn not_one(backup_directories: &[BackupDirectory], way: &str) -> Failure {
    let names: Vec<String> = backup_directories
        .iter()
        .map(|place| report::one_line(&place.label))
        .collect();
    let message = if names.is_empty() {
        "no database has a directory for backups yet\nhint: `pgbackupd backup` makes the first backup"
            .to_owned()
    } else {
        format!(
            "there are {} databases ({})\nhint: {way}",
            names.len(),
            names.join(", ")
        )
    };
    Failure::usage(message)
}

/// Refuses to choose among several databases: `what` is what they have in common.
pub(super) fn several<'a>(what: &str, labels: impl IntoIterator<Item = &'a String>) -> Failure {
    let labels: Vec<String> = labels
        .into_iter()
        .map(|label| database_option(label))
        .collect();
    Failure::usage(format!("{what}\nhint: name one: {}", labels.join(" or ")))
}

/// Refuses to go on while there may be places that could not be looked at.
pub(super) fn refused(unseen: &[Failure], undone: &str) -> Failure {
    let message = together(unseen).map_or_else(|failure| failure.message, |()| String::new());
    let hint = if message.contains("\nhint: ") {
        ""
    } else {
        "\nhint: -d SERVER/DATABASE names one database"
    };
    Failure::new(
        FailureKind::Unavailable,
        format!("{undone}: {message}{hint}"),
    )
}

/// What was not found may be in a place that could not be looked at: that is what is reported then.
pub(super) fn unless(unseen: &[Failure]) -> impl Fn(Failure) -> Failure {
    move |failure| match together(unseen) {
        Ok(()) => failure,
        Err(unseen) => Failure::new(
            FailureKind::Unavailable,
            format!("{}\n{}", failure.message, unseen.message),
        ),
    }
}

/// What a database that need not be configured is called, and perhaps its server: what is called
/// exactly so comes first, else the name of a server stands before the first slash.
///
/// # Errors
/// When it can mean either; the sentence says so.
pub(super) fn split<'s, 't>(
    servers: &[&'s Server],
    text: &'t str,
    has: impl Fn(&Server, &str) -> bool,
) -> Result<(Option<&'s Server>, &'t str), String> {
    let of_server = text.split_once('/').and_then(|(name, database)| {
        let server = servers.iter().find(|server| server.name == name)?;
        Some((*server, database))
    });
    let exactly = servers.iter().find(|server| has(server, text));
    match (of_server, exactly) {
        (None, _) => Ok((None, text)),
        (Some((server, database)), None) => Ok((Some(server), database)),
        (Some((server, database)), Some(_)) if !has(server, database) => Ok((None, text)),
        (Some((server, database)), Some(other)) => Err(format!(
            "{text:?} can mean database {text:?} of server {} ({}) or database \
             {database:?} of server {} ({} --server {})",
            other.name,
            option("-d", &format!("{}/{text}", other.name)),
            server.name,
            option("-d", database),
            server.name
        )),
    }
}

/// The backup that an operator means, and the places that hold it, at least one. A path means the
/// backup in that directory, configured or not; a bare name means it wherever it is configured.
pub(super) fn holding(
    backup_directories: &[BackupDirectory],
    text: &str,
) -> Result<(Stem, Vec<BackupDirectory>), Failure> {
    let stem = stem(text)?;
    let directory = Path::new(text)
        .parent()
        .filter(|directory| !directory.as_os_str().is_empty());
    let found: Vec<BackupDirectory> = match directory {
        None => backup_directories
            .iter()
            .filter(|backup_directory| {
                backup_directory
                    .repository
                    .path(&stem, Role::Manifest)
                    .exists()
            })
            .cloned()
            .collect(),
        Some(directory) => in_directory(backup_directories, directory, &stem)
            .into_iter()
            .collect(),
    };
    if found.is_empty() {
        let whereabouts = match directory {
            None => String::new(),
            Some(directory) => format!(" in {}", directory.display()),
        };
        let way_out = match in_quarantine(backup_directories, &stem) {
            Some((backup_directory, there)) => format!(
                "it was damaged and is in quarantine, in {}; `{}` moves it back once it is \
                 intact",
                there.directory.display(),
                command("release", &backup_directory.label, &there.name)
            ),
            None => "`pgbackupd list` shows the backups".to_owned(),
        };
        return Err(Failure::usage(format!(
            "there is no backup {stem}{whereabouts}\nhint: {way_out}"
        )));
    }
    Ok((stem, found))
}

/// The place that a directory is which an operator names; none if it is none, or is a backup itself.
pub(super) fn directory(
    backup_directories: &[BackupDirectory],
    text: &str,
) -> Option<BackupDirectory> {
    let path = Path::new(text);
    if !path.is_dir() || stem(text).is_ok() {
        return None;
    }
    let configured = backup_directories
        .iter()
        .find(|backup_directory| is_at(backup_directory, path));
    Some(configured.cloned().unwrap_or_else(|| {
        let repository = Repository::at(path);
        let newest = repository
            .catalogue()
            .ok()
            .and_then(|mut all| all.backups.pop());
        let database = newest.map_or_else(
            || format!("in {}", path.display()),
            |newest| newest.database,
        );
        BackupDirectory {
            server: None,
            label: database.clone(),
            database,
            repository,
        }
    }))
}

fn is_at(backup_directory: &BackupDirectory, directory: &Path) -> bool {
    let configured = backup_directory.repository.directory().canonicalize();
    configured.is_ok_and(|configured| Some(configured) == directory.canonicalize().ok())
}

fn in_quarantine<'a>(
    backup_directories: &'a [BackupDirectory],
    stem: &Stem,
) -> Option<(&'a BackupDirectory, Quarantined)> {
    backup_directories.iter().find_map(|backup_directory| {
        let mut all = backup_directory.repository.quarantined().ok()?.into_iter();
        Some((backup_directory, all.find(|one| one.stem == *stem)?))
    })
}

fn in_directory(
    backup_directories: &[BackupDirectory],
    directory: &Path,
    stem: &Stem,
) -> Option<BackupDirectory> {
    if let Some(configured) = backup_directories
        .iter()
        .find(|backup_directory| is_at(backup_directory, directory))
    {
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
    Some(BackupDirectory {
        server: None,
        label: database.clone(),
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
            "\"backup_2025\" is not the name of a backup\nhint: `pgbackupd list` shows the names"
        );
    }
}
