//! Fetches that are killed, find no room, or lack a volume for a while: nothing stands, and the rest is fetched.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::filesystem::Filesystem;
use crate::support::operator::Operator;

use super::{Far, backups_in, copy, fetch, leftovers};

/// A database whose dump has several volumes, backed up and copied.
fn several_volumes(cluster: &Cluster, is_encrypted: bool) -> (Operator, Far) {
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        "CREATE TABLE t AS SELECT i, repeat(md5(i::text), 32) AS v FROM generate_series(1, 34000) AS i",
    );
    let mut operator = Operator::of(cluster, "app");
    operator.set("dump.compression", "none");
    operator.back_up();
    let far = Far::of(&mut operator, is_encrypted);
    copy(&operator);
    assert!(far.volumes().len() >= 6, "{:?}", far.volumes());
    (operator, far)
}

#[test]
fn a_fetch_goes_on_where_it_was_and_a_kill_leaves_no_backup() {
    let cluster = Cluster::start();
    let (operator, far) = several_volumes(&cluster, true);
    let made = backups_in(&operator.backups());
    let to = operator.path("to");
    let words = ["--latest", "--to", to.to_str().unwrap(), "--json"];

    // The last volume is gone for a while: all others are kept.
    let last = far.volumes().into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.contains(".sql.")
    });
    let last = last.max().unwrap();
    let aside = operator.path("aside");
    fs::rename(&last, &aside).unwrap();
    let newest = fetch(&operator, &far, &words);
    assert_eq!(
        newest.code, 69,
        "an incomplete copy is not the newest: {newest}"
    );
    let name = operator.list().remove(0);
    let named = [&[name.as_str()], &words[1..]].concat();
    let lacking = fetch(&operator, &far, &named);
    assert_eq!(lacking.code, 69, "{lacking}");
    assert!(lacking.stderr.contains("is kept in"), "{lacking}");
    assert!(backups_in(&to).is_empty());
    fs::rename(&aside, &last).unwrap();
    let output = fetch(&operator, &far, &words);
    assert_eq!(output.code, 0, "{output}");
    let result: Value = serde_json::from_str(&output.stdout).unwrap();
    let (read, kept) = (&result["read_bytes"], &result["kept_bytes"]);
    let volume = fs::metadata(&last).unwrap().len();
    assert_eq!(read.as_u64(), Some(volume), "{result}");
    assert!(kept.as_u64() > Some(2 << 24), "{result}");
    assert_eq!(backups_in(&to), made);
    fs::remove_dir_all(&to).unwrap();

    // Killed again and again, it arrives all the same, and never as half a backup.
    let mut kills = 0;
    for round in 0..40_u64 {
        let mut words = vec!["fetch", "--from", "far"];
        words.extend(far.opened());
        words.extend(["--latest", "--to", to.to_str().unwrap()]);
        let running = operator.spawn(&words);
        std::thread::sleep(Duration::from_millis(20 + round * 37 % 400));
        running.signal(Signal::KILL);
        let output = running.wait();
        let there = backups_in(&to);
        let is_manifest = |name: &String| [".json"].iter().any(|end| name.ends_with(end));
        if there.keys().any(is_manifest) {
            assert_eq!(there, made, "{output}");
            break;
        }
        kills += 1;
    }
    let output = fetch(&operator, &far, &words);
    assert_eq!(output.code, 0, "after {kills} kills: {output}");
    assert_eq!(backups_in(&to), made);
    assert_eq!(leftovers(&to), [""; 0]);
    assert!(kills > 0);
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_fetched() {
    let cluster = Cluster::start();
    let (operator, far) = several_volumes(&cluster, false);
    let Some(small) = Filesystem::in_memory("size=30m") else {
        return;
    };
    let to = small.path().join("to");
    let output = fetch(&operator, &far, &["--latest", "--to", to.to_str().unwrap()]);
    assert_eq!(output.code, 73, "{output}");
    assert!(output.stderr.contains("not enough space"), "{output}");
    assert!(backups_in(&to).is_empty());
}

#[test]
fn a_disk_that_fills_meanwhile_leaves_no_backup_and_what_was_fetched() {
    let cluster = Cluster::start();
    let (operator, far) = several_volumes(&cluster, false);
    let made = backups_in(&operator.backups());
    let Some(small) = Filesystem::in_memory("size=60m") else {
        return;
    };
    let to = small.path().join("to");
    fs::create_dir(&to).unwrap();
    let words = ["--latest", "--to", to.to_str().unwrap()];
    // The forecast sees the room that a sparse file is going to take.
    let mut running = vec!["fetch", "--from", "far"];
    running.extend(far.opened());
    running.extend(words);
    let fetching = operator.spawn(&running);
    crate::support::cluster::wait_until("the fetch has begun", || !leftovers(&to).is_empty());
    let filler = small.path().join("filler");
    let mut block = vec![0_u8; 1 << 20];
    block.fill(1);
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    drop(file);
    let output = fetching.wait();
    if output.code == 0 {
        println!("skipped: the fetch was faster than the disk was filled");
        return;
    }
    assert_eq!(output.code, 73, "{output}");
    assert!(backups_in(&to).is_empty());
    fs::remove_file(&filler).unwrap();
    let output = fetch(&operator, &far, &words);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(backups_in(&to), made);
}
