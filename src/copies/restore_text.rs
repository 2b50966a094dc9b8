//! The text that lies at every destination: how copies are restored with stock tools.

/// The text of `v1/RESTORE.txt`. Whoever holds the store's key can put another there: the package has the one
/// to trust. Its lines that begin with four blanks are commands.
pub const RESTORE_TEXT: &str = include_str!("restore.txt");

#[cfg(test)]
mod tests;
