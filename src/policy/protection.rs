//! Whether a destination can be used, and whether whoever breaks into the host could destroy the copies there,
//! by what a probe has found. Pure.
//!
//! Four things put copies out of reach: Object Lock, versions that the key cannot remove, a policy by which the
//! key can only add, and Google's role that can only create. Each has to last as long as the longest rule of
//! retention keeps copies there.

mod facts;
mod judgement;
mod reach;

pub use facts::{
    Asked, Attempt, BucketProbe, Circumstances, DirectoryProbe, Lifecycle, Lock, Probed,
    ProbedPlace, Versioning, longest_days,
};
pub use judgement::{Assessment, Check, CheckedRow, Level, Verdict, ending_credentials, judge};
pub use reach::{Holds, Reach, ReachKind};

#[cfg(test)]
mod tests;
