//! Dumps that stand without a manifest: those whose manifest was lost, and files that never were
//! backups, such as the dumps of a script that named them alike.
//!
//! A dump was a backup when a census, globals or a state stand next to it, which nobody else makes, or
//! when the ledger says that it was made here. What a run publishes or removes right now has no
//! manifest for a moment either; its temporary files tell.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::Problem;
use crate::policy::Accepted;
use crate::repository::ledger::Ledger;
use crate::repository::names::{Role, Stem};
use crate::repository::record::{Details, Event, Record};
use crate::repository::temporary::{self, QUARANTINED, RELEASED, REMOVED};

/// What the ledger says of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnRecord {
    /// It was made by a run.
    Made,
    /// It was removed or put aside by a run, or somebody has accepted its loss: what stands there now
    /// is of no concern.
    Settled,
}

/// Says of each dump without a manifest what it is.
pub(super) fn classify_lost(
    directory: &Path,
    ledger: &Ledger,
    dumps: &[(Stem, Role)],
) -> io::Result<Vec<Problem>> {
    if dumps.is_empty() {
        return Ok(Vec::new());
    }
    let stems: BTreeSet<&Stem> = dumps.iter().map(|(stem, _)| stem).collect();
    // A ledger that cannot be read says nothing; what stands next to the dump still does.
    let on_record = on_record(ledger, &stems).unwrap_or_default();
    let moving = moving(directory)?;
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let mut problems = Vec::new();
    for (stem, role) in dumps {
        let file = format!("{stem}{}", role.suffix());
        // The manifest may have come, or the dump may have gone, since the names were read.
        if moving.contains(&stem.to_string())
            || is_there(&stem.file(directory, Role::Manifest))
            || !is_there(&directory.join(&file))
        {
            continue;
        }
        let is_lost = match on_record.get(stem) {
            Some(OnRecord::Made) => true,
            Some(OnRecord::Settled) => false,
            // What only a run of ours writes next to a dump.
            None => Role::OTHERS
                .into_iter()
                .any(|role| is_there(&stem.file(directory, role))),
        };
        let what = if is_lost {
            format!(
                "its manifest {stem}{} is lost, so it counts for no backup",
                Role::Manifest.suffix()
            )
        } else {
            "it has no manifest, so it is not a backup of pgbackupd's, and retention never touches it"
                .to_owned()
        };
        problems.push(Problem {
            file,
            what,
            manifest_of: None,
            lost: is_lost.then(|| stem.clone()),
        });
    }
    Ok(problems)
}

/// What the ledger says of these.
fn on_record<'a>(
    ledger: &Ledger,
    stems: &BTreeSet<&'a Stem>,
) -> io::Result<BTreeMap<&'a Stem, OnRecord>> {
    let by_name: BTreeMap<String, &Stem> =
        stems.iter().map(|stem| (stem.to_string(), *stem)).collect();
    let mut known = BTreeMap::new();
    ledger.read(|record| {
        let mut note_loss = |name: &str, what: OnRecord| {
            if let Some(stem) = by_name.get(name) {
                known.insert(*stem, what);
            }
        };
        for removal in record.removed() {
            note_loss(&removal.backup, OnRecord::Settled);
        }
        if let Some(backup) = record.backup()
            && let Some(what) = what_is_recorded(&record)
        {
            note_loss(backup, what);
        }
    })?;
    Ok(known)
}

/// What a record says of the backup that it names.
fn what_is_recorded(record: &Record) -> Option<OnRecord> {
    if record.event != Event::Succeeded {
        return None;
    }
    match record.details {
        Details::Backup(_) | Details::Release { .. } => Some(OnRecord::Made),
        Details::Quarantine(_)
        | Details::Accept {
            accepted: Some(Accepted::Manifest),
            ..
        } => Some(OnRecord::Settled),
        _ => None,
    }
}

/// The backups that a run is publishing, removing or putting aside, or that one has left half way.
fn moving(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut moving = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let Some((run, word)) = name.to_str().and_then(temporary::parse) else {
            continue;
        };
        if word == Role::Manifest.word() {
            let path = temporary::path(directory, run, word);
            moving.extend(
                temporary::read_manifest(&path)
                    .ok()
                    .map(|manifest| manifest.name),
            );
            continue;
        }
        let removed = format!("{REMOVED}-");
        let prefixes = [removed.as_str(), QUARANTINED, RELEASED];
        let moved = prefixes.iter().find_map(|prefix| word.strip_prefix(prefix));
        // In quarantine a name may have a number behind it.
        moving.extend(moved.map(|name| name.split('.').next().unwrap_or(name).to_owned()));
    }
    Ok(moving)
}
