//! A directory as a destination: nothing in it is replaced, whatever fails, and each fault has its kind.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pgbackupd::destination::{DestinationErrorKind, DirectoryStore, Store};
use tempfile::TempDir;

use crate::support::contract::{self, key};
use crate::support::filesystem::Filesystem;

fn store(root: &Path) -> DirectoryStore {
    DirectoryStore::new(root.to_owned(), false, Duration::from_secs(60))
}

fn home() -> (TempDir, DirectoryStore) {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    (home, store)
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_object_is_put_once_and_read_whole_or_in_part() {
    let (home, store) = home();
    contract::puts_once_and_reads(&store).await;
    let two = key("v1/db1/main/app=2f/backup.1-a");
    let put = store.put_new(&two, Bytes::from_static(b"x")).await;
    assert!(
        !put.unwrap().is_checked,
        "a file system computes no checksum"
    );
    assert_eq!(
        store.head(&key("v1/db1")).await.unwrap(),
        None,
        "a directory"
    );
    store.delete(&[two]).await.unwrap();

    let modes = |path: &str| home.path().join(path).metadata().unwrap().mode() & 0o777;
    assert_eq!(modes("v1/db1/main/app=2f/backup.0-a"), 0o600);
    for above in ["v1", "v1/db1", "v1/db1/main", "v1/db1/main/app=2f"] {
        assert_eq!(modes(above), 0o700, "{above}");
    }
    let there = names(&home.path().join("v1/db1/main/app=2f"));
    assert_eq!(there, ["backup.0-a"]);
}

#[tokio::test]
async fn what_is_there_is_never_replaced() {
    let (home, store) = home();
    contract::replaces_nothing(&store).await;
    assert_eq!(names(&home.path().join("v1")), ["one"]);
}

#[tokio::test]
async fn of_eight_writers_of_one_key_one_wins() {
    let (home, store) = home();
    contract::lets_one_writer_win(&store, (20, 5000)).await;
    for round in 0..20 {
        assert_eq!(names(&home.path().join(format!("v1/{round}"))), ["x"]);
    }
}

#[tokio::test]
async fn a_listing_is_sorted_and_has_objects_alone() {
    let (home, store) = home();
    let mut wanted: Vec<String> = (0..1200).map(|n| format!("v1/db1/{}/{n}", n % 7)).collect();
    for one in &wanted {
        store
            .put_new(&key(one), Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    store
        .put_new(&key("v1/db10/x"), Bytes::new())
        .await
        .unwrap();
    wanted.sort();
    for foreign in ["v1/db1/~0190", "v1/db1/a b", "v1/db1/\u{e4}"] {
        fs::write(home.path().join(foreign), "x").unwrap();
    }
    fs::create_dir(home.path().join("v1/db1/lost+found")).unwrap();
    symlink("/etc", home.path().join("v1/db1/etc")).unwrap();
    symlink("0/0", home.path().join("v1/db1/link")).unwrap();
    let listed = store.list(&key("v1/db1")).await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, wanted);
    assert!(listed.iter().all(|one| one.bytes == 1));
    let folders = store.folders(&key("v1")).await.unwrap();
    assert_eq!(folders, [key("v1/db1"), key("v1/db10")]);
    assert_eq!(store.list(&key("v1/none")).await.unwrap(), []);
    assert_eq!(store.folders(&key("v1/none")).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_removed_takes_its_empty_directories_along() {
    let (home, store) = home();
    for one in ["v1/a/b/c/x", "v1/a/b/y"] {
        store.put_new(&key(one), Bytes::new()).await.unwrap();
    }
    let gone = [key("v1/a/b/c/x"), key("v1/a/b/c/none"), key("v1/none/x")];
    store.delete(&gone).await.unwrap();
    assert_eq!(names(&home.path().join("v1/a/b")), ["y"]);
    // What a killed put left keeps no directory; what is being written now does.
    let (old, new) = (
        home.path().join("v1/a/b/~old"),
        home.path().join("v1/a/~new"),
    );
    fs::write(&new, "").unwrap();
    let ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    fs::File::create(&old).unwrap().set_modified(ago).unwrap();
    store.delete(&[key("v1/a/b/y")]).await.unwrap();
    assert_eq!(names(&home.path().join("v1/a")), ["~new"]);
    fs::remove_file(new).unwrap();
    store.put_new(&key("v1/a/z"), Bytes::new()).await.unwrap();
    store.delete(&[key("v1/a/z")]).await.unwrap();
    assert!(home.path().is_dir(), "the root stays");
    assert_eq!(names(home.path()), [""; 0]);
}

#[tokio::test]
async fn what_killed_puts_left_is_swept_by_a_later_put() {
    let (home, store) = home();
    fs::create_dir(home.path().join("v1")).unwrap();
    let at = |name: &str| home.path().join("v1").join(name);
    let ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
    fs::File::create(at("~old"))
        .unwrap()
        .set_modified(ago)
        .unwrap();
    fs::File::create(at("old"))
        .unwrap()
        .set_modified(ago)
        .unwrap();
    fs::write(at("~new"), "").unwrap();
    store.put_new(&key("v1/x"), Bytes::new()).await.unwrap();
    assert_eq!(names(&home.path().join("v1")), ["old", "x", "~new"]);
}

#[tokio::test]
async fn no_link_leads_out_of_the_directory() {
    let (home, store) = home();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), "theirs").unwrap();
    symlink(outside.path(), home.path().join("v1")).unwrap();
    fs::create_dir(home.path().join("v2")).unwrap();
    symlink(outside.path().join("x"), home.path().join("v2/x")).unwrap();
    for at in ["v1/x", "v1/y", "v2/x"] {
        let put = store.put_new(&key(at), Bytes::from_static(b"ours")).await;
        let error = put.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Exists, "{at}: {error}");
        assert!(error.to_string().contains("link"), "{error}");
    }
    store.get(&key("v1/x"), None).await.unwrap_err();
    store.get(&key("v2/x"), None).await.unwrap_err();
    store.list(&key("v1")).await.unwrap_err();
    store.delete(&[key("v1/x")]).await.unwrap_err();
    assert_eq!(names(outside.path()), ["x"]);
    assert_eq!(fs::read(outside.path().join("x")).unwrap(), b"theirs");
}

#[tokio::test]
async fn a_directory_that_is_missing_is_not_made() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("it's here");
    let error = store(&root).put_new(&key("x"), Bytes::new()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Missing, "{error}");
    assert!(error.to_string().contains("install -d"), "{error}");
    assert!(!root.exists());
    let error = store(&root).list(&key("v1")).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Missing, "{error}");
}

#[tokio::test]
async fn a_directory_that_should_be_mounted_is_used_only_while_it_is() {
    let home = tempfile::tempdir().unwrap();
    let mounted = |root: &Path| DirectoryStore::new(root.to_owned(), true, Duration::from_secs(60));
    let put = mounted(home.path()).put_new(&key("x"), Bytes::new()).await;
    let error = put.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Missing, "{error}");
    assert!(error.to_string().contains("nothing is mounted"), "{error}");
    assert_eq!(names(home.path()), [""; 0]);
    let Some(filesystem) = Filesystem::in_memory("size=64k") else {
        return;
    };
    let store = mounted(&filesystem.path());
    store.put_new(&key("x"), Bytes::new()).await.unwrap();
    assert_eq!(names(&filesystem.path()), ["x"]);
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_one_have_their_kinds_and_leave_nothing() {
    let Some(filesystem) = Filesystem::in_memory("size=256k") else {
        return;
    };
    let store = store(&filesystem.path());
    store
        .put_new(&key("v1/x"), Bytes::from_static(b"x"))
        .await
        .unwrap();
    let large = Bytes::from(vec![7; 1 << 20]);
    let error = store.put_new(&key("v1/large"), large).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Full, "{error}");
    assert_eq!(names(&filesystem.path().join("v1")), ["x"]);

    filesystem.remount("ro");
    let error = store.put_new(&key("v1/y"), Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("hint: "), "{error}");
    let error = store.delete(&[key("v1/x")]).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    assert_eq!(store.get(&key("v1/x"), None).await.unwrap(), "x");
    filesystem.remount("rw");
}

#[tokio::test]
async fn a_directory_that_may_not_be_written_to_is_denied() {
    let (home, store) = home();
    // Root may write wherever nobody has forbidden it to everybody.
    let is_root = rustix::process::geteuid().is_root();
    let chattr = |attribute: &str| {
        let mut chattr = Command::new("chattr");
        let output = chattr.arg(attribute).arg(home.path()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if is_root && !chattr("+i") {
        println!("skipped: no file here can be made immutable");
        return;
    }
    if !is_root {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o500)).unwrap();
    }
    let put = store.put_new(&key("v1/x"), Bytes::new()).await;
    if is_root {
        assert!(chattr("-i"));
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let error = put.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
}
