//! The lock of a directory, and what whoever finds it taken hears.

use super::*;

#[test]
fn whoever_finds_the_lock_taken_hears_who_holds_it_since_when() {
    let test_directory = TestDirectory::new();
    let mut first = holder();
    first.requested_by.user = "root".to_owned();
    let lock = test_directory.repository.lock(&first).unwrap();
    let error = test_directory.repository.lock(&holder()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is busy: a backup by {} has been running since 2025-07-09 02:00:00 +03:00",
            test_directory.repository.directory().display(),
            first.requested_by,
        )
    );
    // A note that a full disk has cut off holds nobody up.
    fs::write(test_directory.path(".lock"), "{").unwrap();
    let error = test_directory.repository.lock(&holder()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is busy: another run is in progress")
    );
    drop(lock);
    test_directory.lock();
}
