//! What receives messages: servers of HTTP and of mail, by `tests/fixtures/receivers.py`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::certificates::Certificates;

/// Servers on this machine, under a certificate for `localhost` of an authority of their own. They end with
/// the value.
pub(crate) struct Receivers {
    certificates: Certificates,
    process: Child,
    ports: Value,
}

impl Receivers {
    pub(crate) fn start() -> Self {
        let certificates = Certificates::make("localhost");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/receivers.py");
        // Debian's, which has its own packages.
        let mut process = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(certificates.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3, of the package python3-aiosmtpd");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its stdout"))
            .read_line(&mut line)
            .expect("the ports");
        let ports = serde_json::from_str(&line).expect("the ports; python3-aiosmtpd is installed");
        Self {
            certificates,
            process,
            ports,
        }
    }

    /// The port of a server: `http`, `https`, `smtp`, `starttls`, `smtps`, or `silent`, which never answers.
    pub(crate) fn port(&self, server: &str) -> u64 {
        self.ports[server].as_u64().expect("a port")
    }

    /// The certificate of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.certificates.path("ca.crt")
    }

    /// The requests that came, oldest first.
    pub(crate) fn requests(&self) -> Vec<Value> {
        self.received("requests.jsonl")
    }

    /// The mails that came, oldest first.
    pub(crate) fn mails(&self) -> Vec<Value> {
        self.received("mails.jsonl")
    }

    fn received(&self, file: &str) -> Vec<Value> {
        json_lines(&self.certificates.path(file))
    }
}

/// The lines of JSON in a file to which somebody appends; the last one may be half there, and there may be
/// no file yet.
pub(crate) fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let end = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text[..end].lines().filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
