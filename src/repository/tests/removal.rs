//! Removing: all files of a backup or none, and never a pinned or unreadable one.

use super::*;

#[test]
fn a_backup_is_removed_with_all_its_files_and_a_pinned_one_is_not() {
    let place = Place::new();
    let stem: Stem = NAME.parse().unwrap();
    place.publish(run(1), NAME, DIRECTORY);
    let repository = &place.repository;
    place.change_state(&stem, |state| state.pinned = Some(pin()));
    let before = place.names();
    assert!(!repository.remove(run(3), &stem, &place.lock()).unwrap());
    assert_eq!(place.names(), before);

    place.change_state(&stem, |state| state.pinned = None);
    assert!(repository.remove(run(5), &stem, &place.lock()).unwrap());
    assert_eq!(place.names(), BTreeSet::new());
    // Nothing can be noted of it any more.
    let noted = repository.change_state(run(6), &stem, |state| state.pinned = Some(pin()));
    assert_eq!(noted.unwrap(), None);
    assert_eq!(place.names(), BTreeSet::new());
}

#[test]
fn a_backup_whose_state_or_manifest_cannot_be_read_is_not_removed() {
    let stem: Stem = NAME.parse().unwrap();
    for suffix in [".state", ".json"] {
        let place = Place::new();
        place.publish(run(1), NAME, PLAIN);
        fs::write(place.path(&format!("{NAME}{suffix}")), "{").unwrap();
        let before = place.names();
        let removed = place.repository.remove(run(2), &stem, &place.lock());
        assert!(!removed.is_ok_and(|removed| removed));
        assert_eq!(place.names(), before);
        // Without its manifest it is not counted; without its state it counts as pinned.
        let listed = if suffix == ".state" {
            vec![NAME]
        } else {
            vec![]
        };
        assert_eq!(place.listed(), listed);
    }
}
