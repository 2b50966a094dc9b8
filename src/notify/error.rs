//! Why a message could not be sent, and whether to send it again.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::config::NoSecret;
use crate::display::{self, joined_lines};

/// So much of another program's words is passed on, in characters.
const LONGEST: usize = 300;

/// Why a message could not be sent: one sentence, without a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendError {
    /// What failed, and why.
    pub sentence: String,
    /// Whether it is worth sending the message again.
    pub again: Again,
}

/// Whether it is worth sending a message again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The reason may pass.
    Later,
    /// The service said when: not before so long.
    After(Duration),
    /// The same message would be refused again.
    Never,
}

impl SendError {
    /// For a reason that may pass.
    pub(super) fn later(sentence: String) -> Self {
        Self {
            sentence,
            again: Again::Later,
        }
    }

    /// Of a channel that has no place for a report.
    pub(super) fn no_report() -> Self {
        Self::never("this channel cannot carry a report".to_owned())
    }

    /// For a reason that stays until somebody changes something.
    pub(super) fn never(sentence: String) -> Self {
        Self {
            sentence,
            again: Again::Never,
        }
    }
}

impl From<NoSecret> for SendError {
    fn from(error: NoSecret) -> Self {
        Self::later(error.0)
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Error for SendError {}

/// An error with its causes as a part of a sentence.
pub(super) fn with_causes(error: &dyn Error) -> String {
    excerpt(&display::with_causes(error))
}

/// Another program's words as a part of a sentence.
pub(super) fn excerpt(text: &str) -> String {
    let line = joined_lines(text.trim());
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
