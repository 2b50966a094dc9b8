//! `pgbackupd verify --from`: read copies where they lie, and say whether they are what was signed.

use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::Args;
use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind, damage_first, together};
use crate::cli::own_copies::OwnCopies;
use crate::cli::report;
use crate::cli::session::Session;
use crate::cli::wrap::item;
use crate::copies::{Catalogue, Copy, Identities, Place};
use crate::display::joined_lines;
use crate::jobs::{
    CopiesThere, CopyProven, CopySource, JobErrorKind, OwnCopy, WhichCopy, choose_copy,
    copies_there, verify_copy,
};
use crate::policy::CopyState;

/// What `verify --from --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct VerifiedCopies {
    /// The host that the copies are of.
    pub host: String,
    /// The server's name in that host's configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// The copies that were read.
    pub copies: Vec<VerifiedCopy>,
}

impl VerifiedCopies {
    fn of(place: &Place, copies: Vec<VerifiedCopy>) -> Self {
        Self {
            host: place.host.clone(),
            server: place.server.clone(),
            database: place.database.clone(),
            copies,
        }
    }
}

/// A copy that was read.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct VerifiedCopy {
    /// The backup's name, without its reason if the copy is encrypted.
    pub backup: String,
    /// The run that made the backup.
    pub run: String,
    /// Bytes of all its volumes.
    pub bytes: u64,
    /// How far it is proved; null where it is not.
    pub state: Option<CopyState>,
    /// Whether it is damaged.
    pub damaged: bool,
    /// What is wrong with it, or why it could not be read.
    pub message: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, args.from.load(env)?);
    let identities = args.identity.read(env.interrupt).await?;
    let open = args.from.open(&session)?;
    let places = args.from.places(&session, &open, &args.databases).await?;
    let own = OwnCopies::of(&session, &open, &places).unwrap_or_else(|failure| {
        tracing::warn!("nothing that is found out is put on record: {failure}");
        OwnCopies::unknown(&open)
    });
    let verifying = Verifying {
        session: &session,
        source: &open.source,
        identities: identities.as_ref(),
    };
    let (mut documents, mut failures) = (Vec::new(), Vec::new());
    let mut empty = Vec::new();
    for place in &places {
        let there = copies_there(&session.begin(), &open.source, place).await;
        let there = there.map_err(|error| session.failure(&error))?;
        let is_named = !args.databases.is_empty() || !args.backups.is_empty();
        if there.catalogue.copies.is_empty() && !is_named && places.len() > 1 {
            // Whoever can write there can make a folder.
            empty.push(there);
            continue;
        }
        let chosen = verifying.choose(args, &there).await?;
        let own = own.of_place(&session, place);
        let mut copies = Vec::new();
        for copy in chosen {
            let verified = verifying.verify(&copy, &mut failures).await;
            if let Some(own) = &own {
                note(&session.context.state_directory, own, (&copy, &verified));
            }
            if !env.json {
                print(&place.database, &verified, out)?;
                out.flush()?;
            }
            copies.push(verified);
            if env.interrupt.signal().is_some() {
                return together(&failures);
            }
        }
        documents.push(VerifiedCopies::of(place, copies));
    }
    if let (Some(there), true) = (empty.first(), documents.is_empty()) {
        verifying.choose(args, there).await?;
    }
    for there in &empty {
        warn_of_no_copy(&there.place, &open.source.label);
    }
    if env.json {
        report::json(&documents, out)?;
    }
    out.flush()?;
    damage_first(&mut failures);
    together(&failures)
}

/// Of a folder without a copy that counts.
fn warn_of_no_copy(place: &Place, label: &str) {
    tracing::warn!(
        "nothing at {label} counts as a copy of {} of host {}",
        report::one_line(&format!("{}/{}", place.server, place.database)),
        report::one_line(&place.host)
    );
}

/// The verification of the copies of some places.
struct Verifying<'a> {
    session: &'a Session<'a>,
    source: &'a CopySource,
    identities: Option<&'a Identities>,
}

impl Verifying<'_> {
    /// The copies that are meant, at least one: of those that are named, or all, or the newest of each series.
    async fn choose(&self, args: &Args, there: &CopiesThere) -> Result<Vec<Copy>, Failure> {
        let run = self.session.begin();
        let choose = async |which: WhichCopy<'_>| {
            let chosen = choose_copy(&run, self.source, &there.place, &which).await;
            let chosen = chosen.map_err(|error| self.session.failure(&error))?;
            Ok::<Copy, Failure>(chosen.copy)
        };
        let mut chosen = Vec::new();
        for name in &args.backups {
            chosen.push(choose(WhichCopy::Named(name)).await?);
        }
        if args.backups.is_empty() {
            chosen = newest(&there.catalogue, args.all);
        }
        if chosen.is_empty() {
            // The same question says why.
            let (before, series) = (None, None);
            chosen.push(choose(WhichCopy::Newest { before, series }).await?);
        }
        Ok(chosen)
    }

    async fn verify(&self, copy: &Copy, failures: &mut Vec<Failure>) -> VerifiedCopy {
        let manifest = &copy.manifest.manifest;
        let stem = copy.name.stem().to_string();
        let verifying = self.session.job(&stem, async |run| {
            verify_copy(run, self.source, copy, self.identities).await
        });
        let verified = verifying.await;
        let is_damaged = matches!(&verified, Err(error) if error.kind() == JobErrorKind::Damaged);
        let failure = verified
            .as_ref()
            .err()
            .map(|error| self.session.failure(error));
        let document = VerifiedCopy {
            backup: stem.clone(),
            run: copy.name.run().to_string(),
            bytes: manifest.bytes(),
            state: verified.ok(),
            damaged: is_damaged,
            message: failure.as_ref().map(|failure| failure.message.clone()),
        };
        failures.extend(failure.map(|failure| match failure.kind {
            FailureKind::Damaged => {
                let message = format!("the copy of {stem} is damaged");
                Failure::new(FailureKind::Damaged, message)
            }
            _ => failure,
        }));
        document
    }
}

/// Records what was found out about a copy of this host's own, so that `status` knows of it. Whoever may not
/// write there has verified it all the same.
fn note(state: &Path, own: &OwnCopy<'_>, (copy, verified): (&Copy, &VerifiedCopy)) {
    let result = match (verified.state, &verified.message) {
        (Some(state), _) => Ok(state),
        (None, Some(message)) if verified.damaged => Err(joined_lines(message)),
        (None, _) => return,
    };
    let proof = CopyProven::now(copy, result);
    let directory = own.directory.repository.directory();
    if let Err(error) = proof.record(state, (own.destination, directory)) {
        tracing::warn!(
            "what was found out could not be written to {}, so that status does not know of it: {error}",
            state.display()
        );
    }
}

/// All copies, newest first, or only the newest of each series.
fn newest(catalogue: &Catalogue, all: bool) -> Vec<Copy> {
    let mut seen = Vec::new();
    let newest_first = catalogue.copies.iter().rev();
    let wanted = newest_first.filter(|copy| {
        let series = &copy.manifest.manifest.series;
        let is_first = !seen.contains(series);
        if is_first {
            seen.push(series.clone());
        }
        all || is_first
    });
    wanted.cloned().collect()
}

fn print(database: &str, verified: &VerifiedCopy, out: &mut dyn Write) -> Result<(), Failure> {
    let outcome = match (verified.state, &verified.message) {
        (Some(CopyState::Opened), _) => "opened, and what its manifest says".to_owned(),
        (Some(state), _) => format!("{}: every volume is what was signed", state.word()),
        (None, Some(message)) if verified.damaged => format!("DAMAGED: {message}"),
        (None, message) => format!("not verified: {}", message.as_deref().unwrap_or_default()),
    };
    let text = format!(
        "{}: {} ({}): {outcome}",
        report::one_line(database),
        verified.backup,
        report::size(verified.bytes)
    );
    item(out, "", &text)?;
    Ok(())
}
