//! The key that signed last for this host: its public half, and where it is from.
//!
//! `last-signer.json` in the state directory. When it is lost, a command outside of the service does not know a key
//! that exists inside it alone, until that signs again.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::seal;

const FILE: &str = "last-signer.json";

/// The key that signed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSigner {
    /// Its public half, as a line of a `.pub` file without a comment.
    pub public_key: String,
    /// Where it is from: a file, or a credential.
    pub place: String,
}

impl LastSigner {
    /// Reads it; none where there is no such file, or it is not as it was written.
    pub fn read(state: &Path) -> Option<Self> {
        seal::parse(&crate::regular_file::read(&state.join(FILE)).ok()?)
    }

    /// Writes it, wholly or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        seal::replace(&state.join(FILE), self)
    }
}
