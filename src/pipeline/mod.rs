//! The stream and its way back: census, compression, encryption, digest.

mod allow;
mod archive;
mod batched;
pub mod census;
pub mod compression;
mod digest;
mod digest_files;
mod dump_file;
mod encryption;
mod follow;
mod parts;
mod segments;
pub mod sql;
mod stream;

pub use allow::{Finding, Findings, Reason, judge_globals};
pub use archive::{ArchiveFiles, ArchiveList, ArchiveReceipt, ArchiveText, TarMembers};
pub use batched::Batched;
pub use digest::{Digest, Digesting};
pub use digest_files::{digest_directory, digest_file, digest_listing, listing_digest};
pub use dump_file::{
    Adaptation, DatabaseInside, DatabaseOptions, FIRST, Form, Inside, Unread, form_of,
};
pub use encryption::{Content, InputFile, Opener, Sealer};
pub use follow::WriteProgress;
pub use parts::{
    Definitions, DumpPart, DumpRows, DumpStatement, FoundStatement, Left, Piece, ReadSoFar,
    Refusable, RowsOf, Schema, StatementAt, StatementKind, Text, are_all_known,
    hold_event_triggers, is_known, made_extension, make_as_owner, make_key_or_leave_it_unvalidated,
    release_event_triggers, take_everything, take_parts,
};
pub use segments::{Segment, take_segments};
pub use stream::{
    Amount, Phase, Progress, ReadBack, StreamError, StreamSummary, Written, databases_inside,
    follow_dump, read_census, read_census_stream, read_dump, read_dump_file, read_dump_stream,
    read_text, take_census, write_archive, write_census, write_dump,
};
