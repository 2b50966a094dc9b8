//! Whether a database's backups go on from those before: what the directory, the ledgers and the state
//! directory know of it, for `policy::continuity` to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use chrono::{DateTime, FixedOffset, Utc};

use super::JobContext;
use super::anomaly::odd_sizes;
use super::error::JobError;
use super::record::append;
use super::rows::KnownRows;
use super::run::Run;
use super::target::BackupDirectory;
use crate::display::{count, counted, one_line};
use crate::policy::{
    Accepted, Concern, ConcernKind, Earlier, Loss, RowCheck, Seen, Tables, compare, describe_loss,
    describe_lost_manifest, describe_lost_state, describe_odd_size, vanished,
};
use crate::repository::{
    BackupDetails, Catalogue, Details, Entry, Event, LastSeen, Manifest, Record, Repository,
};
use crate::responsiveness::{self, PATIENCE};

/// What was lost of a database and not accepted.
///
/// Of the ledger only the end is read, up to the newest backup, unless a backup has vanished. Without a
/// state directory, only the directory itself and its ledgers are asked.
pub(super) fn look(
    state: Option<&Path>,
    repository: &Repository,
    catalogue: &Catalogue,
) -> Vec<Loss> {
    let here = here(catalogue);
    let gone = state.map_or_else(Vec::new, |state| gone(state, repository, catalogue));
    missing(repository, &gone, &here)
        .into_iter()
        .chain(open(repository))
        .collect()
}

/// What the newest backup has found lost and nobody has accepted since.
fn open(repository: &Repository) -> Vec<Loss> {
    let mut lost = Vec::new();
    let mut accepted = Vec::new();
    // A ledger that cannot be read says nothing, and `status` says that it cannot.
    let _ = repository.ledger().read_backwards(|record| {
        accepted.extend(acceptance(&record));
        match record.details {
            Details::Backup(BackupDetails {
                lost: Some(found), ..
            }) => {
                lost = found;
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    });
    lost.retain(|loss| !loss.is_accepted(&accepted));
    lost
}

fn acceptance(record: &Record) -> Option<(Accepted, String)> {
    match &record.details {
        Details::Accept { backup, accepted } => Some(((*accepted)?, backup.clone()?)),
        _ => None,
    }
}

/// Those of the backups that are gone for which the ledgers have no reason.
fn missing(repository: &Repository, gone: &[Seen], here: &[Seen]) -> Vec<Loss> {
    if gone.is_empty() {
        return Vec::new();
    }
    let (mut explained, mut accepted) = (Vec::new(), Vec::new());
    let mut made: BTreeMap<String, DateTime<FixedOffset>> = BTreeMap::new();
    for ledger in [repository.ledger(), repository.restore_ledger()] {
        let _ = ledger.read(|record| {
            let names = explained_by(&record).into_iter();
            explained.extend(names.map(|name| (name, record.at)));
            accepted.extend(acceptance(&record));
            if let Details::Backup(details) = record.details
                && record.event == Event::Succeeded
                && let Some(backup) = details.backup
            {
                made.insert(backup, record.at);
            }
        });
    }
    // Another one may have had the name before.
    explained.retain(|(name, at)| made.get(name).is_none_or(|made| at >= made));
    let accounted_for: Vec<String> = explained.into_iter().map(|(name, _)| name).collect();
    vanished(gone, here, &accounted_for, &accepted)
}

/// The backups that the state directory remembers as the newest, and that are nowhere in the
/// directory.
fn gone(state: &Path, repository: &Repository, catalogue: &Catalogue) -> Vec<Seen> {
    let directory = repository.directory().to_owned();
    let read = responsiveness::ask(state, PATIENCE, move |state| {
        LastSeen::read(state, &directory)
    });
    let remembered = match read.flatten() {
        Ok(Some(remembered)) => remembered,
        Ok(None) => return Vec::new(),
        Err(error) => {
            // Not everybody may look there; and what is spoilt is rewritten by the next backup.
            tracing::debug!("the record of the newest backup cannot be read: {error}");
            return Vec::new();
        }
    };
    let problems = catalogue.problems.iter();
    let mut here: BTreeSet<String> = problems
        .filter_map(|problem| problem.manifest_of.as_ref().or(problem.lost.as_ref()))
        .map(ToString::to_string)
        .collect();
    let aside = repository.quarantined().unwrap_or_default();
    here.extend(aside.iter().map(|one| one.stem.to_string()));
    // Another backup may have the name of one that is gone: two runs of one second, a clock set back.
    let stands = |backup: &Seen| {
        let mut newest_first = catalogue.backups.iter().rev();
        newest_first.any(|entry| {
            entry.started.to_utc() == backup.started && entry.stem.to_string() == backup.name
        })
    };
    let all = remembered.missed.into_iter().chain([remembered.newest]);
    all.filter(|backup| !here.contains(&backup.name) && !stands(backup))
        .collect()
}

/// The backups that are there; a partial one shows nothing of what the database holds.
fn here(catalogue: &Catalogue) -> Vec<Seen> {
    let full = catalogue.backups.iter().filter(|entry| !entry.is_partial());
    full.map(seen).collect()
}

fn seen(entry: &Entry) -> Seen {
    Seen {
        name: entry.stem.to_string(),
        started: entry.started.to_utc(),
        rows: entry.rows,
        tables: entry.tables,
        system_identifier: entry.system_identifier,
    }
}

/// The backups that a record explains the absence of: removed, put aside, or found bad, and so the
/// operator's to remove.
fn explained_by(record: &Record) -> Vec<String> {
    let removed = record.removed().iter().map(|removal| &removal.backup);
    let bad = record.damaged().iter().map(|damage| &damage.backup);
    let aside = match &record.details {
        Details::Quarantine(subject) if record.event == Event::Succeeded => &subject.backup,
        _ => &None,
    };
    removed.chain(bad).chain(aside).cloned().collect()
}

/// Whether a record is that of a restore, or of its undoing, that changed what is in the database.
fn puts_contents_into(record: &Record, database: &str) -> bool {
    let of_tables = record
        .restoration()
        .is_some_and(|facts| !facts.restored_tables.is_empty());
    record.is_of_restore()
        && record.event == Event::Succeeded
        && !of_tables
        && record.database == database
}

/// Whether a restore of ours has ended since a backup was made.
fn restored_since(repository: &Repository, database: &str, since: DateTime<Utc>) -> bool {
    let mut restored = false;
    let _ = repository.restore_ledger().read_backwards(|record| {
        if record.at.to_utc() < since {
            return ControlFlow::Break(());
        }
        restored = restored || puts_contents_into(&record, database);
        ControlFlow::Continue(())
    });
    restored
}

/// What a run that has just made a backup finds lost.
pub(super) struct FoundLost {
    /// All that is lost.
    pub(super) losses: Vec<Loss>,
    /// The same, and manifests and states that are lost, a sentence each.
    pub(super) sentences: Vec<String>,
    /// Tables that have grown by much, which is no loss, a sentence each.
    pub(super) grown: Vec<String>,
}

impl FoundLost {
    /// What the backup itself shows; for the ledger, by which the next one goes on.
    pub(super) fn by_the_backup(&self) -> Vec<Loss> {
        let losses = self.losses.iter();
        let shown = losses.filter(|loss| loss.what != Accepted::Vanished);
        shown.cloned().collect()
    }
}

/// Compares the backup that a run has just made, with the rows of its tables, with those before it, and remembers
/// it as the newest of its directory.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn after_a_backup(
    context: &JobContext,
    repository: &Repository,
    (manifest, new_rows): (&Manifest, Tables),
) -> Result<FoundLost, JobError> {
    let database = manifest.database.as_str();
    let catalogue = repository.catalogue()?;
    let state = &context.state_directory;
    let here = here(&catalogue);
    let gone = gone(state, repository, &catalogue);
    let (new, mut others): (Vec<&Seen>, Vec<&Seen>) =
        here.iter().partition(|backup| backup.name == manifest.name);
    others.extend(&gone);
    let previous = others.into_iter().max_by_key(|backup| backup.started);
    let mut grown = Vec::new();
    let by_the_backup = match new.first() {
        Some(new) => {
            let backups = (&catalogue, previous, *new);
            let known = KnownRows::read(context, repository, backups, new_rows);
            let ignores = |table: &str| context.anomaly.ignores(database, table);
            let rows = known.check(context, &ignores);
            let since = previous.map(|previous| previous.started);
            let earlier = Earlier {
                open: &open(repository),
                previous,
                restored: since.is_some_and(|since| restored_since(repository, database, since)),
                rows: Some(&rows),
            };
            let lost = compare(earlier, new);
            grown = describe_growth(&rows);
            known.remember(context, repository, new);
            lost
        }
        None => Vec::new(),
    };
    let missing = missing(repository, &gone, &here);
    if let Some(newest) = here.last() {
        let missed = missing.iter().map(|loss| loss.before.clone());
        remember_newest(state, repository, newest, missed.collect());
    }
    let losses: Vec<Loss> = missing.into_iter().chain(by_the_backup).collect();
    let mut sentences: Vec<String> = losses
        .iter()
        .map(|loss| describe_loss(loss, database, repository.directory()))
        .collect();
    sentences.extend(lost_files(repository, &catalogue, database));
    Ok(FoundLost {
        losses,
        sentences,
        grown,
    })
}

/// The tables that have grown, so many at most.
fn describe_growth(rows: &RowCheck<'_>) -> Vec<String> {
    const MOST: usize = 5;
    let grown = rows.grown();
    let shown = grown.iter().take(MOST).map(|table| {
        format!(
            "{} has {}, usually {}",
            one_line(&table.table),
            counted(table.now, "row", "rows"),
            count(table.usual)
        )
    });
    let mut sentences: Vec<String> = shown.collect();
    if let Some(more @ 1..) = grown.len().checked_sub(MOST) {
        sentences.push(format!(
            "{} more have grown by as much",
            counted(more as u64, "table", "tables")
        ));
    }
    sentences
}

/// Remembers the newest backup of a directory, apart from it.
fn remember_newest(state: &Path, repository: &Repository, newest: &Seen, missed: Vec<Seen>) {
    let last = LastSeen {
        directory: repository.directory().to_owned(),
        newest: newest.clone(),
        missed,
    };
    let written = responsiveness::ask(state, PATIENCE, move |state| last.write(state));
    if let Err(error) = written.flatten() {
        // Somebody's backup by hand is none the worse for it.
        tracing::info!(
            "the newest backup cannot be noted in {}: {error}",
            state.display()
        );
    }
}

/// Manifests and states that are lost, a sentence each.
fn lost_files(repository: &Repository, catalogue: &Catalogue, database: &str) -> Vec<String> {
    let manifests = catalogue.problems.iter().filter_map(|problem| {
        let lost = problem.lost.as_ref()?.to_string();
        let dump = repository.directory().join(&problem.file);
        Some(describe_lost_manifest(&lost, &dump, database))
    });
    let states = catalogue.backups.iter().filter_map(|entry| {
        let unreadable = entry.state.unreadable.as_ref()?;
        let backup = entry.stem.to_string();
        Some(describe_lost_state(&backup, &unreadable.what, database))
    });
    manifests.chain(states).collect()
}

/// Something that can be accepted as it is.
struct Acceptable {
    what: Accepted,
    /// The backup as of which, or that has vanished.
    backup: String,
    /// What `status` reports of it.
    concern: Concern,
}

/// All of a database that can be accepted as it is.
fn acceptable(
    context: &JobContext,
    backup_directory: &BackupDirectory,
) -> Result<Vec<Acceptable>, JobError> {
    let (repository, label) = (&backup_directory.repository, &backup_directory.label);
    let catalogue = repository.catalogue()?;
    let mut found: Vec<Acceptable> = Vec::new();
    for problem in &catalogue.problems {
        if let Some(lost) = &problem.lost {
            let backup = lost.to_string();
            let concern = Concern::new(ConcernKind::LostManifest, &*problem.what);
            found.push(Acceptable {
                what: Accepted::Manifest,
                concern: concern.about(&*backup),
                backup,
            });
        }
    }
    found.dedup_by(|one, other| one.backup == other.backup);
    for loss in look(Some(&context.state_directory), repository, &catalogue) {
        let sentence = describe_loss(&loss, label, repository.directory());
        let backup = loss.to_accept().name.clone();
        found.push(Acceptable {
            what: loss.what,
            concern: Concern::new(loss.what.into(), sentence).about(&*backup),
            backup,
        });
    }
    for (series, odd) in odd_sizes(repository, &catalogue, context.anomaly.sensitivity) {
        let sentence = describe_odd_size(&series, &odd, label);
        found.push(Acceptable {
            what: Accepted::Contents,
            concern: Concern::new(ConcernKind::Size, sentence).of_series(&series),
            backup: odd.backup,
        });
    }
    for one in &mut found {
        one.concern.server.clone_from(&backup_directory.server);
        one.concern.database = Some(backup_directory.database.clone());
    }
    Ok(found)
}

/// Accepts as it is what was lost of a database, and what is odd in it; gives the backups whose contents,
/// server, absence or lost manifest that is. Empty, and nothing on record, where nothing of the kind was
/// lost.
///
/// # Errors
/// When the directory cannot be read, or the ledger cannot be written.
pub fn accept(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    what: Accepted,
) -> Result<Vec<String>, JobError> {
    let mut found = acceptable(context, backup_directory)?;
    found.retain(|one| one.what == what);
    // What is lost and odd in the same backup is accepted once.
    let mut seen = BTreeSet::new();
    found.retain(|one| seen.insert(one.backup.clone()));
    record_accepted(context, backup_directory, found)
}

/// Accepts what a concern is about, by the concern's id; as [`accept`].
///
/// # Errors
/// As [`accept`].
pub fn accept_by_id(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    id: &str,
) -> Result<Vec<String>, JobError> {
    let mut found = acceptable(context, backup_directory)?;
    found.retain(|one| one.concern.id() == id);
    record_accepted(context, backup_directory, found)
}

fn record_accepted(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    found: Vec<Acceptable>,
) -> Result<Vec<String>, JobError> {
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let repository = &backup_directory.repository;
    // Where the directory is gone with the backups, the record is its new beginning.
    repository.create()?;
    let ledger = repository.ledger();
    let mut accepted = Vec::new();
    for one in found {
        let details = Details::Accept {
            backup: Some(one.backup.clone()),
            accepted: Some(one.what),
        };
        let run = Run::alone(context);
        let mut record =
            run.record_with_requester(Event::Succeeded, &backup_directory.database, details);
        record.message = Some(one.concern.sentence);
        append(&ledger, &record, "nothing was accepted because")?;
        accepted.push(one.backup);
    }
    Ok(accepted)
}
