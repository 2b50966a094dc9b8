//! Running `pg_dump` or `pg_dumpall` and streaming what it says to the disk.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::SIGPIPE;
use tokio::time::timeout;

use super::blocked::Watch;
use super::error::JobError;
use super::limit::Limit;
use super::program_failure;
use crate::config::Compression;
use crate::pipeline::compression::Settings;
use crate::pipeline::{
    Batched, Growth, Passage, Phase, Progress, ReadBack, StreamError, follow_dump, read_dump,
    write_dump,
};
use crate::postgres::{
    Child, ChildInput, ChildKind, ChildOutput, ChildSpec, Confinement, Conninfo, Exit,
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
    /// `pg_dump`, `pg_dumpall` or `pg_restore`, by its full path.
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// By which the server knows the session.
    pub(super) application: &'a str,
    pub(super) conninfo: &'a Conninfo,
    /// For each attempt to connect.
    pub(super) connect: Duration,
    /// Who held the locks that the program waited for.
    pub(super) watch: &'a Watch,
    /// What the program said although it succeeded.
    pub(super) remarks: &'a Remarks,
    /// As whom, where and within which bounds it runs.
    pub(super) confinement: Confinement,
}

/// What programs said although they succeeded, one text each.
pub(super) type Remarks = Mutex<Vec<String>>;

impl Dumper<'_> {
    fn name(&self) -> String {
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
                .child_environment(self.application, self.connect),
            stdin,
            stdout,
            mask: Box::new(move |text| conninfo.mask(&text)),
            confinement: self.confinement.clone(),
            kind: ChildKind::Program,
        };
        Ok(Child::spawn(spec).await?)
    }

    /// Runs the program with nothing on its stdout, within the limit.
    pub(super) async fn run(&self, limit: &Limit) -> Result<(), JobError> {
        let mut child = self.spawn(ChildInput::Null, ChildOutput::Null).await?;
        let exit = tokio::select! {
            exit = child.wait() => exit?,
            stop = limit.stopped() => {
                child.terminate(GRACE).await?;
                return Err(stop.into());
            }
        };
        self.judge(&exit).await
    }

    /// Runs the program, hands its stdout to a thread, and waits for both. Whichever fails ends the
    /// other; the program's own failure is told first, for a broken stream is its consequence.
    pub(super) async fn stream<T: Send + 'static>(
        &self,
        limit: &Limit,
        progress: &Progress,
        doing: &str,
        consume: impl FnOnce(Batched<ProgramOutput>) -> Result<T, StreamError> + Send + 'static,
    ) -> Result<T, JobError> {
        self.stream_from(ChildInput::Null, limit, progress, doing, consume)
            .await
    }

    /// The same, with something for the program to read.
    pub(super) async fn stream_from<T: Send + 'static>(
        &self,
        stdin: ChildInput,
        limit: &Limit,
        progress: &Progress,
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
                stop = limit.stopped() => {
                    end(&mut child, consumer, progress).await?;
                    return Err(stop.into());
                }
            }
        };
        let exit = match (&stream_outcome, ended) {
            (_, Some(exit)) => exit,
            // The rest of what it says is no longer wanted.
            (Err(error), None) if !matches!(error, StreamError::Flaw(_)) => {
                child.terminate(GRACE).await?
            }
            // It may be about to end by itself, with a word about why the text breaks off.
            (Err(_), None) => match timeout(GRACE, child.wait()).await {
                Ok(exit) => exit?,
                Err(_) => child.terminate(GRACE).await?,
            },
            (Ok(_), None) => tokio::select! {
                exit = child.wait() => exit?,
                stop = limit.stopped() => {
                    child.terminate(GRACE).await?;
                    return Err(stop.into());
                }
            },
        };
        match stream_outcome {
            Err(
                error @ (StreamError::Write(_) | StreamError::Refused(_) | StreamError::Cancelled),
            ) => Err(JobError::stream(doing)(error)),
            Err(StreamError::Flaw(flaw)) => {
                // Once nobody reads its text any more, its end by SIGPIPE is our doing.
                let cut_off = exit.status.signal() == Some(SIGPIPE);
                if !cut_off {
                    self.judge(&exit).await?;
                }
                Err(JobError::failed(format!(
                    "{} {}, yet {flaw}; run it again, and see that {} is PostgreSQL's own program",
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
                self.judge(&exit).await?;
                let doing = format!("{} reported success, yet {doing}", self.name());
                Err(JobError::stream(doing)(error))
            }
            Ok(value) => self.judge(&exit).await.map(|()| value),
        }
    }

    /// Turns a failed program into a sentence, and keeps what a successful one has to remark.
    async fn judge(&self, exit: &Exit) -> Result<(), JobError> {
        let program = self.name();
        if !exit.success() {
            let (conninfo, watch) = (self.conninfo, self.watch);
            let explained = program_failure::explain(&program, exit, conninfo, watch, self.connect);
            return Err(Box::pin(explained).await);
        }
        let said = exit.stderr.trim();
        if !said.is_empty() {
            let remark = format!("{program} remarked: {said}");
            self.remarks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(remark);
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

/// Streams a dump in plain format into a temporary file, and reads it back from the disk.
pub(super) async fn write_and_check(
    dumper: &Dumper<'_>,
    staging: &Staging<'_>,
    role: Role,
    settings: Settings,
    limits: (&Limit, &Limit),
    progress: &Arc<Progress>,
) -> Result<(Checked, Duration, Duration), JobError> {
    let (dump_limit, limit) = limits;
    let path = staging.path(role);
    let file = staging.create(role)?;
    let began = std::time::Instant::now();
    let growth = Arc::new(Growth::default());
    let mut follower = follow(path.clone(), &growth, settings.compression, progress)?;
    let (counted, grown) = (Arc::clone(progress), Arc::clone(&growth));
    let written = dumper
        .stream(
            dump_limit,
            progress,
            &format!("cannot write {}", path.display()),
            move |source| write_dump(source, file, settings, &grown, &counted),
        )
        .await;
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            growth.give_up();
            if let Ok(outcome) = timeout(LAST_BLOCK, follower).await {
                let _ = outcome?;
            }
            return Err(match error {
                JobError::Stream {
                    source: StreamError::Write(source),
                    ..
                } => RepositoryError::io("write", &path)(source).into(),
                error => error,
            });
        }
    };
    let dump_time = began.elapsed();

    if progress.phase() == Phase::Dumping {
        progress.enter(Phase::Checking);
    }
    let doing = format!("cannot read back {}", path.display());
    let read = until_done(&mut follower, limit, progress, &doing).await?;
    let checked = staging.compare(role, &written, read)?;
    Ok((
        checked,
        dump_time,
        began.elapsed().saturating_sub(dump_time),
    ))
}

/// Reads a dump in plain format back from the disk while it is written, on a thread of its own.
fn follow(
    path: PathBuf,
    growth: &Arc<Growth>,
    compression: Compression,
    progress: &Arc<Progress>,
) -> Result<Thread<Result<ReadBack, StreamError>>, NoThread> {
    let (growth, counted) = (Arc::clone(growth), Arc::clone(progress));
    threads::start("follow", move || {
        let file = crate::regular_file::open(path).map_err(StreamError::Read)?;
        follow_dump(file, growth, compression, &counted)
    })
}

/// Reads a dump in plain format from the disk on a thread of its own.
pub(super) async fn read_back(
    path: PathBuf,
    compression: Compression,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Passage, JobError> {
    let counted = Arc::clone(progress);
    let doing = format!("cannot read back {}", path.display());
    blocking(limit, progress, &doing, move || {
        let file = crate::regular_file::open(path).map_err(StreamError::Read)?;
        read_dump(file, compression, &counted)
    })
    .await
}

/// Runs a part of the stream on a thread of its own, within the limit.
pub(super) async fn blocking<T: Send + 'static>(
    limit: &Limit,
    progress: &Progress,
    doing: &str,
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, JobError> {
    let mut thread = threads::start("read", work)?;
    until_done(&mut thread, limit, progress, doing).await
}

/// Waits for a thread of the stream, within the limit.
async fn until_done<T>(
    thread: &mut Thread<Result<T, StreamError>>,
    limit: &Limit,
    progress: &Progress,
    doing: &str,
) -> Result<T, JobError> {
    let done = tokio::select! {
        done = &mut *thread => done?,
        stop = limit.stopped() => {
            progress.cancel();
            if let Ok(outcome) = timeout(LAST_BLOCK, thread).await {
                let _ = outcome?;
            }
            return Err(stop.into());
        }
    };
    done.map_err(JobError::stream(doing))
}
