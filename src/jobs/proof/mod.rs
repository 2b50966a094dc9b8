//! Proof that a backup restores, by whoever restores one: its dump is loaded, the copy is dumped again and
//! compared, and the database gets its properties. Where the text of a definition differs, it is compared
//! with what the same server makes of the backup's own statements.

mod comparison;
mod copy;
mod globals;
mod level;
mod load;
mod properties;
mod statistics;

pub(super) use comparison::Comparison;
pub(super) use copy::census_of;
pub(super) use globals::read_globals;
pub(super) use level::{ComparisonLevel, Verdict, about_rewritten, about_unvalidated, major_of};
pub(super) use load::Material;
pub(super) use properties::{Refused, RestoredCopy, give_properties, without};
pub(super) use statistics::{side_by_side, without_statistics};
