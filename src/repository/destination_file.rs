//! Small files about a destination at one address: `copying/<destination>/<name>.json` in the state directory, sealed,
//! and replaced as a whole.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::copy_journal::{directory_of, home};
use super::seal;

/// What such a file has.
pub trait DestinationFile: Default + Serialize + DeserializeOwned {
    /// What the file is called.
    const FILE: &'static str;

    /// The address that it is about. Of another one, nothing is known.
    fn address(&mut self) -> &mut String;

    /// Reads what is known; nothing where there is no such file, it is not as it was written, or it is about
    /// another address.
    fn read(state: &Path, destination: &str, address: &str) -> Self {
        let text = crate::regular_file::read(&home(state, destination).join(Self::FILE));
        let known: Option<Self> = text.ok().and_then(|text| seal::parse(&text));
        let known = known.and_then(|mut known| (known.address() == address).then_some(known));
        known.unwrap_or_else(|| {
            let mut nothing = Self::default();
            address.clone_into(nothing.address());
            nothing
        })
    }

    /// Writes it, wholly or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    fn write(&self, state: &Path, destination: &str) -> io::Result<()> {
        seal::replace(&directory_of(state, destination)?.join(Self::FILE), self)
    }
}
