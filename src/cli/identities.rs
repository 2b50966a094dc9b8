//! Identities as commands are given them: a file, or standard input. Nothing of them is kept.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use secrecy::zeroize::Zeroizing;

use super::failure::{Failure, FailureKind};
use super::interrupt::Interrupt;
use super::passphrase::{self, NoPassphrase};
use super::report;
use crate::copies::{Identities, IdentityError, Protected};
use crate::display::shell_word;
use crate::secret_file::FileMode;
use crate::threads;

/// Whether standard input has given an identity, and so gives no answer.
static CAME_FROM_STDIN: AtomicBool = AtomicBool::new(false);

/// Files of identities are shorter, in bytes.
const LONGEST: u64 = 1 << 20;

/// Reads the identities of a file, `-` for standard input. A passphrase is asked for at the terminal.
///
/// # Errors
/// When it cannot be read, holds none, or the passphrase is not given.
pub(super) async fn read(file: &Path, interrupt: &Interrupt) -> Result<Identities, Failure> {
    let name = if is_stdin(file) {
        "on standard input".to_owned()
    } else {
        format!("in {}", file.display())
    };
    if file
        .as_os_str()
        .as_encoded_bytes()
        .starts_with(b"AGE-SECRET-KEY-")
    {
        return Err(Failure::usage(
            "--identity names a file, and not the identity itself, which others can read in a command\n\
             hint: give it on standard input: --identity -",
        ));
    }
    let text = text(file, interrupt).await?;
    let mut unasked = None;
    let mut ask = |of: &str| match passphrase::ask(of, interrupt.token()) {
        Ok(passphrase) => Some(passphrase),
        Err(reason) => {
            unasked = Some(reason);
            None
        }
    };
    let identities = Identities::read(&text, &mut ask);
    identities.map_err(|error| match (error, unasked) {
        (IdentityError::NoPassphrase(_), Some(NoPassphrase::Interrupted)) => interrupted(interrupt),
        (IdentityError::NoPassphrase(protected), Some(reason)) => Failure::usage(format!(
            "the identity {name} needs a passphrase: {reason}\nhint: {}",
            without_passphrase(protected)
        )),
        (error, _) => Failure::usage(format!("the identity {name} cannot be used: {error}")),
    })
}

/// The way to an identity for which no passphrase is asked.
fn without_passphrase(protected: Protected) -> &'static str {
    match protected {
        Protected::AgeFile => {
            "`age -d FILE` asks for it, too; give its output on standard input, by -"
        }
        Protected::SshKey => {
            "give a copy of it without one, and remove the copy afterwards: `install -m 0600 FILE \
             /dev/shm/KEY && ssh-keygen -p -N '' -f /dev/shm/KEY` asks for it once"
        }
    }
}

/// Whether an identity came from standard input.
pub(super) fn came_from_stdin() -> bool {
    CAME_FROM_STDIN.load(Ordering::Relaxed)
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// What a file holds, or standard input until its end.
async fn text(file: &Path, interrupt: &Interrupt) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if is_stdin(file) && io::stdin().is_terminal() {
        // A terminal that is gone reads nothing.
        let _ = writeln!(
            io::stderr(),
            "Paste the identity, press Enter, then Ctrl-D:"
        );
    }
    let path = file.to_owned();
    let reading = threads::io("identity", move || {
        let mut text = Zeroizing::new(Vec::with_capacity(1 << 16));
        if is_stdin(&path) {
            CAME_FROM_STDIN.store(true, Ordering::Relaxed);
            io::stdin().take(LONGEST + 1).read_to_end(&mut text)?;
        } else {
            let file = File::open(&path)?;
            warn_if_open_to_others(&path, &file);
            file.take(LONGEST + 1).read_to_end(&mut text)?;
        }
        Ok(text)
    });
    let read = tokio::select! {
        read = reading => read,
        () = interrupt.token().cancelled() => return Err(interrupted(interrupt)),
    };
    read.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "\nhint: give it on standard input: `- <{}` in place of the file",
                shell_word(&file.display().to_string())
            ),
            _ => String::new(),
        };
        let message = format!("cannot read the identity {}: {error}{hint}", file.display());
        Failure::new(FailureKind::Unavailable, message)
    })
}

fn warn_if_open_to_others(path: &Path, file: &File) {
    let mode = file
        .metadata()
        .ok()
        .and_then(|metadata| FileMode::of(&metadata));
    if let Some(mode) = mode {
        tracing::warn!(
            "others can read the identity {}\nhint: {}",
            path.display(),
            mode.closing_advice(path)
        );
    }
}

fn interrupted(interrupt: &Interrupt) -> Failure {
    let signal = interrupt.signal().unwrap_or(2);
    let name = report::signal_name(signal);
    Failure::new(
        FailureKind::Interrupted(signal),
        format!("interrupted by {name}"),
    )
}
