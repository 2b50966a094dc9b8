//! Removing: all files of a backup or none, and never a pinned or unreadable one.

use super::*;

#[test]
fn a_backup_is_removed_with_all_its_files_and_a_pinned_one_is_not() {
    let test_directory = TestDirectory::new();
    let stem: Stem = NAME.parse().unwrap();
    test_directory.publish(run(1), NAME, DIRECTORY);
    let repository = &test_directory.repository;
    test_directory.change_state(&stem, |state| state.pinned = Some(pin()));
    let before = test_directory.names();
    assert!(
        !repository
            .remove(run(3), &stem, &test_directory.lock())
            .unwrap()
    );
    assert_eq!(test_directory.names(), before);

    test_directory.change_state(&stem, |state| state.pinned = None);
    assert!(
        repository
            .remove(run(5), &stem, &test_directory.lock())
            .unwrap()
    );
    assert_eq!(test_directory.names(), BTreeSet::new());
    // Nothing can be noted of it any more.
    let recorded = repository.change_state(run(6), &stem, |state| state.pinned = Some(pin()));
    assert_eq!(recorded.unwrap(), None);
    assert_eq!(test_directory.names(), BTreeSet::new());
}

#[test]
fn a_backup_whose_state_or_manifest_cannot_be_read_is_not_removed() {
    let stem: Stem = NAME.parse().unwrap();
    for suffix in [".state", ".json"] {
        let test_directory = TestDirectory::new();
        test_directory.publish(run(1), NAME, PLAIN);
        fs::write(test_directory.path(&format!("{NAME}{suffix}")), "{").unwrap();
        let before = test_directory.names();
        let removed = test_directory
            .repository
            .remove(run(2), &stem, &test_directory.lock());
        assert!(!removed.is_ok_and(|removed| removed));
        assert_eq!(test_directory.names(), before);
        // Without its manifest it is not counted; without its state it counts as pinned.
        let listed = if suffix == ".state" {
            vec![NAME]
        } else {
            vec![]
        };
        assert_eq!(test_directory.listed(), listed);
    }
}
