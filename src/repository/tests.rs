//! The protocol by which a directory changes, each step also cut short. Here is what all of these
//! tests work on: a directory with backups that were published in it.

mod catalogue;
mod ledger;
mod lock;
mod publication;
mod quarantine;
mod removal;
mod state;
mod sweep;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;

use chrono::{DateTime, FixedOffset};
use rustix::fs::Mode;
use serde_json::json;
use tempfile::TempDir;
use uuid::Uuid;

use super::temporary::{self, REMOVED};
use super::{
    Artifact, AtRest, CensusFile, Check, Checked, ENCRYPTED_FORMAT, Globals, Holder, Lock,
    MANIFEST_FORMAT, Manifest, Pin, Repository, RepositoryError, Requester, Role, Seconds, Staging,
    State, Stem, Swept,
};
use crate::config::{Compression, Format};
use crate::pipeline::{
    Digest, Progress, StreamSummary, digest_directory, digest_file, take_census,
};

const NAME: &str = "backup_20250709_020000";
const PLAIN: Role = Role::Artifact(Format::Plain, Compression::Gzip, AtRest::Clear);
const DIRECTORY: Role = Role::Artifact(Format::Directory, Compression::None, AtRest::Clear);
const ENCRYPTED: Role = Role::Artifact(Format::Custom, Compression::Gzip, AtRest::Encrypted);
const GLOBALS: Role = Role::Globals(AtRest::Clear);

/// The shortest text that is a whole dump.
const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n--\n\
                    -- PostgreSQL database dump complete\n--\n\n";

/// A directory for backups that goes away with the value.
struct TestDirectory {
    _directory: TempDir,
    repository: Repository,
}

impl TestDirectory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository::at(directory.path().join("shop"));
        repository.create().unwrap();
        Self {
            _directory: directory,
            repository,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.repository.directory().join(name)
    }

    fn lock(&self) -> Lock {
        self.repository.lock(&holder()).unwrap()
    }

    /// Every name in the directory but the lock's.
    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.repository.directory()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect()
    }

    fn listed(&self) -> Vec<String> {
        let catalogue = self.repository.catalogue().unwrap();
        let entries = catalogue.backups.iter();
        entries.map(|entry| entry.stem.to_string()).collect()
    }

    /// Notes something about a backup.
    fn change_state(&self, stem: &Stem, change: impl FnOnce(&mut State)) {
        let before = self.repository.change_state(run(99), stem, change);
        assert!(before.unwrap().is_some());
    }

    /// Publishes a backup under a name, if that is free, and gives its manifest.
    fn publish(&self, run: Uuid, name: &str, artifact: Role) -> Manifest {
        let lock = self.lock();
        let staging = self.repository.stage(run, &lock);
        write_temporaries(self.repository.directory(), run, artifact);
        let census = Role::Census(artifact.at_rest());
        let census = digest(census, &staging.path(census));
        let (checked, globals) = assumed(&staging, run, artifact);
        let describe = |stem: &Stem, artifact: &Checked, globals: Option<&Checked>| {
            manifest(stem, run, artifact, globals.unwrap(), &census)
        };
        staging
            .publish(checked, Some(globals), name.parse().unwrap(), describe)
            .unwrap()
    }

    /// Puts the files of a published backup back under their temporary names, but the first so
    /// many of the order in which they are published: what a run leaves that was cut short.
    fn cut_short(&self, manifest: &Manifest, published: usize) {
        let stem: Stem = manifest.name.parse().unwrap();
        for role in in_order(manifest).into_iter().skip(published) {
            let temporary = temporary::path(self.repository.directory(), manifest.run, role.word());
            fs::rename(self.repository.path(&stem, role), temporary).unwrap();
        }
    }
}

fn in_order(manifest: &Manifest) -> [Role; 4] {
    [
        manifest.globals_role(),
        manifest.census_role(),
        manifest.artifact_role(),
        Role::Manifest,
    ]
}

/// Writes what a run has written when it is about to publish, as open to others as can be.
fn write_temporaries(directory: &Path, run: Uuid, artifact: Role) {
    for role in [GLOBALS, Role::Census(AtRest::Clear), artifact] {
        let path = temporary::path(directory, run, role.word());
        if role == DIRECTORY {
            DirBuilder::new().mode(0o777).create(&path).unwrap();
            write(&path.join("toc.dat"), run);
            write(&path.join("1.dat.gz"), run);
        } else {
            write(&path, run);
        }
    }
}

/// The checks of the artifact and the globals that stand there, as if they were dumps.
fn assumed(staging: &Staging<'_>, run: Uuid, artifact: Role) -> (Checked, Checked) {
    let checked = |role| {
        let digest = digest(role, &staging.path(role));
        let stream_summary = StreamSummary {
            digest,
            ..stream_summary()
        };
        Checked::assumed(run, role, stream_summary)
    };
    (
        checked(artifact),
        checked(Role::Globals(artifact.at_rest())),
    )
}

/// What the shortest dump holds.
fn stream_summary() -> StreamSummary {
    let (census, text_bytes, findings, dependencies) =
        take_census(DUMP.as_bytes(), None, &Progress::default()).unwrap();
    StreamSummary {
        digest: Digest {
            sha256: "ab".repeat(32),
            bytes: 7,
        },
        text_bytes,
        census,
        findings,
        dependencies,
    }
}

fn write(path: &Path, run: Uuid) {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(path)
        .unwrap();
    write!(file, "{run} {}", path.display()).unwrap();
}

fn digest(role: Role, path: &Path) -> Digest {
    let progress = Progress::default();
    if role == DIRECTORY {
        return digest_directory(path, &progress).unwrap();
    }
    digest_file(File::open(path).unwrap(), &progress).unwrap()
}

#[expect(
    clippy::too_many_arguments,
    clippy::too_many_lines,
    reason = "a manifest, field by field"
)]
fn manifest(
    stem: &Stem,
    run: Uuid,
    artifact: &Checked,
    globals: &Checked,
    census: &Digest,
) -> Manifest {
    let (role, stream_summary) = (artifact.role(), artifact.stream_summary());
    let Role::Artifact(format, compression, at_rest) = role else {
        panic!("{role:?} is no artifact");
    };
    let file = |role: Role| format!("{stem}{}", role.suffix());
    let started = moment(&stem.local.and_utc().to_rfc3339());
    Manifest {
        format: match at_rest {
            AtRest::Clear => MANIFEST_FORMAT,
            AtRest::Encrypted => ENCRYPTED_FORMAT,
        },
        program: "pgbackupd".to_owned(),
        name: stem.to_string(),
        run,
        database: "shop".to_owned(),
        series: stem.series.clone(),
        reason: None,
        started,
        verified: started,
        zone: "UTC".to_owned(),
        artifact: Artifact {
            file: file(role),
            format,
            compression,
            digest: stream_summary.digest.clone(),
            text_bytes: stream_summary.text_bytes,
        },
        globals: Some(Globals {
            file: file(Role::Globals(at_rest)),
            digest: globals.stream_summary().digest.clone(),
            role_passwords: true,
        }),
        census: CensusFile {
            file: file(Role::Census(at_rest)),
            digest: census.clone(),
            summary: stream_summary.census.summary(),
        },
        skipped_tables: Vec::new(),
        encrypted_to: match at_rest {
            AtRest::Clear => Vec::new(),
            AtRest::Encrypted => vec!["SHA256:somebody".to_owned()],
        },
        seconds: Seconds::default(),
        warnings: Vec::new(),
        requested_by: Requester::default(),
        recomputed: Vec::new(),
        left_out: Vec::new(),
        pg_dump: "pg_dump (PostgreSQL) 17.2".to_owned(),
        server: serde_json::from_value(json!({
            "version": "PostgreSQL 17.2",
            "version_number": 170_002,
            "system_identifier": null,
            "in_recovery": false,
            "data_checksums": false,
        }))
        .unwrap(),
        properties: serde_json::from_value(json!({
            "name": "shop",
            "encoding": "UTF8",
            "locale_provider": "libc",
            "lc_collate": "C",
            "lc_ctype": "C",
            "locale": null,
            "icu_rules": null,
            "collation_version": null,
            "owner": "postgres",
            "tablespace": null,
            "connection_limit": -1,
            "is_template": false,
            "allow_connections": true,
            "privileges": null,
            "comment": null,
            "settings": [],
            "extensions": [],
            "size_bytes": 1,
        }))
        .unwrap(),
        sealed: None,
    }
}

fn moment(rfc3339: &str) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339(rfc3339).unwrap()
}

fn holder() -> Holder {
    Holder {
        operation: "backup".to_owned(),
        since: moment("2025-07-09T02:00:00+03:00"),
        requested_by: Requester::default(),
    }
}

fn pin() -> Pin {
    Pin {
        at: moment("2025-07-09T02:00:00+03:00"),
        by: "somebody".to_owned(),
    }
}

fn run(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn names(stem: &str, suffixes: &[&str]) -> BTreeSet<String> {
    let names = suffixes.iter().map(|suffix| format!("{stem}{suffix}"));
    names.collect()
}

const PLAIN_SUFFIXES: [&str; 4] = [".census.gz", ".globals.gz", ".json", ".sql.gz"];
