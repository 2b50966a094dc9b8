//! Commands that run, and what they leave behind.

use std::fmt;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{self, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};

/// What a command that has ended left behind.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The exit code, or 128 and the number of the signal that killed it, as a shell has it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command that runs. Dropping it kills it.
pub(crate) struct Running {
    child: Option<process::Child>,
}

impl Running {
    /// Starts a command whose outputs are kept.
    pub(crate) fn start(mut command: Command) -> Self {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child: Some(child) }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("a running command"))
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("a running command");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Output {
        let child = self.child.take().expect("a running command");
        let output = child.wait_with_output().expect("its output");
        Output {
            code: code(output.status),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Output {
    /// What it printed, without the breaks of long lines.
    pub(crate) fn words(&self) -> String {
        let words: Vec<&str> = self.stdout.split_whitespace().collect();
        words.join(" ")
    }

    /// The command failed with this code, printed nothing else, and said exactly this.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, stderr: &str) {
        assert_eq!(self.stderr, format!("{stderr}\n"), "{self}");
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self}");
    }

    /// The same, of a program of `PostgreSQL`'s that has failed: our own sentence, then its words, and
    /// last the way out, if the sentence has one.
    #[track_caller]
    pub(crate) fn assert_failed_quoting(&self, code: i32, sentence: &str, quoted: &str) {
        let (sentence, hint) = sentence.split_once("\nhint: ").unwrap_or((sentence, ""));
        let (first, rest) = self.stderr.split_once('\n').unwrap_or_default();
        assert_eq!(first, format!("{sentence}; its output:"), "{self}");
        assert!(rest.contains(quoted), "{self}");
        let (_, last) = rest.rsplit_once("\nhint: ").unwrap_or((rest, ""));
        let last = last.split("\nfull output:\n").next().unwrap_or_default();
        assert_eq!(last.trim_end(), hint, "{self}");
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().expect("a signal"))
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code {}\nstdout:\n{}stderr:\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}
