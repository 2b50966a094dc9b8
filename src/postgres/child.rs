//! Running a program under our rules: a clean environment, a process group of its own, nothing on
//! its stdin but what we give it, its stderr kept within bounds, and no way to outlive us.

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::confine::{self, Bounds, Enforcement};
use super::excerpt::Excerpt;
use super::exit::Exit;
use super::lasting_thread::spawn_from_lasting_thread;
use super::memory;
use super::stdio::EndMark;
use super::watch;

/// How long the rest of stderr may take after the program's end: somebody else may hold it open.
const DRAIN: Duration = Duration::from_secs(2);

/// How long the kernel may take to end a killed process; it is longer only when a disk hangs.
const REAP: Duration = Duration::from_secs(10);

/// Replaces secrets in a text.
pub type Mask = Box<dyn Fn(String) -> String + Send + Sync>;

/// What to run.
pub struct ChildSpec {
    /// The program's full path.
    pub program: PathBuf,
    /// Its arguments; they can be read by everybody on the machine.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Where its stdin comes from.
    pub stdin: ChildInput,
    /// Where its stdout goes.
    pub stdout: ChildOutput,
    /// Takes the secrets out of what it says on stderr.
    pub mask: Mask,
    /// As whom and where it runs.
    pub confinement: Confinement,
    /// How it is ended.
    pub kind: ChildKind,
}

/// Where a program's stdin comes from.
#[derive(Debug)]
pub enum ChildInput {
    /// Nowhere: it is at its end.
    Null,
    /// Out of this pipe, whose writer hears of the program's end by the mark.
    Pipe(PipeReader, EndMark),
}

/// As whom and where a program runs, where that differs from ourselves.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// Whose rights it has, and no further groups.
    pub account: Option<Account>,
    /// Its working directory.
    pub directory: Option<PathBuf>,
    /// What it may use, whom it may reach and what it may run; none stands for what its user may.
    pub bounds: Option<Bounds>,
}

/// A user of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The number.
    pub user: u32,
    /// The number of its own group.
    pub group: u32,
}

/// What kind of program it is, as far as ending it is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChildKind {
    /// It is killed with its process group.
    #[default]
    Program,
    /// `postgres`, whose processes have groups of their own: on SIGQUIT it ends them all, and itself
    /// at once (its manual's "Shutting Down the Server").
    Server,
}

impl ChildKind {
    /// The signal that ends it without any delay of its own.
    fn last_signal(self) -> Signal {
        match self {
            Self::Program => Signal::KILL,
            Self::Server => Signal::QUIT,
        }
    }
}

/// Where a program's stdout goes.
#[derive(Debug)]
pub enum ChildOutput {
    /// Nowhere.
    Null,
    /// Into this pipe, whose reader hears of the program's end by the mark, if there is one: somebody
    /// else may hold the pipe open.
    Pipe(PipeWriter, Option<EndMark>),
}

/// Why a program could not be run. How a program that ran has ended is an [`Exit`].
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("cannot start {}: {cause}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Its end could not be observed.
    #[error("cannot wait for {}: {cause}", program.display())]
    Wait {
        /// The program.
        program: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It was killed and is still there.
    #[error(
        "{} (process {pid}) does not end although it was killed: a disk or a network file system \
         that it uses does not answer",
        program.display()
    )]
    Stuck {
        /// The program.
        program: PathBuf,
        /// Its process id.
        pid: i32,
    },
}

/// The process groups of all programs that run, each with what ends it.
static RUNNING: Mutex<Vec<(Pid, Signal)>> = Mutex::new(Vec::new());

fn running() -> MutexGuard<'static, Vec<(Pid, Signal)>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChildInput {
    fn into_stdio(self, marks: &mut Vec<EndMark>) -> Stdio {
        match self {
            Self::Null => Stdio::null(),
            Self::Pipe(reader, mark) => {
                marks.push(mark);
                reader.into()
            }
        }
    }
}

impl ChildOutput {
    fn into_stdio(self, marks: &mut Vec<EndMark>) -> Stdio {
        match self {
            Self::Null => Stdio::null(),
            Self::Pipe(writer, mark) => {
                marks.extend(mark);
                writer.into()
            }
        }
    }
}

/// Kills every program that runs and all that these have started: for a process that is about to
/// end without dropping anything. The signal for its death reaches only what it started itself.
pub fn kill_all_children() {
    for (group, signal) in running().iter() {
        // It fails only when nobody is left to be signalled.
        rustix::process::kill_process_group(*group, *signal).ok();
    }
}

/// A running program. Dropping it kills its whole process group.
pub struct Child {
    program: PathBuf,
    process: tokio::process::Child,
    /// Its process group, which bears its process id; none once the end of the program was seen,
    /// because the number may then belong to somebody else.
    group: Option<Pid>,
    kind: ChildKind,
    stderr: Arc<Mutex<Excerpt>>,
    reader: JoinHandle<()>,
    mask: Mask,
    /// Dropped when it has ended.
    marks: Vec<EndMark>,
    /// How often the kernel had killed for lack of memory when it was started.
    kills: Option<u64>,
}

impl Child {
    /// Starts a program. It is killed with all that it has started when this process ends in whatever
    /// way; see [`watch`].
    ///
    /// # Errors
    /// The program is not there or cannot be run.
    pub async fn spawn(spec: ChildSpec) -> Result<Self, ChildError> {
        let ChildSpec {
            program,
            args,
            environment,
            stdin,
            stdout,
            mask,
            confinement,
            kind,
        } = spec;
        let failed = |cause: io::Error| ChildError::Start {
            program: program.clone(),
            cause,
        };
        // setpriv would report it too, but only by its own exit status.
        rustix::fs::access(&program, rustix::fs::Access::EXEC_OK)
            .map_err(|error| failed(error.into()))?;

        let mut command = confined(&program, &confinement, kind)
            .await
            .map_err(failed)?;
        let mut marks = Vec::new();
        let stdin = stdin.into_stdio(&mut marks);
        let stdout = stdout.into_stdio(&mut marks);
        command
            .args(args)
            .env_clear()
            .envs(environment)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(kind == ChildKind::Program);
        let kills = memory::kills();
        let mut process = spawn_from_lasting_thread(command).await.map_err(failed)?;

        let group = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(group) = group {
            let mut running = running();
            running.push((group, kind.last_signal()));
            watch::started(&running);
        }
        let stderr = Arc::new(Mutex::new(Excerpt::default()));
        let pipe = process.stderr.take();
        let reader = tokio::spawn(read_into(pipe, Arc::clone(&stderr)));
        Ok(Self {
            program,
            process,
            group,
            kind,
            stderr,
            reader,
            mask,
            marks,
            kills,
        })
    }

    /// Keeps more of what it writes to its stderr, so many bytes; to be called before it writes much.
    pub fn keep_of_stderr(&self, bytes: usize) {
        let mut stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        stderr.keep(bytes);
    }

    /// Whether it has written more to its stderr than was kept.
    pub fn is_stderr_cut(&self) -> bool {
        let stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        stderr.is_cut()
    }

    /// Waits for the program's end. May be given up and called again.
    ///
    /// # Errors
    /// The system does not tell how it ended.
    pub async fn wait(&mut self) -> Result<Exit, ChildError> {
        let status = self
            .process
            .wait()
            .await
            .map_err(|cause| ChildError::Wait {
                program: self.program.clone(),
                cause,
            })?;
        self.marks.clear();
        if !self.reader.is_finished() && timeout(DRAIN, &mut self.reader).await.is_err() {
            // Somebody of its group has outlived it, and so the group's number is still theirs.
            self.signal(Signal::KILL);
            self.reader.abort();
        }
        self.forget();
        let text = self
            .stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .text();
        Ok(Exit {
            status,
            stderr: (self.mask)(text),
            memory_limit: memory::limit().filter(|_| memory::kills() > self.kills),
        })
    }

    /// Ends the program and all it has started: SIGTERM, or SIGQUIT for a server, and after `grace`
    /// SIGKILL.
    ///
    /// # Errors
    /// It does not even end when it is killed.
    pub async fn terminate(&mut self, grace: Duration) -> Result<Exit, ChildError> {
        let pid = self.group.map_or(0, |pid| pid.as_raw_nonzero().get());
        self.signal(match self.kind {
            ChildKind::Program => Signal::TERM,
            // On SIGTERM it would wait for its clients.
            ChildKind::Server => Signal::QUIT,
        });
        if let Ok(exit) = timeout(grace, self.wait()).await {
            return exit;
        }
        self.signal(Signal::KILL);
        timeout(REAP + DRAIN, self.wait())
            .await
            .unwrap_or_else(|_| {
                Err(ChildError::Stuck {
                    program: self.program.clone(),
                    pid,
                })
            })
    }

    /// The group's number may belong to somebody else from now on.
    fn forget(&mut self) {
        if let Some(group) = self.group.take() {
            running().retain(|(other, _)| *other != group);
            watch::ended(group);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails only when nobody is left to be signalled.
            rustix::process::kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(self.kind.last_signal());
        self.forget();
        self.reader.abort();
    }
}

async fn read_into(pipe: Option<tokio::process::ChildStderr>, excerpt: Arc<Mutex<Excerpt>>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 4096];
    // A pipe that cannot be read any more has as little to tell as one that was closed.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        excerpt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(&buffer[..count]);
    }
}

/// The command that starts a program within what confines it.
async fn confined(
    program: &Path,
    confinement: &Confinement,
    kind: ChildKind,
) -> io::Result<Command> {
    let mut command = match &confinement.bounds {
        Some(bounds) => {
            let machine = Enforcement::of_this_machine()?;
            confine::command(bounds, &machine, kind.last_signal(), program).into()
        }
        None => outliving_nobody(program, kind).await,
    };
    if let Some(account) = &confinement.account {
        // As root, this takes all other groups away too.
        command.uid(account.user).gid(account.group);
    }
    if let Some(directory) = &confinement.directory {
        command.current_dir(directory);
    } else if rustix::fs::access(".", rustix::fs::Access::EXEC_OK).is_err() {
        // Whom root has become may not go back to root's directory, and pg_dump remarks on that.
        command.current_dir("/");
    }
    Ok(command)
}

/// The command that runs a program and has it ended with the thread that started it.
async fn outliving_nobody(program: &Path, kind: ChildKind) -> Command {
    let Some(setpriv) = setpriv().await else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    let signal = match kind {
        ChildKind::Program => "KILL",
        ChildKind::Server => "QUIT",
    };
    command.args(["--pdeathsig", signal, "--"]).arg(program);
    command
}

/// util-linux's setpriv, if it is there and can set the signal for the parent's death. It is tried
/// and not asked: it ends with capset(2) whatever it was asked to do, which a sandbox may forbid
/// (systemd's `SystemCallFilter=~@privileged` does). Only that it can is remembered: what kept it from
/// being tried may be over the next time.
async fn setpriv() -> Option<&'static PathBuf> {
    static SETPRIV: OnceCell<PathBuf> = OnceCell::const_new();
    let find = || async {
        for path in ["/usr/bin/setpriv", "/bin/setpriv"] {
            let trial = Command::new(path)
                .args(["--pdeathsig", "KILL", "--", path, "--version"])
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .status();
            if let Ok(Ok(status)) = timeout(DRAIN, trial).await
                && status.success()
            {
                return Ok(PathBuf::from(path));
            }
        }
        Err(())
    };
    SETPRIV.get_or_try_init(find).await.ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::time::Instant;

    use super::*;

    fn shell(script: &str, stdout: ChildOutput) -> ChildSpec {
        ChildSpec {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            environment: vec![("ONLY".to_owned(), "this".to_owned())],
            stdin: ChildInput::Null,
            stdout,
            mask: Box::new(|text| text.replace("hidden", "********")),
            confinement: Confinement::default(),
            kind: ChildKind::Program,
        }
    }

    /// Whether a process still runs; a killed orphan may wait for a while until init buries it.
    fn runs(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[tokio::test]
    async fn the_exit_status_and_the_masked_stderr_are_kept() {
        let spec = shell("echo so hidden >&2; exit 3", ChildOutput::Null);
        let mut child = Child::spawn(spec).await.unwrap();
        let exit = child.wait().await.unwrap();
        assert_eq!(exit.stderr, "so ********");
        assert_eq!(exit.to_string(), "ended with status 3");
        assert!(!exit.success());
        assert_eq!(child.wait().await.unwrap().stderr, "so ********");
    }

    #[tokio::test]
    async fn stdout_goes_into_the_pipe_and_the_environment_is_clean() {
        let (mut reader, writer) = io::pipe().unwrap();
        let script = "env | grep -vE '^(PWD|SHLVL|_|OLDPWD)='; cat";
        let mut child = Child::spawn(shell(script, ChildOutput::Pipe(writer, None)))
            .await
            .unwrap();
        assert!(child.wait().await.unwrap().success());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ONLY=this\n");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error_with_its_name() {
        let mut spec = shell("", ChildOutput::Null);
        spec.program = "/nonexistent/pg_dump".into();
        let error = Child::spawn(spec).await.err().unwrap();
        assert!(
            error.to_string().contains("/nonexistent/pg_dump"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn ending_a_program_ends_all_it_has_started_even_if_it_does_not_want_to() {
        let (mut reader, writer) = io::pipe().unwrap();
        let script = "trap '' TERM; sleep 1000 & echo $!; wait; wait; sleep 1000";
        let mut child = Child::spawn(shell(script, ChildOutput::Pipe(writer, None)))
            .await
            .unwrap();
        let mut line = [0; 32];
        let count = reader.read(&mut line).unwrap();
        let grandchild = String::from_utf8_lossy(&line[..count]).into_owned();
        assert!(runs(&grandchild));
        let exit = child.terminate(Duration::from_millis(200)).await.unwrap();
        assert!(exit.to_string().contains("SIGKILL"), "{exit}");
        let deadline = Instant::now() + Duration::from_secs(10);
        while runs(&grandchild) {
            assert!(Instant::now() < deadline, "the grandchild still runs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn dropping_a_program_kills_it() {
        let (mut reader, writer) = io::pipe().unwrap();
        let script = "echo $$; exec sleep 1000";
        let child = Child::spawn(shell(script, ChildOutput::Pipe(writer, None)))
            .await
            .unwrap();
        let mut line = [0; 32];
        assert!(reader.read(&mut line).unwrap() > 0);
        drop(child);
        let started = Instant::now();
        // The pipe reports its end when the last writer is gone.
        assert_eq!(reader.read(&mut line).unwrap(), 0);
        assert!(started.elapsed() < Duration::from_secs(100));
    }

    #[tokio::test]
    async fn a_grandchild_that_holds_stderr_open_does_not_hold_us() {
        let mut child = Child::spawn(shell("sleep 1000 & exit 0", ChildOutput::Null))
            .await
            .unwrap();
        let started = Instant::now();
        assert!(child.wait().await.unwrap().success());
        assert!(started.elapsed() < DRAIN * 5);
    }

    #[tokio::test]
    async fn giving_up_a_wait_loses_nothing() {
        let mut child = Child::spawn(shell("sleep 0.3; echo late >&2", ChildOutput::Null))
            .await
            .unwrap();
        let first = timeout(Duration::from_millis(50), child.wait()).await;
        assert!(first.is_err());
        let exit = child.wait().await.unwrap();
        assert_eq!((exit.success(), exit.stderr.as_str()), (true, "late"));
    }

    #[test]
    fn a_program_outlives_the_thread_that_asked_for_it() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let asking = std::thread::spawn(move || {
            handle.block_on(Child::spawn(shell("sleep 0.5", ChildOutput::Null)))
        });
        let mut child = asking.join().unwrap().unwrap();
        let exit = runtime.block_on(child.wait()).unwrap();
        assert!(exit.success(), "{exit}");
    }
}
