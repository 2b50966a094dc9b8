//! A statement as it is written, and what is known of it.

use crate::pipeline::sql::Values;

/// What a statement of `pg_dump`'s is, as far as those that follow depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing depends on it.
    Ordinary,
    /// Makes an object.
    Made,
    /// Rows follow.
    Rows,
    /// Makes a subscription.
    Subscription,
    /// Drops one, which ends what the server has at another one.
    DropSubscription,
    /// Says from here on whether a backslash escapes in plain strings.
    BackslashEscapes(bool),
    /// Is about a large object.
    LargeObject,
    /// Begins the transaction around large objects.
    Begin,
    /// Ends it.
    Commit,
}

/// A statement as it stands in the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    /// Its text, or so much of it as is held.
    pub(super) text: &'a [u8],
    /// Whether that is all of it.
    pub(super) is_complete: bool,
    /// Whether a backslash escapes in plain strings.
    pub(super) backslash_escapes: bool,
    /// How many parentheses are opened in all of it.
    pub(super) openings: u32,
    /// What it inserts, if it is an INSERT.
    pub(super) values: Option<Values>,
}
