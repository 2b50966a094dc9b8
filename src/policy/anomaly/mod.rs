//! What is odd in a backup, measured against those before it: its size, and the rows of its tables.
//! Pure.
//!
//! What is usual is a median with a spread that outliers cannot move.

mod history;
mod rows;
mod size;
mod time;
mod usual;

pub use history::{RowHistory, Rows, Tables};
pub use rows::{RowCheck, TableGrowth, TableLoss};
pub use size::{OddSize, odd_size};
pub use time::time_limit;
pub use usual::Usual;

/// So many backups tell what is usual.
pub const WINDOW: usize = 14;

/// From where on a change is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensitivity {
    /// A backup this many times as large as usual is odd, in hundredths; more than 100.
    pub factor: u32,
    /// A table that has lost more than this share of its rows is odd, in hundredths.
    pub share: u32,
}
