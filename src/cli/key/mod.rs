//! `pgbackupd key`: the keys that copies are encrypted to and signed with.

mod add_recipient;
mod at_destination;
mod check;
mod generate;
mod host;
mod kit;
mod show;

use std::io::Write;

use super::env::CommandEnv;
use super::failure::Failure;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd key generate --passphrase
      Make an identity, the secret key that opens copies, and print it once
  pgbackupd key show
      Show this host's name and signer, and whom copies are encrypted to
  pgbackupd key kit
      Print a page for the safe, by which a bare machine restores
  pgbackupd key check /media/usb/identity.txt
      Check which copies an identity opens
  pgbackupd key add-recipient RECIPIENT --identity /media/usb/identity.txt
      Let a further identity open the copies that are there already";

/// Make and show the keys of copies, and try them.
///
/// Copies are encrypted to recipients, public keys that the configuration names. The identity, the secret
/// half, opens them; it is kept away from this host. The signer is this host's own key: it signs what the
/// host writes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether root leaves it to the service's user: the signer is that user's. An identity is not.
    pub(super) fn is_the_service_users(&self) -> bool {
        match self.command {
            // What it writes to a directory has to be that user's.
            Command::Show(_) | Command::Kit(_) | Command::AddRecipient(_) => true,
            // An identity is not shown to more users than asked for it.
            Command::Generate(_) | Command::Check(_) => false,
        }
    }
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Generate(generate::Args),
    Show(show::Args),
    Kit(kit::Args),
    Check(check::Args),
    AddRecipient(add_recipient::Args),
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match &args.command {
        Command::Generate(args) => generate::run(args, env, out),
        Command::Show(args) => show::run(args, env, out),
        Command::Kit(args) => kit::run(args, env, out),
        Command::Check(args) => check::run(args, env, out).await,
        Command::AddRecipient(args) => add_recipient::run(args, env, out).await,
    }
}
