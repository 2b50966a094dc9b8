//! Which backup is restored.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::confirm::{Confirmation, Named};
use super::super::failure::{Failure, FailureKind};
use super::super::several::together;
use super::super::{confirm, report, select};
use super::destination::{Chosen, wanted};
use super::listing::{Restorable, list};
use super::moment::moment;
use super::{Args, Picked, RestoreCommand};
use crate::config::Plan;
use crate::display::command;
use crate::jobs::{
    BackupDirectories, BackupDirectory, Candidate, Criteria, JobError, RestoreSource,
    backup_directories, choose_backup, passed_over,
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
    let criteria = criteria(command.plan, args)?;
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
    if command.env.json {
        let list: Vec<_> = candidates.iter().map(Restorable::of).collect();
        report::json(&list, out)?;
        out.flush()?;
        return together(&unseen).map(|()| None);
    }
    if !unseen.is_empty() {
        list(&command.context, &candidates, out)?;
        return Err(select::refused(&unseen, UNTOUCHED));
    }
    let source = newest(&candidates, args);
    let picked = with_newer(command, &backup_directories, source, &criteria)?;
    list(&command.context, &candidates, out)?;
    offered(picked, args).map(Some)
}

/// The newest backup that can be restored, with those that are newer. Each of these is told here.
fn with_newer(
    command: &RestoreCommand<'_>,
    backup_directories: &[BackupDirectory],
    source: Result<RestoreSource, Failure>,
    criteria: &Criteria,
) -> Result<Picked, Failure> {
    let look = |backup_directory: &BackupDirectory,
                chosen: Option<&Stem>|
     -> Result<Vec<String>, Failure> {
        let passed = passed_over(&command.context, backup_directory, chosen, criteria)
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
                RestoreSource::DumpFile(_) => Vec::new(),
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
    let RestoreSource::Backup(_, stem) = &picked.source else {
        return Ok(());
    };
    if picked.passed_over.is_empty() || args.accept_older || args.plan {
        return Ok(());
    }
    let what = format!(
        "{stem} is not the newest backup of database {}; what was written since is not in it",
        report::one_line(&chosen.label)
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
    match confirm::ask(&text, named, command.env.interrupt).await? {
        Confirmation::Given => Ok(()),
        Confirmation::Refused => Err(confirm::refused(&chosen.database)),
        Confirmation::NoTerminal => Err(Failure::new(
            FailureKind::Damaged,
            format!("{what}\nhint: name a backup, or give --accept-older to go back to {stem}"),
        )),
    }
}

/// The backup that was named, or the file.
fn named(command: &RestoreCommand<'_>, text: &str) -> Result<RestoreSource, Failure> {
    let (context, plan) = (&command.context, command.plan);
    let to_failure = |error: JobError| command.failure(&error);
    let all = backup_directories(context, plan, &[]).map_err(to_failure)?;
    let wanted = wanted(command, &all.found)?;
    let unseen = match &command.args.database {
        // Where it is is known.
        _ if select::is_path(text) => Vec::new(),
        Some(database) if !all.failures.is_empty() => {
            let named = backup_directories(context, plan, std::slice::from_ref(database));
            named.map_err(to_failure)?.failures
        }
        _ => all.failures,
    };
    let holding = select::holding(&all.found, text);
    let path = Path::new(text);
    if holding.is_err() && path.exists() {
        return Ok(RestoreSource::DumpFile(absolute(path)));
    }
    if !unseen.is_empty() {
        let unseen: Vec<Failure> = unseen.into_iter().map(to_failure).collect();
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
            Ok(RestoreSource::DumpFile(absolute(path)))
        }
        [backup_directory] => Ok(RestoreSource::Backup(backup_directory.clone(), stem)),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|backup_directory| format!("{:?}", backup_directory.label))
                .collect();
            Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "several databases have a backup {stem}: name one with --database ({})",
                    names.join(" or ")
                ),
            ))
        }
    }
}

/// Whether a path is that of a dump, and not of another file of a backup.
fn is_a_dump(path: &Path) -> bool {
    let others = [Role::Globals, Role::Census, Role::Manifest, Role::State];
    let name = path.to_string_lossy();
    path.components().count() > 1 && !others.iter().any(|role| name.ends_with(role.suffix()))
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
        // Whoever thought of another zone sees it here.
        let zone = plan.zone;
        let read = report::moment(before.with_timezone(&zone).fixed_offset());
        let _ = writeln!(std::io::stderr(), "--before is read as {read} ({zone})");
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
    let to_failure = |error: JobError| command.failure(&error);
    let wanted: Vec<String> = command.args.database.iter().cloned().collect();
    let BackupDirectories { found, failures } =
        backup_directories(&command.context, command.plan, &wanted).map_err(to_failure)?;
    let mut unseen: Vec<Failure> = failures.into_iter().map(to_failure).collect();
    let mut candidates = Vec::new();
    for backup_directory in &found {
        let entries = match backup_directory.repository.catalogue() {
            Ok(catalogue) => catalogue.backups,
            Err(error) => {
                unseen.push(to_failure(error.into()));
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
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    let mut databases: Vec<&str> = candidates
        .iter()
        .map(|candidate| candidate.backup_directory.label.as_str())
        .collect();
    databases.sort_unstable();
    databases.dedup();
    if databases.len() > 1 {
        let names: Vec<String> = databases.iter().map(|name| format!("{name:?}")).collect();
        return Err(usage(format!(
            "name one with --database: {}",
            names.join(", ")
        )));
    }
    let Some(first) = candidates.first() else {
        let narrowed = args.before.is_some() || args.series.is_some();
        return Err(Failure::new(
            FailureKind::Unavailable,
            if narrowed {
                "there is no such backup; `pgbackupd list` shows the backups"
            } else {
                "there is no backup to restore"
            },
        ));
    };
    if !first.entry.is_sound() {
        return Err(Failure::new(
            FailureKind::Damaged,
            format!(
                "every matching backup was found bad; name one to restore it anyway: \
                 {}",
                command(
                    "restore",
                    &first.backup_directory.label,
                    &first.entry.stem.to_string()
                )
            ),
        ));
    }
    Ok(source_of(first))
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
        return Err(Failure::new(
            FailureKind::Usage,
            format!(
                "name one: {}, or give --latest{older}",
                command("restore", &backup_directory.label, &stem.to_string())
            ),
        ));
    }
    Ok(Picked {
        is_offered: true,
        ..picked
    })
}
