//! The stream and its way back: census, compression, digest.

mod allow;
mod archive;
mod batched;
pub mod census;
pub mod compression;
mod digest;
mod follow;
mod parts;
mod segments;
pub mod sql;
mod stream;

pub use allow::{Finding, Findings, Reason, judge_globals};
pub use archive::{ArchiveFiles, ArchiveList, ArchiveReceipt, ArchiveText};
pub use batched::Batched;
pub use digest::{Digest, Digesting};
pub use follow::WriteProgress;
pub use parts::{
    Definitions, Left, Piece, RowsOf, Schema, Text, are_all_known, hold_event_triggers, is_known,
    release_event_triggers, take_parts,
};
pub use segments::{Segment, take_segments};
pub use stream::{
    Amount, Phase, Progress, ReadBack, StreamError, StreamSummary, Written, digest_directory,
    digest_file, follow_dump, read_census, read_dump, read_text, take_census, write_census,
    write_dump,
};
