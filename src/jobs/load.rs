//! Loading a backup into a server: SQL text through psql, archives through `pg_restore`.

mod additions;
mod definitions;
mod feed;
mod lacking;
mod marks;
mod refusal;
mod session_settings;
mod sessions;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write as _};
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::archive_file::ArchiveFile;
use super::dump::{Dumper, LAST_BLOCK, Overheard};
use super::error::JobError;
use super::run::Run;
use crate::config::Format;
use crate::pipeline::{
    Amount, InputFile, Segment, StreamError, are_all_known, is_known, release_event_triggers,
};
use crate::postgres::{
    Child, ChildInput, ChildKind, ChildOutput, ChildSpec, Client, Confinement, Conninfo, Exit,
    ProgramInput, Programs, ServerError, archive_as_sql_arguments, archive_list_arguments,
    bring_what_always_fires, input_pipe, load_archive_arguments, load_text_arguments,
    load_text_through_arguments, loaded_rows, read_all_errors,
};
use crate::threads;

pub(super) use additions::{Additions, other_owners};
pub(super) use lacking::{NOT_PRELOADED, lacking};
pub(super) use refusal::Refusal;
pub(super) use sessions::{Dump, DumpText};

/// How long a program may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// How often the rows of an archive that is loaded are counted.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// No commit of the load waits for the disk: a dump is thousands of them, and until the copy gets its name
/// nobody counts on it. That is one more transaction, later and of a session of ours that waits as the
/// server says; and a commit that waits has all of the write-ahead log before it flushed, whosever it is.
/// The tables that `restore --table` brings back are made in such a session altogether.
const WITHOUT_WAITING: &str = "-c synchronous_commit=off ";

/// So much is kept of what a psql says of the statements that the server refuses.
const MOST_SAID: usize = 4 << 20;

/// So much is written to a psql at once.
const AT_ONCE: usize = 128 * 1024;

/// Where a backup is loaded, and by which programs.
#[derive(Clone)]
pub(super) struct Loader<'a> {
    /// The run that it is a part of.
    pub(super) run: &'a Run<'a>,
    /// The programs.
    pub(super) programs: &'a Programs,
    /// Those whose `pg_restore` reads archives: no older than the `pg_dump` that has made them.
    pub(super) reader: &'a Programs,
    /// The server's major version.
    pub(super) server_major: u32,
    /// The database.
    pub(super) conninfo: &'a Conninfo,
    /// By which the server knows the session.
    pub(super) application: &'a str,
    /// Over so many sessions at most.
    pub(super) jobs: NonZeroU8,
    /// As whom, where and within which bounds psql runs: it carries out what stands in the text.
    pub(super) confinement: Confinement,
}

/// How loading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// Everything is in the database.
    Wholly,
    /// The server or the program refused something.
    Refused(Refusal),
}

impl Loader<'_> {
    /// Loads SQL text that `feed` writes into the pipe. It stops at the first error.
    ///
    /// # Errors
    /// When psql cannot be run, the text cannot be read, or the limit is reached.
    pub(super) async fn load_text(
        &self,
        doing: &str,
        feed: impl FnOnce(ProgramInput) -> Result<(), StreamError> + Send + 'static,
    ) -> Result<Loaded, JobError> {
        let arguments = load_text_arguments(self.restrict_key().as_deref());
        let (outcome, _) = self.feed_psql(doing, arguments, feed).await?;
        Ok(outcome)
    }

    /// The same, going on behind a statement that the server refuses; gives what it says of each.
    ///
    /// # Errors
    /// As there; and when it refuses more than can be kept.
    pub(super) async fn load_text_through(
        &self,
        doing: &str,
        feed: impl FnOnce(ProgramInput) -> Result<(), StreamError> + Send + 'static,
    ) -> Result<(Loaded, Vec<(ServerError, String)>), JobError> {
        let arguments = load_text_through_arguments(self.restrict_key().as_deref());
        let (outcome, said) = self.feed_psql(doing, arguments, feed).await?;
        let said = said.ok_or_else(|| {
            JobError::failed(
                "the server refuses so many of the definitions that not all can be named",
            )
        })?;
        Ok((outcome, read_all_errors(&said)))
    }

    /// Starts a psql and feeds it; gives what it said too, unless that was too much.
    async fn feed_psql(
        &self,
        doing: &str,
        arguments: Vec<OsString>,
        feed: impl FnOnce(ProgramInput) -> Result<(), StreamError> + Send + 'static,
    ) -> Result<(Loaded, Option<String>), JobError> {
        let (writer, reader, mark) = input_pipe().map_err(JobError::no_pipe)?;
        let mut psql = self
            .spawn(Invocation {
                program: self.programs.psql(),
                arguments,
                stdin: ChildInput::Pipe(reader, mark),
                stdout: ChildOutput::Null,
                confinement: self.confinement.clone(),
            })
            .await?;
        psql.keep_of_stderr(MOST_SAID);
        let feeder = threads::start("feed", move || feed(writer))?;
        let exit = tokio::select! {
            exit = psql.wait() => exit?,
            stop = self.run.limit.stopped() => {
                self.run.progress.cancel();
                psql.terminate(GRACE).await?;
                // With nobody left to read, it cannot go on writing.
                if let Ok(outcome) = timeout(LAST_BLOCK, feeder).await {
                    let _ = outcome?;
                }
                return Err(stop.into());
            }
        };
        match feeder.await? {
            // Of psql's failure this is the consequence.
            Err(StreamError::Write(_)) if !exit.success() => {}
            Err(StreamError::Write(_)) => {
                return Ok((refused(&exit), Some(exit.stderr)));
            }
            Err(error) => return Err(JobError::stream(doing)(error)),
            Ok(()) => {}
        }
        let outcome = outcome_of("psql", &exit);
        Ok((outcome, (!psql.is_stderr_cut()).then_some(exit.stderr)))
    }

    /// Loads a dump in plain format: what makes indexes goes on side by side, and all else in its order. It
    /// stops at the first error.
    ///
    /// # Errors
    /// When psql cannot be run, the dump cannot be read, or the limit is reached.
    pub(super) async fn load_dump(&self, dump: Dump) -> Result<Loaded, JobError> {
        if self.jobs > NonZeroU8::MIN {
            return sessions::load(self, dump).await;
        }
        let doing = format!("cannot read {}", dump.name);
        let (counted, server_major) = (Arc::clone(&self.run.progress), self.server_major);
        self.load_text(&doing, move |sink| {
            let mut sink = BufWriter::with_capacity(AT_ONCE, sink);
            dump.take_segments(&counted, server_major, |segment| match segment {
                Segment::Setting { name, .. } if !is_known(name, server_major) => Ok(()),
                segment => sink.write_all(segment.text()).map_err(StreamError::Write),
            })?;
            sink.flush().map_err(StreamError::Write)
        })
        .await
    }

    /// Loads an archive in custom or directory format, over several connections; over one, where `pg_restore`
    /// makes settings that the server does not know. It stops at the first error.
    ///
    /// # Errors
    /// When `pg_restore` cannot be run, or the limit is reached.
    pub(super) async fn load_archive(
        &self,
        archive: &InputFile,
        owners: &Additions,
    ) -> Result<Loaded, JobError> {
        if !are_all_known(self.reader.version.major, self.server_major)
            || owners.need_a_text()
            || self.has_event_triggers(archive.path()).await?
        {
            let archive = ArchiveFile::of_backup(archive.clone(), Format::Custom);
            return self.load_archive_as_text(&archive, true, owners).await;
        }
        let making = owners.make_in(self.conninfo, self.run.connect_limit());
        self.run.wait_for(making).await??;
        let mut pg_restore = self
            .spawn(Invocation {
                program: self.reader.pg_restore(),
                arguments: load_archive_arguments(self.conninfo, self.jobs, archive.path()),
                stdin: ChildInput::Null,
                stdout: ChildOutput::Null,
                confinement: self.reading(archive.path()),
            })
            .await?;
        let exit = tokio::select! {
            exit = pg_restore.wait() => exit?,
            never = self.count_rows() => match never {},
            stop = self.run.limit.stopped() => {
                pg_restore.terminate(GRACE).await?;
                return Err(stop.into());
            }
        };
        Ok(outcome_of("pg_restore", &exit))
    }

    /// Whether an archive brings event triggers that nothing but statements of ours keeps still: its own,
    /// which `pg_restore` makes before it refreshes materialized views, or those of an extension. Before
    /// version 17.
    async fn has_event_triggers(&self, archive: &Path) -> Result<bool, JobError> {
        if release_event_triggers(self.server_major).is_none() {
            return Ok(false);
        }
        let (run, overheard) = (self.run.uncounted(), Overheard::default());
        let pg_restore = Dumper {
            run: &run,
            ..self.extractor(archive, archive_list_arguments(archive), &overheard)
        };
        let doing = format!("cannot list {}", archive.display());
        let list = pg_restore.read_all(&doing).await?;
        let list = String::from_utf8_lossy(&list).into_owned();
        if list.contains(" EVENT TRIGGER - ") {
            return Ok(true);
        }
        let extensions = list
            .lines()
            .filter_map(|line| line.split_once(" EXTENSION - "));
        let extensions: Vec<String> = extensions.map(|it| it.1.trim_end().to_owned()).collect();
        if extensions.is_empty() {
            return Ok(false);
        }
        let asking = async {
            let client = Client::connect(self.conninfo, self.run.connect_limit()).await?;
            match bring_what_always_fires(&client, &extensions).await {
                // Who may not ask has a session of the usual role, and nothing is kept still for it.
                Err(error) if error.sqlstate.as_deref() == Some("42501") => Ok(false),
                // What cannot be read may be one of these: as text it is loaded in any case.
                Err(error) if error.sqlstate.is_some() => Ok(true),
                outcome => Ok::<_, JobError>(outcome?),
            }
        };
        self.run.wait_for(asking).await?
    }

    /// Loads what `pg_restore` writes of an archive as text.
    ///
    /// # Errors
    /// When a program cannot be run, the archive cannot be read, or the limit is reached; and for a statement
    /// that is not sent.
    pub(super) async fn load_archive_as_text(
        &self,
        archive: &ArchiveFile,
        accepts_unexpected: bool,
        owners: &Additions,
    ) -> Result<Loaded, JobError> {
        let arguments = archive_as_sql_arguments(archive.path());
        let (extracting, mut dump) = self.extract(archive, arguments, accepts_unexpected)?;
        dump.additions = owners.clone();
        loaded_from(extracting, self.load_dump(dump)).await
    }

    /// What writes text of an archive, and the dump that it becomes. What passes is counted where it is
    /// loaded.
    fn extract(
        &self,
        archive: &ArchiveFile,
        arguments: Vec<OsString>,
        accepts_unexpected: bool,
    ) -> Result<(impl Future<Output = Result<(), JobError>>, Dump), JobError> {
        let (reader, mut writer) = io::pipe().map_err(JobError::no_pipe)?;
        let (arguments, stdin) = archive.input(arguments)?;
        let path = archive.path().to_owned();
        let name = path.display().to_string();
        let doing = format!("cannot read {name}");
        let extracting = async move {
            let (run, overheard) = (self.run.uncounted(), Overheard::default());
            let pg_restore = Dumper {
                run: &run,
                ..self.extractor(&path, arguments, &overheard)
            };
            let copying = pg_restore.stream_from(stdin, &doing, move |mut text| {
                let copied = io::copy(&mut text, &mut writer);
                copied.map(drop).map_err(StreamError::Write)
            });
            copying.await
        };
        let dump = Dump {
            name,
            text: DumpText::Program(reader),
            adaptation: archive.adaptation.clone(),
            accepts_unexpected,
            additions: Additions::default(),
        };
        Ok((extracting, dump))
    }

    /// A `pg_restore` that writes text of an archive, or a part of it.
    fn extractor<'b>(
        &'b self,
        archive: &Path,
        arguments: Vec<OsString>,
        overheard: &'b Overheard,
    ) -> Dumper<'b> {
        Dumper {
            run: self.run,
            program: self.reader.pg_restore(),
            arguments,
            application: self.application,
            conninfo: self.conninfo,
            overheard,
            confinement: self.reading(archive),
        }
    }

    /// As whom, where and within which bounds `pg_restore` reads an archive: files that are ours alone. It
    /// carries out nothing that is in them but on the server.
    fn reading(&self, archive: &Path) -> Confinement {
        let mut confinement = self.confinement.clone();
        confinement.account = None;
        let bounds = confinement.bounds.as_mut();
        if let Some(files) = bounds.and_then(|bounds| bounds.files.as_mut()) {
            files.readable.push(archive.to_owned());
        }
        confinement
    }

    /// Looks again and again how many rows are there: `pg_restore` itself tells nothing that could
    /// be measured. A server that does not answer costs the number, never the restore.
    async fn count_rows(&self) -> Infallible {
        loop {
            sleep(BETWEEN_LOOKS).await;
            let Ok(client) = Client::connect(self.conninfo, self.run.connect_limit()).await else {
                continue;
            };
            while let Ok(rows) = loaded_rows(&client).await {
                self.run.progress.loaded_rows(rows);
                sleep(BETWEEN_LOOKS).await;
            }
        }
    }

    /// A word that nobody can know before, under which a psql takes no commands of its own; none where it
    /// does not know that mode.
    fn restrict_key(&self) -> Option<String> {
        let is_known = self.programs.version.knows_restricted_mode();
        is_known.then(|| Uuid::now_v7().simple().to_string())
    }

    async fn spawn(&self, invocation: Invocation) -> Result<Child, JobError> {
        let Invocation {
            program,
            arguments,
            stdin,
            stdout,
            confinement,
        } = invocation;
        tracing::debug!("running {} {arguments:?}", program.display());
        let conninfo = self.conninfo.clone();
        let mut environment =
            conninfo.child_environment(self.application, self.run.connect_limit());
        for (_, options) in environment.iter_mut().filter(|it| it.0 == "PGOPTIONS") {
            // What the operator's own say comes later, and counts.
            options.insert_str(0, WITHOUT_WAITING);
        }
        Ok(Child::spawn(ChildSpec {
            program,
            args: arguments,
            environment,
            stdin,
            stdout,
            mask: Box::new(move |text| conninfo.mask(&text)),
            confinement,
            kind: ChildKind::Program,
        })
        .await?)
    }
}

/// A program that is run to load a dump.
struct Invocation {
    program: PathBuf,
    arguments: Vec<OsString>,
    stdin: ChildInput,
    stdout: ChildOutput,
    /// As whom, where and within which bounds it runs.
    confinement: Confinement,
}

/// How loading ended of what another program writes meanwhile.
pub(super) async fn loaded_from(
    extracting: impl Future<Output = Result<(), JobError>>,
    loading: impl Future<Output = Result<Loaded, JobError>>,
) -> Result<Loaded, JobError> {
    let (extracted, outcome) = tokio::join!(extracting, loading);
    match outcome? {
        // Of psql's failure the other one is the consequence.
        refused @ Loaded::Refused(_) => Ok(refused),
        Loaded::Wholly => extracted.map(|()| Loaded::Wholly),
    }
}

/// What loading a dump has before it: text goes through our hands, and of an archive the rows can be
/// counted in the server.
pub(super) fn ahead(format: Format, text_bytes: u64, rows: u64) -> Amount {
    match format {
        Format::Plain => Amount::Bytes(text_bytes),
        Format::Custom | Format::Directory => Amount::Rows(rows),
    }
}

/// Of a psql that had no reason to end.
fn refused(exit: &Exit) -> Loaded {
    let how = "psql ended before the end of the dump".to_owned();
    Loaded::Refused(Refusal::new(how, exit))
}

fn outcome_of(program: &str, exit: &Exit) -> Loaded {
    if exit.success() {
        return Loaded::Wholly;
    }
    Loaded::Refused(Refusal::new(format!("{program} {exit}"), exit))
}
