//! Which backup is restored.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::CommandEnv;
use super::super::confirm::{Confirmation, Named};
use super::super::failure::{Failure, FailureKind};
use super::super::several::together;
use super::super::{confirm, report, select};
use super::Args;
use super::destination::wanted;
use super::listing::{Restorable, list};
use super::moment::moment;
use crate::config::Plan;
use crate::jobs::{
    Candidate, Criteria, JobContext, JobError, Place, Places, RestoreSource, choose_backup,
    passed_over, places,
};
use crate::repository::{Role, Stem};
use crate::words::command;

/// What has become of a restore that must not go on.
const UNTOUCHED: &str = "nothing was restored";

/// What is to be restored.
pub(super) struct Picked {
    pub(super) source: RestoreSource,
    /// Newer backups that are passed over, one sentence each.
    pub(super) passed_over: Vec<String>,
    /// Whether nobody chose it: the newest was offered.
    pub(super) is_offered: bool,
}

/// What is to be restored; none when a program only wanted the list.
pub(super) fn source(
    context: &JobContext,
    plan: &Plan,
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<Option<Picked>, Failure> {
    if let Some(backup) = &args.backup {
        let source = named(context, plan, args, backup, env)?;
        return Ok(Some(Picked {
            source,
            passed_over: Vec::new(),
            is_offered: false,
        }));
    }
    let criteria = criteria(plan, args)?;
    let Looked {
        places,
        candidates,
        unseen,
    } = candidates(context, plan, args, &criteria, env)?;
    if args.latest || args.before.is_some() || args.series.is_some() {
        if !unseen.is_empty() {
            // The newest one may be there.
            return Err(select::refused(&unseen, UNTOUCHED));
        }
        let source = newest(&candidates, args);
        return with_newer(context, &places, source, &criteria, env).map(Some);
    }
    if env.json {
        let list: Vec<_> = candidates.iter().map(Restorable::of).collect();
        report::json(&list, out)?;
        out.flush()?;
        return together(&unseen).map(|()| None);
    }
    if !unseen.is_empty() {
        list(context, &candidates, out)?;
        return Err(select::refused(&unseen, UNTOUCHED));
    }
    let source = newest(&candidates, args);
    let picked = with_newer(context, &places, source, &criteria, env)?;
    offer(context, &candidates, &picked, args, out)?;
    Ok(Some(Picked {
        is_offered: true,
        ..picked
    }))
}

/// The newest backup that can be restored, with those that are newer. Each of these is told here.
fn with_newer(
    context: &JobContext,
    places: &[Place],
    source: Result<RestoreSource, Failure>,
    criteria: &Criteria,
    env: &CommandEnv<'_>,
) -> Result<Picked, Failure> {
    let told = |error: JobError| report::failure(&error, env.interrupt);
    let look = |place: &Place, chosen: Option<&Stem>| -> Result<Vec<String>, Failure> {
        let passed = passed_over(context, place, chosen, criteria).map_err(told)?;
        let passed: Vec<String> = passed.iter().map(ToString::to_string).collect();
        for sentence in &passed {
            tracing::warn!("{}", report::one_line(sentence));
        }
        Ok(passed)
    };
    match source {
        Ok(source) => {
            let passed_over = match &source {
                RestoreSource::Backup(place, stem) => look(place, Some(stem))?,
                RestoreSource::Bare(_) => Vec::new(),
            };
            Ok(Picked {
                source,
                passed_over,
                is_offered: false,
            })
        }
        Err(failure) => {
            if let [place] = places {
                look(place, None)?;
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
    picked: &Picked,
    (database, label): (&str, &str),
    args: &Args,
    env: &CommandEnv<'_>,
) -> Result<(), Failure> {
    let RestoreSource::Backup(_, stem) = &picked.source else {
        return Ok(());
    };
    if picked.passed_over.is_empty() || args.accept_older || args.plan {
        return Ok(());
    }
    let what = format!(
        "{stem} is not the newest backup of database {}; what was written since is not in it",
        report::one_line(label)
    );
    let mut text = format!("{what}:\n");
    for sentence in &picked.passed_over {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {}", report::one_line(sentence));
    }
    let named = Named { database, label };
    match confirm::ask(&text, named, env.interrupt).await? {
        Confirmation::Given => Ok(()),
        Confirmation::Refused => Err(confirm::refused(database)),
        Confirmation::NoTerminal => Err(Failure::new(
            FailureKind::Damaged,
            format!(
                "{what}\nhint: name the backup that you want, or say --accept-older to go back to {stem}"
            ),
        )),
    }
}

/// The backup that was named, or the file.
fn named(
    context: &JobContext,
    plan: &Plan,
    args: &Args,
    text: &str,
    env: &CommandEnv<'_>,
) -> Result<RestoreSource, Failure> {
    let told = |error: JobError| report::failure(&error, env.interrupt);
    let all = places(context, plan, &[]).map_err(told)?;
    let wanted = wanted(plan, &all.found, args)?;
    let unseen = match &args.database {
        // Where it is is known.
        _ if select::is_path(text) => Vec::new(),
        Some(database) if !all.failures.is_empty() => {
            let named = places(context, plan, std::slice::from_ref(database));
            named.map_err(told)?.failures
        }
        _ => all.failures,
    };
    let holding = select::holding(&all.found, text);
    let path = Path::new(text);
    if holding.is_err() && path.exists() {
        return Ok(RestoreSource::Bare(absolute(path)));
    }
    if !unseen.is_empty() {
        let unseen: Vec<Failure> = unseen.into_iter().map(told).collect();
        return Err(select::refused(&unseen, UNTOUCHED));
    }
    let (stem, mut found) = holding?;
    if found.len() > 1 {
        found.retain(|place| wanted.admits(place));
    }
    match found.as_slice() {
        // A dump whose manifest is of no use is one like any other, if the dump itself was named.
        [place]
            if path.exists() && is_a_dump(path) && place.repository.manifest(&stem).is_err() =>
        {
            Ok(RestoreSource::Bare(absolute(path)))
        }
        [place] => Ok(RestoreSource::Backup(place.clone(), stem)),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|place| format!("{:?}", place.label))
                .collect();
            Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "several databases have a backup {stem}: --database must say which is meant, {}",
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
    places: Vec<Place>,
    /// Everything that fits what is asked for, newest sound one first.
    candidates: Vec<Candidate>,
    /// What could not be looked at.
    unseen: Vec<Failure>,
}

fn candidates(
    context: &JobContext,
    plan: &Plan,
    args: &Args,
    criteria: &Criteria,
    env: &CommandEnv<'_>,
) -> Result<Looked, Failure> {
    let told = |error: JobError| report::failure(&error, env.interrupt);
    let wanted: Vec<String> = args.database.iter().cloned().collect();
    let Places { found, failures } = places(context, plan, &wanted).map_err(told)?;
    let mut unseen: Vec<Failure> = failures.into_iter().map(told).collect();
    let mut candidates = Vec::new();
    for place in &found {
        let entries = match place.repository.catalogue() {
            Ok(catalogue) => catalogue.backups,
            Err(error) => {
                unseen.push(told(error.into()));
                continue;
            }
        };
        candidates.extend(entries.into_iter().map(|entry| Candidate {
            place: place.clone(),
            entry,
        }));
    }
    Ok(Looked {
        candidates: choose_backup(candidates, criteria),
        places: found,
        unseen,
    })
}

/// The first of the candidates, if that is one of one database, and not known to be bad.
fn newest(candidates: &[Candidate], args: &Args) -> Result<RestoreSource, Failure> {
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    let mut databases: Vec<&str> = candidates
        .iter()
        .map(|candidate| candidate.place.label.as_str())
        .collect();
    databases.sort_unstable();
    databases.dedup();
    if databases.len() > 1 {
        let names: Vec<String> = databases.iter().map(|name| format!("{name:?}")).collect();
        return Err(usage(format!(
            "--database must say which one is meant: {}",
            names.join(", ")
        )));
    }
    let Some(first) = candidates.first() else {
        let narrowed = args.before.is_some() || args.series.is_some();
        return Err(Failure::new(
            FailureKind::Unavailable,
            if narrowed {
                "there is no such backup; `pgbackupd restore` lists what there is"
            } else {
                "there is no backup to restore"
            },
        ));
    };
    if !first.entry.is_sound() {
        return Err(Failure::new(
            FailureKind::Damaged,
            format!(
                "every backup that fits was found bad; name one to try it all the same: \
                 {}",
                command("restore", &first.place.label, &first.entry.stem.to_string())
            ),
        ));
    }
    Ok(source_of(first))
}

fn source_of(candidate: &Candidate) -> RestoreSource {
    RestoreSource::Backup(candidate.place.clone(), candidate.entry.stem.clone())
}

/// Lists what can be restored and, at a terminal, goes on with the newest.
fn offer(
    context: &JobContext,
    candidates: &[Candidate],
    picked: &Picked,
    args: &Args,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    list(context, candidates, out)?;
    let RestoreSource::Backup(place, stem) = &picked.source else {
        return Ok(());
    };
    // At a terminal the question follows when the backup was read and the server asked.
    if confirm::is_possible() && !args.yes {
        return Ok(());
    }
    let older = if picked.passed_over.is_empty() {
        ""
    } else {
        " --accept-older"
    };
    Err(Failure::new(
        FailureKind::Usage,
        format!(
            "say which one: {}, or --latest{older}",
            command("restore", &place.label, &stem.to_string())
        ),
    ))
}
