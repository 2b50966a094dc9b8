//! `pgbackupd list --from`: the copies at a destination.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::Args;
use crate::cli::env::CommandEnv;
use crate::cli::failure::Failure;
use crate::cli::report;
use crate::cli::session::Session;
use crate::cli::table::{Column, Table};
use crate::copies::Copy;
use crate::jobs::{CopiesThere, copies_there};

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
    /// What counts for nothing.
    pub unexpected: Vec<UnexpectedObject>,
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
}

/// An object that counts for nothing.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct UnexpectedObject {
    /// Its key.
    pub key: String,
    /// Why it does not count.
    pub reason: String,
}

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
        all.push(there);
    }
    if env.json {
        let documents: Vec<_> = all.iter().map(document).collect();
        report::json(&documents, out)?;
    } else {
        for (index, there) in all.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            print(there, &open.source.label, out)?;
        }
    }
    Ok(out.flush()?)
}

fn document(there: &CopiesThere) -> CopiedDatabaseThere {
    let CopiesThere { place, catalogue } = there;
    let unexpected = catalogue.unexpected.iter().map(|one| UnexpectedObject {
        key: one.key.to_string(),
        reason: one.reason.clone(),
    });
    CopiedDatabaseThere {
        host: place.host.clone(),
        server: place.server.clone(),
        database: place.database.clone(),
        copies: catalogue.copies.iter().map(listed).collect(),
        unexpected: unexpected.collect(),
        unclaimed: catalogue.unclaimed.len() as u64,
        unclaimed_bytes: unclaimed_bytes(there),
    }
}

fn unclaimed_bytes(there: &CopiesThere) -> u64 {
    let unclaimed = there.catalogue.unclaimed.iter();
    unclaimed.map(|one| one.listed.bytes).sum()
}

fn listed(copy: &Copy) -> ListedCopy {
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
    }
}

fn print(there: &CopiesThere, label: &str, out: &mut dyn Write) -> Result<(), Failure> {
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
            Column::note("NOTE"),
        ]);
        for copy in copies {
            table.row(row(copy));
        }
        table.print(" ", out)?;
    }
    for one in &catalogue.unexpected {
        writeln!(
            out,
            "does not count: {}: {}",
            one.key,
            report::one_line(&one.reason)
        )?;
    }
    match catalogue.unclaimed.len() as u64 {
        0 => {}
        many => writeln!(
            out,
            "{} of {} belong to no copy: of one that is being made, or was broken off",
            report::counted(many, "object", "objects"),
            report::size(unclaimed_bytes(there))
        )?,
    }
    Ok(())
}

fn row(copy: &Copy) -> [String; 4] {
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
        notes.join(", "),
    ]
}
