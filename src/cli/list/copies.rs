//! `pgbackupd list --from`: the copies at a destination.

use std::collections::BTreeSet;
use std::io::Write;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::Args;
use crate::cli::env::CommandEnv;
use crate::cli::failure::Failure;
use crate::cli::report;
use crate::cli::session::Session;
use crate::cli::table::{Column, Table};
use crate::cli::wrap::{item, wrapped};
use crate::copies::Copy;
use crate::jobs::{CopiesThere, copies_there, known_at};
use crate::policy::{CopyState, Gap, describe_gaps};
use crate::repository::{AbsentCopy, KnownCopies, KnownCopy};

/// What `list --from --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct CopiedDatabaseThere {
    /// The host that the copies are of.
    pub host: String,
    /// The server's name in that host's configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// The copies that count, oldest first.
    pub copies: Vec<ListedCopy>,
    /// Copies that this host knows and that are not listed, although retention did not remove them.
    pub absent: Vec<AbsentCopyThere>,
    /// What counts for nothing.
    pub unexpected: Vec<UnexpectedObject>,
    /// The first and the last number of manifests that are gone although retention here has not removed them.
    pub missing_manifests: Vec<(u64, u64)>,
    /// So many volumes and signatures belong to no copy: of one that is being made, or was broken off.
    pub unclaimed: u64,
    /// Bytes of these.
    pub unclaimed_bytes: u64,
}

/// A copy.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ListedCopy {
    /// The backup's name, without its reason if the copy is encrypted.
    pub backup: String,
    /// The run that made the backup.
    pub run: String,
    /// Its series.
    pub series: String,
    /// When the backup's run started, RFC 3339.
    pub started: String,
    /// When the store got the copy's manifest, RFC 3339.
    pub copied: String,
    /// The shape of its dump.
    pub format: crate::config::Format,
    /// How its dump is compressed.
    pub compression: crate::config::Compression,
    /// Bytes of all its volumes.
    pub bytes: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The fingerprints of the keys that it is encrypted to.
    pub recipients: Vec<String>,
    /// The fingerprint of the key that signed it.
    pub signer: String,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether it lacks rows that could not be read.
    pub partial: bool,
    /// So many of its volumes are not listed there, or not in their length.
    pub missing_volumes: u64,
    /// How far it is proved, as far as this host knows; null where it knows nothing.
    pub state: Option<CopyState>,
    /// When anything was proved of it last, RFC 3339.
    pub proved: Option<String>,
    /// What is wrong with it; null where nothing is known to be.
    pub damage: Option<String>,
}

/// A copy that was there.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct AbsentCopyThere {
    /// The backup's name.
    pub backup: String,
    /// The run that made the backup.
    pub run: String,
    /// Since when it is not listed, RFC 3339.
    pub since: String,
    /// Whether it is missing: two listings lacked it, and the store says that it has no such object.
    pub missing: bool,
}

/// An object that counts for nothing.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct UnexpectedObject {
    /// Its key.
    pub key: String,
    /// Why it does not count.
    pub reason: String,
}

/// So many objects that count for nothing are listed.
const UNEXPECTED: usize = 10;

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, args.from.load(env)?);
    let open = args.from.open(&session)?;
    let places = args.from.places(&session, &open, &args.databases).await?;
    let mut all = Vec::new();
    for place in &places {
        let there = copies_there(&session.begin(), &open.source, place).await;
        let mut there = there.map_err(|error| session.failure(&error))?;
        if let Some(series) = &args.series {
            let is_of_it = |copy: &Copy| copy.manifest.manifest.series == *series;
            there.catalogue.copies.retain(is_of_it);
        }
        let destination = args.from.destination(session.plan());
        let state = &session.context.state_directory;
        let known = destination.and_then(|one| known_at(state, one, place));
        all.push((there, known.unwrap_or_default()));
    }
    if env.json {
        let documents = all.iter().map(document);
        let documents: Vec<_> = documents.collect();
        report::json(&documents, out)?;
    } else {
        for (index, (there, known)) in all.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            print((there, known), &open.source.shown(), out)?;
            if let Some(sentence) = describe_gaps(&gaps(there, known), &open.source.label) {
                wrapped(out, "", &sentence)?;
            }
        }
    }
    Ok(out.flush()?)
}

/// Which manifests of this host's own copies are gone: what others have removed of theirs, nobody knows here.
fn gaps(there: &CopiesThere, known: &KnownCopies) -> Vec<Gap> {
    let copies = there.catalogue.copies.iter();
    let manifests = copies.flat_map(|copy| copy.others.iter().chain([&copy.manifest]));
    let numbers: BTreeSet<u64> = manifests.map(|one| one.manifest.sequence).collect();
    known.gaps_in(&numbers, Utc::now())
}

fn document((there, known): &(CopiesThere, KnownCopies)) -> CopiedDatabaseThere {
    let CopiesThere { place, catalogue } = there;
    let unexpected = catalogue.unexpected.iter().map(|one| UnexpectedObject {
        key: one.key.to_string(),
        reason: one.reason.clone(),
    });
    CopiedDatabaseThere {
        host: place.host.clone(),
        server: place.server.clone(),
        database: place.database.clone(),
        copies: catalogue
            .copies
            .iter()
            .map(|copy| listed(copy, known.copies.get(&copy.name.run())))
            .collect(),
        absent: absent(there, known)
            .map(|(run, absent)| AbsentCopyThere {
                backup: absent.copy.backup.clone(),
                run: run.to_string(),
                since: absent.since.to_rfc3339(),
                missing: absent.missing.is_some(),
            })
            .collect(),
        unexpected: unexpected.collect(),
        missing_manifests: gaps(there, known)
            .iter()
            .map(|gap| (gap.first, gap.last))
            .collect(),
        unclaimed: catalogue.unclaimed.len() as u64,
        unclaimed_bytes: unclaimed_bytes(there),
    }
}

fn unclaimed_bytes(there: &CopiesThere) -> u64 {
    let unclaimed = there.catalogue.unclaimed.iter();
    unclaimed.map(|one| one.listed.bytes).sum()
}

/// The copies that are known and not there.
fn absent<'a>(
    there: &CopiesThere,
    known: &'a KnownCopies,
) -> impl Iterator<Item = (&'a Uuid, &'a AbsentCopy)> {
    let listed: BTreeSet<Uuid> = there
        .catalogue
        .copies
        .iter()
        .map(|copy| copy.name.run())
        .collect();
    let absent = known.absent.iter();
    absent.filter(move |(run, _)| !listed.contains(run))
}

fn listed(copy: &Copy, known: Option<&KnownCopy>) -> ListedCopy {
    let manifest = &copy.manifest.manifest;
    ListedCopy {
        backup: copy.name.stem().to_string(),
        run: copy.name.run().to_string(),
        series: manifest.series.to_string(),
        started: manifest.started.to_rfc3339(),
        copied: copy.manifest.stored.to_rfc3339(),
        format: manifest.dump,
        compression: manifest.compression,
        bytes: manifest.bytes(),
        encrypted: manifest.is_encrypted(),
        recipients: manifest.recipients.clone(),
        signer: copy.manifest.signature.fingerprint.clone(),
        pinned: copy.is_pinned,
        partial: manifest.is_partial,
        missing_volumes: copy.lacking.len() as u64,
        state: known.map(|known| known.state),
        proved: known.map(|known| known.last_proved().to_rfc3339()),
        damage: known.and_then(|known| Some(known.damage.as_ref()?.why.clone())),
    }
}

fn print(
    (there, known): (&CopiesThere, &KnownCopies),
    label: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let CopiesThere { place, catalogue } = there;
    let copies = &catalogue.copies;
    writeln!(
        out,
        "database {}/{} of host {}: {}, {} at {label}",
        report::one_line(&place.server),
        report::one_line(&place.database),
        report::one_line(&place.host),
        report::counted(copies.len() as u64, "copy", "copies"),
        report::size(
            copies
                .iter()
                .map(|copy| copy.manifest.manifest.bytes())
                .sum()
        ),
    )?;
    if !copies.is_empty() {
        let mut table = Table::new([
            Column::left("BACKUP"),
            Column::right("SIZE"),
            Column::left("COPIED (UTC)"),
            Column::left("STATE"),
            Column::note("NOTE"),
        ]);
        for copy in copies {
            table.row(row(copy, known.copies.get(&copy.name.run())));
        }
        table.print(" ", out)?;
    }
    for (_, absent) in absent(there, known) {
        let text = format!(
            "{}: the copy of {}, not listed since {} UTC; retention here did not remove it",
            if absent.missing.is_some() {
                "MISSING"
            } else {
                "in doubt"
            },
            absent.copy.backup,
            absent.since.format("%Y-%m-%d %H:%M")
        );
        item(out, "", &text)?;
    }
    print_others(there, out)
}

/// What counts for nothing, and what belongs to no copy.
fn print_others(there: &CopiesThere, out: &mut dyn Write) -> Result<(), Failure> {
    let catalogue = &there.catalogue;
    // Whoever can write there can put any number.
    for one in catalogue.unexpected.iter().take(UNEXPECTED) {
        let reason = report::one_line(&one.reason);
        item(out, "", &format!("does not count: {}: {reason}", one.key))?;
    }
    match catalogue.unexpected.len().saturating_sub(UNEXPECTED) as u64 {
        0 => {}
        more => writeln!(
            out,
            "{} not count either; --json lists all",
            report::counted(more, "more object does", "more objects do")
        )?,
    }
    match catalogue.unclaimed.len() as u64 {
        0 => {}
        many => {
            let text = format!(
                "{} to no copy, {}: of one that is being made, or was broken off",
                report::counted(many, "object belongs", "objects belong"),
                report::size(unclaimed_bytes(there))
            );
            item(out, "", &text)?;
        }
    }
    Ok(())
}

fn row(copy: &Copy, known: Option<&KnownCopy>) -> [String; 5] {
    let manifest = &copy.manifest.manifest;
    let missing = copy.lacking.len() as u64;
    let mut notes = Vec::new();
    if missing > 0 {
        let of = manifest.volumes().count() as u64;
        notes.push(format!("INCOMPLETE: {missing} of {of} volumes missing"));
    }
    if manifest.is_partial {
        notes.push("PARTIAL".to_owned());
    }
    if copy.is_pinned {
        notes.push("pinned".to_owned());
    }
    if manifest.is_encrypted() {
        notes.push("encrypted".to_owned());
    }
    [
        copy.name.stem().to_string(),
        report::size(manifest.bytes()),
        copy.manifest.stored.format("%Y-%m-%d %H:%M").to_string(),
        state(known, Utc::now()),
        notes.join(", "),
    ]
}

/// "opened, 3d ago": how far a copy is proved, and when anything was proved of it last.
fn state(known: Option<&KnownCopy>, now: DateTime<Utc>) -> String {
    let Some(known) = known else {
        return "-".to_owned();
    };
    if known.damage.is_some() {
        return "DAMAGED".to_owned();
    }
    let age = (now - known.last_proved()).to_std().unwrap_or_default();
    format!("{}, {} ago", known.state.word(), report::short_span(age))
}
