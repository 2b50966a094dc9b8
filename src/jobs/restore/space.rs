//! How much room a restore needs on the server's disk, and how much there is.

use crate::pipeline::Passage;
use crate::postgres::{Conninfo, DatabaseProperties, Premises, USUAL_TABLESPACE};

/// What a row takes at least: its header and the pointer to it (the manual's "Database Page Layout").
const LEAST_OF_A_ROW: u64 = 24 + 4;

/// Bytes that the database is likely to take: what it took, or three halves of its text.
pub(super) fn forecast(
    recorded: Option<&DatabaseProperties>,
    passage: Option<&Passage>,
) -> Option<u64> {
    let text = passage.map(|passage| of_text(passage.text_bytes));
    recorded.map(|properties| properties.size_bytes).or(text)
}

fn of_text(bytes: u64) -> u64 {
    bytes / 2 * 3
}

/// Bytes that some tables of a backup take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Not less than this.
    pub(super) at_least: u64,
    /// Likely this: their share of the text, by rows.
    pub(super) about: u64,
}

impl Room {
    /// For so many of all the rows that make this text.
    pub(super) fn of_rows(rows: u64, all: u64, text_bytes: u64) -> Self {
        let at_least = rows.saturating_mul(LEAST_OF_A_ROW);
        let share = u128::from(of_text(text_bytes)) * u128::from(rows) / u128::from(all.max(1));
        Self {
            at_least,
            about: at_least.max(u64::try_from(share).unwrap_or(u64::MAX)),
        }
    }
}

/// Bytes that are free where a database stands, if that is the usual place and on this machine.
pub(super) fn free(
    conninfo: &Conninfo,
    premises: &Premises,
    tablespace: Option<&str>,
) -> Option<u64> {
    if !conninfo.is_on_this_machine() || tablespace.unwrap_or(USUAL_TABLESPACE) != USUAL_TABLESPACE
    {
        return None;
    }
    let space = rustix::fs::statvfs(premises.data_directory.as_ref()?.as_str()).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_tables_take_their_share_by_rows_and_no_row_is_smaller_than_its_header() {
        for (rows, all, text, at_least, about) in [
            (10, 100, 20_000, 280, 3_000),
            (100, 100, 1_000, 2_800, 2_800),
            (0, 0, 1_000, 0, 0),
            (u64::MAX, u64::MAX, 0, u64::MAX, u64::MAX),
        ] {
            let room = Room::of_rows(rows, all, text);
            assert_eq!(room, Room { at_least, about }, "{rows} of {all}");
        }
    }
}
