//! Passphrases: typed at the terminal and not shown; never an argument, never a variable.

use std::fs::File;
use std::io::{self, Read as _, Write as _, stderr};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use tokio_util::sync::CancellationToken;

use super::terminal;

/// The longest line that a terminal gives, in bytes (termios(3), canonical mode).
const LONGEST: usize = 4096;

/// So often it is looked whether the command is to end.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPassphrase {
    /// Nobody can be asked.
    #[error("a passphrase is asked for at a terminal, and there is none")]
    NoTerminal,
    /// Nothing was typed.
    #[error("no passphrase was given")]
    Empty,
    /// What was typed the second time was not the same.
    #[error("the two passphrases differ")]
    Different,
    /// The command is to end.
    #[error("interrupted at the question for the passphrase")]
    Interrupted,
    /// The terminal failed.
    #[error("cannot ask at the terminal: {0}")]
    Terminal(#[from] io::Error),
}

/// Asks for the passphrase of something, once. It blocks, and ends soon after the token is cancelled.
///
/// # Errors
/// When nobody can be asked, or nothing is typed.
pub(super) fn ask(of: &str, cancel: &CancellationToken) -> Result<SecretString, NoPassphrase> {
    let question = Question::begin(cancel)?;
    question.ask(&format!("Passphrase for {of}: "))
}

/// Asks for a new passphrase, twice. It blocks, and ends soon after the token is cancelled.
///
/// # Errors
/// When nobody can be asked, nothing is typed, or not the same both times.
pub(super) fn ask_for_new(
    of: &str,
    cancel: &CancellationToken,
) -> Result<SecretString, NoPassphrase> {
    use secrecy::ExposeSecret as _;

    let question = Question::begin(cancel)?;
    let first = question.ask(&format!("New passphrase for {of}: "))?;
    let second = question.ask("The same once more: ")?;
    if first.expose_secret() == second.expose_secret() {
        Ok(first)
    } else {
        Err(NoPassphrase::Different)
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Question<'a> {
    terminal: File,
    before: Termios,
    cancel: &'a CancellationToken,
}

impl<'a> Question<'a> {
    fn begin(cancel: &'a CancellationToken) -> Result<Self, NoPassphrase> {
        let terminal = terminal::of_session().ok_or(NoPassphrase::NoTerminal)?;
        let before = tcgetattr(&terminal).map_err(io::Error::from)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden
            .local_modes
            .insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        let question = Self {
            terminal,
            before,
            cancel,
        };
        tcsetattr(&question.terminal, OptionalActions::Now, &hidden).map_err(io::Error::from)?;
        Ok(question)
    }

    fn ask(&self, text: &str) -> Result<SecretString, NoPassphrase> {
        let mut terminal = &self.terminal;
        if terminal.write_all(text.as_bytes()).is_err() {
            // One that is open for reading only.
            write!(stderr(), "{text}")?;
        }
        // It does not grow: a copy that is left behind would not be wiped.
        let mut line = Zeroizing::new(vec![0; LONGEST]);
        self.wait()?;
        let length = terminal.read(&mut line)?;
        let line = line[..length]
            .strip_suffix(b"\n")
            .unwrap_or(&line[..length]);
        if line.is_empty() {
            return Err(NoPassphrase::Empty);
        }
        let text = std::str::from_utf8(line)
            .map_err(|_| io::Error::other("the passphrase is not UTF-8"))?;
        Ok(SecretString::from(text))
    }

    /// Waits until there is a line, or the command is to end.
    fn wait(&self) -> Result<(), NoPassphrase> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(NoPassphrase::Interrupted);
            }
            let mut waiting = [PollFd::new(&self.terminal, PollFlags::IN)];
            match poll(&mut waiting, Some(&PAUSE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}
