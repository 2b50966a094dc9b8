//! Which backup is restored, as which database, on which server.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset, LocalResult, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::Serialize;

use super::super::Surroundings;
use super::super::confirm::Confirmation;
use super::super::failure::{Failure, FailureKind};
use super::super::several::together;
use super::super::table::{Column, Table};
use super::super::{confirm, report, select};
use super::Args;
use super::records::{is_configured, records};
use crate::config::{Databases, Plan, Server};
use crate::jobs::{
    Candidate, Context, Criteria, JobError, Place, Places, RestoreSource, choose_backup,
    passed_over, places,
};
use crate::policy::{age, in_words};
use crate::repository::{Manifest, Repository, Role, Stem};

/// What has become of a restore that must not go on.
const UNTOUCHED: &str = "nothing was restored";

/// What `restore --json` prints without a backup: a list of these, newest sound one first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Restorable {
    /// The server's name in the configuration.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The backup.
    pub backup: String,
    /// When its run started, RFC 3339.
    pub started: String,
    /// Bytes of all its files but the manifest.
    pub bytes: u64,
    /// Rows of all its tables.
    pub rows: u64,
    /// When it was last found whole, RFC 3339; null while it does not count as verified.
    pub verified: Option<String>,
}

/// What is to be restored.
pub(super) struct Picked {
    pub(super) source: RestoreSource,
    /// Newer backups that are passed over, one sentence each.
    pub(super) passed_over: Vec<String>,
}

/// What is restored, as what, and where.
pub(super) struct Chosen<'a> {
    pub(super) source: RestoreSource,
    /// The database that the backup is of.
    pub(super) original: String,
    /// The database that it becomes.
    pub(super) database: String,
    /// How that is shown: with its server where there are several.
    pub(super) label: String,
    pub(super) server: &'a Server,
    pub(super) repository: Repository,
}

/// What is to be restored; none when a program only wanted the list.
pub(super) fn source(
    context: &Context,
    plan: &Plan,
    args: &Args,
    surroundings: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<Option<Picked>, Failure> {
    if let Some(backup) = &args.backup {
        let source = named(context, plan, args, backup, surroundings)?;
        return Ok(Some(Picked {
            source,
            passed_over: Vec::new(),
        }));
    }
    let criteria = criteria(plan, args)?;
    let Looked {
        places,
        candidates,
        unseen,
    } = candidates(context, plan, args, &criteria, surroundings)?;
    if args.latest || args.before.is_some() || args.series.is_some() {
        if !unseen.is_empty() {
            // The newest one may be there.
            return Err(select::refused(&unseen, UNTOUCHED));
        }
        let source = newest(&candidates, args);
        return with_newer(context, &places, source, &criteria, surroundings).map(Some);
    }
    if surroundings.json {
        let list: Vec<_> = candidates.iter().map(restorable).collect();
        report::json(&list, out)?;
        out.flush()?;
        return together(&unseen).map(|()| None);
    }
    if !unseen.is_empty() {
        list(context, &candidates, out)?;
        return Err(select::refused(&unseen, UNTOUCHED));
    }
    let source = newest(&candidates, args);
    let picked = with_newer(context, &places, source, &criteria, surroundings)?;
    offer(context, &candidates, &picked, args, out)?;
    Ok(Some(picked))
}

/// The newest backup that can be restored, with those that are newer. Each of these is told here.
fn with_newer(
    context: &Context,
    places: &[Place],
    source: Result<RestoreSource, Failure>,
    criteria: &Criteria,
    surroundings: &Surroundings<'_>,
) -> Result<Picked, Failure> {
    let told = |error: JobError| report::failure(&error, surroundings.interrupt);
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
    surroundings: &Surroundings<'_>,
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
    match confirm::ask(&text, database, surroundings.interrupt).await? {
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
    context: &Context,
    plan: &Plan,
    args: &Args,
    text: &str,
    surroundings: &Surroundings<'_>,
) -> Result<RestoreSource, Failure> {
    let told = |error: JobError| report::failure(&error, surroundings.interrupt);
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
    context: &Context,
    plan: &Plan,
    args: &Args,
    criteria: &Criteria,
    surroundings: &Surroundings<'_>,
) -> Result<Looked, Failure> {
    let told = |error: JobError| report::failure(&error, surroundings.interrupt);
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
                 pgbackupd restore {}",
                first.entry.stem
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
    context: &Context,
    candidates: &[Candidate],
    picked: &Picked,
    args: &Args,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    list(context, candidates, out)?;
    let RestoreSource::Backup(_, stem) = &picked.source else {
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
        format!("say which one: pgbackupd restore {stem}, or --latest{older}"),
    ))
}

fn list(context: &Context, candidates: &[Candidate], out: &mut dyn Write) -> Result<(), Failure> {
    let now = context.now();
    let table = Table::new([
        Column::left("DATABASE"),
        Column::left("BACKUP"),
        Column::right("AGE"),
        Column::right("SIZE"),
        Column::right("ROWS"),
        Column::left("FOUND WHOLE"),
    ]);
    let rows: Vec<(&Candidate, String)> = candidates
        .iter()
        .map(|candidate| (candidate, in_words(age(candidate.entry.started, now))))
        .collect();
    let table = table.fill(&rows, add_row);
    table.print("", out)?;
    Ok(out.flush()?)
}

fn add_row(table: &mut Table<6>, (candidate, age): &(&Candidate, String)) {
    let entry = &candidate.entry;
    table.cell(|cell| cell.write_str(&report::one_line(&candidate.place.label)));
    table.cell(|cell| write!(cell, "{}", entry.stem));
    table.cell(|cell| cell.write_str(age));
    table.cell(|cell| cell.write_str(&report::size(entry.bytes)));
    table.cell(|cell| cell.write_str(&report::count(entry.rows)));
    table.cell(|cell| report::write_found_whole(cell, entry));
}

fn restorable(candidate: &Candidate) -> Restorable {
    let entry = &candidate.entry;
    Restorable {
        server: candidate.place.server.clone(),
        database: candidate.place.database.clone(),
        backup: entry.stem.to_string(),
        started: entry.started.to_rfc3339(),
        bytes: entry.bytes,
        rows: entry.rows,
        verified: entry.last_found_whole().map(|moment| moment.to_rfc3339()),
    }
}

/// What `--database` says: the database, and perhaps its server.
struct Wanted<'a> {
    server: Option<&'a Server>,
    database: Option<&'a str>,
}

impl Wanted<'_> {
    fn admits(&self, place: &Place) -> bool {
        self.database.is_none_or(|name| place.database == name)
            && self
                .server
                .is_none_or(|server| place.server.as_ref() == Some(&server.name))
    }
}

/// Reads `--database`. It need not be one that is configured: a file is restored as any.
fn wanted<'a>(plan: &'a Plan, places: &[Place], args: &'a Args) -> Result<Wanted<'a>, Failure> {
    let Some(text) = &args.database else {
        return Ok(Wanted {
            server: None,
            database: None,
        });
    };
    let servers: Vec<&Server> = plan.servers.iter().collect();
    let has = |server: &Server, name: &str| {
        let is_here = |place: &Place| is_of(place, server, name);
        names(server, name) || places.iter().any(is_here)
    };
    let (server, database) = select::split(&servers, text, has)
        .map_err(|message| Failure::new(FailureKind::Usage, message))?;
    Ok(Wanted {
        server,
        database: Some(database),
    })
}

fn is_of(place: &Place, server: &Server, database: &str) -> bool {
    place.database == database && place.server.as_ref() == Some(&server.name)
}

/// Which database it becomes, on which server, and whose directory is locked meanwhile.
pub(super) fn place<'a>(
    context: &Context,
    plan: &'a Plan,
    args: &'a Args,
    source: RestoreSource,
    surroundings: &Surroundings<'_>,
) -> Result<Chosen<'a>, Failure> {
    let told = |error: JobError| report::failure(&error, surroundings.interrupt);
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    // What cannot be looked at was judged when the backup was chosen; a file needs none of it.
    let places = places(context, plan, &[]).map_err(told)?.found;
    let wanted = wanted(plan, &places, args)?;
    let original = match &source {
        RestoreSource::Backup(place, stem) => {
            let name = recorded_name(place, stem, surroundings)?;
            if let Some(other) = wanted.database.filter(|other| *other != name) {
                return Err(usage(format!(
                    "{stem} is a backup of database {name:?}, not of {other:?}; --into restores it \
                     under another name"
                )));
            }
            name
        }
        RestoreSource::Bare(path) => match wanted.database.or(args.into.as_deref()) {
            Some(name) => name.to_owned(),
            None => {
                return Err(usage(format!(
                    "no manifest says which database {} is of: --database must say which one it \
                     becomes, or --into",
                    path.display()
                )));
            }
        },
    };
    let server = server(plan, args, &wanted, &source, &original, &places)?;
    let own = match &server.databases {
        Databases::Named(databases) => databases.iter().find(|one| one.name == original),
        Databases::All(_) | Databases::FromEnvironment => None,
    };
    let own = own.map_or_else(
        || server.directory_for(&original),
        |database| database.directory.clone(),
    );
    let database = args.into.clone().unwrap_or_else(|| original.clone());
    let beside = match &source {
        RestoreSource::Backup(place, _) => Some(place.repository.directory().to_owned()),
        RestoreSource::Bare(path) => path.parent().map(Path::to_owned),
    };
    let repository = records(
        &original,
        (own, is_configured(server)),
        beside.as_deref(),
        &plan.daemon,
    );
    Ok(Chosen {
        source,
        label: plan.label(&server.name, &database),
        database,
        original,
        server,
        repository,
    })
}

/// The server to restore on: the one that is named, that of the backup, or the only one that has a
/// database of that name.
fn server<'a>(
    plan: &'a Plan,
    args: &Args,
    wanted: &Wanted<'a>,
    source: &RestoreSource,
    original: &str,
    places: &[Place],
) -> Result<&'a Server, Failure> {
    let usage = |message: String| Err(Failure::new(FailureKind::Usage, message));
    let called = |name: &str| plan.servers.iter().find(|server| server.name == name);
    let of_backup = match source {
        RestoreSource::Backup(place, _) => place.server.as_deref().and_then(called),
        RestoreSource::Bare(_) => None,
    };
    if let (Some(meant), Some(other)) = (wanted.server, of_backup)
        && meant.name != other.name
    {
        return usage(format!(
            "the backup is of {:?}, not of {:?}; --server {} restores it there",
            plan.label(&other.name, original),
            plan.label(&meant.name, original),
            meant.name
        ));
    }
    let all = || {
        let names: Vec<&str> = plan.servers.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    };
    if let Some(name) = &args.server {
        return match called(name) {
            Some(server) => Ok(server),
            None => usage(format!(
                "there is no server {name:?}: --server takes {}",
                all()
            )),
        };
    }
    if let Some(server) = wanted.server.or(of_backup) {
        return Ok(server);
    }
    let having: Vec<&Server> = plan
        .servers
        .iter()
        .filter(|server| {
            let is_here = |place: &Place| is_of(place, server, original);
            names(server, original) || places.iter().any(is_here)
        })
        .collect();
    match (having.as_slice(), plan.servers.as_slice()) {
        ([only], _) => Ok(only),
        ([], [only]) => Ok(only),
        ([], _) => usage(format!(
            "--server must say on which one to restore: {}",
            all()
        )),
        (several, _) => {
            let labels: Vec<String> = several
                .iter()
                .map(|server| format!("{:?}", plan.label(&server.name, original)))
                .collect();
            usage(format!(
                "--database must say which one is meant: {}",
                labels.join(" or ")
            ))
        }
    }
}

fn names(server: &Server, database: &str) -> bool {
    match &server.databases {
        Databases::Named(databases) => databases.iter().any(|one| one.name == database),
        Databases::All(_) | Databases::FromEnvironment => false,
    }
}

/// The database that a backup is of: its manifest says.
fn recorded_name(
    place: &Place,
    stem: &Stem,
    surroundings: &Surroundings<'_>,
) -> Result<String, Failure> {
    place
        .repository
        .manifest(stem)
        .map(|manifest: Manifest| manifest.database)
        .map_err(|error| report::failure(&error.into(), surroundings.interrupt))
}

/// A moment as an operator writes it.
fn moment(text: &str, zone: Tz) -> Result<DateTime<FixedOffset>, Failure> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment);
    }
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M"))
        .or_else(|_| {
            NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|day| day.and_time(NaiveTime::MIN))
        })
        .map_err(|_| {
            Failure::new(
                FailureKind::Usage,
                format!(
                    "{text:?} is no time: write 2025-07-09, \"2025-07-09 14:30\" or \
                     2025-07-09T14:30:00+03:00"
                ),
            )
        })?;
    match zone.from_local_datetime(&local) {
        // What is asked for is the time before something happened: the earlier one is safe.
        LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => {
            Ok(moment.fixed_offset())
        }
        LocalResult::None => Err(Failure::new(
            FailureKind::Usage,
            format!("there is no {text} in {zone}: the clocks were put forward then"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(text).unwrap()
    }

    #[test]
    fn a_moment_is_read_in_the_schedule_s_zone() {
        for (text, expected) in [
            ("2025-07-09", "2025-07-09T00:00:00+03:00"),
            ("2025-07-09 14:30", "2025-07-09T14:30:00+03:00"),
            ("2025-07-09 14:30:15", "2025-07-09T14:30:15+03:00"),
            ("2025-07-09T14:30:00Z", "2025-07-09T17:30:00+03:00"),
        ] {
            assert_eq!(
                moment(text, Tz::Asia__Riyadh).unwrap(),
                at(expected),
                "{text}"
            );
        }
        let twice = moment("2025-10-26 02:30", Tz::Europe__Berlin).unwrap();
        assert_eq!(twice, at("2025-10-26T02:30:00+02:00"));
        for text in ["yesterday", "2025-13-01", "14:30"] {
            assert_eq!(
                moment(text, Tz::UTC).unwrap_err().kind,
                FailureKind::Usage,
                "{text}"
            );
        }
        assert!(moment("2025-03-30 02:30", Tz::Europe__Berlin).is_err());
    }
}
