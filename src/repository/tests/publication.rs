//! Publishing: a backup gets its names whole or not at all, and never one of somebody else.

use super::*;

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
    let (census, text_bytes, findings, needs) =
        take_census(DUMP.as_bytes(), &Progress::default()).unwrap();
    let checked = Checked::archive(Passage {
        digest: digest(PLAIN, &staging.path(PLAIN)),
        text_bytes,
        census,
        findings,
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
    let (census, text_bytes, findings, needs) =
        take_census(DUMP.as_bytes(), &Progress::default()).unwrap();
    let written = Passage {
        digest: Digest {
            sha256: "ab".repeat(32),
            bytes: 7,
        },
        text_bytes,
        census,
        findings,
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
