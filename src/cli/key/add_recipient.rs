//! `pgbackupd key add-recipient`: let a further identity open the copies that are there already.

use std::io::{self, Write};
use std::path::PathBuf;

use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::at_destination;
use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind, together};
use crate::cli::identities;
use crate::cli::report::{self, counted};
use crate::cli::session::Session;
use crate::cli::wrap::wrapped;
use crate::config::Destination;
use crate::copies::{COPY_FORMAT, Copy, CopyFact, Document, FactKind, Identities, Place, Signer};
use crate::destination::Store;
use crate::display::Printable;
use crate::jobs::{JobError, OwnHost, Stop};
use crate::recipient::Recipient;

/// Let a further recipient open the copies that are there already.
///
/// The key of each copy is opened with the identity and sealed to the recipient, too. The copies themselves
/// stay as they are. New copies are encrypted to the recipients of the configuration.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Public key, as age1… or "ssh-ed25519 AAAA…"
    #[arg(value_name = "RECIPIENT")]
    recipient: String,
    /// File of an identity that opens the copies; - for standard input
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Only the copies at this destination
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
}

/// What `key add-recipient --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct AddedRecipient {
    /// The recipient's fingerprint.
    fingerprint: String,
    /// The destinations that answered.
    destinations: Vec<AddedAtDestination>,
}

/// What became of the copies at a destination.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct AddedAtDestination {
    /// Its name in the configuration.
    name: String,
    /// How many copies the recipient can open from now on.
    added: u64,
    /// How many it could open before.
    before: u64,
    /// Copies of backups whose files are encrypted themselves: for these, the recipient's identity is not enough.
    encrypted_before: u64,
    /// Copies that the given identity does not open.
    unopened: Vec<UnopenedCopy>,
}

impl AddedAtDestination {
    fn is_empty(&self) -> bool {
        self.added == 0 && self.before == 0 && self.unopened.is_empty()
    }
}

/// A copy that an identity does not open.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct UnopenedCopy {
    /// The server's name.
    server: String,
    /// The database.
    database: String,
    /// The copy's name in keys.
    copy: String,
    /// Why.
    reason: String,
}

/// What adding a recipient needs.
struct Adding<'a> {
    session: &'a Session<'a>,
    signer: &'a Signer,
    recipient: &'a Recipient,
    identities: &'a Identities,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // The command line's own parser would show a secret that is given by mistake.
    let recipient = Recipient::parse(&args.recipient)
        .map_err(|error| Failure::usage(format!("cannot use this recipient: {error}")))?;
    let session = Session::new(env, env.load()?);
    let destinations = at_destination::destinations(&session, args.from.as_deref())?;
    let identities = identities::read(&args.identity, env.interrupt).await?;
    let (own, signer) =
        OwnHost::to_sign(&session.context).map_err(|error| session.failure(&error))?;
    let adding = Adding {
        session: &session,
        signer: &signer,
        recipient: &recipient,
        identities: &identities,
    };
    let mut added = AddedRecipient {
        fingerprint: recipient.fingerprint().to_owned(),
        destinations: Vec::new(),
    };
    let mut failures = Vec::new();
    for destination in destinations {
        match adding.at(destination, &own).await {
            Ok(one) => added.destinations.push(one),
            Err(failure) => failures.push(failure),
        }
    }
    if env.json {
        report::json(&added, out)?;
    } else {
        print(&added, out)?;
        if !session.plan().recipients.contains(&recipient) {
            let text =
                "note: new copies are not encrypted to it: it is not in [encryption] recipients";
            wrapped(out, "", text)?;
        }
    }
    let unopened = added.destinations.iter().map(|one| one.unopened.len());
    let unopened = unopened.sum::<usize>() as u64;
    if unopened > 0 {
        let what = counted(unopened, "copy is", "copies are");
        let message = format!("{what} not opened by this identity, and unchanged");
        failures.push(Failure::new(FailureKind::Damaged, message));
    }
    together(&failures)
}

impl Adding<'_> {
    async fn at(
        &self,
        destination: &Destination,
        own: &OwnHost,
    ) -> Result<AddedAtDestination, Failure> {
        let store = at_destination::open(self.session, destination)?;
        let catalogues =
            at_destination::catalogues(self.session, destination, &*store, own).await?;
        let mut added = AddedAtDestination {
            name: destination.name.clone(),
            added: 0,
            before: 0,
            encrypted_before: 0,
            unopened: Vec::new(),
        };
        let fingerprint = self.recipient.fingerprint();
        for (place, catalogue) in &catalogues {
            for copy in &catalogue.copies {
                let copy_keys = copy.keys();
                let mut sealed_to = copy_keys.iter().flat_map(|key| key.recipients);
                if copy_keys.is_empty() {
                    continue;
                }
                if copy.manifest.manifest.is_of_encrypted_files() {
                    added.encrypted_before += 1;
                }
                if sealed_to.any(|one| one == fingerprint) {
                    added.before += 1;
                    continue;
                }
                match self.fact(place, copy) {
                    Ok(fact) => {
                        self.put(destination, (&*store, place), &fact).await?;
                        added.added += 1;
                    }
                    Err(reason) => added.unopened.push(UnopenedCopy {
                        server: place.server.clone(),
                        database: place.database.clone(),
                        copy: copy.name.to_string(),
                        reason,
                    }),
                }
            }
        }
        Ok(added)
    }

    /// The fact that has the copy's key for the recipient; the reason where it cannot be had.
    fn fact(&self, place: &Place, copy: &Copy) -> Result<CopyFact, String> {
        let secret =
            at_destination::open_key(copy, self.identities).map_err(|error| error.reason)?;
        let sealed = secret.seal_to(std::slice::from_ref(self.recipient));
        Ok(CopyFact {
            format: COPY_FORMAT,
            document: Document::Fact,
            host: place.host.clone(),
            server: place.server.clone(),
            database: place.database.clone(),
            copy: copy.name.clone(),
            fact: FactKind::Key,
            id: Uuid::now_v7(),
            made: Utc::now(),
            supersedes: Vec::new(),
            recipients: vec![self.recipient.fingerprint().to_owned()],
            key: Some(sealed.map_err(|error| error.to_string())?),
        })
    }

    /// Puts a fact, its signature first: a document without one would count for nothing.
    async fn put(
        &self,
        destination: &Destination,
        (store, place): (&dyn Store, &Place),
        fact: &CopyFact,
    ) -> Result<(), Failure> {
        let objects = fact.objects(place, self.signer);
        let objects =
            objects.map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))?;
        let cancel = self.session.env.interrupt.token();
        for (key, bytes) in objects {
            let put = store.put_new(&key, bytes);
            let Some(put) = cancel.run_until_cancelled(put).await else {
                return Err(self.session.failure(&JobError::from(Stop::Interrupted)));
            };
            put.map_err(|error| at_destination::failure(self.session, destination, error))?;
        }
        Ok(())
    }
}

fn print(added: &AddedRecipient, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "recipient {}", added.fingerprint)?;
    for destination in &added.destinations {
        let name = &destination.name;
        if destination.is_empty() {
            writeln!(out, "{name}: no encrypted copy of this host is there")?;
            continue;
        }
        let now = counted(destination.added, "further copy", "further copies");
        writeln!(out, "{name}: its identity opens {now} from now on")?;
        if destination.before > 0 {
            let before = counted(destination.before, "copy", "copies");
            writeln!(out, "{name}: it opened {before} before")?;
        }
        if destination.encrypted_before > 0 {
            let copies = counted(destination.encrypted_before, "copy is", "copies are");
            let text = format!(
                "{name}: KEEP the old identity: {copies} of backups whose files were encrypted before they were \
                 copied. Opening these takes the identity of a recipient of that time, too"
            );
            wrapped(out, "", &text)?;
        }
        for copy in &destination.unopened {
            let label = report::one_line(&format!("{}/{}", copy.server, copy.database));
            writeln!(
                out,
                "{name}: unchanged, since not opened: {label} {}",
                copy.copy
            )?;
            wrapped(out, "  ", &Printable(&copy.reason).to_string())?;
        }
    }
    Ok(())
}
