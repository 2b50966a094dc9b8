//! Proof that a restored copy is what its backup holds: the copy is dumped again and compared; where the
//! text of a definition differs, with what the same server makes of the backup's own statements.

mod copy;
mod scrutiny;

pub(super) use copy::census_of;
pub(super) use scrutiny::{Scrutiny, about_rewritten, major_of, wants_reference};
