//! Publishing: a backup gets its names whole or not at all, and never one of somebody else.

use super::*;
use crate::pipeline::{ArchiveFiles, ArchiveList, ArchiveText};

#[test]
fn what_is_published_is_for_its_owner_alone_whatever_the_umask() {
    let before = rustix::process::umask(Mode::empty());
    let test_directory = TestDirectory::new();
    test_directory.publish(run(1), NAME, PLAIN);
    test_directory.publish(run(2), NAME, DIRECTORY);
    test_directory.change_state(&NAME.parse().unwrap(), |state| state.pinned = Some(pin()));
    rustix::process::umask(before);
    let mut seen = 0;
    let mut waiting = vec![test_directory.repository.directory().to_owned()];
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
    let test_directory = TestDirectory::new();
    for (number, name) in [
        (1, NAME.to_owned()),
        (2, format!("{NAME}_2")),
        (3, format!("{NAME}_3")),
    ] {
        // Whatever its shape: no two backups may share a manifest's name.
        let artifact = if number == 2 { DIRECTORY } else { PLAIN };
        assert_eq!(
            test_directory.publish(run(number), NAME, artifact).name,
            name
        );
    }
    assert_eq!(
        test_directory.listed(),
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
        let test_directory = TestDirectory::new();
        let theirs = test_directory.path(&format!("{NAME}{suffix}"));
        fs::write(&theirs, "theirs").unwrap();
        let link = test_directory.path(&format!("{NAME}_2{suffix}"));
        symlink("nowhere", &link).unwrap();
        let made = test_directory.publish(run(1), NAME, PLAIN);
        assert_eq!(made.name, format!("{NAME}_3"), "{suffix}");
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs", "{suffix}");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("nowhere"));
    }
}

#[test]
fn what_was_not_published_goes_away_with_its_run() {
    let test_directory = TestDirectory::new();
    let lock = test_directory.lock();
    let staging = test_directory.repository.stage(run(1), &lock);
    write_temporaries(test_directory.repository.directory(), run(1), DIRECTORY);
    assert_eq!(test_directory.names().len(), 3);
    drop(staging);
    assert_eq!(test_directory.names(), BTreeSet::new());
}

#[test]
fn a_publication_that_fails_leaves_nothing() {
    let test_directory = TestDirectory::new();
    // Its census is not there to be published.
    let lock = test_directory.lock();
    let staging = test_directory.repository.stage(run(1), &lock);
    write_temporaries(test_directory.repository.directory(), run(1), PLAIN);
    let (artifact, globals) = assumed(&staging, run(1), PLAIN);
    let census = Role::Census(AtRest::Clear);
    let path = staging.path(census);
    let census = digest(census, &path);
    fs::remove_file(&path).unwrap();
    let describe = |stem: &Stem, artifact: &Checked, globals: Option<&Checked>| {
        manifest(stem, run(1), artifact, globals.unwrap(), &census)
    };
    let failed = staging.publish(artifact, Some(globals), NAME.parse().unwrap(), describe);
    assert_eq!(
        failed.unwrap_err().to_string(),
        format!(
            "cannot sync {}: No such file or directory (os error 2)",
            path.display()
        )
    );
    assert_eq!(test_directory.names(), BTreeSet::new());
}

#[test]
fn what_was_read_back_must_be_what_was_written() {
    let test_directory = TestDirectory::new();
    let lock = test_directory.lock();
    let staging = test_directory.repository.stage(run(1), &lock);
    let written = stream_summary();
    let compare =
        |read: StreamSummary| staging.compare(PLAIN, &written.clone().into(), read.into());
    let checked = compare(written.clone()).unwrap();
    assert_eq!(
        (checked.role(), checked.stream_summary()),
        (PLAIN, &written)
    );
    let mut digest = written.clone();
    digest.digest.sha256 = "cd".repeat(32);
    let mut text = written.clone();
    text.text_bytes += 1;
    let more = DUMP.replace("\n\n--\n", "\n\nCREATE SCHEMA more;\n\n--\n");
    let mut census = written.clone();
    census.census = take_census(more.as_bytes(), None, &Progress::default())
        .unwrap()
        .0;
    for other in [digest, text, census] {
        let error = compare(other).unwrap_err();
        assert!(matches!(error, RepositoryError::ReadBack { .. }), "{error}");
    }
}

#[test]
fn the_check_of_another_file_publishes_nothing() {
    let of = |number, role| Checked::assumed(run(number), role, stream_summary());
    for (artifact, globals, checked) in [
        (of(2, PLAIN), None, (2, "artifact")),
        (of(1, GLOBALS), None, (1, "globals")),
        (of(1, Role::Census(AtRest::Clear)), None, (1, "census")),
        (of(1, PLAIN), Some(of(2, GLOBALS)), (2, "globals")),
        (of(1, PLAIN), Some(of(1, DIRECTORY)), (1, "artifact")),
    ] {
        let test_directory = TestDirectory::new();
        let lock = test_directory.lock();
        let staging = test_directory.repository.stage(run(1), &lock);
        write_temporaries(test_directory.repository.directory(), run(1), PLAIN);
        let describe = |_: &Stem, _: &Checked, _: Option<&Checked>| unreachable!();
        let refused = staging.publish(artifact, globals, NAME.parse().unwrap(), describe);
        let Err(RepositoryError::NotItsCheck { found, .. }) = refused else {
            panic!("{refused:?}");
        };
        let (number, word) = checked;
        let expected = temporary::path(test_directory.repository.directory(), run(number), word);
        assert_eq!(found, expected);
        assert_eq!(test_directory.names(), BTreeSet::new());
    }
}

#[test]
fn a_receipt_is_of_one_archive() {
    let test_directory = TestDirectory::new();
    let lock = test_directory.lock();
    let custom = Role::Artifact(Format::Custom, Compression::None, AtRest::Clear);
    let staging = test_directory.repository.stage(run(1), &lock);
    let progress = Progress::default();
    let receipt = |number| {
        let path = temporary::path(
            test_directory.repository.directory(),
            run(number),
            "artifact",
        );
        fs::write(&path, "PGDMP").unwrap();
        let files = ArchiveFiles::read(path, Format::Custom, &progress).unwrap();
        let text = ArchiveText::read(DUMP.as_bytes(), None, &progress).unwrap();
        let list = ArchiveList::read(";     TOC Entries: 4\n".as_bytes()).unwrap();
        files.complete(text, &list).unwrap().unwrap()
    };
    assert_eq!(staging.accept(custom, receipt(1)).unwrap().role(), custom);
    let refused = staging.accept(custom, receipt(2));
    assert!(
        matches!(refused, Err(RepositoryError::NotItsCheck { .. })),
        "{refused:?}"
    );
}
