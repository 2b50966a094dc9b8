//! What of a backup is sent to the server: nothing but what belongs to the one database that is made
//! for it, and what is reported to the operator of the rest.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::source::Source;
use crate::jobs::{JobContext, JobError};
use crate::pipeline::{Findings, StreamError};
use crate::postgres::{Client, Conninfo, ServerFacts};

/// What lets statements of unknown kinds pass.
const ACCEPT: &str = "--accept-unexpected";

/// Judges what was found in a backup; gives what the operator should know.
///
/// # Errors
/// When it is not to be restored.
pub(in crate::jobs) fn judge_findings(
    source: &Source,
    findings: &Findings,
    accepts_unexpected: bool,
) -> Result<Option<String>, JobError> {
    if let Some(finding) = &findings.refused {
        return Err(source.refused(finding));
    }
    let is_ours = source.manifest.is_some();
    if findings.has_only_rows && !is_ours {
        return Err(JobError::Refused(format!(
            "{} holds rows and makes no tables for them, as pg_dump --data-only writes it: a new database \
             has none\nhint: restore the dump of the definitions first (pg_dump --schema-only), and load \
             the rows into that database with psql or pg_restore",
            source.label
        )));
    }
    let (Some(words), Some(first)) = (findings.display_unexpected(), findings.unexpected.first())
    else {
        return Ok(None);
    };
    let found = format!(
        "{} holds statements {}of kinds that are not known:{words}",
        source.label,
        source.line_of()
    );
    if accepts_unexpected && is_ours {
        return Ok(Some(format!(
            "{found}\nthey are executed, because of {ACCEPT}"
        )));
    }
    Err(JobError::Refused(if is_ours {
        format!(
            "{found}\nhint: a newer pg_dump may have written them, and a newer pgbackupd may know them; \
             if they are harmless, run it again with {ACCEPT}"
        )
    } else {
        format!("{found}\nhint: {}", first.hint())
    }))
}

/// A failure in loading a backup, where it was refused then: the file has changed since it was read.
pub(in crate::jobs) fn changed(source: &Source, error: JobError) -> JobError {
    match error {
        JobError::Stream {
            source: StreamError::Refused(finding),
            ..
        } => JobError::Refused(format!(
            "{} was changed after it had been read, and holds what a restore does not send: {}{finding}; \
             that was not sent, nor anything behind it",
            source.label,
            source.line_of()
        )),
        error => error,
    }
}

/// By which the files of an archive are known again: what is loaded is what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::jobs) struct Stamp(Vec<[i128; 5]>);

impl Stamp {
    /// The stamp of a file, or of all files of a directory.
    pub(in crate::jobs) fn of(path: &Path) -> io::Result<Self> {
        let mut files = vec![path.metadata()?];
        if files[0].is_dir() {
            for entry in path.read_dir()? {
                files.push(entry?.path().metadata()?);
            }
        }
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        let mut stamps: Vec<[i128; 5]> = files
            .iter()
            .map(|file| {
                [
                    file.dev().into(),
                    file.ino().into(),
                    file.size().into(),
                    nanoseconds(file.mtime(), file.mtime_nsec()),
                    nanoseconds(file.ctime(), file.ctime_nsec()),
                ]
            })
            .collect();
        stamps.sort_unstable();
        Ok(Self(stamps))
    }

    /// # Errors
    /// When the files are not what they were.
    pub(in crate::jobs) fn check(stamp: Option<&Self>, source: &Source) -> Result<(), JobError> {
        match Self::of(source.path()) {
            Ok(now) if Some(&now) == stamp => Ok(()),
            Ok(_) => Err(JobError::Refused(format!(
                "{} was changed after it had been read\nhint: run it again",
                source.label
            ))),
            Err(error) => Err(JobError::failed(format!(
                "cannot read {}: {error}",
                source.path().display()
            ))),
        }
    }
}

/// What functions in a dump do while it is loaded.
pub fn about_functions(user: &str) -> String {
    format!(
        "as role {user}: what functions in the dump do while it is loaded, they do with that role's \
         privileges"
    )
}

/// Sessions in databases that serve, which keep them from being dropped as long as they are there.
/// Where there can be none, it is only one guard less.
pub(in crate::jobs) async fn stay_in(
    context: &JobContext,
    server_facts: &ServerFacts,
    maintenance: &Conninfo,
    databases: &[&str],
) -> Vec<Client> {
    let mut sessions = Vec::new();
    for (index, database) in databases.iter().enumerate() {
        let is_again = databases[..index].contains(database);
        if is_again || !server_facts.databases.contains_key(*database) {
            continue;
        }
        let conninfo = maintenance.to_database(database);
        match Client::connect(&conninfo, context.limits.connect).await {
            Ok(session) => sessions.push(session),
            Err(error) => tracing::debug!("no session stays in {database}: {error}"),
        }
    }
    sessions
}
