//! What `object_store` does for every bucket: it lists, and renews credentials.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};

use super::fault::Fault;
use super::prefix::Prefix;
use crate::destination::Listed;
use crate::destination::key::Key;
use crate::display::count;

/// How often, and after which pauses, the library asks again what changes nothing: where one request takes no longer
/// than `timeout`, all attempts at it take no longer than twice and a half that.
pub(super) fn retries(timeout: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: 7,
        // After one silence there is a second attempt, and no third.
        retry_timeout: timeout * 3 / 2,
    }
}

/// A listing with more objects is broken off: a store that makes them up would use up the memory.
const MOST: usize = 5_000_000;

/// A listing in which nothing comes for so long is broken off: its pages are empty, and lead on and on.
const NOTHING: Duration = Duration::from_secs(600);

/// What goes into a header: the library panics where it cannot.
pub(in crate::destination) fn in_a_header<'t>(
    text: &'t str,
    what: &str,
) -> Result<&'t str, String> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text)
    } else {
        Err(format!("{what} is not one word of ASCII characters"))
    }
}

/// Refuses a token that cannot be read: the library would ask for it again and again.
pub(in crate::destination) fn check_token_file(path: &str) -> Result<(), String> {
    let read = crate::regular_file::open(Path::new(path));
    read.map(drop)
        .map_err(|error| format!("cannot read {path}: {error}"))
}

/// The objects below a key.
pub(in crate::destination) async fn list(
    library: &dyn ObjectStore,
    prefix: &Prefix,
    under: &Key,
) -> Result<Vec<Listed>, Fault> {
    let mut found = library.list(Some(&prefix.path(under)?));
    let mut listed = Vec::new();
    loop {
        let next = tokio::time::timeout(NOTHING, found.next()).await;
        let Ok(next) = next else {
            return Err(Fault::damaged(
                "the store's listing goes on for ten minutes without an object",
            ));
        };
        let Some(one) = next else { break };
        let one = one.map_err(|error| Fault::of(&error))?;
        if listed.len() == MOST {
            return Err(Fault::damaged(format!(
                "the store lists more than {} objects",
                count(MOST as u64)
            )));
        }
        listed.extend(prefix.own_key(one.location.as_ref()).map(|key| Listed {
            key,
            bytes: one.size,
            modified: one.last_modified,
        }));
    }
    Ok(listed)
}

/// What is one level below a key and has further levels.
pub(in crate::destination) async fn folders(
    library: &dyn ObjectStore,
    prefix: &Prefix,
    under: &Key,
) -> Result<Vec<Key>, Fault> {
    let found = library
        .list_with_delimiter(Some(&prefix.path(under)?))
        .await;
    let found = found.map_err(|error| Fault::of(&error))?;
    let folders = found.common_prefixes.iter();
    Ok(folders
        .filter_map(|path| prefix.own_key(path.as_ref()))
        .collect())
}
