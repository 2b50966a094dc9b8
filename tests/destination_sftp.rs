//! An SFTP server as a destination: nothing in it is replaced, whatever fails, and each fault has its kind and its
//! sentence.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pgbackupd::config::{PasswordSource, SftpSettings};
use pgbackupd::destination::{DestinationError, DestinationErrorKind, Store};

use crate::support::contract::{self, key};
use crate::support::filesystem::Filesystem;
use crate::support::sftp::{SftpServer, store_of, store_within};

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_at_a_server_is_a_store_like_any_other() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let store = server.store();
    contract::puts_once_and_reads(&store).await;
    assert_eq!(store.keeps_conditions(), Some(true));
    contract::replaces_nothing(&store).await;
    contract::lets_one_writer_win(&store, (20, 100_000)).await;
    let error = store.put_new(&key("v1/one/x"), Bytes::new()).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Exists, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_sorted_and_what_is_removed_takes_its_empty_directories_along() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let store = server.store();
    contract::lists_and_removes(&store, 250).await;
    assert_eq!(names(&server.root().join("v1")), ["db10"]);
    store.delete(&[key("v1/db10/x")]).await.unwrap();
    assert!(server.root().is_dir(), "the root stays");
    assert_eq!(names(server.root()), [""; 0]);
    // The directories are made again.
    store.put_new(&key("v1/a/b/x"), Bytes::new()).await.unwrap();
    assert_eq!(names(&server.root().join("v1/a/b")), ["x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_version_3_alone_and_one_in_the_accounts_own_directory_work_too() {
    let root = tempfile::tempdir().unwrap();
    let lines = format!(
        "Subsystem sftp internal-sftp -d {} -P fsync,statvfs,limits,hardlink",
        root.path().display()
    );
    let Some(server) = SftpServer::with(&lines) else {
        return;
    };
    for (path, lies) in [("", "v1"), ("/~/below", "below/v1")] {
        fs::create_dir_all(root.path().join("below")).unwrap();
        let store = store_of(&server.settings_at(path));
        let body = (0..3_000_000_u32)
            .map(|at| at.to_le_bytes()[at as usize % 3])
            .collect::<Bytes>();
        let at = key("v1/x");
        store.put_new(&at, body.clone()).await.unwrap();
        assert_eq!(names(&root.path().join(lies)), ["x"]);
        assert_eq!(store.get(&at, None).await.unwrap(), body);
        let range = 1_234_567..2_345_678;
        let part = body.slice(1_234_567..2_345_678);
        assert_eq!(store.get(&at, Some(range)).await.unwrap(), part);
        store.delete(&[at]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_none_of_ours_is_passed_over_and_no_link_is_followed() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let store = server.store();
    let at = |name: &str| server.root().join(name);
    store.put_new(&key("v0/a/x"), Bytes::new()).await.unwrap();
    for other in ["v0/~0190", "v0/a b", "v0/\u{e4}"] {
        fs::write(at(other), "x").unwrap();
    }
    fs::create_dir(at("v0/lost+found")).unwrap();
    symlink("/etc", at("v0/etc")).unwrap();
    symlink("a/x", at("v0/link")).unwrap();
    let listed = store.list(&key("v0")).await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["v0/a/x"]);
    assert_eq!(store.folders(&key("v0")).await.unwrap(), [key("v0/a")]);

    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), "theirs").unwrap();
    symlink(outside.path(), at("v1")).unwrap();
    fs::create_dir(at("v2")).unwrap();
    symlink(outside.path().join("x"), at("v2/x")).unwrap();
    for path in ["v1/x", "v1/y", "v2/x"] {
        let at = key(path);
        let put = store.put_new(&at, Bytes::from_static(b"ours"));
        let error = put.await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Exists, "{path}: {error}");
        assert!(error.to_string().contains("link"), "{error}");
        store.get(&key(path), None).await.unwrap_err();
    }
    store.head(&key("v2/x")).await.unwrap_err();
    store.list(&key("v1")).await.unwrap_err();
    store.delete(&[key("v1/x")]).await.unwrap_err();
    assert_eq!(names(outside.path()), ["x"]);
    assert_eq!(fs::read(outside.path().join("x")).unwrap(), b"theirs");
}

/// The processes named ssh that this one has started.
fn children() -> Vec<i32> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        // Its number, its name in brackets, its state, and its parent.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((head, tail)) = stat.rsplit_once(')') else {
            continue;
        };
        let words: Vec<&str> = tail.split_whitespace().collect();
        if head.ends_with("(ssh") && words[1] == me && words[0] != "Z" {
            found.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    found
}

fn kill_children() -> usize {
    let children = children();
    for child in &children {
        let pid = rustix::process::Pid::from_raw(*child).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
    children.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_killed_at_any_moment_costs_no_object() {
    const ROUNDS: u32 = 14;
    let Some(server) = SftpServer::start() else {
        return;
    };
    let store = server.store();
    let mut killed = 0;
    for round in 0..ROUNDS {
        let (at, small) = (key(&format!("v1/{round}/x")), key(&format!("v1/{round}/y")));
        let body = Bytes::from(vec![u8::try_from(round).unwrap(); 4 << 20]);
        let kill = async {
            // From before the connection until after the last request.
            tokio::time::sleep(Duration::from_millis(u64::from(round) * 15)).await;
            kill_children()
        };
        let tiny = Bytes::from_static(b"0123456789");
        let puts = futures::future::join(
            store.put_new(&at, body.clone()),
            store.put_new(&small, tiny.clone()),
        );
        let ((one, other), count) = tokio::join!(puts, kill);
        killed += count;
        one.unwrap();
        other.unwrap();
        let reads = futures::future::join(store.get(&at, None), store.get(&small, None));
        let kill = async {
            tokio::time::sleep(Duration::from_millis(u64::from(round) * 3)).await;
            kill_children()
        };
        let ((one, other), count) = tokio::join!(reads, kill);
        killed += count;
        assert!(one.unwrap() == body, "round {round}");
        assert_eq!(other.unwrap(), tiny);
    }
    assert!(killed >= ROUNDS as usize, "only {killed} were killed");
    let listed = store.list(&key("v1")).await.unwrap();
    assert_eq!(listed.len(), 2 * ROUNDS as usize);
    assert_eq!(children().len(), 1, "one connection carries all");
    drop(store);
    let began = std::time::Instant::now();
    while !children().is_empty() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "ssh outlives its store"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_an_object_is_completed_only_when_nobody_can_be_writing_it() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let store = server.store();
    let (one, body) = (key("v1/x"), Bytes::from_static(b"0123456789"));
    fs::create_dir(server.root().join("v1")).unwrap();
    let path = server.root().join("v1/x");
    for part in ["", "0123"] {
        fs::write(&path, part).unwrap();
        let error = store.put_new(&one, body.clone()).await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Exists, "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), part);
        let ago = SystemTime::now() - Duration::from_secs(2 * 24 * 60 * 60);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(ago).unwrap();
        // The part of another object stays whatever its age.
        let other = store.put_new(&one, Bytes::from_static(b"0122456789"));
        if !part.is_empty() {
            other.await.unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), part);
        }
        store.put_new(&one, body.clone()).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), body);
        fs::remove_file(&path).unwrap();
    }
}

/// The error of a put.
async fn refused(settings: &SftpSettings) -> DestinationError {
    let store = store_within(settings, Duration::from_secs(4));
    let at = key("v1/x");
    let put = store.put_new(&at, Bytes::from_static(b"x"));
    put.await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_known_or_has_changed_and_a_key_that_is_not_let_in_are_named() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let known = server.file("known_hosts");
    let own = fs::read_to_string(&known).unwrap();
    fs::write(&known, "").unwrap();
    let error = refused(&server.settings()).await;
    assert_eq!(error.kind, DestinationErrorKind::Settings, "{error}");
    let text = error.to_string();
    assert!(text.contains("is not known"), "{text}");
    // What it recommends works when pasted.
    let commands: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let [look, add] = commands[..] else {
        panic!("{text}")
    };
    let shell = |command: &str| {
        let shell = Command::new("sh")
            .args(["-c", command])
            .current_dir(server.file(""))
            .output()
            .unwrap();
        assert!(shell.status.success(), "{command}");
        String::from_utf8_lossy(&shell.stdout).into_owned()
    };
    assert!(shell(look).contains("SHA256:"), "{look}");
    shell(add);
    let store = server.store();
    store.put_new(&key("v1/y"), Bytes::new()).await.unwrap();
    drop(store);

    let other = fs::read_to_string(server.file("other_host.pub")).unwrap();
    let other = format!("[127.0.0.1]:{} {other}", server.port());
    fs::write(&known, other).unwrap();
    let error = refused(&server.settings()).await;
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("it is SHA256:") && text.contains("line 1 of"),
        "{text}"
    );
    let remove = text.split('`').nth(1).unwrap();
    shell(remove);
    assert_eq!(fs::read_to_string(&known).unwrap(), "");
    fs::write(&known, own).unwrap();

    let stranger = SftpSettings {
        identity: Some(PasswordSource::File(server.file("stranger"))),
        ..server.settings()
    };
    let error = refused(&stranger).await;
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    let text = error.to_string();
    assert!(text.contains("Permission denied (publickey)"), "{text}");
    assert!(text.contains("ssh-keygen -yf"), "{text}");
    assert_eq!(names(&server.root().join("v1")), ["y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_missing_is_not_made_and_the_hint_makes_it() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let root = server.root().join("it's here");
    let settings = server.settings_at(&root.display().to_string());
    let error = refused(&settings).await;
    assert_eq!(error.kind, DestinationErrorKind::Missing, "{error}");
    assert!(!root.exists());
    let text = error.to_string();
    let (_, command) = text.split_once("make it: ").unwrap();
    let shell = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(shell.status.success(), "{command}: {shell:?}");
    let store = store_of(&settings);
    store.put_new(&key("v1/x"), Bytes::new()).await.unwrap();
    assert!(root.join("v1/x").is_file());

    fs::write(server.root().join("file"), "").unwrap();
    let at = server.root().join("file").display().to_string();
    let error = refused(&server.settings_at(&at)).await;
    assert_eq!(error.kind, DestinationErrorKind::Settings, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_or_stops_answering_is_not_waited_for() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |listener: &std::net::TcpListener| SftpSettings {
        port: Some(listener.local_addr().unwrap().port()),
        ..server.settings()
    };
    let (silent_one, closed_one) = (at(&silent), at(&closed));
    drop(closed);
    let error = refused(&closed_one).await;
    assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let error = refused(&silent_one).await;
    assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("not answered within"), "{error}");

    // A connection that stands, and then says nothing more.
    let store = store_within(&server.settings(), Duration::from_secs(2));
    store.put_new(&key("v1/x"), Bytes::new()).await.unwrap();
    for child in children() {
        let pid = rustix::process::Pid::from_raw(child).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }
    let at = key("v1/y");
    let put = store.put_new(&at, Bytes::from_static(b"y"));
    put.await.unwrap();
    assert_eq!(fs::read(server.root().join("v1/y")).unwrap(), b"y");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lets_in_and_never_speaks_sftp_is_asked_once_more_and_no_longer() {
    let Some(server) = SftpServer::with("Subsystem sftp internal-sftp\nForceCommand sleep 600")
    else {
        return;
    };
    let store = store_within(&server.settings(), Duration::from_secs(2));
    let began = std::time::Instant::now();
    let (one, other) = (key("v1/x"), key("v1/y"));
    // Whoever waits for the connection of another waits no longer either.
    let (one, other) = tokio::join!(store.head(&one), store.list(&other));
    assert!(began.elapsed() < Duration::from_secs(8));
    for error in [one.unwrap_err(), other.unwrap_err()] {
        assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("not answered within"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_sftp_is_named() {
    let closed = "Subsystem sftp internal-sftp\nForceCommand echo This account is closed.";
    let Some(server) = SftpServer::with(closed) else {
        return;
    };
    let error = refused(&server.settings()).await;
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    assert!(
        error.to_string().contains("This account is closed."),
        "{error}"
    );
    let Some(server) = SftpServer::with("") else {
        return;
    };
    let error = refused(&server.settings()).await;
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("Subsystem sftp"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forbids_to_remove_takes_copies_all_the_same() {
    let forbidden = "Subsystem sftp internal-sftp -P remove,rmdir,rename,posix-rename,setstat,fsetstat,\
                     symlink,hardlink,copy-data,lsetstat";
    let Some(server) = SftpServer::with(forbidden) else {
        return;
    };
    let store = server.store();
    contract::puts_once_and_reads(&store).await;
    contract::replaces_nothing(&store).await;
    let one = key("v1/one");
    let error = store.delete(std::slice::from_ref(&one)).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    assert_eq!(store.get(&one, None).await.unwrap(), "first");

    let Some(server) = SftpServer::with("Subsystem sftp internal-sftp -R") else {
        return;
    };
    let error = refused(&server.settings()).await;
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    assert_eq!(names(server.root()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_a_read_only_one_have_their_kinds_and_leave_nothing() {
    let Some(filesystem) = Filesystem::in_memory("size=256k") else {
        return;
    };
    let lines = "Subsystem sftp internal-sftp";
    let Some(server) = SftpServer::serving(Some(&filesystem.path()), lines) else {
        return;
    };
    let store = server.store();
    let small = Bytes::from_static(b"x");
    store.put_new(&key("v1/x"), small).await.unwrap();
    let large = Bytes::from(vec![7; 1 << 20]);
    let error = store.put_new(&key("v1/large"), large).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Full, "{error}");
    assert!(error.to_string().contains("hint: free space"), "{error}");
    assert_eq!(names(&filesystem.path().join("v1")), ["x"]);

    filesystem.remount("ro");
    for key in [key("v1/y"), key("v2/y")] {
        let error = store.put_new(&key, Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("read-only"), "{error}");
    }
    let error = store.delete(&[key("v1/x")]).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Denied, "{error}");
    assert_eq!(store.get(&key("v1/x"), None).await.unwrap(), "x");
    filesystem.remount("rw");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_inode_left_is_a_full_disk_too() {
    let Some(filesystem) = Filesystem::in_memory("size=256k,nr_inodes=4") else {
        return;
    };
    let lines = "Subsystem sftp internal-sftp";
    let Some(server) = SftpServer::serving(Some(&filesystem.path()), lines) else {
        return;
    };
    let store = server.store();
    for name in ["v1/x", "v1/y"] {
        store.put_new(&key(name), Bytes::new()).await.unwrap();
    }
    for name in ["v1/z", "v2/z"] {
        let error = store.put_new(&key(name), Bytes::new()).await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Full, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_shut_into_a_directory_sees_that_as_the_root() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root's sshd can change the root directory");
        return;
    }
    // sshd wants every directory above to be root's alone, which /tmp is not.
    let jail = tempfile::tempdir_in("/var/lib").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(jail.path(), mode).unwrap();
    fs::create_dir(jail.path().join("backups")).unwrap();
    let lines = format!(
        "Subsystem sftp internal-sftp\nChrootDirectory {}",
        jail.path().display()
    );
    let Some(server) = SftpServer::with(&lines) else {
        return;
    };
    let store = store_of(&server.settings_at("/backups"));
    contract::puts_once_and_reads(&store).await;
    assert_eq!(names(&jail.path().join("backups/v1")), ["db1"]);
    let store = store_of(&server.settings_at("/"));
    store.put_new(&key("v2/x"), Bytes::new()).await.unwrap();
    assert!(jail.path().join("v2/x").is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_sshs_that_is_no_file_of_ours_alone_is_handed_over() {
    let Some(server) = SftpServer::start() else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    fs::copy(server.file("client"), home.path().join("ssh-key")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o440);
    fs::set_permissions(home.path().join("ssh-key"), mode).unwrap();
    let mut environment: std::collections::BTreeMap<String, String> = std::env::vars().collect();
    let directory = home.path().display().to_string();
    environment.insert("CREDENTIALS_DIRECTORY".to_owned(), directory.clone());
    environment.insert("RUNTIME_DIRECTORY".to_owned(), directory);
    let settings = SftpSettings {
        identity: Some(PasswordSource::Credential("ssh-key".to_owned())),
        ..server.settings()
    };
    let named = ("sftp://far".to_owned(), Duration::from_secs(60));
    let store = pgbackupd::destination::SftpStore::new(&settings, named, &environment).unwrap();
    store.put_new(&key("v1/x"), Bytes::new()).await.unwrap();
    drop(store);
    assert_eq!(names(home.path()), ["ssh-key"]);
}
