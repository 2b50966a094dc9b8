//! A backup that is put aside, and given its place back.

use super::*;

const ASIDE: &str = "quarantine/backup_20250709_020000";

/// Names below a directory of the place.
fn below(test_directory: &TestDirectory, directory: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(test_directory.path(directory)) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn damaged(test_directory: &TestDirectory, artifact: Role) -> Stem {
    let stem: Stem = NAME.parse().unwrap();
    test_directory.publish(run(1), NAME, artifact);
    test_directory.change_state(&stem, |state| {
        state.pinned = Some(pin());
        state.record_check(moment("2025-07-13T03:00:00+03:00"), Some("torn".to_owned()));
    });
    stem
}

fn put_aside(test_directory: &TestDirectory, stem: &Stem, number: u128) -> PathBuf {
    let put = test_directory
        .repository
        .quarantine(run(number), stem, &test_directory.lock());
    put.unwrap().unwrap()
}

#[test]
fn a_backup_in_quarantine_is_none_until_it_is_released_and_keeps_all_that_it_had() {
    for artifact in [PLAIN, DIRECTORY, ENCRYPTED] {
        let test_directory = TestDirectory::new();
        let stem = damaged(&test_directory, artifact);
        let (before, kept) = (
            test_directory.names(),
            test_directory.repository.state(&stem),
        );
        assert_eq!(test_directory.repository.quarantined().unwrap(), []);
        assert_eq!(
            put_aside(&test_directory, &stem, 3),
            test_directory.path(ASIDE)
        );
        assert_eq!(
            test_directory.names(),
            BTreeSet::from(["quarantine".to_owned()])
        );
        assert_eq!(below(&test_directory, ASIDE), before);
        assert_eq!(test_directory.listed(), Vec::<String>::new());
        assert_eq!(test_directory.repository.catalogue().unwrap().problems, []);
        let found = test_directory.repository.quarantined().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), &found[0].state), (NAME, &kept));
        assert!(found[0].bytes.is_some() && found[0].started.is_some());
        // There is nothing more to put aside, nor to sweep.
        let again = test_directory
            .repository
            .quarantine(run(4), &stem, &test_directory.lock());
        assert_eq!(again.unwrap(), None);
        let swept = test_directory
            .repository
            .sweep(&test_directory.lock())
            .unwrap();
        assert_eq!(swept, Swept::default());

        let released = test_directory
            .repository
            .release(run(5), &found[0], &test_directory.lock());
        released.unwrap();
        assert_eq!(test_directory.names(), before);
        assert_eq!(test_directory.listed(), [NAME]);
        assert_eq!(test_directory.repository.state(&stem), kept);
    }
}

#[test]
fn nothing_is_replaced_on_either_way() {
    let test_directory = TestDirectory::new();
    let stem = damaged(&test_directory, PLAIN);
    put_aside(&test_directory, &stem, 3);
    // Its name is not given to another.
    let made = test_directory.publish(run(2), NAME, PLAIN);
    assert_eq!(made.name, format!("{NAME}_2"));
    let lock = test_directory.lock();
    let other = made.name.parse().unwrap();
    assert!(
        test_directory
            .repository
            .remove(run(2), &other, &lock)
            .unwrap()
    );
    drop(lock);
    // Somebody fetched another copy, which is damaged too, and a third.
    for number in [4, 5] {
        let fetched = fs::read_dir(test_directory.path(ASIDE)).unwrap();
        for file in fetched.map(|file| file.unwrap()) {
            fs::copy(
                file.path(),
                test_directory.path(file.file_name().to_str().unwrap()),
            )
            .unwrap();
        }
        let put = put_aside(&test_directory, &stem, number + 10);
        let count = number - 2;
        assert_eq!(put, test_directory.path(&format!("{ASIDE}.{count}")));
    }
    fs::create_dir(test_directory.path("quarantine/theirs")).unwrap();
    let found = test_directory.repository.quarantined().unwrap();
    let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [NAME, &format!("{NAME}.2"), &format!("{NAME}.3")],
        "what is not of ours is passed over"
    );
    // One file in its place is enough.
    let taken = test_directory.path(&format!("{NAME}.sql.gz"));
    fs::write(&taken, "theirs").unwrap();
    let error = test_directory
        .repository
        .release(run(6), &found[1], &test_directory.lock())
        .unwrap_err();
    let expected = format!("{} exists already: ", taken.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(test_directory.repository.quarantined().unwrap(), found);
    fs::remove_file(taken).unwrap();
    // What somebody has put next to its files stays.
    fs::write(found[1].directory.join("notes"), "theirs").unwrap();
    let released = test_directory
        .repository
        .release(run(7), &found[1], &test_directory.lock());
    released.unwrap();
    assert_eq!(test_directory.listed(), [NAME]);
    assert_eq!(test_directory.repository.quarantined().unwrap().len(), 2);
    assert_eq!(
        below(&test_directory, &format!("{ASIDE}.2")),
        ["notes".to_owned()].into()
    );
}

#[test]
fn a_way_into_quarantine_that_was_cut_short_anywhere_is_ended_by_the_next_run() {
    for moved in 0..=5 {
        let test_directory = TestDirectory::new();
        let stem = damaged(&test_directory, PLAIN);
        let before = test_directory.names();
        let on_the_way = format!(".pgbackupd-{}.quarantined-{NAME}", run(3));
        fs::create_dir(test_directory.path(&on_the_way)).unwrap();
        let order = [".json", ".state", ".globals.gz", ".census.gz", ".sql.gz"];
        for suffix in &order[..moved] {
            let name = format!("{NAME}{suffix}");
            fs::rename(
                test_directory.path(&name),
                test_directory.path(&on_the_way).join(&name),
            )
            .unwrap();
        }
        let swept = test_directory
            .repository
            .sweep(&test_directory.lock())
            .unwrap();
        if moved == 0 {
            assert_eq!(swept.quarantined, Vec::<String>::new());
            assert_eq!(test_directory.names(), before);
            assert_eq!(test_directory.listed(), [NAME]);
        } else {
            assert_eq!(swept.quarantined, [NAME], "{moved} files were moved");
            assert_eq!(
                test_directory.names(),
                BTreeSet::from(["quarantine".to_owned()])
            );
            assert_eq!(below(&test_directory, ASIDE), before);
        }
        assert!(
            test_directory
                .repository
                .path(&stem, Role::Manifest)
                .exists()
                == (moved == 0)
        );
    }
}

#[test]
fn a_way_out_of_quarantine_that_was_cut_short_anywhere_is_ended_by_the_next_run() {
    for moved in 0..=5 {
        let test_directory = TestDirectory::new();
        let stem = damaged(&test_directory, DIRECTORY);
        let before = test_directory.names();
        put_aside(&test_directory, &stem, 3);
        let on_the_way = test_directory.path(&format!(".pgbackupd-{}.released-{NAME}", run(4)));
        fs::rename(test_directory.path(ASIDE), &on_the_way).unwrap();
        let order = [".state", ".globals.gz", ".census.gz", ".dir", ".json"];
        for suffix in &order[..moved] {
            let name = format!("{NAME}{suffix}");
            fs::rename(on_the_way.join(&name), test_directory.path(&name)).unwrap();
            assert_eq!(
                test_directory.listed().len(),
                usize::from(moved == 5 && *suffix == ".json")
            );
        }
        let swept = test_directory
            .repository
            .sweep(&test_directory.lock())
            .unwrap();
        assert_eq!(swept.released, [NAME], "{moved} files were moved");
        assert_eq!(test_directory.names(), before);
        assert_eq!(test_directory.listed(), [NAME]);
    }
}

#[test]
fn a_place_that_was_taken_on_the_way_out_keeps_nobody_from_going_on() {
    let test_directory = TestDirectory::new();
    let stem = damaged(&test_directory, PLAIN);
    put_aside(&test_directory, &stem, 3);
    let on_the_way = test_directory.path(&format!(".pgbackupd-{}.released-{NAME}", run(4)));
    fs::rename(test_directory.path(ASIDE), &on_the_way).unwrap();
    fs::write(test_directory.path(&format!("{NAME}.sql.gz")), "theirs").unwrap();
    let swept = test_directory
        .repository
        .sweep(&test_directory.lock())
        .unwrap();
    assert_eq!(swept, Swept::default());
    assert!(on_the_way.join(format!("{NAME}.json")).exists());
    fs::remove_file(test_directory.path(&format!("{NAME}.sql.gz"))).unwrap();
    let swept = test_directory
        .repository
        .sweep(&test_directory.lock())
        .unwrap();
    assert_eq!(swept.released, [NAME]);
}
