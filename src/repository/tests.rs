//! The protocol by which a directory changes: publishing, sweeping, removing, each also cut short.

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

use super::sweep::REMOVED;
use super::{
    Artifact, CensusFile, Check, Checked, Globals, Holder, Lock, MANIFEST_FORMAT, Manifest, Pin,
    Repository, RepositoryError, Requester, Role, Seconds, State, Stem, Swept, staging,
};
use crate::config::{Compression, Format};
use crate::pipeline::{Digest, Passage, Progress, digest_directory, digest_file, take_census};

const NAME: &str = "backup_20250709_020000";
const PLAIN: Role = Role::Artifact(Format::Plain, Compression::Gzip);
const DIRECTORY: Role = Role::Artifact(Format::Directory, Compression::None);

/// The shortest text that is a whole dump.
const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n--\n\
                    -- PostgreSQL database dump complete\n--\n\n";

/// A directory for backups that goes away with the value.
struct Place {
    _directory: TempDir,
    repository: Repository,
}

impl Place {
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
    fn note(&self, stem: &Stem, change: impl FnOnce(&mut State)) {
        let before = self.repository.change_state(run(99), stem, change);
        assert!(before.unwrap().is_some());
    }

    /// Publishes a backup under a name, if that is free, and gives its manifest.
    fn publish(&self, run: Uuid, name: &str, artifact: Role) -> Manifest {
        let lock = self.lock();
        let staging = self.repository.stage(run, &lock);
        write_temporaries(self.repository.directory(), run, artifact);
        let text = DUMP.as_bytes();
        let (census, text_bytes, foreign, needs) = take_census(text, &Progress::default()).unwrap();
        let passage = Passage {
            digest: digest(artifact, &staging.path(artifact)),
            text_bytes,
            census,
            foreign,
            needs,
        };
        let globals = digest(Role::Globals, &staging.path(Role::Globals));
        let census = digest(Role::Census, &staging.path(Role::Census));
        let checked = Checked::archive(passage);
        let roles = [Role::Globals, Role::Census, artifact];
        let describe =
            |stem: &Stem| manifest(stem, run, artifact, checked.passage(), &globals, &census);
        staging
            .publish(&checked, name.parse().unwrap(), &roles, describe)
            .unwrap()
    }

    /// Puts the files of a published backup back under their temporary names, but the first so
    /// many of the order in which they are published: what a run leaves that was cut short.
    fn cut_short(&self, manifest: &Manifest, published: usize) {
        let stem: Stem = manifest.name.parse().unwrap();
        for role in in_order(manifest).into_iter().skip(published) {
            let temporary =
                staging::temporary(self.repository.directory(), manifest.run, role.word());
            fs::rename(self.repository.path(&stem, role), temporary).unwrap();
        }
    }
}

fn in_order(manifest: &Manifest) -> [Role; 4] {
    let artifact = Role::Artifact(manifest.artifact.format, manifest.artifact.compression);
    [Role::Globals, Role::Census, artifact, Role::Manifest]
}

/// Writes what a run has written when it is about to publish, as open to others as can be.
fn write_temporaries(directory: &Path, run: Uuid, artifact: Role) {
    for role in [Role::Globals, Role::Census, artifact] {
        let path = staging::temporary(directory, run, role.word());
        if role == DIRECTORY {
            DirBuilder::new().mode(0o777).create(&path).unwrap();
            write(&path.join("toc.dat"), run);
            write(&path.join("1.dat.gz"), run);
        } else {
            write(&path, run);
        }
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

fn manifest(
    stem: &Stem,
    run: Uuid,
    artifact: Role,
    passage: &Passage,
    globals: &Digest,
    census: &Digest,
) -> Manifest {
    let Role::Artifact(format, compression) = artifact else {
        panic!("{artifact:?} is no artifact");
    };
    let file = |role: Role| format!("{stem}{}", role.suffix());
    let started = moment(&stem.local.and_utc().to_rfc3339());
    Manifest {
        format: MANIFEST_FORMAT,
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
            file: file(artifact),
            format,
            compression,
            digest: passage.digest.clone(),
            text_bytes: passage.text_bytes,
        },
        globals: Some(Globals {
            file: file(Role::Globals),
            digest: globals.clone(),
            role_passwords: true,
        }),
        census: CensusFile {
            file: file(Role::Census),
            digest: census.clone(),
            summary: passage.census.summary(),
        },
        seconds: Seconds::default(),
        warnings: Vec::new(),
        requested_by: Requester::default(),
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

#[test]
fn what_is_published_is_for_its_owner_alone_whatever_the_umask() {
    let before = rustix::process::umask(Mode::empty());
    let place = Place::new();
    place.publish(run(1), NAME, PLAIN);
    place.publish(run(2), NAME, DIRECTORY);
    place.note(&NAME.parse().unwrap(), |state| state.pinned = Some(pin()));
    rustix::process::umask(before);
    let mut seen = 0;
    let mut waiting = vec![place.repository.directory().to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!(mode, expected, "{} has mode {mode:o}", path.display());
        if metadata.is_dir() {
            waiting.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        seen += 1;
    }
    // The directory and its lock, two backups of four files, two files in one of these, one state.
    assert_eq!(seen, 2 + 8 + 2 + 1);
}

#[test]
fn a_name_that_is_taken_in_the_same_second_gets_a_count() {
    let place = Place::new();
    for (number, name) in [
        (1, NAME.to_owned()),
        (2, format!("{NAME}_2")),
        (3, format!("{NAME}_3")),
    ] {
        // Whatever its shape: no two backups may share a manifest's name.
        let artifact = if number == 2 { DIRECTORY } else { PLAIN };
        assert_eq!(place.publish(run(number), NAME, artifact).name, name);
    }
    assert_eq!(
        place.listed(),
        [NAME.to_owned(), format!("{NAME}_2"), format!("{NAME}_3")]
    );
}

#[test]
fn files_of_others_are_never_replaced() {
    for suffix in [
        ".sql.gz",
        ".sql.zst",
        ".sql",
        ".dump",
        ".dir",
        ".globals.gz",
        ".census.gz",
        ".json",
        ".state",
    ] {
        let place = Place::new();
        let theirs = place.path(&format!("{NAME}{suffix}"));
        fs::write(&theirs, "theirs").unwrap();
        let link = place.path(&format!("{NAME}_2{suffix}"));
        symlink("nowhere", &link).unwrap();
        let made = place.publish(run(1), NAME, PLAIN);
        assert_eq!(made.name, format!("{NAME}_3"), "{suffix}");
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs", "{suffix}");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("nowhere"));
    }
}

#[test]
fn what_was_not_published_goes_away_with_its_run() {
    let place = Place::new();
    let lock = place.lock();
    let staging = place.repository.stage(run(1), &lock);
    write_temporaries(place.repository.directory(), run(1), DIRECTORY);
    assert_eq!(place.names().len(), 3);
    drop(staging);
    assert_eq!(place.names(), BTreeSet::new());
}

#[test]
fn a_publication_that_fails_leaves_nothing() {
    let place = Place::new();
    // Its census is not there to be published.
    let lock = place.lock();
    let staging = place.repository.stage(run(1), &lock);
    write_temporaries(place.repository.directory(), run(1), PLAIN);
    let (census, text_bytes, foreign, needs) =
        take_census(DUMP.as_bytes(), &Progress::default()).unwrap();
    let checked = Checked::archive(Passage {
        digest: digest(PLAIN, &staging.path(PLAIN)),
        text_bytes,
        census,
        foreign,
        needs,
    });
    let path = staging.path(Role::Census);
    let digest = digest(Role::Census, &path);
    fs::remove_file(&path).unwrap();
    let describe = |stem: &Stem| manifest(stem, run(1), PLAIN, checked.passage(), &digest, &digest);
    let roles = [Role::Globals, Role::Census, PLAIN];
    let failed = staging.publish(&checked, NAME.parse().unwrap(), &roles, describe);
    assert_eq!(
        failed.unwrap_err().to_string(),
        format!(
            "cannot sync {}: No such file or directory (os error 2)",
            path.display()
        )
    );
    assert_eq!(place.names(), BTreeSet::new());
}

#[test]
fn what_was_read_back_must_be_what_was_written() {
    let (census, text_bytes, foreign, needs) =
        take_census(DUMP.as_bytes(), &Progress::default()).unwrap();
    let written = Passage {
        digest: Digest {
            sha256: "ab".repeat(32),
            bytes: 7,
        },
        text_bytes,
        census,
        foreign,
        needs,
    };
    let path = Path::new("/x");
    assert!(Checked::compare(&written, written.clone(), path).is_ok());
    let mut digest = written.clone();
    digest.digest.sha256 = "cd".repeat(32);
    let mut text = written.clone();
    text.text_bytes += 1;
    let more = DUMP.replace("\n\n--\n", "\n\nCREATE SCHEMA more;\n\n--\n");
    let mut census = written.clone();
    census.census = take_census(more.as_bytes(), &Progress::default())
        .unwrap()
        .0;
    for other in [digest, text, census] {
        let error = Checked::compare(&written, other, path).unwrap_err();
        assert!(matches!(error, RepositoryError::ReadBack { .. }), "{error}");
    }
}

#[test]
fn a_sweep_removes_what_dead_runs_left_and_nothing_else() {
    let place = Place::new();
    place.publish(run(1), NAME, PLAIN);
    let foreign = [
        ".pgbackupd-notes".to_owned(),
        format!(".pgbackupd-{}.notes", run(7)),
        format!(".pgbackupd-{}", run(7)),
        ".pgbackupd-1.artifact".to_owned(),
        "weekly_backup_20250709_020000.sql.gz".to_owned(),
        "notes".to_owned(),
    ];
    for name in &foreign {
        fs::write(place.path(name), "theirs").unwrap();
    }
    let before = place.names();
    write_temporaries(place.repository.directory(), run(2), PLAIN);
    write_temporaries(place.repository.directory(), run(3), DIRECTORY);
    for word in ["manifest", "state", "removed-x"] {
        // Torn by the crash.
        fs::write(place.path(&format!(".pgbackupd-{}.{word}", run(3))), "{").unwrap();
    }
    let swept = place.repository.sweep(&place.lock()).unwrap();
    assert_eq!(
        swept,
        Swept {
            removed: vec![run(2), run(3)],
            ..Swept::default()
        }
    );
    assert_eq!(place.names(), before);
    assert_eq!(
        place.repository.sweep(&place.lock()).unwrap(),
        Swept::default()
    );
}

#[test]
fn a_publication_that_lacked_only_names_is_completed() {
    for artifact in [PLAIN, DIRECTORY] {
        for published in 0..4 {
            let place = Place::new();
            let manifest = place.publish(run(1), NAME, artifact);
            let before = place.names();
            place.cut_short(&manifest, published);
            assert_eq!(place.listed(), Vec::<String>::new());
            let swept = place.repository.sweep(&place.lock()).unwrap();
            assert_eq!(swept.completed, [NAME], "{published} were published");
            assert_eq!(place.names(), before);
            assert_eq!(place.listed(), [NAME]);
            let stem = NAME.parse().unwrap();
            assert_eq!(place.repository.manifest(&stem).unwrap(), manifest);
        }
    }
}

/// Where a rename is a link and an unlink (NFS), a crash can leave both names.
#[test]
fn a_publication_with_a_file_under_both_names_is_completed() {
    let place = Place::new();
    let manifest = place.publish(run(1), NAME, PLAIN);
    let before = place.names();
    place.cut_short(&manifest, 1);
    let temporary = place.path(&format!(".pgbackupd-{}.census", run(1)));
    fs::hard_link(temporary, place.path(&format!("{NAME}.census.gz"))).unwrap();
    let swept = place.repository.sweep(&place.lock()).unwrap();
    assert_eq!(swept.completed, [NAME]);
    assert_eq!(place.names(), before);
}

#[test]
fn a_publication_that_is_not_whole_loses_its_names() {
    for published in 0..4 {
        for (index, suffix) in [".globals.gz", ".census.gz", ".sql.gz"].iter().enumerate() {
            let place = Place::new();
            let manifest = place.publish(run(1), NAME, PLAIN);
            place.cut_short(&manifest, published);
            let word = in_order(&manifest)[index].word();
            let torn = if index < published {
                format!("{NAME}{suffix}")
            } else {
                format!(".pgbackupd-{}.{word}", run(1))
            };
            fs::write(place.path(&torn), "torn").unwrap();
            let swept = place.repository.sweep(&place.lock()).unwrap();
            assert_eq!(swept.completed, Vec::<String>::new());
            assert_eq!(place.listed(), Vec::<String>::new());
            // What is not provably of this run may be somebody else's, and stays.
            let mut left = place.names();
            assert_eq!(left.remove(&torn), index < published);
            assert_eq!(left, BTreeSet::new(), "{published} published, {torn} torn");
        }
    }
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    for gone in 0..4 {
        let place = Place::new();
        let kept = place.publish(run(1), "backup_20250708_020000", PLAIN).name;
        let removed = place.publish(run(2), NAME, PLAIN);
        let word = format!("{REMOVED}-{NAME}");
        let aside = staging::temporary(place.repository.directory(), run(3), &word);
        fs::rename(place.path(&format!("{NAME}.json")), aside).unwrap();
        for role in in_order(&removed).into_iter().take(gone.min(3)) {
            let stem = NAME.parse().unwrap();
            fs::remove_file(place.repository.path(&stem, role)).unwrap();
        }
        let swept = place.repository.sweep(&place.lock()).unwrap();
        assert_eq!(swept.finished_removals, [NAME], "{gone} were gone");
        assert_eq!(place.names(), names(&kept, &PLAIN_SUFFIXES));
        assert_eq!(place.listed(), [kept]);
    }
}

#[test]
fn a_backup_is_removed_with_all_its_files_and_a_pinned_one_is_not() {
    let place = Place::new();
    let stem: Stem = NAME.parse().unwrap();
    place.publish(run(1), NAME, DIRECTORY);
    let repository = &place.repository;
    place.note(&stem, |state| state.pinned = Some(pin()));
    let before = place.names();
    assert!(!repository.remove(run(3), &stem, &place.lock()).unwrap());
    assert_eq!(place.names(), before);

    place.note(&stem, |state| state.pinned = None);
    assert!(repository.remove(run(5), &stem, &place.lock()).unwrap());
    assert_eq!(place.names(), BTreeSet::new());
    // Nothing can be noted of it any more.
    let noted = repository.change_state(run(6), &stem, |state| state.pinned = Some(pin()));
    assert_eq!(noted.unwrap(), None);
    assert_eq!(place.names(), BTreeSet::new());
}

#[test]
fn a_pin_is_not_undone_by_a_verification_or_a_sweep_at_the_same_time() {
    const TIMES: u128 = 200;
    let place = Place::new();
    let stem: Stem = NAME.parse().unwrap();
    place.publish(run(1), NAME, PLAIN);
    let repository = &place.repository;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..TIMES {
                let checked = Check {
                    at: moment("2025-07-09T02:00:00+03:00"),
                    damage: Some(number.to_string()),
                };
                repository
                    .change_state(run(2), &stem, |state| state.checked = Some(checked))
                    .unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..TIMES {
                repository.sweep(&place.lock()).unwrap();
            }
        });
        for number in 0..TIMES {
            let pinned = number % 2 == 0;
            repository
                .change_state(run(3), &stem, |state| state.pinned = pinned.then(pin))
                .unwrap();
            let state = repository.state(&stem).unwrap();
            assert_eq!(state.pinned.is_some(), pinned);
        }
    });
    let checked = repository.state(&stem).unwrap().checked.unwrap();
    assert_eq!(checked.damage.unwrap(), (TIMES - 1).to_string());
    assert_eq!(place.names().len(), 5);
}

#[test]
fn a_backup_whose_state_or_manifest_cannot_be_read_is_not_removed() {
    let stem: Stem = NAME.parse().unwrap();
    for suffix in [".state", ".json"] {
        let place = Place::new();
        place.publish(run(1), NAME, PLAIN);
        fs::write(place.path(&format!("{NAME}{suffix}")), "{").unwrap();
        let before = place.names();
        assert!(
            place
                .repository
                .remove(run(2), &stem, &place.lock())
                .is_err()
        );
        assert_eq!(place.names(), before);
        // Nor is it counted.
        assert_eq!(place.listed(), Vec::<String>::new());
    }
}

#[test]
fn whoever_finds_the_lock_taken_hears_who_holds_it_since_when() {
    let place = Place::new();
    let mut first = holder();
    first.requested_by.user = "root".to_owned();
    let lock = place.repository.lock(&first).unwrap();
    let error = place.repository.lock(&holder()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is busy: a backup by {} has been at work on it since 2025-07-09 02:00:00 +03:00",
            place.repository.directory().display(),
            first.requested_by,
        )
    );
    // A note that a full disk has cut off holds nobody up.
    fs::write(place.path(".lock"), "{").unwrap();
    let error = place.repository.lock(&holder()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is busy: another run is at work on it")
    );
    drop(lock);
    place.lock();
}

#[test]
fn a_directory_that_is_not_there_holds_no_backups() {
    let place = Place::new();
    let repository = Repository::at(place.path("nowhere"));
    let catalogue = repository.catalogue().unwrap();
    assert!(catalogue.backups.is_empty() && catalogue.problems.is_empty());
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error_and_not_empty() {
    let place = Place::new();
    let file = place.path("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let error = Repository::at(&file).catalogue().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot read the directory {}: Not a directory (os error 20)",
            file.display()
        )
    );
}

#[test]
fn ten_thousand_backups_are_all_found_in_their_order() {
    const BACKUPS: i64 = 10_000;
    let place = Place::new();
    let template = place.publish(run(1), NAME, PLAIN);
    let first: Stem = NAME.parse().unwrap();
    for minute in 1..BACKUPS {
        let mut stem = first.clone();
        stem.local += chrono::Duration::minutes(minute);
        let mut manifest = template.clone();
        manifest.name = stem.to_string();
        manifest.started += chrono::Duration::minutes(minute);
        fs::write(
            place.repository.path(&stem, Role::Manifest),
            manifest.to_text().unwrap(),
        )
        .unwrap();
        File::create_new(place.repository.path(&stem, PLAIN)).unwrap();
    }
    // One in the middle is spoilt, and only that one is missed.
    let spoilt = "backup_20250712_020000";
    let path = place.path(&format!("{spoilt}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"shop\"", "\"shap\"", 1)).unwrap();

    let catalogue = place.repository.catalogue().unwrap();
    assert_eq!(catalogue.backups.len(), 9_999);
    assert!(catalogue.backups.is_sorted_by_key(|entry| entry.stem.local));
    let problems: Vec<_> = catalogue
        .problems
        .iter()
        .map(|p| (&*p.file, &*p.what))
        .collect();
    assert_eq!(
        problems,
        [(
            "backup_20250712_020000.json",
            "it has been changed since it was written: its checksum does not fit"
        )]
    );
}

mod quarantine;
