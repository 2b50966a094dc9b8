//! A program of the operator's own: words, no shell, the document on its standard input.

use std::collections::BTreeMap;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::Answer;
use super::error::{SendError, excerpt};
use crate::mask::mask;

/// What of our environment such a program gets: no secret.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];

/// So much of what it says is reported, in bytes.
const SAID: u64 = 4096;

/// Kills what it has started too, when its time is over.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails only when nobody is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs the program to its end.
pub(super) async fn run(
    argv: &[String],
    document: String,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(SendError::never("the command has no words".to_owned()));
    };
    let shown = mask(program, &[]);
    let passed_on = PASSED_ON
        .iter()
        .filter_map(|name| Some((*name, environment.get(*name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .envs(passed_on)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| SendError::later(format!("`{shown}` cannot be started: {error}")))?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A program need not read it.
            let _ = stdin.write_all(document.as_bytes()).await;
            let _ = stdin.write_all(b"\n").await;
        }
    };
    let read = async move {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            // What cannot be read is not reported.
            let _ = (&mut stderr).take(SAID).read_to_end(&mut said).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        String::from_utf8_lossy(&said).into_owned()
    };
    let ((), said, status) = tokio::join!(write, read, child.wait());
    // The number may belong to another now.
    group.0 = None;
    let status = status
        .map_err(|error| SendError::later(format!("`{shown}` cannot be waited for: {error}")))?;
    let said = excerpt(&mask(&said, &[]));
    if status.success() {
        return Ok(Answer::of(status.to_string()));
    }
    let said = if said.is_empty() {
        said
    } else {
        format!(": {said}")
    };
    Err(SendError::later(format!(
        "`{shown}` ended with {status}{said}"
    )))
}
