//! What a scan of the directory finds.

use super::*;

#[test]
fn a_directory_that_is_not_there_holds_no_backups() {
    let test_directory = TestDirectory::new();
    let repository = Repository::at(test_directory.path("nowhere"));
    let catalogue = repository.catalogue().unwrap();
    assert!(catalogue.backups.is_empty() && catalogue.problems.is_empty());
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error_and_not_empty() {
    let test_directory = TestDirectory::new();
    let file = test_directory.path("file");
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
fn a_manifest_that_is_too_long_is_a_problem_for_whoever_reads_it() {
    let test_directory = TestDirectory::new();
    test_directory.publish(run(1), NAME, PLAIN);
    let repository = Repository::at(test_directory.path(""));
    let stem: Stem = NAME.parse().unwrap();
    let manifest = repository.path(&stem, Role::Manifest);
    let file = OpenOptions::new().write(true).open(manifest).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let expected = "it is longer than a manifest can be, 64.0 MiB";
    let catalogue = repository.catalogue().unwrap();
    assert!(catalogue.backups.is_empty());
    assert_eq!(catalogue.problems[0].what, expected);
    let error = repository.manifest(&stem).unwrap_err().to_string();
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn ten_thousand_backups_are_all_found_in_their_order() {
    const BACKUPS: i64 = 10_000;
    let test_directory = TestDirectory::new();
    let template = test_directory.publish(run(1), NAME, PLAIN);
    let first: Stem = NAME.parse().unwrap();
    for minute in 1..BACKUPS {
        let mut stem = first.clone();
        stem.local += chrono::Duration::minutes(minute);
        let mut manifest = template.clone();
        manifest.name = stem.to_string();
        manifest.started += chrono::Duration::minutes(minute);
        fs::write(
            test_directory.repository.path(&stem, Role::Manifest),
            manifest.to_text().unwrap(),
        )
        .unwrap();
        File::create_new(test_directory.repository.path(&stem, PLAIN)).unwrap();
    }
    // One in the middle is spoilt, and only that one is missed.
    let spoilt = "backup_20250712_020000";
    let path = test_directory.path(&format!("{spoilt}.json"));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"shop\"", "\"shap\"", 1)).unwrap();

    let catalogue = test_directory.repository.catalogue().unwrap();
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
            "it has been changed since it was written: its checksum does not match"
        )]
    );
}
