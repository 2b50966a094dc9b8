//! Which backup is restored.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::confirm::Named;
use super::super::failure::{Failure, FailureKind, together};
use super::super::moment::{moment, show_zone};
use super::super::session::Directories;
use super::super::{confirm, report, select};
use super::destination::{Chosen, wanted};
use super::listing::{Restorable, list};
use super::{Args, Picked, RestoreCommand};
use crate::config::Plan;
use crate::display::{command, salvage_command, with_identity};
use crate::jobs::{
    BackupDirectory, Candidate, Criteria, RestoreSource, choose_backup, passed_over,
};
use crate::repository::{Role, Stem};

/// What has become of a restore that must not go on.
const UNTOUCHED: &str = "nothing was restored";

/// What is to be restored; none when a program only wanted the list.
pub(super) fn source(
    command: &RestoreCommand<'_>,
    out: &mut dyn Write,
) -> Result<Option<Picked>, Failure> {
    let args = command.args;
    if let Some(backup) = &args.backup {
        let source = named(command, backup)?;
        return Ok(Some(Picked {
            source,
            passed_over: Vec::new(),
            is_offered: false,
        }));
    }
    let criteria = criteria(command.plan(), args)?;
    let Looked {
        backup_directories,
        candidates,
        unseen,
    } = candidates(command, &criteria)?;
    if args.latest || args.before.is_some() || args.series.is_some() {
        if !unseen.is_empty() {
            // The newest one may be there.
            return Err(select::refused(&unseen, UNTOUCHED));
        }
        let source = newest(&candidates, args);
        return with_newer(command, &backup_directories, source, &criteria).map(Some);
    }
    if command.session.env.json {
        let list: Vec<_> = candidates.iter().map(Restorable::of).collect();
        report::json(&list, out)?;
        out.flush()?;
        return together(&unseen).map(|()| None);
    }
    list(&command.session.context, &candidates, out)?;
    if !unseen.is_empty() {
        return Err(select::refused(&unseen, UNTOUCHED));
    }
    let source = newest(&candidates, args);
    let picked = with_newer(command, &backup_directories, source, &criteria)?;
    offered(picked, args).map(Some)
}

/// The newest backup that can be restored, with those that are newer. Each of these is reported here.
fn with_newer(
    command: &RestoreCommand<'_>,
    backup_directories: &[BackupDirectory],
    source: Result<RestoreSource, Failure>,
    criteria: &Criteria,
) -> Result<Picked, Failure> {
    let look = |backup_directory: &BackupDirectory,
                chosen: Option<&Stem>|
     -> Result<Vec<String>, Failure> {
        let passed = passed_over(&command.session.context, backup_directory, chosen, criteria)
            .map_err(|error| command.failure(&error))?;
        let passed: Vec<String> = passed.iter().map(ToString::to_string).collect();
        for sentence in &passed {
            tracing::warn!("{}", report::one_line(sentence));
        }
        Ok(passed)
    };
    match source {
        Ok(source) => {
            let passed_over = match &source {
                RestoreSource::Backup(backup_directory, stem) => {
                    look(backup_directory, Some(stem))?
                }
                RestoreSource::DumpFile { .. } => Vec::new(),
            };
            Ok(Picked {
                source,
                passed_over,
                is_offered: false,
            })
        }
        Err(failure) => {
            if let [backup_directory] = backup_directories {
                look(backup_directory, None)?;
            }
            Err(failure)
        }
    }
}

/// Makes sure that an older backup is meant although there are newer ones: --yes does not say so.
///
/// # Errors
/// When it is not, or nobody is there to be asked.
pub(super) async fn confirm_older(
    command: &RestoreCommand<'_>,
    chosen: &Chosen<'_>,
) -> Result<(), Failure> {
    let (args, picked) = (command.args, &chosen.picked);
    let RestoreSource::Backup(backup_directory, stem) = &picked.source else {
        return Ok(());
    };
    if picked.passed_over.is_empty() || args.accept_older || args.plan {
        return Ok(());
    }
    let what = format!(
        "{stem} is not the newest backup of database {}; what was written since is not in it",
        report::one_line(&backup_directory.label)
    );
    let mut text = format!("{what}:\n");
    for sentence in &picked.passed_over {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", report::one_line(sentence));
    }
    let named = Named {
        database: &chosen.database,
        label: &chosen.label,
    };
    let unasked = Failure::new(
        FailureKind::Damaged,
        format!("{what}\nhint: name a backup, or give --accept-older to go back to {stem}"),
    );
    confirm::confirm(&text, named, command.session.env.interrupt, unasked).await
}

/// The backup that was named, or the file.
fn named(command: &RestoreCommand<'_>, text: &str) -> Result<RestoreSource, Failure> {
    let session = command.session;
    let all = session.directories(&[])?;
    let wanted = wanted(command, &all.found)?;
    let unseen = match &command.args.database {
        // Where it is is known.
        _ if select::is_path(text) => Vec::new(),
        Some(database) if !all.unseen.is_empty() => {
            session.directories(std::slice::from_ref(database))?.unseen
        }
        _ => all.unseen,
    };
    let holding = select::holding(&all.found, text);
    let path = Path::new(text);
    let dump_file = || RestoreSource::DumpFile {
        path: absolute(path),
        of_database: command.args.of_database.clone(),
    };
    if holding.is_err() && path.exists() {
        return Ok(dump_file());
    }
    if holding.is_err() && is_no_backup(path) {
        return Err(no_such_file(path));
    }
    if !unseen.is_empty() {
        return Err(select::refused(&unseen, UNTOUCHED));
    }
    let (stem, mut found) = holding?;
    if found.len() > 1 {
        found.retain(|backup_directory| wanted.admits(backup_directory));
    }
    match found.as_slice() {
        // A dump whose manifest is of no use is one like any other, if the dump itself was named.
        [backup_directory]
            if path.exists()
                && is_a_dump(path)
                && backup_directory.repository.manifest(&stem).is_err() =>
        {
            Ok(dump_file())
        }
        [_] if command.args.of_database.is_some() => Err(of_one_database(&stem)),
        [backup_directory] => Ok(RestoreSource::Backup(backup_directory.clone(), stem)),
        several => {
            let what = format!("several databases have a backup {stem}");
            let labels = several.iter().map(|one| &one.label);
            Err(select::several(&what, labels))
        }
    }
}

fn no_such_file(path: &Path) -> Failure {
    let message = format!("{}: no such file", path.display());
    Failure::new(FailureKind::Usage, message)
}

fn of_one_database(stem: &Stem) -> Failure {
    let message =
        format!("{stem} is a backup of one database: --of-database is for a dump of several");
    Failure::new(FailureKind::Usage, message)
}

/// Whether what was named can be nothing but a file: no backup is called so.
fn is_no_backup(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let has_directory = path.components().count() > 1;
    (has_directory || path.extension().is_some()) && select::stem(&text).is_err()
}

/// Whether a path is that of a dump, and not of another file of a backup.
fn is_a_dump(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.components().count() > 1
        && !Role::OTHERS
            .iter()
            .any(|role| name.ends_with(role.suffix()))
}

fn absolute(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// What is asked of the backup.
fn criteria(plan: &Plan, args: &Args) -> Result<Criteria, Failure> {
    let before = args
        .before
        .as_deref()
        .map(|text| moment(text, plan.zone))
        .transpose()?;
    if let Some(before) = before {
        show_zone("--before", before, plan.zone);
    }
    Ok(Criteria {
        series: args.series.clone(),
        before,
    })
}

/// What was found to choose from.
struct Looked {
    /// Where it was looked for.
    backup_directories: Vec<BackupDirectory>,
    /// Everything that fits what is asked for, newest sound one first.
    candidates: Vec<Candidate>,
    /// What could not be looked at.
    unseen: Vec<Failure>,
}

fn candidates(command: &RestoreCommand<'_>, criteria: &Criteria) -> Result<Looked, Failure> {
    let wanted = command.args.database.as_slice();
    let Directories { found, mut unseen } = command.session.directories(wanted)?;
    let mut candidates = Vec::new();
    for backup_directory in &found {
        let entries = match backup_directory.repository.catalogue() {
            Ok(catalogue) => catalogue.backups,
            Err(error) => {
                unseen.push(command.failure(&error.into()));
                continue;
            }
        };
        candidates.extend(entries.into_iter().map(|entry| Candidate {
            backup_directory: backup_directory.clone(),
            entry,
        }));
    }
    Ok(Looked {
        candidates: choose_backup(candidates, criteria),
        backup_directories: found,
        unseen,
    })
}

/// The first of the candidates, if that is one of one database, and not known to be bad.
fn newest(candidates: &[Candidate], args: &Args) -> Result<RestoreSource, Failure> {
    let mut databases: Vec<&String> = candidates
        .iter()
        .map(|candidate| &candidate.backup_directory.label)
        .collect();
    databases.sort_unstable();
    databases.dedup();
    if databases.len() > 1 {
        let what = "these are backups of several databases";
        return Err(select::several(what, databases));
    }
    let Some(first) = candidates.first() else {
        let narrowed = args.before.is_some() || args.series.is_some();
        return Err(Failure::new(
            FailureKind::Unavailable,
            if narrowed {
                "there is no such backup\nhint: `pgbackupd list` shows the backups"
            } else {
                "there is no backup to restore"
            },
        ));
    };
    if !first.entry.counts() {
        return Err(none_counts(first));
    }
    Ok(source_of(first))
}

/// That no backup can be chosen, and the way out with the newest of them.
fn none_counts(newest: &Candidate) -> Failure {
    let label = &newest.backup_directory.label;
    let stem = newest.entry.stem.to_string();
    let is_encrypted = newest.entry.is_encrypted();
    let text = if newest.entry.is_sound() {
        format!(
            "every matching backup is partial or was found bad\nhint: `{}` restores what the newest \
             partial one holds",
            with_identity(command("restore", label, &stem), is_encrypted)
        )
    } else {
        format!(
            "every matching backup was found bad\nhint: `{}` salvages what the newest one holds",
            salvage_command(label, &stem, is_encrypted)
        )
    };
    Failure::new(FailureKind::Damaged, text)
}

fn source_of(candidate: &Candidate) -> RestoreSource {
    RestoreSource::Backup(
        candidate.backup_directory.clone(),
        candidate.entry.stem.clone(),
    )
}

/// Goes on with the newest of a list, if that is printed at a terminal.
fn offered(picked: Picked, args: &Args) -> Result<Picked, Failure> {
    if let RestoreSource::Backup(backup_directory, stem) = &picked.source
        // At a terminal the question follows when the backup was read and the server asked.
        && (args.yes || !confirm::is_possible())
    {
        let older = if picked.passed_over.is_empty() {
            ""
        } else {
            " --accept-older"
        };
        let restore = command("restore", &backup_directory.label, &stem.to_string());
        return Err(Failure::usage(format!(
            "no backup is named\nhint: `{}`, or give --latest{older}",
            with_identity(restore, picked.source.is_encrypted())
        )));
    }
    Ok(Picked {
        is_offered: true,
        ..picked
    })
}
