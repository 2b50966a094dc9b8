//! What goes wrong at a destination.

/// An operation at a destination failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing}: {cause}")]
pub struct DestinationError {
    /// What was being done to what, completing the sentence "cannot …".
    pub doing: String,
    /// Which kind it is of: what to do about it follows from that.
    pub kind: DestinationErrorKind,
    /// Why, in the words of the store or the system, without secrets.
    pub cause: String,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationErrorKind {
    /// Something else lies under the key.
    Exists,
    /// There is no such object, bucket or directory.
    Missing,
    /// The store refuses: credentials, policy, a file system that is mounted read-only.
    Denied,
    /// No room is left, or a quota is used up.
    Full,
    /// The store cannot be reached, or answers with an error of its own: it may pass.
    Unavailable,
    /// What the store has is not what was put, or its answer cannot be understood.
    Damaged,
    /// The settings cannot be used: a credential that is not there, a file that cannot be read.
    Settings,
}
