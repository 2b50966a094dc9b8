//! How a command fails: one sentence for the operator and a kind that `main` turns into an exit code.

use std::fmt;

/// The kind of a failure, each with its own exit code (sysexits.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Something needs attention, as the output says; nothing more is printed: 1.
    Attention,
    /// Something critical does: 2.
    Critical,
    /// A monitoring plugin could not determine the status, and has printed why: 3.
    Unknown,
    /// The command line makes no sense: 64.
    Usage,
    /// A backup is damaged, or is not what it claims to be: 65.
    Damaged,
    /// A server, a program or a backup that is needed is not there: 69.
    Unavailable,
    /// A fault of the program's own: 70.
    Internal,
    /// A file cannot be written: 73.
    CannotCreate,
    /// Somebody else is at work on the same database: 75.
    Busy,
    /// The configuration is wrong: 78.
    Configuration,
    /// A signal of this number ended the command: 128 and the number.
    Interrupted(i32),
    /// Whoever read the output went away: nothing is said, and the exit code is 0.
    OutputClosed,
}

/// A command's failure.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What `main` makes the exit code from.
    pub kind: FailureKind,
    /// For the operator: what was being done, to which thing, why it failed, what to do next.
    /// May have several lines (a configuration error shows the place in the file).
    pub message: String,
}

impl Failure {
    /// A failure of this kind with this sentence.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Of a command line that cannot be carried out as it is.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    /// Of an error in writing the command's own output.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::new(FailureKind::OutputClosed, "")
        } else {
            Self::new(
                FailureKind::CannotCreate,
                format!("cannot write the output: {error}"),
            )
        }
    }
}

/// What is between two failures: each has the program's name, as the first one gets it.
pub(super) const NEXT: &str = "\npgbackupd: ";

/// Several failures as one: the first one's kind unless a signal ended the command, all sentences.
pub(super) fn together(failures: &[Failure]) -> Result<(), Failure> {
    let by_signal = |failure: &&Failure| matches!(failure.kind, FailureKind::Interrupted(_));
    let Some(first) = failures.iter().find(by_signal).or(failures.first()) else {
        return Ok(());
    };
    let messages: Vec<&str> = failures
        .iter()
        .map(|failure| failure.message.as_str())
        .collect();
    Err(Failure::new(first.kind, messages.join(NEXT)))
}

/// Puts damage first, whichever copy was looked at first: the exit code is about it then.
pub(super) fn damage_first(failures: &mut [Failure]) {
    failures.sort_by_key(|failure| failure.kind != FailureKind::Damaged);
}
