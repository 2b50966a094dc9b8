//! The text at a destination by which whoever finds the copies can restore them.

use crate::copies::{RESTORE_TEXT, layout};
use crate::destination::{DestinationError, DestinationErrorKind, ObjectFacts, Store};

/// Where it lies, as it is shown.
pub(super) const RESTORE_TEXT_NAME: &str = "v1/RESTORE.txt";

/// Puts the text, unless it is there; gives why it may not: no copy depends on it.
///
/// # Errors
/// When the destination cannot be reached, or something other than a denial fails.
pub(super) async fn put_restore_text(
    store: &dyn Store,
) -> Result<Option<DestinationError>, DestinationError> {
    match put(store).await {
        Err(error) if error.kind == DestinationErrorKind::Denied => Ok(Some(error)),
        put => put.map(|()| None),
    }
}

async fn put(store: &dyn Store) -> Result<(), DestinationError> {
    let text = layout::restore_text();
    // Where puts are not atomic, a killed one leaves a part, which another one completes.
    let is_whole = |found: ObjectFacts| found.bytes >= RESTORE_TEXT.len() as u64;
    if store.head(&text).await?.is_some_and(is_whole) {
        return Ok(());
    }
    match store.put_new(&text, RESTORE_TEXT.into()).await {
        // Another host was faster, or has an older text.
        Err(error) if error.kind == DestinationErrorKind::Exists => Ok(()),
        put => put.map(drop),
    }
}
