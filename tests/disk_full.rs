//! A disk that is full, has no inode left, is read-only or belongs to somebody else: the run fails
//! with a sentence, nothing of it stands, and the next run succeeds.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::filesystem::Filesystem;
use crate::support::operator::Operator;

const DATABASE: &str = "shop";

/// Bytes of a block of tmpfs.
const BLOCK: u64 = 4096;

/// What the program adds to the operating system's word.
const ADVICE: &str = "free some space or inodes there (df -h, df -i), then run it again";

fn cluster_with_a_small_database() -> Cluster {
    let cluster = Cluster::start();
    cluster.create_database(DATABASE);
    cluster.psql_in(
        DATABASE,
        "CREATE TABLE item AS SELECT 1 AS id, 'tea' AS name",
    );
    cluster
}

/// Somebody who keeps backups on this file system.
fn operator_on(filesystem: &Filesystem, cluster: &Cluster) -> Operator {
    let mut operator = Operator::of(cluster, DATABASE);
    operator.set("directory", filesystem.path().join("backups").display());
    operator
}

/// A text in which the run's random name does not stand.
fn without_run(text: &str) -> String {
    const PREFIX: &str = ".pgbackupd-";
    const UUID: usize = 36;
    let mut rest = text;
    let mut told = String::new();
    while let Some(at) = rest.find(PREFIX) {
        told.push_str(&rest[..at + PREFIX.len()]);
        told.push_str("RUN");
        rest = &rest[at + PREFIX.len() + UUID..];
    }
    told + rest
}

#[test]
fn however_few_blocks_are_free_a_backup_is_whole_or_not_there() {
    let Some(filesystem) = Filesystem::in_memory("size=1m") else {
        return;
    };
    let cluster = cluster_with_a_small_database();
    let operator = operator_on(&filesystem, &cluster);
    operator.assert_next_run_succeeds();
    let directory = operator.backups().display().to_string();
    let before = operator.standing();
    let mut full_at = BTreeSet::new();
    for free in 0.. {
        assert!(free < 30, "a small backup needs {free} blocks?");
        filesystem.leave_blocks(free);
        let output = operator.run(&["backup"]);
        if output.code == 0 {
            break;
        }
        assert_eq!(output.code, 73, "{free} blocks free: {output}");
        operator.assert_nothing_new(&before);
        let at = output.stderr.rfind("pgbackupd: no backup").unwrap();
        let sentence = without_run(output.stderr[at..].trim_end());
        let start = format!(
            "pgbackupd: no backup of database {DATABASE}: cannot write {directory}/.pgbackupd-RUN."
        );
        let end = format!(": No space left on device (os error 28)\nhint: {ADVICE}");
        let file = sentence
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(&end))
            .unwrap_or_else(|| panic!("{free} blocks free: {output}"));
        full_at.insert(file.to_owned());
        let record = operator.last_record();
        assert_eq!(record["event"], "failed");
        assert!(
            record["message"]
                .as_str()
                .unwrap()
                .contains("No space left")
        );
    }
    // One that cannot fail here would prove nothing.
    let expected = ["artifact", "census", "globals", "manifest"];
    assert_eq!(full_at, expected.map(str::to_owned).into());
    filesystem.free_blocks();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_dump_that_fills_the_disk_leaves_nothing_in_any_format() {
    let Some(filesystem) = Filesystem::in_memory("size=1m") else {
        return;
    };
    let cluster = Cluster::start();
    cluster.create_database(DATABASE);
    // Text that no compressor makes small.
    cluster.psql_in(
        DATABASE,
        "CREATE TABLE noise AS SELECT i, sha512(i::text::bytea) AS bytes \
           FROM generate_series(1, 30000) AS i",
    );
    let mut operator = operator_on(&filesystem, &cluster);
    for (format, compression) in [
        ("plain", "gzip"),
        ("plain", "zstd"),
        ("plain", "none"),
        ("custom", "gzip"),
        ("directory", "gzip"),
    ] {
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 73, "{format}, {compression}: {output}");
        let directory = operator.backups();
        let sentence = without_run(&output.stderr);
        if format == "plain" {
            assert_eq!(
                sentence,
                format!(
                    "pgbackupd: no backup of database {DATABASE}: cannot write \
                     {}/.pgbackupd-RUN.artifact: No space left on device (os error 28)\nhint: {ADVICE}\n",
                    directory.display()
                )
            );
        } else {
            let start = format!(
                "pgbackupd: no backup of database {DATABASE}: pg_dump ended with status 1: the disk is \
                 full; its output:\npg_dump: error: "
            );
            assert!(sentence.starts_with(&start), "{output}");
            assert!(
                sentence.ends_with(&format!("\nhint: {ADVICE}\n")),
                "{output}"
            );
            assert!(sentence.contains("No space left on device"), "{output}");
        }
        operator.assert_nothing_left();
    }
    filesystem.remount("size=32m");
    operator.assert_next_run_succeeds();
}

/// Lengthens the ledger by a record of nobody's until so many bytes of its last block are free.
fn pad_ledger(ledger: &Path, free: u64) {
    let length = fs::metadata(ledger).unwrap().len();
    let frame = "{\"padding\":\"\"}\n".len() as u64;
    let missing = 2 * BLOCK - (length + frame + free) % BLOCK;
    let line = format!(
        "{{\"padding\":\"{}\"}}\n",
        "x".repeat(usize::try_from(missing % BLOCK).unwrap())
    );
    let mut file = OpenOptions::new().append(true).open(ledger).unwrap();
    file.write_all(line.as_bytes()).unwrap();
    let length = fs::metadata(ledger).unwrap().len();
    assert_eq!((length + free) % BLOCK, 0);
}

#[test]
fn without_room_for_the_ledger_s_first_record_nothing_is_begun() {
    let Some(filesystem) = Filesystem::in_memory("size=1m") else {
        return;
    };
    let cluster = cluster_with_a_small_database();
    let operator = operator_on(&filesystem, &cluster);
    operator.assert_next_run_succeeds();
    let ledger = operator.backups().join("backup.log");
    // Some bytes of the record fit: they must not stay.
    pad_ledger(&ledger, 10);
    let text = fs::read_to_string(&ledger).unwrap();
    let before = operator.standing();
    filesystem.leave_blocks(0);
    let full = "No space left on device (os error 28)";
    for (command, sentence) in [
        (
            ["backup"].as_slice(),
            format!("no backup of database {DATABASE}: nothing was done because"),
        ),
        (&["verify"], "nothing was verified because".to_owned()),
    ] {
        let output = operator.run(command);
        assert_eq!(output.code, 73, "{output}");
        assert_eq!(
            output.stderr,
            format!(
                "pgbackupd: {sentence} the run could not be recorded in {}: {full}\nhint: {ADVICE}\n",
                ledger.display()
            )
        );
        assert_eq!(fs::read_to_string(&ledger).unwrap(), text);
        operator.assert_nothing_new(&before);
    }
    filesystem.free_blocks();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_clean_up_makes_room_on_a_full_disk_and_records_what_it_removed() {
    let Some(filesystem) = Filesystem::in_memory("size=1m") else {
        return;
    };
    let cluster = cluster_with_a_small_database();
    let mut operator = operator_on(&filesystem, &cluster);
    for _ in 0..3 {
        operator.back_up();
    }
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("retention.floor", 1);
    pad_ledger(&operator.backups().join("backup.log"), 10);
    filesystem.leave_blocks(0);
    let before = operator.list();
    let output = operator.run(&["prune"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(
        output.stderr,
        format!(
            " WARN the start of the prune run could not be recorded in {}: No space left on device (os \
             error 28)\n",
            operator.backups().join("backup.log").display()
        )
    );
    assert_eq!(operator.list(), before[2..]);
    let record = operator.last_record();
    assert_eq!(record["operation"], "prune");
    assert_eq!(record["removed"].as_array().unwrap().len(), 2, "{record}");
}

#[test]
fn a_backup_whose_end_cannot_be_recorded_stands_and_is_no_success() {
    let Some(filesystem) = Filesystem::in_memory("size=1m") else {
        return;
    };
    let cluster = cluster_with_a_small_database();
    let operator = operator_on(&filesystem, &cluster);
    operator.assert_next_run_succeeds();
    let ledger = operator.backups().join("backup.log");
    let text = fs::read_to_string(&ledger).unwrap();
    let started = text
        .lines()
        .find(|line| line.contains("\"event\":\"started\"") && line.contains("\"backup\""))
        .unwrap();
    // The record of the start fits in the last block, with a few bytes more for digits of times.
    let room = started.len() as u64 + 30;
    let before = operator.list();
    for free in 0.. {
        assert!(free < 30, "a small backup needs {free} blocks?");
        pad_ledger(&ledger, room);
        filesystem.leave_blocks(free);
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 73, "{free} blocks free: {output}");
        let after = operator.list();
        if after == before {
            filesystem.free_blocks();
            continue;
        }
        let made = after.last().unwrap();
        assert_eq!(
            output.stderr,
            format!(
                "pgbackupd: database {DATABASE}: the backup {made} is complete, but that could \
                 not be recorded in {}: \
                 No space left on device (os error 28)\nhint: {ADVICE}\n",
                ledger.display()
            )
        );
        assert_eq!(operator.last_record()["event"], "started");
        break;
    }
    let run = operator.last_record()["run"].clone();
    filesystem.free_blocks();
    operator.assert_all_whole();
    operator.assert_next_run_succeeds();
    // The next run sees that it stands, and says so.
    let ledger = operator.ledger();
    let ended = |record: &&Value| record["run"] == run && record["event"] != "started";
    let ended: Vec<&Value> = ledger.iter().filter(ended).collect();
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0]["event"], "succeeded", "{ended:?}");
}

#[test]
fn however_few_inodes_are_left_a_backup_is_whole_or_not_there() {
    let Some(filesystem) = Filesystem::in_memory("size=1m,nr_inodes=200") else {
        return;
    };
    let cluster = cluster_with_a_small_database();
    let operator = operator_on(&filesystem, &cluster);
    operator.assert_next_run_succeeds();
    let directory = operator.backups().display().to_string();
    let before = operator.standing();
    let space = filesystem.space();
    let used = space.f_files - space.f_ffree;
    let mut missing_at = BTreeSet::new();
    for free in 0.. {
        assert!(free < 10, "a small backup needs {free} inodes?");
        filesystem.remount(&format!("nr_inodes={}", used + free));
        let output = operator.run(&["backup"]);
        if output.code == 0 {
            break;
        }
        assert_eq!(output.code, 73, "{free} inodes free: {output}");
        operator.assert_nothing_new(&before);
        let sentence = without_run(&output.stderr);
        let start = format!("pgbackupd: no backup of database {DATABASE}: cannot ");
        let end = format!(": No space left on device (os error 28)\nhint: {ADVICE}\n");
        let file = sentence
            .strip_prefix(&start)
            .and_then(|rest| rest.strip_suffix(&end))
            .unwrap_or_else(|| panic!("{free} inodes free: {output}"));
        missing_at.insert(file.replace(&directory, "…"));
    }
    let expected = [
        "create ….pgbackupd-RUN.artifact",
        "create ….pgbackupd-RUN.census",
        "create ….pgbackupd-RUN.globals",
        "write ….pgbackupd-RUN.manifest",
    ];
    let expected: BTreeSet<String> = expected.map(|file| file.replace('…', "…/")).into();
    assert_eq!(missing_at, expected);
    filesystem.remount("nr_inodes=200");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_disk_without_any_inode_is_reported_before_anything_is_begun() {
    let Some(filesystem) = Filesystem::in_memory("size=1m,nr_inodes=200") else {
        return;
    };
    let cluster = cluster_with_a_small_database();
    let operator = operator_on(&filesystem, &cluster);
    let directory = operator.backups();
    let space = filesystem.space();
    let used = space.f_files - space.f_ffree;
    // One for `backups`, one for the database's directory, one for the lock, one for the ledger.
    for (free, what) in [
        (
            0,
            format!("cannot create the directory {}", directory.display()),
        ),
        (
            1,
            format!("cannot create the directory {}", directory.display()),
        ),
        (2, format!("cannot lock {}/.lock", directory.display())),
        (
            3,
            format!(
                "nothing was done because the run could not be recorded in {}/backup.log",
                directory.display()
            ),
        ),
    ] {
        fs::remove_dir_all(filesystem.path().join("backups")).ok();
        filesystem.remount(&format!("nr_inodes={}", used + free));
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 73, "{free} inodes free: {output}");
        assert_eq!(
            output.stderr,
            format!(
                "pgbackupd: no backup of database {DATABASE}: {what}: \
                 No space left on device (os error 28)\nhint: {ADVICE}\n"
            )
        );
        operator.assert_nothing_left();
    }
    filesystem.remount("nr_inodes=200");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_read_only_file_system_is_reported_and_can_still_be_listed() {
    let Some(filesystem) = Filesystem::in_memory("size=1m") else {
        return;
    };
    let cluster = cluster_with_a_small_database();
    let operator = operator_on(&filesystem, &cluster);
    operator.assert_next_run_succeeds();
    let before = operator.standing();
    let directory = operator.backups();
    let why = "Read-only file system (os error 30): the file system is mounted read-only, or the \
               service may not write there (ReadWritePaths= in its unit)";
    filesystem.remount("ro");
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 73, "{output}");
    assert_eq!(
        output.stderr,
        format!(
            "pgbackupd: no backup of database {DATABASE}: cannot lock {}/.lock: {why}\n",
            directory.display()
        )
    );
    operator.assert_nothing_new(&before);
    filesystem.remount("rw");
    operator.assert_next_run_succeeds();

    // Nor can a first backup be made there.
    fs::remove_dir_all(filesystem.path().join("backups")).unwrap();
    filesystem.remount("ro");
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 73, "{output}");
    assert_eq!(
        output.stderr,
        format!(
            "pgbackupd: no backup of database {DATABASE}: cannot create the directory {}: {why}\n",
            directory.display()
        )
    );
    operator.assert_nothing_left();
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one directory, which is ours more and more"
)]
fn a_directory_of_somebody_else_is_reported() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a directory to somebody else");
        return;
    }
    let cluster = cluster_with_a_small_database();
    let operator = Operator::of(&cluster, DATABASE);
    operator.assert_next_run_succeeds();
    let before = operator.standing();
    let directory = operator.backups();
    let user = uzers::get_user_by_name("postgres").or_else(|| uzers::get_user_by_name("nobody"));
    let user = user.unwrap();
    let why = format!(
        "Permission denied (os error 13)\nhint: {parent} belongs to root: if what is in it is {name}'s, as \
         root, run `chown --recursive --no-dereference {name}: {parent}`; if not, name another \
         directory in the configuration",
        parent = directory.parent().unwrap().display(),
        name = user.name().to_string_lossy(),
    );

    // Root's, closed: what it holds cannot even be seen.
    let output = operator.run_as_server_user(&["list"]);
    assert_eq!(output.code, 73, "{output}");
    assert_eq!(
        output.stderr,
        format!(
            "pgbackupd: cannot read the directory {}: {why}\n",
            directory.display()
        )
    );
    let output = operator.run_as_server_user(&["backup"]);
    assert_eq!(output.code, 73, "{output}");
    let path = directory.display();
    let begins = format!(
        "pgbackupd: no backup of database {DATABASE}: cannot create the directory {path}: Permission \
         denied (os error 13)\nhint: as root, run `install -d -o "
    );
    assert!(output.stderr.starts_with(&begins), "{output}");
    assert!(
        output.stderr.ends_with(&format!(
            " -m 0700 {path} && chmod o+x {}`\n",
            directory.parent().unwrap().display()
        )),
        "{output}"
    );

    // The parent's, where a directory is to be made.
    let parent = directory.parent().unwrap();
    let aside = operator.path("aside");
    fs::rename(&directory, &aside).unwrap();
    let output = operator.run_as_server_user(&["backup"]);
    assert_eq!(output.code, 73, "{output}");
    let told =
        format!("cannot create the directory {path}: Permission denied (os error 13)\nhint: ");
    assert!(output.stderr.contains(&told), "{output}");
    assert_eq!(fs::read_dir(parent).unwrap().count(), 0);
    fs::rename(&aside, &directory).unwrap();

    // Our own, but read-only.
    let uid = user.uid();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(&directory).unwrap() {
        chown(entry.unwrap().path(), Some(uid), None).unwrap();
    }
    chown(&directory, Some(uid), None).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o500)).unwrap();
    let output = operator.run_as_server_user(&["backup"]);
    assert_eq!(output.code, 73, "{output}");
    assert!(
        without_run(&output.stderr).ends_with(&format!(
            "cannot create {}/.pgbackupd-RUN.globals: Permission denied (os error 13)\nhint: run as the user \
             who owns the backup directory, or change its owner or mode (chown, chmod)\n",
            directory.display()
        )),
        "{output}"
    );
    let listed = operator.run_as_server_user(&["list"]);
    assert_eq!(listed.code, 0, "{listed}");
    operator.assert_nothing_new(&before);

    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let output = operator.run_as_server_user(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
}
