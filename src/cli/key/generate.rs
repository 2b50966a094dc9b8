//! `pgbackupd key generate`: a new identity, for whoever asks and nobody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use chrono::Local;
use schemars::JsonSchema;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Serialize;

use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::interrupt::Interrupt;
use crate::cli::passphrase::{self, NoPassphrase};
use crate::cli::report;
use crate::cli::wrap::wrapped;
use crate::display::shell_word;
use crate::new_identity::NewIdentity;
use crate::repository::advice;
use crate::secret_file::FileMode;

/// Make an identity, the secret key that opens copies, and print it once.
///
/// Nothing of it is kept here. stdout gets the identity file and nothing else; how to keep it goes to
/// stderr. It needs no configuration, so another machine than the database's can make it.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Encrypt the identity to a passphrase, which is asked for twice
    #[arg(long)]
    passphrase: bool,
    /// Write the identity to a new file, for its owner alone, instead of printing it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What `key generate --json` prints.
#[derive(Clone, Serialize, JsonSchema)]
pub(in crate::cli) struct Generated {
    /// The public half.
    recipient: String,
    /// The public half's fingerprint.
    fingerprint: String,
    /// The lines for the configuration.
    configuration: String,
    /// Whether a passphrase is needed to use the identity.
    passphrase: bool,
    /// The identity file's text; null if it was written to a file.
    identity: Option<String>,
    /// The file that it was written to, or null.
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let file = args.output.as_deref();
    // Before anybody types a passphrase for nothing.
    match file {
        Some(file) if file.symlink_metadata().is_ok() => {
            return Err(not_written(file, &io::ErrorKind::AlreadyExists.into()));
        }
        None if !args.passphrase => refuse_to_be_logged()?,
        _ => {}
    }
    let identity = NewIdentity::make(Local::now().fixed_offset());
    let text = if args.passphrase {
        sealed(&identity, ask(env.interrupt)?)?
    } else {
        identity.file()
    };
    if let Some(file) = file {
        write_new(file, &text).map_err(|error| not_written(file, &error))?;
    }
    let configuration = format!("[encryption]\nrecipients = [\"{}\"]", identity.recipient());
    if env.json {
        let generated = Generated {
            recipient: identity.recipient().to_string(),
            fingerprint: identity.recipient().fingerprint().to_owned(),
            configuration,
            passphrase: args.passphrase,
            identity: file.is_none().then(|| text.as_str().to_owned()),
            file: file.map(Path::to_owned),
        };
        return report::json(&generated, out);
    }
    if file.is_none() {
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    let guide = Guide {
        file,
        has_passphrase: args.passphrase,
        configuration: &configuration,
    };
    // A terminal that is gone is no reason to call the identity lost: it was printed before.
    let _ = guide.print(&mut anstream::stderr());
    Ok(())
}

/// Refuses where the secret would stay readable by others: in the journal, or in a file that is open to them.
fn refuse_to_be_logged() -> Result<(), Failure> {
    let Ok(stdout) = io::stdout().as_fd().try_clone_to_owned() else {
        return Ok(());
    };
    let Ok(metadata) = File::from(stdout).metadata() else {
        return Ok(());
    };
    let journal = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let place = if journal == format!("{}:{}", metadata.dev(), metadata.ino()) {
        "stdout goes to the journal, which keeps it"
    } else if FileMode::of(&metadata).is_some() {
        "stdout goes to a file that others can read"
    } else {
        return Ok(());
    };
    let message = format!(
        "{place}: no identity was made\nhint: --output FILE writes it to a new file that only its owner can read"
    );
    Err(Failure::usage(message))
}

fn ask(interrupt: &Interrupt) -> Result<SecretString, Failure> {
    let asked = passphrase::ask_for_new("the identity", interrupt.token());
    asked.map_err(|error| {
        let undone = format!("{error}: no identity was made");
        match error {
            NoPassphrase::Interrupted => {
                let signal = interrupt.signal().unwrap_or(2);
                Failure::new(FailureKind::Interrupted(signal), undone)
            }
            NoPassphrase::NoTerminal => Failure::usage(format!(
                "{undone}\nhint: run the command at a terminal; `age-keygen | age -p -a >FILE` makes the same file"
            )),
            NoPassphrase::Empty => Failure::usage(format!(
                "{undone}\nhint: leave out --passphrase for an identity without one"
            )),
            NoPassphrase::Different => Failure::usage(undone),
            NoPassphrase::Terminal(_) => Failure::new(FailureKind::Unavailable, undone),
        }
    })
}

fn sealed(identity: &NewIdentity, passphrase: SecretString) -> Result<Zeroizing<String>, Failure> {
    identity.file_sealed_by(passphrase).map_err(|error| {
        let message = format!("cannot encrypt the identity: {error}");
        Failure::new(FailureKind::Internal, message)
    })
}

/// Writes a file that was not there, for its owner alone; it is on the disk when this returns, or not there.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut write = || {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().inspect_err(|_| {
        // What is left of it is no identity.
        let _ = fs::remove_file(path);
    })
}

fn not_written(file: &Path, error: &io::Error) -> Failure {
    let (path, advice) = (file.display(), advice(error));
    let message = match error.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "cannot write the identity to {path}: it exists, and nothing is overwritten\nhint: name a new file"
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => format!(
            "cannot write the identity to {path}: {error}\nhint: name a file in a directory of your own"
        ),
        _ => format!("cannot write the identity to {path}: {error}{advice}"),
    };
    Failure::new(FailureKind::CannotCreate, message)
}

/// What an operator has to do now.
struct Guide<'a> {
    file: Option<&'a Path>,
    has_passphrase: bool,
    configuration: &'a str,
}

impl Guide<'_> {
    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        match self.file {
            Some(file) => {
                let text = format!(
                    "{} is the identity: the secret key that opens copies.",
                    file.display()
                );
                wrapped(out, "", &text)?;
            }
            None => wrapped(
                out,
                "",
                "That was the identity: the secret key that opens copies. It is printed once, and not kept here.",
            )?,
        }
        writeln!(out, "When this key is lost, so is every copy.\n")?;
        let what = match self.file {
            Some(_) => "Copy the file to two places",
            None => "Save it as a file in two places",
        };
        let place =
            "none of them a host with backups: a password manager, a USB stick in a safe, paper.";
        wrapped(out, "1. ", &format!("{what}, {place}"))?;
        let who = if self.has_passphrase {
            "Keep the passphrase apart from it. Without the passphrase the file opens nothing."
        } else {
            "Whoever has it can read every copy. --passphrase makes one that needs a passphrase, too."
        };
        wrapped(out, "2. ", who)?;
        wrapped(
            out,
            "3. ",
            "Add the public half to the recipients in the configuration of each host. It is no secret:",
        )?;
        writeln!(out, "\n{}\n", self.configuration)?;
        let last = match self.file {
            Some(file) => format!(
                "Remove the file here: `shred -u {}`.",
                shell_word(&file.display().to_string())
            ),
            None => "Clear the terminal and its history of lines: `reset`.".to_owned(),
        };
        wrapped(out, "4. ", &last)
    }
}
