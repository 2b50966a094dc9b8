//! Loading the definitions of a backup without its rows: what the server makes of them is the reference for
//! what it made of the whole backup.

use std::io::{Read, Write};
use std::sync::Arc;

use super::{Dump, DumpText, Loaded, Loader, loaded_from};
use crate::jobs::archive_file::ArchiveFile;
use crate::jobs::error::JobError;
use crate::pipeline::{
    FoundStatement, Progress, Schema, StatementAt, StreamError, Text, release_event_triggers,
    take_parts,
};
use crate::postgres::archive_definitions_arguments;
use crate::threads;

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
        let adaptation = dump.adaptation;
        self.load_text(&doing, move |sink| match dump.text {
            DumpText::File { file, compression } => {
                let text = Text::of_file(&file, compression)?;
                pass.all(text.adapted(adaptation.as_ref()), sink)
            }
            DumpText::Program(source) => {
                pass.all(Text::of_program(source).adapted(adaptation.as_ref()), sink)
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
        archive: &ArchiveFile,
        accepts_unexpected: bool,
    ) -> Result<Loaded, JobError> {
        let arguments = archive_definitions_arguments(archive.path());
        let (extracting, dump) = self.extract(archive, arguments, accepts_unexpected)?;
        loaded_from(extracting, self.load_definitions(dump)).await
    }

    /// The statement of a dump in plain format that stands at this line of what
    /// [`load_definitions`](Self::load_definitions) sends.
    ///
    /// # Errors
    /// When the dump cannot be read, or the limit is reached.
    pub(in crate::jobs) async fn definition_at(
        &self,
        dump: Dump,
        line: u64,
    ) -> Result<Option<FoundStatement>, JobError> {
        let doing = format!("cannot read {}", dump.name);
        let tap = StatementAt::new(self.server_major, line);
        let (progress, accepts) = (Arc::clone(&self.run.progress), dump.accepts_unexpected);
        let adaptation = dump.adaptation;
        let reading = threads::start("look", move || {
            let pass = |_: &mut StatementAt| Ok(());
            match dump.text {
                DumpText::File { file, compression } => {
                    let text = Text::of_file(&file, compression)?.adapted(adaptation.as_ref());
                    take_parts(text, tap, accepts, &progress, pass)
                }
                DumpText::Program(source) => {
                    let text = Text::of_program(source).adapted(adaptation.as_ref());
                    take_parts(text, tap, accepts, &progress, pass)
                }
            }
        })?;
        let mut reading = std::pin::pin!(reading);
        tokio::select! {
            found = &mut reading => {
                Ok(found?.map_err(JobError::stream(doing))?.found())
            }
            stop = self.run.limit.stopped() => {
                self.run.progress.cancel();
                Err(stop.into())
            }
        }
    }

    /// The same of an archive.
    ///
    /// # Errors
    /// As there.
    pub(in crate::jobs) async fn definition_of_archive_at(
        &self,
        archive: &ArchiveFile,
        line: u64,
    ) -> Result<Option<FoundStatement>, JobError> {
        let arguments = archive_definitions_arguments(archive.path());
        let (extracting, dump) = self.extract(archive, arguments, true)?;
        let (extracted, found) = tokio::join!(extracting, self.definition_at(dump, line));
        extracted?;
        found
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
