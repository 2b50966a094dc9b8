//! Loading the definitions of a backup without its rows: what the server makes of them is the reference for
//! what it made of the whole backup.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::{Dump, DumpText, Loaded, Loader, loaded_from};
use crate::jobs::error::JobError;
use crate::pipeline::{Progress, Schema, StreamError, Text, release_event_triggers, take_parts};
use crate::postgres::archive_definitions_arguments;
use crate::regular_file;

impl Loader<'_> {
    /// Loads every statement of a dump in plain format that makes no rows, in the order in which the dump has
    /// them. It stops at the first error.
    ///
    /// # Errors
    /// When psql cannot be run, the dump cannot be read, or the limit is reached; and for a statement that is
    /// not sent.
    pub(in crate::jobs) async fn load_definitions(&self, dump: Dump) -> Result<Loaded, JobError> {
        let doing = format!("cannot read {}", dump.name);
        let pass = Pass {
            tap: Schema::new(self.server_major),
            accepts_unexpected: dump.accepts_unexpected,
            progress: Arc::clone(&self.run.progress),
            server_major: self.server_major,
        };
        self.load_text(&doing, move |sink| match dump.text {
            DumpText::File { path, compression } => {
                let file = regular_file::open(path).map_err(StreamError::Read)?;
                pass.all(Text::of_file(file, compression)?, sink)
            }
            DumpText::Program(source) => pass.all(Text::Program(source), sink),
        })
        .await
    }

    /// The same of an archive, whose rows are not even read.
    ///
    /// # Errors
    /// As there.
    pub(in crate::jobs) async fn load_definitions_of_archive(
        &self,
        archive: &Path,
        accepts_unexpected: bool,
    ) -> Result<Loaded, JobError> {
        let arguments = archive_definitions_arguments(archive);
        let (extracting, dump) = self.extract(archive, arguments, accepts_unexpected)?;
        loaded_from(extracting, self.load_definitions(dump)).await
    }
}

/// Passes on the definitions of a dump.
struct Pass {
    tap: Schema,
    accepts_unexpected: bool,
    progress: Arc<Progress>,
    server_major: u32,
}

impl Pass {
    fn all<R: Read + Unpin>(self, text: Text<R>, mut sink: impl Write) -> Result<(), StreamError> {
        let accepts = self.accepts_unexpected;
        take_parts(text, self.tap, accepts, &self.progress, |tap| {
            sink.write_all(&tap.take()).map_err(StreamError::Write)
        })?;
        let released = release_event_triggers(self.server_major).unwrap_or_default();
        sink.write_all(released).map_err(StreamError::Write)
    }
}
