//! What every key in a bucket begins with.

use object_store::path::Path;

use super::fault::Fault;
use crate::destination::error::DestinationErrorKind;
use crate::destination::key::Key;

/// What every key of ours in a bucket begins with, without a slash at its end; none for the bucket as a whole.
#[derive(Clone, Debug)]
pub(in crate::destination) struct Prefix(pub(in crate::destination) Option<String>);

impl Prefix {
    /// A key of ours in the bucket.
    pub(in crate::destination) fn in_bucket(&self, key: &Key) -> String {
        match &self.0 {
            Some(prefix) => format!("{prefix}/{key}"),
            None => key.to_string(),
        }
    }

    /// The same as the library has it.
    pub(in crate::destination) fn path(&self, key: &Key) -> Result<Path, Fault> {
        let path = Path::parse(self.in_bucket(key));
        path.map_err(|error| Fault::Judged(DestinationErrorKind::Settings, error.to_string()))
    }

    /// A key in the bucket as a key of ours; none for what is not ours.
    pub(in crate::destination) fn own_key(&self, whole: &str) -> Option<Key> {
        let rest = match &self.0 {
            Some(prefix) => whole.strip_prefix(prefix.as_str())?.strip_prefix('/')?,
            None => whole,
        };
        Key::new(rest).ok()
    }
}
