//! Loading the definitions of a backup without its rows: what the server makes of them is the reference for
//! what it made of the whole backup.

use std::io::{self, PipeWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use super::{Dump, DumpText, Loaded, Loader};
use crate::jobs::blocked::Watch;
use crate::jobs::dump::Remarks;
use crate::jobs::error::JobError;
use crate::jobs::limit::Limit;
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
    pub(in crate::jobs) async fn load_definitions(
        &self,
        dump: Dump,
        limit: &Limit,
        progress: &Arc<Progress>,
    ) -> Result<Loaded, JobError> {
        let doing = format!("cannot read {}", dump.name);
        let major = self.server_major;
        let tap = Schema::new(major);
        let counted = Arc::clone(progress);
        let accepts = dump.accepts_unexpected;
        self.load_text(limit, progress, &doing, move |sink| match dump.text {
            DumpText::File { path, compression } => {
                let file = regular_file::open(path).map_err(StreamError::Read)?;
                let text = Text::of_file(file, compression)?;
                pass((text, tap), accepts, sink, &counted, major)
            }
            DumpText::Program(source) => {
                pass((Text::Program(source), tap), accepts, sink, &counted, major)
            }
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
        limit: &Limit,
        progress: &Arc<Progress>,
    ) -> Result<Loaded, JobError> {
        let (watch, remarks) = (Watch::default(), Remarks::default());
        let arguments = archive_definitions_arguments(archive);
        let pg_restore = self.extractor(archive, arguments, &watch, &remarks);
        let (reader, writer) = io::pipe().map_err(JobError::no_pipe)?;
        let name = archive.display().to_string();
        let doing = format!("cannot read {name}");
        // What passes is counted where it is loaded.
        let passing = Progress::default();
        let extracting = pg_restore.stream(limit, &passing, &doing, move |text| copy(text, writer));
        let dump = Dump {
            name,
            text: DumpText::Program(reader),
            accepts_unexpected,
        };
        let loading = self.load_definitions(dump, limit, progress);
        let (extracted, outcome) = tokio::join!(extracting, loading);
        match outcome? {
            // Of psql's failure the other one is the consequence.
            refused @ Loaded::Refused(_) => Ok(refused),
            Loaded::Wholly => extracted.map(|()| Loaded::Wholly),
        }
    }
}

fn copy(mut text: impl Read, mut writer: PipeWriter) -> Result<(), StreamError> {
    let copied = io::copy(&mut text, &mut writer);
    copied.map(drop).map_err(StreamError::Write)
}

fn pass<R: Read + Unpin>(
    (text, tap): (Text<R>, Schema),
    accepts_unexpected: bool,
    mut sink: impl Write,
    progress: &Progress,
    server_major: u32,
) -> Result<(), StreamError> {
    take_parts(text, tap, accepts_unexpected, progress, |tap| {
        sink.write_all(&tap.take()).map_err(StreamError::Write)
    })?;
    let released = release_event_triggers(server_major).unwrap_or_default();
    sink.write_all(released).map_err(StreamError::Write)
}
