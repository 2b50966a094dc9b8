//! How much room a restore needs on the server's disk, and how much there is.

use crate::pipeline::Passage;
use crate::postgres::{Conninfo, DatabaseProperties, Premises};

/// Bytes that the database is likely to take: what it took, or three halves of its text.
pub(super) fn forecast(
    recorded: Option<&DatabaseProperties>,
    passage: Option<&Passage>,
) -> Option<u64> {
    let text = passage.map(|passage| passage.text_bytes / 2 * 3);
    recorded.map(|properties| properties.size_bytes).or(text)
}

/// Bytes that are free where the database will stand, if that is on this machine.
pub(super) fn free(
    conninfo: &Conninfo,
    premises: &Premises,
    like: Option<&DatabaseProperties>,
) -> Option<u64> {
    let usual = |tablespace: &String| tablespace == "pg_default";
    if !conninfo.is_on_this_machine()
        || !like
            .and_then(|like| like.tablespace.as_ref())
            .is_none_or(usual)
    {
        return None;
    }
    let space = rustix::fs::statvfs(premises.data_directory.as_ref()?.as_str()).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
