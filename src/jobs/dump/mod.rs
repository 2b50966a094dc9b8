//! Running `pg_dump` or `pg_dumpall` and streaming what it says to the disk.

mod failure;

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::SIGPIPE;
use tokio::time::timeout;

use super::blocked::Watch;
use super::error::JobError;
use super::run::Run;
use crate::config::Compression;
use crate::pipeline::compression::Settings;
use crate::pipeline::{
    Batched, InputFile, Phase, Progress, ReadBack, Sealer, StreamError, StreamSummary,
    WriteProgress, follow_dump, read_dump, write_dump,
};
use crate::postgres::{
    Child, ChildInput, ChildKind, ChildOutput, ChildSpec, Confinement, Conninfo, Exit, FailedTable,
    ProgramOutput, output_pipe,
};
use crate::repository::{Checked, RepositoryError, Role, Staging};
use crate::threads::{self, NoThread, Thread};

/// How long a program may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// How long a thread may take to end whose program has ended. It is longer only when a disk hangs, and
/// then it is left behind.
pub(super) const LAST_BLOCK: Duration = Duration::from_secs(10);

/// A program to run and what to say when it fails.
pub(super) struct Dumper<'a> {
    /// The run that it is a part of, with the limit for the program.
    pub(super) run: &'a Run<'a>,
    /// `pg_dump`, `pg_dumpall` or `pg_restore`, by its full path.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// By which the server knows the session.
    pub(super) application: &'a str,
    pub(super) conninfo: &'a Conninfo,
    pub(super) overheard: &'a Overheard,
    /// As whom, where and within which bounds it runs.
    pub(super) confinement: Confinement,
}

/// What is learned while programs run.
#[derive(Debug, Default)]
pub(super) struct Overheard {
    /// Who held the locks that they waited for.
    pub(super) watch: Watch,
    /// What they said although they succeeded, one text each.
    remarks: Mutex<Vec<String>>,
    /// The table at which a dump has failed last, for a reason that is not known.
    failed_table: Mutex<Option<FailedTable>>,
    /// Whether a failure at a table names the backup that goes without it.
    names_way_around: bool,
}

impl Overheard {
    /// Of programs for whose locks this looks. `names_way_around` says whether a failure at a table is to
    /// name the backup that goes without it.
    pub(super) fn with(watch: Watch, names_way_around: bool) -> Self {
        Self {
            watch,
            names_way_around,
            ..Self::default()
        }
    }

    /// Takes down at which table a dump has failed, if it was at one.
    fn fail_at(&self, table: Option<FailedTable>) {
        let failed = self.failed_table.lock();
        *failed.unwrap_or_else(PoisonError::into_inner) = table;
    }

    /// The table at which the dump has failed that has just failed, if it was at one and for a reason that
    /// is not known.
    pub(super) fn take_failed_table(&self) -> Option<FailedTable> {
        let failed = self.failed_table.lock();
        failed.unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn remark(&self, remarks: impl IntoIterator<Item = String>) {
        let mut all = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(remarks);
    }

    /// What they said although they succeeded.
    pub(super) fn into_remarks(self) -> Vec<String> {
        self.remarks
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dumper<'_> {
    pub(super) fn name(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    async fn spawn(&self, stdin: ChildInput, stdout: ChildOutput) -> Result<Child, JobError> {
        // Secrets are never among the arguments.
        tracing::debug!("running {} {:?}", self.program.display(), self.arguments);
        let conninfo = self.conninfo.clone();
        let spec = ChildSpec {
            program: self.program.clone(),
            args: self.arguments.clone(),
            environment: self
                .conninfo
                .child_environment(self.application, self.run.connect_limit()),
            stdin,
            stdout,
            mask: Box::new(move |text| conninfo.mask(&text)),
            confinement: self.confinement.clone(),
            kind: ChildKind::Program,
        };
        Ok(Child::spawn(spec).await?)
    }

    /// Runs the program with nothing on its stdout, within the limit.
    pub(super) async fn run(&self) -> Result<(), JobError> {
        let mut child = self.spawn(ChildInput::Null, ChildOutput::Null).await?;
        let exit = tokio::select! {
            exit = child.wait() => exit?,
            stop = self.run.limit.stopped() => {
                child.terminate(GRACE).await?;
                return Err(stop.into());
            }
        };
        self.check_exit(&exit).await
    }

    /// Runs the program, hands its stdout to a thread, and waits for both. Whichever fails ends the
    /// other; the program's own failure is reported first, for a broken stream is its consequence.
    pub(super) async fn stream<T: Send + 'static>(
        &self,
        doing: &str,
        consume: impl FnOnce(Batched<ProgramOutput>) -> Result<T, StreamError> + Send + 'static,
    ) -> Result<T, JobError> {
        self.stream_from(ChildInput::Null, doing, consume).await
    }

    /// Runs the program, and gives all that it writes.
    pub(super) async fn read_all(&self, doing: &str) -> Result<Vec<u8>, JobError> {
        self.read_all_from(ChildInput::Null, doing).await
    }

    /// The same, with something for the program to read.
    pub(super) async fn read_all_from(
        &self,
        stdin: ChildInput,
        doing: &str,
    ) -> Result<Vec<u8>, JobError> {
        self.stream_from(stdin, doing, |mut source| {
            let mut text = Vec::new();
            source.read_to_end(&mut text).map_err(StreamError::Read)?;
            Ok(text)
        })
        .await
    }

    /// The same as [`stream`](Self::stream), with something for the program to read.
    pub(super) async fn stream_from<T: Send + 'static>(
        &self,
        stdin: ChildInput,
        doing: &str,
        consume: impl FnOnce(Batched<ProgramOutput>) -> Result<T, StreamError> + Send + 'static,
    ) -> Result<T, JobError> {
        let (reader, writer, mark) = output_pipe().map_err(JobError::no_pipe)?;
        let capacity = reader.capacity();
        let reader = Batched::new(reader, capacity);
        let stdout = ChildOutput::Pipe(writer, Some(mark));
        let mut child = self.spawn(stdin, stdout).await?;
        let mut consumer = threads::start("stream", move || consume(reader))?;
        // The program's end is waited for at the same time: it ends the stream, whoever else holds its
        // stdout open.
        let mut ended = None;
        let stream_outcome = loop {
            tokio::select! {
                outcome = &mut consumer => break outcome?,
                exit = child.wait(), if ended.is_none() => ended = Some(exit?),
                stop = self.run.limit.stopped() => {
                    end(&mut child, consumer, &self.run.progress).await?;
                    return Err(stop.into());
                }
            }
        };
        let exit = match ended {
            Some(exit) => exit,
            None => {
                self.end_of(&mut child, stream_outcome.as_ref().err())
                    .await?
            }
        };
        self.outcome(doing, &exit, stream_outcome).await
    }

    /// How the program ends whose stream has ended, with this error if it has one.
    async fn end_of(
        &self,
        child: &mut Child,
        error: Option<&StreamError>,
    ) -> Result<Exit, JobError> {
        Ok(match error {
            // It may be about to end by itself, with a word about why the text breaks off.
            Some(StreamError::Flaw(_)) => match timeout(GRACE, child.wait()).await {
                Ok(exit) => exit?,
                Err(_) => child.terminate(GRACE).await?,
            },
            // The rest of what it says is no longer wanted.
            Some(_) => child.terminate(GRACE).await?,
            None => tokio::select! {
                exit = child.wait() => exit?,
                stop = self.run.limit.stopped() => {
                    child.terminate(GRACE).await?;
                    return Err(stop.into());
                }
            },
        })
    }

    /// What came of the stream, by how it and the program have ended.
    async fn outcome<T>(
        &self,
        doing: &str,
        exit: &Exit,
        stream: Result<T, StreamError>,
    ) -> Result<T, JobError> {
        match stream {
            Err(
                error @ (StreamError::Write(_) | StreamError::Refused(_) | StreamError::Cancelled),
            ) => Err(JobError::stream(doing)(error)),
            Err(StreamError::Flaw(flaw)) => {
                // Once nobody reads its text any more, its end by SIGPIPE is our doing.
                let cut_off = exit.status.signal() == Some(SIGPIPE);
                if !cut_off {
                    self.check_exit(exit).await?;
                }
                Err(JobError::failed(format!(
                    "{} {}, yet {flaw}\nhint: run it again, and check that {} is PostgreSQL's own program",
                    self.name(),
                    if cut_off {
                        "was writing"
                    } else {
                        "reported success"
                    },
                    self.program.display()
                )))
            }
            Err(error) => {
                self.check_exit(exit).await?;
                let doing = format!("{} reported success, yet {doing}", self.name());
                Err(JobError::stream(doing)(error))
            }
            Ok(value) => self.check_exit(exit).await.map(|()| value),
        }
    }

    /// Turns a failed program into a sentence, and keeps what a successful one has to remark.
    async fn check_exit(&self, exit: &Exit) -> Result<(), JobError> {
        if !exit.success() {
            return Err(Box::pin(failure::explain(self, exit)).await);
        }
        let detail = exit.stderr.trim();
        if !detail.is_empty() {
            let remark = format!("{} reported: {detail}", self.name());
            self.overheard.remark([remark]);
        }
        Ok(())
    }
}

/// Ends a program and the thread that reads from it.
async fn end<T>(
    child: &mut Child,
    consumer: Thread<Result<T, StreamError>>,
    progress: &Progress,
) -> Result<(), JobError> {
    progress.cancel();
    child.terminate(GRACE).await?;
    // With the program gone its pipe is at an end, and so is the thread.
    if let Ok(outcome) = timeout(LAST_BLOCK, consumer).await {
        let _ = outcome?;
    }
    Ok(())
}

/// A file of a backup that a program's output becomes.
pub(super) struct DumpFile<'a> {
    /// The run that it is a part of, with the limit for reading it back.
    pub(super) run: &'a Run<'a>,
    pub(super) staging: &'a Staging<'a>,
    pub(super) role: Role,
    /// What encrypts it, if it is encrypted.
    pub(super) sealer: Option<&'a Sealer>,
}

impl DumpFile<'_> {
    /// Streams a dump in plain format into a temporary file, and reads it back from the disk.
    pub(super) async fn write_and_check(
        &self,
        dumper: &Dumper<'_>,
        settings: Settings,
    ) -> Result<(Checked, Duration, Duration), JobError> {
        let (role, progress) = (self.role, &self.run.progress);
        let path = self.staging.path(role);
        let file = self.staging.create(role)?;
        let began = std::time::Instant::now();
        let write_progress = Arc::new(WriteProgress::default());
        let mut tail_reader = follow(
            self.as_written(),
            &write_progress,
            settings.compression,
            progress,
        )?;
        let (counted, grown) = (Arc::clone(progress), Arc::clone(&write_progress));
        let doing = format!("cannot write {}", path.display());
        let sealer = self.sealer.cloned();
        let written = dumper.stream(&doing, move |source| {
            write_dump(source, file, (settings, sealer.as_ref()), &grown, &counted)
        });
        let written = match written.await {
            Ok(written) => written,
            Err(error) => {
                write_progress.give_up();
                if let Ok(outcome) = timeout(LAST_BLOCK, tail_reader).await {
                    let _ = outcome?;
                }
                return Err(self.not_written(error));
            }
        };
        let dump_time = began.elapsed();

        if progress.phase() == Phase::Dumping {
            progress.enter(Phase::Checking);
        }
        let doing = format!("cannot read back {}", path.display());
        let read = until_done(self.run, &mut tail_reader, &doing).await?;
        let checked = self.staging.compare(role, &written, read)?;
        Ok((
            checked,
            dump_time,
            began.elapsed().saturating_sub(dump_time),
        ))
    }
}

impl DumpFile<'_> {
    /// The file as this run reads it back.
    pub(super) fn as_written(&self) -> InputFile {
        let opener = self.sealer.map(Sealer::opener);
        InputFile::new(self.staging.path(self.role), opener)
    }

    /// Names the file that could not be written.
    pub(super) fn not_written(&self, error: JobError) -> JobError {
        match error {
            JobError::Stream {
                source: StreamError::Write(source),
                ..
            } => RepositoryError::io("write", &self.staging.path(self.role))(source).into(),
            error => error,
        }
    }
}

/// Reads a dump in plain format back from the disk while it is written, on a thread of its own.
fn follow(
    file: InputFile,
    write_progress: &Arc<WriteProgress>,
    compression: Compression,
    progress: &Arc<Progress>,
) -> Result<Thread<Result<ReadBack, StreamError>>, NoThread> {
    let (write_progress, counted) = (Arc::clone(write_progress), Arc::clone(progress));
    threads::start("follow", move || {
        follow_dump(&file, write_progress, compression, &counted)
    })
}

/// Reads a dump in plain format from the disk on a thread of its own.
pub(super) async fn read_back(
    run: &Run<'_>,
    file: InputFile,
    compression: Compression,
) -> Result<StreamSummary, JobError> {
    let counted = Arc::clone(&run.progress);
    let doing = format!("cannot read back {}", file.path().display());
    blocking(run, &doing, move || read_dump(&file, compression, &counted)).await
}

/// Runs a part of the stream on a thread of its own, within the limit.
pub(super) async fn blocking<T: Send + 'static>(
    run: &Run<'_>,
    doing: &str,
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, JobError> {
    let mut thread = threads::start("read", work)?;
    until_done(run, &mut thread, doing).await
}

/// Waits for a thread of the stream, within the limit.
async fn until_done<T>(
    run: &Run<'_>,
    thread: &mut Thread<Result<T, StreamError>>,
    doing: &str,
) -> Result<T, JobError> {
    let done = tokio::select! {
        done = &mut *thread => done?,
        stop = run.limit.stopped() => {
            run.progress.cancel();
            if let Ok(outcome) = timeout(LAST_BLOCK, thread).await {
                let _ = outcome?;
            }
            return Err(stop.into());
        }
    };
    done.map_err(JobError::stream(doing))
}
