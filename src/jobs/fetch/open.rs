//! A copy that is opened where it lies, and read as the dump that it is: the census is taken while it passes.
//! Nothing of it is kept, and none of it reaches a disk.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::CopySource;
use super::agreement::file_of;
use super::examine::{Examination, Pieces};
use super::unpack::each_file;
use crate::config::{Compression, Format};
use crate::copies::{CopiedFile, Copy, FileRole, Identities};
use crate::jobs::archive::{programs_to_read, without_a_server};
use crate::jobs::dump::{Dumper, Overheard};
use crate::jobs::error::{JobError, census_damage};
use crate::jobs::readable::open_with;
use crate::jobs::run::Run;
use crate::pipeline::census::Census;
use crate::pipeline::compression::Decoder;
use crate::pipeline::{
    Amount, ArchiveText, Content, Digest, Digesting, Opener, Phase, Progress, StreamError,
    listing_digest, read_census_stream, read_dump_stream,
};
use crate::postgres::{ChildInput, Confinement, archive_on_stdin_arguments, input_pipe};
use crate::repository::Manifest;
use crate::threads;

/// A copy that was opened, and is what was dumped.
#[derive(Clone, Debug)]
pub struct OpenedCopy {
    /// The backup's own manifest.
    pub manifest: Box<Manifest>,
    /// The fingerprints of the recipients whose identities open it, sorted; none of a copy that is not encrypted.
    pub recipients: Vec<String>,
    /// What of the dump was compared with the census.
    pub compared: Compared,
    /// Bytes that were read.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// What of a dump was compared with its census.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compared {
    /// Everything: each row's content and each object's text.
    Census,
    /// The number of rows of each table: `pg_restore` reads an archive in directory format from a disk only.
    Rows,
}

/// Opens a copy where it lies, and compares its dump with its census.
///
/// # Errors
/// When the copy is damaged or cannot be read, no identity opens it, or the run is to end.
pub(in crate::jobs) async fn open_copy(
    run: &Run<'_>,
    source: &CopySource,
    copy: &Copy,
    identities: Option<&Identities>,
) -> Result<OpenedCopy, JobError> {
    let began = Instant::now();
    let signed = &copy.manifest.manifest;
    let opening = super::opening(copy, &copy.manifest, identities)?;
    let recipients = identities.map(|identities| super::opened_by(copy, identities));
    run.progress.enter(Phase::Fetching);
    run.progress.expect(Amount::Bytes(signed.bytes()));
    let examination = Examination::new((run, source), opening, signed);
    let (own, ..) = examination.own_manifest().await?;
    let mut own = Box::new(own);
    let opener = identities.map(Identities::opener);
    let opener = open_with(&mut own, opener.as_ref())?;
    let own_files = OwnFiles {
        examination: &examination,
        own: &own,
        opener,
    };
    if let (Some(file), Some(globals)) = (file_of(signed, FileRole::Globals), &own.globals) {
        examination.compare(file, &globals.digest).await?;
    }
    let expected = own_files.census().await?;
    let dump = examination.the_file(FileRole::Artifact)?;
    let compared = match own.artifact.format {
        Format::Directory => {
            own_files.compare_rows(dump, &expected).await?;
            Compared::Rows
        }
        Format::Plain | Format::Custom => {
            let found = own_files.census_of_dump(dump).await?;
            if let Some(difference) = found.differences(&expected).into_iter().next() {
                return Err(examination.disagree(&difference.to_string()));
            }
            Compared::Census
        }
    };
    Ok(OpenedCopy {
        manifest: own,
        recipients: recipients.unwrap_or_default(),
        compared,
        bytes: signed.bytes(),
        took: began.elapsed(),
    })
}

impl Examination<'_> {
    fn the_file(&self, role: FileRole) -> Result<&CopiedFile, JobError> {
        let file = file_of(self.copy, role);
        file.ok_or_else(|| JobError::Internal(format!("a copy without its {role:?}")))
    }

    fn disagree(&self, difference: &str) -> JobError {
        JobError::Damaged(format!(
            "the dump and the census in the copy of {} at {} do not agree: {difference}",
            self.copy.copy.stem(),
            self.download.source.label
        ))
    }
}

/// The files of the backup in a copy, which can be encrypted themselves.
struct OwnFiles<'a> {
    examination: &'a Examination<'a>,
    /// The backup's own manifest.
    own: &'a Manifest,
    /// What opens them, where they are.
    opener: Option<Opener>,
}

impl OwnFiles<'_> {
    /// The census that was taken when the backup was made.
    async fn census(&self) -> Result<Census, JobError> {
        let (examination, opener) = (self.examination, self.opener.clone());
        let file = examination.the_file(FileRole::Census)?;
        let read = move |pieces: Pieces| read_census_stream(pieces, opener.as_ref());
        let (census, digest) = examination.through(file, read).await?;
        examination.agree(file, &digest, &self.own.census.digest)?;
        match census {
            Ok((census, _)) => Ok(census),
            Err(error) => Err(JobError::Damaged(format!(
                "{} at {}: {}",
                file.name,
                examination.download.source.label,
                census_damage(&error)
            ))),
        }
    }

    /// The census of the dump, in plain or custom format, as it passes. Bytes that are those of the manifest were
    /// good when they were written; whoever cannot read them is to blame himself.
    async fn census_of_dump(&self, file: &CopiedFile) -> Result<Census, JobError> {
        let (artifact, examination) = (&self.own.artifact, self.examination);
        let compression = artifact.compression;
        let (census, digest) = if artifact.format == Format::Plain {
            let opener = self.opener.clone();
            let read = move |pieces: Pieces| {
                let source = (pieces, opener.as_ref());
                read_dump_stream(source, compression, &Progress::default())
            };
            let (summary, digest) = examination.through(file, read).await?;
            let census = summary.map(|summary| summary.census);
            (census.map_err(JobError::stream(self.doing("dump"))), digest)
        } else {
            self.census_of_archive(file).await?
        };
        examination.agree(file, &digest, &artifact.digest)?;
        census
    }

    /// What cannot be done when it fails.
    fn doing(&self, what: &str) -> String {
        let stem = self.examination.copy.copy.stem();
        format!("cannot read the {what} in the copy of {stem}")
    }

    /// The same of an archive in custom format, by a `pg_restore` that reads it from its stdin.
    async fn census_of_archive(
        &self,
        file: &CopiedFile,
    ) -> Result<(Result<Census, JobError>, Digest), JobError> {
        let run = self.examination.download.run;
        let programs = programs_to_read(run.context, self.own).await?;
        let (mut writer, reader, mark) = input_pipe().map_err(JobError::no_pipe)?;
        let (sender, pieces) = mpsc::channel(1);
        let opener = self.opener.clone();
        // It ends with the program, or with the file. What is damaged is known by its digest.
        drop(threads::start("feed", move || {
            let content = Content::of(Pieces::new(pieces), opener.as_ref());
            content.and_then(|mut content| io::copy(&mut content, &mut writer))
        })?);
        let restorer = Dumper {
            run,
            program: programs.pg_restore(),
            arguments: archive_on_stdin_arguments(),
            application: "pgbackupd",
            conninfo: &without_a_server(run.context)?,
            overheard: &Overheard::default(),
            confinement: Confinement::default(),
        };
        let doing = self.doing("archive");
        let progress = Arc::<Progress>::default();
        let restoring = restorer.stream_from(ChildInput::Pipe(reader, mark), &doing, move |text| {
            ArchiveText::read(text, None, &progress)
        });
        let (digest, text) = tokio::join!(self.examination.feed(file, sender), restoring);
        Ok((text.map(ArchiveText::into_census), digest?))
    }

    /// Compares the rows in an archive in directory format, table by table, as its files pass.
    async fn compare_rows(&self, file: &CopiedFile, expected: &Census) -> Result<(), JobError> {
        let (artifact, examination) = (&self.own.artifact, self.examination);
        let compression = artifact.compression;
        let (read, _) = examination
            .through(file, move |pieces| read_archive(pieces, compression))
            .await?;
        let (digest, counted) = read.map_err(|error| examination.unusable_archive(file, &error))?;
        examination.agree(file, &digest, &artifact.digest)?;
        let mut rows = counted
            .map_err(|error| JobError::stream(self.doing("dump"))(StreamError::Read(error)))?;
        rows.sort_unstable();
        let Some(expected) = expected.row_counts() else {
            return Ok(());
        };
        if rows == expected {
            return Ok(());
        }
        let sum = |rows: &[u64]| rows.iter().sum::<u64>();
        Err(examination.disagree(&format!(
            "{} rows of {} tables are in it, and {} rows of {} tables were dumped",
            sum(&rows),
            rows.len(),
            sum(&expected),
            expected.len()
        )))
    }
}

/// What an archive holds: the digest of its files, and the rows of each table, unless they cannot be read.
type ArchiveContent = (Digest, io::Result<Vec<u64>>);

fn read_archive(source: impl Read, compression: Compression) -> io::Result<ArchiveContent> {
    let mut files = Vec::new();
    let mut rows: io::Result<Vec<u64>> = Ok(Vec::new());
    each_file(source, |name, content| {
        let mut content = Digesting::new(content);
        if let Ok(counted) = &mut rows
            && holds_rows(name)
        {
            match count_rows(&mut content, compression) {
                Ok(count) => counted.push(count),
                Err(error) => {
                    let named = format!("{}: {error}", name.display());
                    rows = Err(io::Error::new(error.kind(), named));
                }
            }
        }
        io::copy(&mut content, &mut io::sink())?;
        files.push((name.to_owned(), content.finish().0));
        Ok(())
    })?;
    Ok((listing_digest(files), rows))
}

/// Whether a file of an archive holds the rows of a table: `<number>.dat`, with the compression's suffix.
fn holds_rows(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    let name = name.split_once(".dat");
    name.is_some_and(|(number, suffix)| {
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number && matches!(suffix, "" | ".gz" | ".zst")
    })
}

fn count_rows(source: &mut impl Read, compression: Compression) -> io::Result<u64> {
    let mut decoder = Decoder::new(compression, source)?;
    let (mut rows, mut block) = (RowsOfTable::default(), Vec::new());
    loop {
        decoder.next_block(&mut block)?;
        if block.is_empty() {
            return rows.finish();
        }
        rows.push(&block);
    }
}

/// Counts rows in COPY's text format: a row is a line, and the line `\.` is the end.
#[derive(Default)]
struct RowsOfTable {
    rows: u64,
    line: Line,
}

/// What there is of a line.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Empty,
    Backslash,
    EndMark,
    Other,
    /// There was the end mark.
    Over,
}

impl RowsOfTable {
    fn push(&mut self, mut block: &[u8]) {
        while let Some((&byte, rest)) = block.split_first() {
            self.line = match (self.line, byte) {
                (Line::Over, _) => return,
                (Line::EndMark, b'\n') => Line::Over,
                (_, b'\n') => {
                    self.rows += 1;
                    Line::Empty
                }
                (Line::Empty, b'\\') => Line::Backslash,
                (Line::Backslash, b'.') => Line::EndMark,
                _ => {
                    // Nothing in the rest of the line matters.
                    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    block = &rest[end..];
                    self.line = Line::Other;
                    continue;
                }
            };
            block = rest;
        }
    }

    fn finish(self) -> io::Result<u64> {
        match self.line {
            Line::Over => Ok(self.rows),
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the rows break off",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_up_to_the_end_mark_wherever_the_blocks_end() {
        for (text, expected) in [
            ("\\.\n\n\n", Some(0)),
            ("1\ta\n2\tb\n\\.\n\n\n", Some(2)),
            // A table without columns.
            ("\n\n\n\\.\n\n\n", Some(3)),
            ("\\N\n\\\\.\n\\.x\nx\\.\n\\.\n\n", Some(4)),
            // What a value that is the end mark looks like.
            ("\\\\.\n\\.\n", Some(1)),
            ("1\n2\n", None),
            ("1\n\\.", None),
            ("", None),
        ] {
            for size in 1..=text.len().max(1) {
                let mut rows = RowsOfTable::default();
                for block in text.as_bytes().chunks(size) {
                    rows.push(block);
                }
                assert_eq!(rows.finish().ok(), expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn only_the_files_with_the_rows_of_a_table_are_counted() {
        for (name, expected) in [
            ("3352.dat", true),
            ("3352.dat.gz", true),
            ("3352.dat.zst", true),
            ("toc.dat", false),
            ("blob_16400.dat.gz", false),
            ("blobs.toc", false),
            (".dat", false),
            ("3352.dat.lz4", false),
            ("3352", false),
        ] {
            assert_eq!(holds_rows(OsStr::new(name)), expected, "{name}");
        }
    }
}
