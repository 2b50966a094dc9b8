//! A backup that is put aside, and given its place back.

use super::*;

const ASIDE: &str = "quarantine/backup_20250709_020000";

/// Names below a directory of the place.
fn below(place: &Place, directory: &str) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(place.path(directory)) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn damaged(place: &Place, artifact: Role) -> Stem {
    let stem: Stem = NAME.parse().unwrap();
    place.publish(run(1), NAME, artifact);
    place.change_state(&stem, |state| {
        state.pinned = Some(pin());
        state.note_check(moment("2025-07-13T03:00:00+03:00"), Some("torn".to_owned()));
    });
    stem
}

fn put_aside(place: &Place, stem: &Stem, number: u128) -> PathBuf {
    let put = place
        .repository
        .quarantine(run(number), stem, &place.lock());
    put.unwrap().unwrap()
}

#[test]
fn a_backup_in_quarantine_is_none_until_it_is_released_and_keeps_all_that_it_had() {
    for artifact in [PLAIN, DIRECTORY] {
        let place = Place::new();
        let stem = damaged(&place, artifact);
        let (before, kept) = (place.names(), place.repository.state(&stem));
        assert_eq!(place.repository.quarantined().unwrap(), []);
        assert_eq!(put_aside(&place, &stem, 3), place.path(ASIDE));
        assert_eq!(place.names(), BTreeSet::from(["quarantine".to_owned()]));
        assert_eq!(below(&place, ASIDE), before);
        assert_eq!(place.listed(), Vec::<String>::new());
        assert_eq!(place.repository.catalogue().unwrap().problems, []);
        let found = place.repository.quarantined().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), &found[0].state), (NAME, &kept));
        assert!(found[0].bytes.is_some() && found[0].started.is_some());
        // There is nothing more to put aside, nor to sweep.
        let again = place.repository.quarantine(run(4), &stem, &place.lock());
        assert_eq!(again.unwrap(), None);
        let swept = place.repository.sweep(&place.lock()).unwrap();
        assert_eq!(swept, Swept::default());

        let released = place.repository.release(run(5), &found[0], &place.lock());
        released.unwrap();
        assert_eq!(place.names(), before);
        assert_eq!(place.listed(), [NAME]);
        assert_eq!(place.repository.state(&stem), kept);
    }
}

#[test]
fn nothing_is_replaced_on_either_way() {
    let place = Place::new();
    let stem = damaged(&place, PLAIN);
    put_aside(&place, &stem, 3);
    // Its name is not given to another.
    let made = place.publish(run(2), NAME, PLAIN);
    assert_eq!(made.name, format!("{NAME}_2"));
    let lock = place.lock();
    let other = made.name.parse().unwrap();
    assert!(place.repository.remove(run(2), &other, &lock).unwrap());
    drop(lock);
    // Somebody fetched another copy, which is damaged too, and a third.
    for number in [4, 5] {
        let fetched = fs::read_dir(place.path(ASIDE)).unwrap();
        for file in fetched.map(|file| file.unwrap()) {
            fs::copy(file.path(), place.path(file.file_name().to_str().unwrap())).unwrap();
        }
        let put = put_aside(&place, &stem, number + 10);
        let count = number - 2;
        assert_eq!(put, place.path(&format!("{ASIDE}.{count}")));
    }
    fs::create_dir(place.path("quarantine/theirs")).unwrap();
    let found = place.repository.quarantined().unwrap();
    let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(
        names,
        [NAME, &format!("{NAME}.2"), &format!("{NAME}.3")],
        "what is not of ours is passed over"
    );
    // One file in its place is enough.
    let taken = place.path(&format!("{NAME}.sql.gz"));
    fs::write(&taken, "theirs").unwrap();
    let error = place
        .repository
        .release(run(6), &found[1], &place.lock())
        .unwrap_err();
    let expected = format!("{} is there already: ", taken.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(place.repository.quarantined().unwrap(), found);
    fs::remove_file(taken).unwrap();
    // What somebody has put beside its files stays.
    fs::write(found[1].directory.join("notes"), "theirs").unwrap();
    let released = place.repository.release(run(7), &found[1], &place.lock());
    released.unwrap();
    assert_eq!(place.listed(), [NAME]);
    assert_eq!(place.repository.quarantined().unwrap().len(), 2);
    assert_eq!(
        below(&place, &format!("{ASIDE}.2")),
        ["notes".to_owned()].into()
    );
}

#[test]
fn a_way_into_quarantine_that_was_cut_short_anywhere_is_ended_by_the_next_run() {
    for moved in 0..=5 {
        let place = Place::new();
        let stem = damaged(&place, PLAIN);
        let before = place.names();
        let on_the_way = format!(".pgbackupd-{}.quarantined-{NAME}", run(3));
        fs::create_dir(place.path(&on_the_way)).unwrap();
        let order = [".json", ".state", ".globals.gz", ".census.gz", ".sql.gz"];
        for suffix in &order[..moved] {
            let name = format!("{NAME}{suffix}");
            fs::rename(place.path(&name), place.path(&on_the_way).join(&name)).unwrap();
        }
        let swept = place.repository.sweep(&place.lock()).unwrap();
        if moved == 0 {
            assert_eq!(swept.quarantined, Vec::<String>::new());
            assert_eq!(place.names(), before);
            assert_eq!(place.listed(), [NAME]);
        } else {
            assert_eq!(swept.quarantined, [NAME], "{moved} files were moved");
            assert_eq!(place.names(), BTreeSet::from(["quarantine".to_owned()]));
            assert_eq!(below(&place, ASIDE), before);
        }
        assert!(place.repository.path(&stem, Role::Manifest).exists() == (moved == 0));
    }
}

#[test]
fn a_way_out_of_quarantine_that_was_cut_short_anywhere_is_ended_by_the_next_run() {
    for moved in 0..=5 {
        let place = Place::new();
        let stem = damaged(&place, DIRECTORY);
        let before = place.names();
        put_aside(&place, &stem, 3);
        let on_the_way = place.path(&format!(".pgbackupd-{}.released-{NAME}", run(4)));
        fs::rename(place.path(ASIDE), &on_the_way).unwrap();
        let order = [".state", ".globals.gz", ".census.gz", ".dir", ".json"];
        for suffix in &order[..moved] {
            let name = format!("{NAME}{suffix}");
            fs::rename(on_the_way.join(&name), place.path(&name)).unwrap();
            assert_eq!(
                place.listed().len(),
                usize::from(moved == 5 && *suffix == ".json")
            );
        }
        let swept = place.repository.sweep(&place.lock()).unwrap();
        assert_eq!(swept.released, [NAME], "{moved} files were moved");
        assert_eq!(place.names(), before);
        assert_eq!(place.listed(), [NAME]);
    }
}

#[test]
fn a_place_that_was_taken_on_the_way_out_keeps_nobody_from_going_on() {
    let place = Place::new();
    let stem = damaged(&place, PLAIN);
    put_aside(&place, &stem, 3);
    let on_the_way = place.path(&format!(".pgbackupd-{}.released-{NAME}", run(4)));
    fs::rename(place.path(ASIDE), &on_the_way).unwrap();
    fs::write(place.path(&format!("{NAME}.sql.gz")), "theirs").unwrap();
    let swept = place.repository.sweep(&place.lock()).unwrap();
    assert_eq!(swept, Swept::default());
    assert!(on_the_way.join(format!("{NAME}.json")).exists());
    fs::remove_file(place.path(&format!("{NAME}.sql.gz"))).unwrap();
    let swept = place.repository.sweep(&place.lock()).unwrap();
    assert_eq!(swept.released, [NAME]);
}
