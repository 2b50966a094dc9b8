//! `pgbackupd key show`: who this host is at its destinations, and whom its copies are encrypted to.

use std::io::Write;
use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::Serialize;

use super::host::HostKeys;
use crate::cli::env::CommandEnv;
use crate::cli::failure::Failure;
use crate::cli::report::{self, one_line};
use crate::cli::session::Session;
use crate::cli::wrap::wrapped;
use crate::jobs::SignerPlace;
use crate::repository::AdoptedSigners;

/// Show this host's name and signer, and whom copies are encrypted to.
///
/// Nothing of it is secret. The signer is made at its first use, in the state directory, unless the configuration
/// names one.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {}

/// What `key show --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ShownKeys {
    /// This host's name at the destinations.
    host: String,
    /// The signing key; null if it cannot be read or made.
    signer: Option<ShownSigner>,
    /// The file of the signing key; null if it is a credential.
    signer_file: Option<PathBuf>,
    /// The credential that has the signing key; null if it is a file.
    signer_credential: Option<String>,
    /// The recipients, in the order of the configuration.
    recipients: Vec<ShownRecipient>,
    /// Former signing keys whose copies were adopted as this host's own.
    adopted: Vec<ShownAdoption>,
}

/// A former signing key whose copies at a destination were adopted.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ShownAdoption {
    /// The destination's name in the configuration.
    destination: String,
    /// The key's fingerprint, `SHA256:…`.
    fingerprint: String,
    /// The line of `allowed_signers` that trusts it, up to what was there then.
    allowed_signers: String,
    /// When it was adopted, RFC 3339.
    adopted: String,
    /// The user who adopted it.
    by: String,
    #[serde(skip)]
    at: DateTime<FixedOffset>,
}

/// The signing key's public half.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ShownSigner {
    /// Its fingerprint, `SHA256:…`.
    fingerprint: String,
    /// Its public key, as a `.pub` file has it.
    public_key: String,
    /// The line of an `allowed_signers` file that trusts it for this host.
    allowed_signers: String,
}

/// A recipient.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct ShownRecipient {
    /// Its fingerprint, `SHA256:…`.
    pub(super) fingerprint: String,
    /// The public key.
    pub(super) recipient: String,
}

pub(super) fn run(_: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let keys = HostKeys::read(&session)?;
    let adopted = adopted(&session);
    if env.json {
        let (signer_file, signer_credential) = match keys.signer_place.clone() {
            SignerPlace::State(path) | SignerPlace::File(path) => (Some(path), None),
            SignerPlace::Credential(name) => (None, Some(name)),
        };
        let shown = ShownKeys {
            signer: keys.signer.as_ref().ok().map(|signer| ShownSigner {
                fingerprint: signer.fingerprint(),
                public_key: signer.line(),
                allowed_signers: signer.allowed_signers_line(&keys.host),
            }),
            recipients: recipients(&keys),
            adopted,
            host: keys.host,
            signer_file,
            signer_credential,
        };
        report::json(&shown, out)?;
    } else {
        print(&keys, &adopted, out)?;
    }
    keys.signer.map(drop)
}

/// The recipients as JSON has them.
pub(super) fn recipients(keys: &HostKeys<'_>) -> Vec<ShownRecipient> {
    let recipients = keys.recipients.iter();
    recipients
        .map(|recipient| ShownRecipient {
            fingerprint: recipient.fingerprint().to_owned(),
            recipient: recipient.to_string(),
        })
        .collect()
}

/// What was adopted at each destination of the configuration.
fn adopted(session: &Session<'_>) -> Vec<ShownAdoption> {
    let state = &session.context.state_directory;
    let mut all = Vec::new();
    for destination in &session.plan().destinations {
        let name = &destination.name;
        match AdoptedSigners::read(state, name) {
            Ok(adopted) => all.extend(adopted.signers.into_iter().map(|one| ShownAdoption {
                destination: name.clone(),
                fingerprint: one.fingerprint,
                allowed_signers: one.line,
                adopted: one.adopted.to_rfc3339(),
                by: one.by,
                at: one.adopted,
            })),
            Err(error) => tracing::warn!("copies by adopted keys do not count: {error}"),
        }
    }
    all
}

fn print(
    keys: &HostKeys<'_>,
    adopted: &[ShownAdoption],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(out, "host:    {}", one_line(&keys.host))?;
    if let Ok(signer) = &keys.signer {
        writeln!(out, "signer:  {}", signer.fingerprint())?;
        writeln!(out, "         {}", keys.signer_place)?;
    }
    match keys.recipients {
        [] => wrapped(
            out,
            "recipients: ",
            "none: `pgbackupd key generate` makes a key, and prints what to configure",
        )?,
        [_] => writeln!(out, "recipient, whose identity opens every copy:")?,
        many => writeln!(
            out,
            "recipients, {}, the identity of any one opens every copy:",
            many.len()
        )?,
    }
    for recipient in keys.recipients {
        writeln!(out, "  {}", recipient.fingerprint())?;
        writeln!(out, "    {}", one_line(&recipient.to_string()))?;
    }
    for one in adopted {
        let name = &one.destination;
        writeln!(out, "adopted at {name}, with what it had signed by then:")?;
        writeln!(out, "  {}", one.fingerprint)?;
        let by = one_line(&one.by);
        let at = one.at.format("%Y-%m-%d %H:%M:%S %:z");
        writeln!(out, "    by {by} at {at}")?;
    }
    if let Ok(signer) = &keys.signer {
        writeln!(out, "\nThis line trusts the signer on another machine:\n")?;
        writeln!(out, "{}", signer.allowed_signers_line(&keys.host))?;
    }
    Ok(())
}
