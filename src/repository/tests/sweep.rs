//! What a crash left, at every point of publishing and removing: it is completed or goes.

use super::*;

#[test]
fn a_sweep_removes_what_dead_runs_left_and_nothing_else() {
    let test_directory = TestDirectory::new();
    test_directory.publish(run(1), NAME, PLAIN);
    let foreign = [
        ".pgbackupd-notes".to_owned(),
        format!(".pgbackupd-{}.notes", run(7)),
        format!(".pgbackupd-{}", run(7)),
        ".pgbackupd-1.artifact".to_owned(),
        "weekly_backup_20250709_020000.sql.gz".to_owned(),
        "notes".to_owned(),
    ];
    for name in &foreign {
        fs::write(test_directory.path(name), "theirs").unwrap();
    }
    let before = test_directory.names();
    write_temporaries(test_directory.repository.directory(), run(2), PLAIN);
    write_temporaries(test_directory.repository.directory(), run(3), DIRECTORY);
    for word in ["manifest", "state", "removed-x"] {
        // Torn by the crash.
        fs::write(
            test_directory.path(&format!(".pgbackupd-{}.{word}", run(3))),
            "{",
        )
        .unwrap();
    }
    let swept = test_directory
        .repository
        .sweep(&test_directory.lock())
        .unwrap();
    assert_eq!(
        swept,
        Swept {
            removed: vec![run(2), run(3)],
            ..Swept::default()
        }
    );
    assert_eq!(test_directory.names(), before);
    assert_eq!(
        test_directory
            .repository
            .sweep(&test_directory.lock())
            .unwrap(),
        Swept::default()
    );
}

#[test]
fn a_publication_that_lacked_only_names_is_completed() {
    for artifact in [PLAIN, DIRECTORY, ENCRYPTED] {
        for published in 0..4 {
            let test_directory = TestDirectory::new();
            let manifest = test_directory.publish(run(1), NAME, artifact);
            let before = test_directory.names();
            test_directory.cut_short(&manifest, published);
            assert_eq!(test_directory.listed(), Vec::<String>::new());
            let swept = test_directory
                .repository
                .sweep(&test_directory.lock())
                .unwrap();
            assert_eq!(swept.completed, [NAME], "{published} were published");
            assert_eq!(test_directory.names(), before);
            assert_eq!(test_directory.listed(), [NAME]);
            let stem = NAME.parse().unwrap();
            assert_eq!(test_directory.repository.manifest(&stem).unwrap(), manifest);
        }
    }
}

/// Where a rename is a link and an unlink (NFS), a crash can leave both names.
#[test]
fn a_publication_with_a_file_under_both_names_is_completed() {
    let test_directory = TestDirectory::new();
    let manifest = test_directory.publish(run(1), NAME, PLAIN);
    let before = test_directory.names();
    test_directory.cut_short(&manifest, 1);
    let temporary = test_directory.path(&format!(".pgbackupd-{}.census", run(1)));
    fs::hard_link(temporary, test_directory.path(&format!("{NAME}.census.gz"))).unwrap();
    let swept = test_directory
        .repository
        .sweep(&test_directory.lock())
        .unwrap();
    assert_eq!(swept.completed, [NAME]);
    assert_eq!(test_directory.names(), before);
}

/// The same for the manifest, which is the last to be renamed: nothing is left to be done.
#[test]
fn a_publication_with_its_manifest_under_both_names_is_complete() {
    let test_directory = TestDirectory::new();
    test_directory.publish(run(1), NAME, PLAIN);
    let before = test_directory.names();
    let manifest = test_directory.path(&format!("{NAME}.json"));
    fs::hard_link(
        manifest,
        test_directory.path(&format!(".pgbackupd-{}.manifest", run(1))),
    )
    .unwrap();
    let swept = test_directory
        .repository
        .sweep(&test_directory.lock())
        .unwrap();
    assert_eq!(swept.completed, Vec::<String>::new());
    assert_eq!(test_directory.names(), before);
    assert_eq!(test_directory.listed(), [NAME]);
}

#[test]
fn a_publication_whose_name_somebody_else_has_taken_meanwhile_is_given_up() {
    for suffix in [".globals.gz", ".sql.gz", ".json"] {
        for is_link in [false, true] {
            let test_directory = TestDirectory::new();
            let manifest = test_directory.publish(run(1), NAME, PLAIN);
            test_directory.cut_short(&manifest, 0);
            let theirs = test_directory.path(&format!("{NAME}{suffix}"));
            if is_link {
                symlink("nowhere", &theirs).unwrap();
            } else {
                fs::write(&theirs, "theirs").unwrap();
            }
            let swept = test_directory
                .repository
                .sweep(&test_directory.lock())
                .unwrap();
            assert_eq!(swept.removed, [run(1)], "{suffix}");
            assert_eq!(swept.completed, Vec::<String>::new(), "{suffix}");
            assert_eq!(test_directory.names(), names(NAME, &[suffix]));
            assert_eq!(test_directory.listed(), Vec::<String>::new());
            assert_eq!(is_link, theirs.read_link().is_ok());
        }
    }
}

#[test]
fn a_publication_that_is_not_whole_loses_its_names() {
    for published in 0..4 {
        for (index, suffix) in [".globals.gz", ".census.gz", ".sql.gz"].iter().enumerate() {
            let test_directory = TestDirectory::new();
            let manifest = test_directory.publish(run(1), NAME, PLAIN);
            test_directory.cut_short(&manifest, published);
            let word = in_order(&manifest)[index].word();
            let torn = if index < published {
                format!("{NAME}{suffix}")
            } else {
                format!(".pgbackupd-{}.{word}", run(1))
            };
            fs::write(test_directory.path(&torn), "torn").unwrap();
            let swept = test_directory
                .repository
                .sweep(&test_directory.lock())
                .unwrap();
            assert_eq!(swept.completed, Vec::<String>::new());
            assert_eq!(test_directory.listed(), Vec::<String>::new());
            // What is not provably of this run may be somebody else's, and stays.
            let mut left = test_directory.names();
            assert_eq!(left.remove(&torn), index < published);
            assert_eq!(left, BTreeSet::new(), "{published} published, {torn} torn");
        }
    }
}

#[test]
fn a_removal_that_was_cut_short_is_finished() {
    for gone in 0..4 {
        let test_directory = TestDirectory::new();
        let kept = test_directory
            .publish(run(1), "backup_20250708_020000", PLAIN)
            .name;
        let removed = test_directory.publish(run(2), NAME, PLAIN);
        let word = format!("{REMOVED}-{NAME}");
        let aside = temporary::path(test_directory.repository.directory(), run(3), &word);
        fs::rename(test_directory.path(&format!("{NAME}.json")), aside).unwrap();
        for role in in_order(&removed).into_iter().take(gone.min(3)) {
            let stem = NAME.parse().unwrap();
            fs::remove_file(test_directory.repository.path(&stem, role)).unwrap();
        }
        let swept = test_directory
            .repository
            .sweep(&test_directory.lock())
            .unwrap();
        assert_eq!(swept.finished_removals, [NAME], "{gone} were gone");
        assert_eq!(test_directory.names(), names(&kept, &PLAIN_SUFFIXES));
        assert_eq!(test_directory.listed(), [kept]);
    }
}
