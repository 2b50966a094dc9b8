//! `pgbackupd key check`: which copies an identity opens.

use std::io::{self, Write};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::at_destination;
use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind, together};
use crate::cli::identities;
use crate::cli::report::{self, counted};
use crate::cli::session::Session;
use crate::cli::wrap::wrapped;
use crate::config::Destination;
use crate::copies::{Copy, Identities, Place};
use crate::display::Printable;
use crate::jobs::{JobError, OwnHost};

/// Check which copies an identity opens.
///
/// The key of every copy is opened with it, in memory; no backup is downloaded. Exit code 65 if it does not
/// open a copy, with the list.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// File of the identity; - for standard input
    #[arg(value_name = "IDENTITY")]
    identity: PathBuf,
    /// Only the copies at this destination
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
}

/// What `key check --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct CheckedIdentity {
    /// The fingerprints of the identities' public halves.
    identities: Vec<String>,
    /// The destinations that answered.
    destinations: Vec<CheckedDestination>,
}

/// What an identity opens at a destination.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct CheckedDestination {
    /// Its name in the configuration.
    name: String,
    /// This host's encrypted copies, by server and database, oldest first.
    copies: Vec<CheckedCopy>,
    /// How many copies are not encrypted.
    plain: u64,
    /// How many documents count for nothing, for lack of a trusted signature or for another reason.
    unexpected: u64,
}

/// Whether an identity opens a copy.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct CheckedCopy {
    /// The server's name.
    server: String,
    /// The database.
    database: String,
    /// The copy's name in keys.
    copy: String,
    /// When the backup's run started.
    started: String,
    /// Whether the identity opens it.
    opens: bool,
    /// Why not, or null.
    reason: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let destinations = at_destination::destinations(&session, args.from.as_deref())?;
    let identities = identities::read(&args.identity, env.interrupt).await?;
    let own = match OwnHost::look(&session.context) {
        Err(error @ JobError::Signer(_)) => {
            tracing::warn!("copies of this host's own are not recognised: {error}");
            OwnHost::without_keys(&session.context)
        }
        own => own,
    };
    let own = own.map_err(|error| session.failure(&error))?;
    let mut checked = CheckedIdentity {
        identities: identities
            .recipients()
            .map(|one| one.fingerprint().to_owned())
            .collect(),
        destinations: Vec::new(),
    };
    let mut failures = Vec::new();
    for destination in destinations {
        match check(&session, destination, &own, &identities).await {
            Ok(one) => checked.destinations.push(one),
            Err(failure) => failures.push(failure),
        }
    }
    if env.json {
        report::json(&checked, out)?;
    } else {
        print(&checked, out)?;
    }
    failures.extend(verdict(&checked, failures.is_empty()));
    together(&failures)
}

async fn check(
    session: &Session<'_>,
    destination: &Destination,
    own: &OwnHost,
    identities: &Identities,
) -> Result<CheckedDestination, Failure> {
    let store = at_destination::open(session, destination)?;
    let catalogues = at_destination::catalogues(session, destination, &*store, own).await?;
    let mut checked = CheckedDestination {
        name: destination.name.clone(),
        copies: Vec::new(),
        plain: 0,
        unexpected: 0,
    };
    for (place, catalogue) in &catalogues {
        checked.unexpected += catalogue.unexpected.len() as u64;
        for copy in &catalogue.copies {
            if copy.keys().is_empty() {
                checked.plain += 1;
            } else {
                checked.copies.push(checked_copy(place, copy, identities));
            }
        }
    }
    Ok(checked)
}

fn checked_copy(place: &Place, copy: &Copy, identities: &Identities) -> CheckedCopy {
    let opened = at_destination::open_key(copy, identities);
    CheckedCopy {
        server: place.server.clone(),
        database: place.database.clone(),
        copy: copy.name.to_string(),
        started: copy.manifest.manifest.started.to_rfc3339(),
        opens: opened.is_ok(),
        reason: opened.err().map(|not| not.reason),
    }
}

fn print(checked: &CheckedIdentity, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "identity {}", checked.identities.join(", "))?;
    for destination in &checked.destinations {
        let CheckedDestination { name, copies, .. } = destination;
        let opened = copies.iter().filter(|copy| copy.opens).count();
        let all = counted(copies.len() as u64, "encrypted copy", "encrypted copies");
        match copies.len() {
            0 => writeln!(out, "{name}: no encrypted copy of this host is there")?,
            length if length == opened => writeln!(out, "{name}: it opens {all}, which is all")?,
            _ => writeln!(out, "{name}: it opens {opened} of {all}; it does not open:")?,
        }
        for copy in copies.iter().filter(|copy| !copy.opens) {
            let label = report::one_line(&format!("{}/{}", copy.server, copy.database));
            writeln!(out, "  {label} {}", copy.copy)?;
            let reason = copy.reason.as_deref().unwrap_or_default();
            wrapped(out, "    ", &Printable(reason).to_string())?;
        }
        if destination.plain > 0 {
            let plain = counted(destination.plain, "copy is", "copies are");
            writeln!(out, "{name}: {plain} not encrypted, and needs no identity")?;
        }
        if destination.unexpected > 0 {
            let objects = counted(destination.unexpected, "document is", "documents are");
            wrapped(
                out,
                "",
                &format!("{name}: {objects} not counted: no trusted signature vouches for it"),
            )?;
        }
    }
    Ok(())
}

/// What was not opened; or that nothing was tried.
fn verdict(checked: &CheckedIdentity, is_complete: bool) -> Option<Failure> {
    let copies = || checked.destinations.iter().flat_map(|one| &one.copies);
    let unopened = copies().filter(|copy| !copy.opens).count();
    if unopened > 0 {
        let what = counted(unopened as u64, "copy is", "copies are");
        let message = format!("{what} not opened by this identity");
        return Some(Failure::new(FailureKind::Damaged, message));
    }
    if is_complete && copies().next().is_none() {
        let message = "there is no encrypted copy of this host, so nothing was tried\nhint: `pgbackupd copy` \
                       makes copies; `pgbackupd key show` shows the name of this host";
        return Some(Failure::new(FailureKind::Unavailable, message));
    }
    None
}
