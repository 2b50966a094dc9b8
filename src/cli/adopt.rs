//! `pgbackupd adopt`: make the copies that an earlier signing key of this host signed its own.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::confirm;
use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::from::configured;
use super::report::{self, one_line};
use super::session::Session;
use crate::destination;
use crate::display::shell_word;
use crate::jobs::{
    Adoption, AdoptionRequest, JobError, OwnHost, adopt, look_at_adoption, revoke_adoption,
};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd adopt --from offsite --signer $SIGNER
      Adopt the copies that the key signed before this host had a new one
  pgbackupd adopt --from offsite --signer $SIGNER --revoke
      Take that back";

/// Adopt the copies that an earlier signing key of this host signed.
///
/// A host that has lost its state directory, or was replaced, has a new signing key, and the copies that were made
/// before count no longer. Those of the old key which are at the destination now count again for list, retention
/// and floor. What the key signs later does not. Compare the fingerprint with the printed key sheet first.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Destination, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    from: String,
    /// Fingerprint of the old key
    #[arg(long, value_name = "SHA256:…")]
    signer: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Take an adoption back: copies that the key signed count no longer
    #[arg(long, conflicts_with = "yes")]
    revoke: bool,
}

/// What `adopt --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct AdoptedCopies {
    /// The destination.
    pub destination: String,
    /// The key's fingerprint.
    pub fingerprint: String,
    /// Whether its copies count now.
    pub adopted: bool,
    /// The copies that it signed; with `--revoke` null, like the rest.
    pub copies: Option<u64>,
    /// Bytes of these.
    pub bytes: Option<u64>,
    /// The newest, by its backup's name.
    pub newest: Option<String>,
    /// What the destination got later does not count, RFC 3339.
    pub until: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let destination = configured(&session, &args.from)?;
    if args.revoke {
        return revoke(args, &session, out);
    }
    let own = OwnHost::look(&session.context).map_err(|error| session.failure(&error))?;
    let host = &own.name;
    if own.fingerprint() == args.signer {
        return Err(Failure::usage(
            "this is the host's own key: its copies count already",
        ));
    }
    let environment = &session.env.source.environment;
    let store = destination::open(&destination.settings, environment)
        .map_err(|error| session.failure(&JobError::from(error)))?;
    let run = session.begin();
    let request = AdoptionRequest {
        store: &*store,
        host,
        fingerprint: &args.signer,
    };
    let adoption = look_at_adoption(&run, request).await;
    let adoption = adoption.map_err(|error| session.failure(&error))?;
    let Some(adoption) = adoption else {
        let (from, host) = (&args.from, one_line(host));
        return Err(Failure::new(
            FailureKind::Unavailable,
            format!(
                "there is no copy at {from} under this host's name {host} that {} has signed\n\
                 hint: `pgbackupd list --from {} --any-signer --json` shows who has signed each",
                one_line(&args.signer),
                shell_word(from)
            ),
        ));
    };
    if !args.yes {
        let unasked = Failure::usage(
            "nothing was adopted: there is nobody to be asked\n\
             hint: add --yes once you have compared the fingerprint",
        );
        let text = question(&args.from, host, &adoption);
        confirm::confirm_host(&text, host, env.interrupt, unasked).await?;
    }
    adopt(&run, &destination.name, &adoption).map_err(|error| session.failure(&error))?;
    print(args, adoption, env.json, out)
}

fn print(
    args: &Args,
    adoption: Adoption,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if is_json {
        let result = AdoptedCopies {
            destination: args.from.clone(),
            fingerprint: adoption.fingerprint,
            adopted: true,
            copies: Some(adoption.copies),
            bytes: Some(adoption.bytes),
            newest: Some(adoption.newest),
            until: Some(adoption.until.to_rfc3339()),
        };
        return report::json(&result, out);
    }
    writeln!(
        out,
        "adopted: {} at {} by {}",
        report::counted(adoption.copies, "copy", "copies"),
        args.from,
        adoption.fingerprint
    )?;
    Ok(())
}

/// What is about to be trusted.
fn question(from: &str, host: &str, adoption: &Adoption) -> String {
    format!(
        "{}\nhas signed under this host's name {} at {from}:\n  \
         {} of {}, {}\n  the newest is {}, of {}\n\
         They will count as this host's own: retention may remove them.\n\
         What this key signs from now on will not count.\n",
        adoption.fingerprint,
        one_line(host),
        report::counted(adoption.copies, "copy", "copies"),
        one_line(&adoption.databases.join(", ")),
        report::size(adoption.bytes),
        adoption.newest,
        adoption.started.format("%Y-%m-%d %H:%M %:z"),
    )
}

fn revoke(args: &Args, session: &Session<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let revoked = revoke_adoption(&session.begin(), &args.from, &args.signer);
    if !revoked.map_err(|error| session.failure(&error))? {
        return Err(Failure::usage(format!(
            "{} was not adopted at {}\nhint: `pgbackupd key show` lists the keys that were",
            one_line(&args.signer),
            args.from
        )));
    }
    if session.env.json {
        let result = AdoptedCopies {
            destination: args.from.clone(),
            fingerprint: args.signer.clone(),
            adopted: false,
            copies: None,
            bytes: None,
            newest: None,
            until: None,
        };
        return report::json(&result, out);
    }
    writeln!(
        out,
        "no longer adopted: copies at {} by {}",
        args.from,
        one_line(&args.signer)
    )?;
    Ok(())
}
