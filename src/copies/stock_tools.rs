//! The tools that an operator has when this program is not there; tests hold what is written against them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether a tool is missing. A test that needs it says so and passes.
pub(super) fn is_missing(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\"", tool])
            .output();
        !found.is_ok_and(|output| output.status.success())
    });
    if let Some(tool) = missing {
        println!("skipped: {tool} is not installed");
    }
    missing.is_some()
}

/// Runs a tool in a directory with this input, and gives its output if it exits with 0.
pub(super) fn run(directory: &Path, words: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A tool that refuses its input does not read it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    writer.join().unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        let all = [output.stdout, output.stderr].concat();
        Err(String::from_utf8_lossy(&all).into_owned())
    }
}
