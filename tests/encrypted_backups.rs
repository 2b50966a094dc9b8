//! Backups that are encrypted on this host: nothing of their content is readable without an identity, and with one
//! everything works as with others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::destination::{new_identity, plain_destination};
use crate::support::drill::{assert_empty, open_directory};
use crate::support::operator::{HeldLock, Operator, make_big_table, wait_for_the_next_second};
use crate::support::restored::{databases, small_without_backup, value};
use crate::support::sample::run;

/// What is in the database, and must be nowhere on the disk.
const SECRETS: [&str; 2] = ["as backed up", "sesame"];

/// A small database whose backups are encrypted, and the file of the identity that opens them.
fn encrypted(cluster: &Cluster, name: &str) -> (Operator, PathBuf) {
    let mut operator = small_without_backup(cluster, name);
    cluster.psql(&format!(
        "ALTER DATABASE {name} SET app.key = 'sesame'; COMMENT ON DATABASE {name} IS 'sesame'"
    ));
    let (identity, recipient) = new_identity(&operator, "identity.txt");
    operator.set_value("encryption.recipients", vec![recipient]);
    operator.set("encryption.scope", "all");
    operator.set_value("jobs.drill.enabled", false);
    (operator, identity)
}

/// These words, and the identity.
fn with<'a>(words: &[&'a str], identity: &'a Path) -> Vec<&'a str> {
    let mut all = words.to_vec();
    all.extend(["--identity", identity.to_str().unwrap()]);
    all
}

/// No file below a directory holds a text of the database.
#[track_caller]
fn assert_closed(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_closed(&path);
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        for secret in SECRETS {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert_eq!(found, None, "{secret:?} is in {}", path.display());
        }
    }
}

/// What `status` says of a change of recipients.
fn change_of_recipients(operator: &Operator) -> Option<String> {
    let output = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let mut concerns = status["attention"].as_array().unwrap().iter();
    let found = concerns.find(|one| one["kind"] == "recipients_changed")?;
    Some(found["message"].as_str().unwrap().to_owned())
}

fn endings(operator: &Operator, backup: &str) -> Vec<String> {
    let names = operator.artifacts().into_iter();
    let mut all: Vec<String> = names
        .filter_map(|name| name.strip_prefix(backup).map(str::to_owned))
        .collect();
    all.sort();
    all
}

fn setting(cluster: &Cluster, database: &str) -> String {
    cluster.psql_in(
        database,
        "SELECT current_setting('app.key', true) || ' ' || coalesce(shobj_description(oid, 'pg_database'), '') \
         FROM pg_database WHERE datname = current_database()",
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story for each format")]
fn every_format_is_encrypted_and_restored_with_the_identity_and_by_stock_tools() {
    let cluster = Cluster::start();
    let (mut operator, identity) = encrypted(&cluster, "app");
    let has_age = Command::new("age").arg("--version").output().is_ok();
    if !has_age {
        println!("skipped: age is not installed");
    }
    for (index, (format, compression, ending, line)) in [
        (
            "plain",
            "gzip",
            ".sql.gz.age",
            "zcat | psql -X -q -v ON_ERROR_STOP=1",
        ),
        (
            "plain",
            "zstd",
            ".sql.zst.age",
            "zstd -dc | psql -X -q -v ON_ERROR_STOP=1",
        ),
        ("plain", "none", ".sql.age", "psql -X -q -v ON_ERROR_STOP=1"),
        (
            "custom",
            "gzip",
            ".dump.age",
            "pg_restore --exit-on-error -d \"$PGDATABASE\"",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        wait_for_the_next_second();
        let backup = operator.back_up();
        let mut expected = [".census.gz.age", ".globals.gz.age", ".json", ending];
        expected.sort_unstable();
        assert_eq!(endings(&operator, &backup), expected);
        assert_closed(&operator.backups());

        let into = format!("program{index}");
        let output = operator.run(&with(
            &["restore", &backup, "--into", &into, "--yes"],
            &identity,
        ));
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(value(&cluster, &into), "as backed up");
        assert_eq!(setting(&cluster, &into), "sesame sesame");

        if has_age {
            let by_hand = format!("hand{index}");
            cluster.create_database(&by_hand);
            let line = format!("age -d -i \"$2\" \"$1\" | {line}");
            run(Command::new("bash")
                .args(["-o", "pipefail", "-c", &line, "bash"])
                .arg(operator.backups().join(format!("{backup}{ending}")))
                .arg(&identity)
                .env_clear()
                .envs(cluster.environment())
                .env("PGDATABASE", &by_hand));
            assert_eq!(value(&cluster, &by_hand), "as backed up");
        }
    }
    let output = operator.run(&with(&["verify", "--all"], &identity));
    assert_eq!(output.code, 0, "{output}");
    let listed = operator.json(&["list"]);
    assert_eq!(
        listed[0]["backups"][0]["encrypted_to"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let output = operator.run(&["list"]);
    assert!(output.stdout.contains("encrypted to SHA256:"), "{output}");
}

#[test]
fn tables_and_what_is_left_of_a_damaged_backup_come_back_with_the_identity() {
    let cluster = Cluster::start();
    let (mut operator, identity) = encrypted(&cluster, "app");
    for (index, format) in ["plain", "custom"].into_iter().enumerate() {
        operator.set("dump.format", format);
        wait_for_the_next_second();
        let backup = operator.back_up();
        let schema = format!("again{index}");
        let words = [
            "restore", &backup, "--table", "public.t", "--schema", &schema, "--yes",
        ];
        let output = operator.run(&with(&words, &identity));
        assert_eq!(output.code, 0, "{output}");
        let restored = cluster.psql_in("app", &format!("SELECT v FROM {schema}.t"));
        assert_eq!(restored, "as backed up", "{output}");
        let into = format!("saved{index}");
        let words = ["restore", &backup, "--salvage", "--into", &into, "--yes"];
        let output = operator.run(&with(&words, &identity));
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(value(&cluster, &into), "as backed up");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story for each format")]
fn a_dump_that_has_lost_its_manifest_is_restored_by_its_path_with_the_identity() {
    let cluster = Cluster::start();
    let (mut operator, identity) = encrypted(&cluster, "app");
    let (other, _) = new_identity(&operator, "other.txt");
    for (index, (format, compression, ending)) in [
        ("plain", "gzip", ".sql.gz.age"),
        ("plain", "zstd", ".sql.zst.age"),
        ("plain", "none", ".sql.age"),
        ("custom", "gzip", ".dump.age"),
    ]
    .into_iter()
    .enumerate()
    {
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        wait_for_the_next_second();
        let backup = operator.back_up();
        fs::remove_file(operator.backups().join(format!("{backup}.json"))).unwrap();
        let dump = operator.backups().join(format!("{backup}{ending}"));
        let path = dump.to_str().unwrap();
        let (into, schema) = (format!("lost{index}"), format!("lost_table{index}"));
        let restored = ["restore", path, "-d", "app", "--into", &into, "--yes"];
        let output = operator.run(&with(&restored, &identity));
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(value(&cluster, &into), "as backed up");
        let words = [
            "restore", path, "-d", "app", "--table", "public.t", "--schema", &schema, "--yes",
        ];
        let output = operator.run(&with(&words, &identity));
        assert_eq!(output.code, 0, "{output}");
        let found = cluster.psql_in("app", &format!("SELECT v FROM {schema}.t"));
        assert_eq!(found, "as backed up");
        cluster.psql(&format!("DROP DATABASE {into}"));
        let salvage = [&restored[..], &["--salvage"]].concat();
        let output = operator.run(&with(&salvage, &identity));
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(value(&cluster, &into), "as backed up");
        cluster.psql(&format!("DROP DATABASE {into}"));

        for words in [&restored[..], &salvage] {
            let output = operator.run(words);
            assert_eq!(output.code, 64, "{output}");
            let hint =
                "is encrypted with age\nhint: give the file with its identity by --identity FILE";
            assert!(output.stderr.contains(hint), "{output}");
            let output = operator.run(&with(words, &other));
            assert_eq!(output.code, 64, "{output}");
            let said = "is encrypted to other keys: given was the identity of SHA256:";
            assert!(output.stderr.contains(said), "{output}");
        }
        let intact = fs::read(&dump).unwrap();
        for length in [60, intact.len() / 2, intact.len() - 1] {
            fs::write(&dump, &intact[..length]).unwrap();
            let output = operator.run(&with(&restored, &identity));
            assert_eq!(output.code, 65, "{length}: {output}");
            assert!(!output.stderr.contains("age -d"), "{output}");
        }
        fs::write(&dump, intact).unwrap();
        assert_eq!(databases(&cluster), ["app"]);
    }
    let output = operator.run(&["status"]);
    let in_one_line = output.stdout.replace("\n  ", " ");
    assert!(
        in_one_line.contains(".dump.age --identity FILE`"),
        "{output}"
    );
    assert_closed(&operator.path("state"));
    assert_closed(&operator.backups());
}

#[test]
fn whoever_pipes_the_identity_in_is_asked_at_the_terminal_and_hints_name_the_option() {
    let cluster = Cluster::start();
    let (operator, identity) = encrypted(&cluster, "app");
    operator.back_up();
    let words = ["restore", "--latest", "--plan"];
    let output = operator.run(&with(&words, &identity));
    assert_eq!(output.code, 0, "{output}");
    let in_one_line = output.stdout.replace('\n', " ");
    let drill = "`pgbackupd drill --database app --identity FILE` makes one";
    assert!(in_one_line.contains(drill), "{output}");

    cluster.psql_in("app", "UPDATE t SET v = 'changed'");
    let piped = format!("exec \"$@\" <{}", identity.display());
    let starter = ["bash", "-c", &piped, "bash"];
    let words = ["restore", "--latest", "--identity", "-"];
    let output = operator.run_under_at_a_terminal(&starter, &words, "no");
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stdout.contains("nothing was changed"), "{output}");
    let output = operator.run_under_at_a_terminal(&starter, &words, "app");
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stdout.contains("Type the name of the database"),
        "{output}"
    );
    assert_eq!(value(&cluster, "app"), "as backed up");
}

#[test]
fn without_the_identity_nothing_is_restored_and_the_sentence_says_what_is_wanted() {
    let cluster = Cluster::start();
    let (operator, _) = encrypted(&cluster, "app");
    let backup = operator.back_up();
    let (other, _) = new_identity(&operator, "other.txt");
    let wanted = operator.json(&["list"])[0]["backups"][0]["encrypted_to"][0].clone();
    let wanted = wanted.as_str().unwrap();
    let words = ["restore", &backup, "--into", "copy", "--yes"];
    let output = operator.run(&words);
    let expected = format!("the backup {backup} is encrypted to {wanted}");
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains(&expected), "{output}");
    assert!(
        output
            .stderr
            .contains("hint: give the file with its identity by --identity FILE")
    );

    let output = operator.run(&with(&words, &other));
    let expected =
        format!("encrypted to other keys: wanted is the identity of {wanted}, given was SHA256:");
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains(&expected), "{output}");
    assert_eq!(databases(&cluster), ["app"]);
    // It has shown nothing of the backup.
    let output = operator.run(&with(&["verify"], &other));
    assert_eq!(output.code, 69, "{output}");
    let hint = "\n    hint: `age-keygen -y FILE` prints the recipient of an identity,";
    assert!(output.stdout.contains(hint), "{output}");
    assert_eq!(
        operator.json(&["list"])[0]["backups"][0]["damage"],
        Value::Null
    );
}

#[test]
fn without_the_files_of_drills_and_signatures_all_else_goes_on() {
    let cluster = Cluster::start();
    let (mut operator, identity) = encrypted(&cluster, "app");
    let (drill, signer) = (operator.path("drill"), operator.path("signer"));
    operator.set("drill.identity_file", drill.display());
    operator.set("encryption.signer_file", signer.display());
    let far = operator.path("far");
    fs::create_dir(&far).unwrap();
    operator.set("destinations.far.url", format!("file://{}", far.display()));
    let warnings = [
        format!(
            "WARN drill.identity_file: there is no file {}; ",
            drill.display()
        ),
        format!(
            "WARN encryption.signer_file: there is no file {}; ",
            signer.display()
        ),
    ];
    for (words, code) in [
        (&["config", "check"][..], 78),
        (&["backup"], 0),
        (&["list"], 0),
        (&["verify"], 0),
        (&["prune"], 0),
        (
            &with(
                &["restore", "--latest", "--into", "copy", "--yes"],
                &identity,
            ),
            0,
        ),
        (&["drill"], 64),
        (&["copy"], 78),
    ] {
        let output = operator.run(words);
        assert_eq!(output.code, code, "{output}");
        let is_reported = |warning: &String| output.stderr.contains(warning);
        let starts = words[0] != "config";
        assert_eq!(warnings.iter().all(is_reported), starts, "{output}");
        let sentence = match words[0] {
            "drill" => "the identity for drills, set in [drill], cannot be used: cannot read ",
            "copy" => "the signing key of [encryption] cannot be used: cannot read ",
            _ => "",
        };
        assert!(output.stderr.contains(sentence), "{output}");
    }
    assert_ne!(operator.run(&["status"]).code, 78);
}

#[test]
fn a_bit_that_is_flipped_is_found_without_an_identity_and_no_byte_reaches_the_server() {
    let cluster = Cluster::start();
    let (mut operator, identity) = encrypted(&cluster, "app");
    for (format, ending) in [("plain", ".sql.gz.age"), ("custom", ".dump.age")] {
        operator.set("dump.format", format);
        wait_for_the_next_second();
        let backup = operator.back_up();
        assert_eq!(operator.run(&["verify", &backup]).code, 0);
        for file in [ending, ".census.gz.age", ".globals.gz.age"] {
            let path = operator.backups().join(format!("{backup}{file}"));
            let intact = fs::read(&path).unwrap();
            for at in [0, 40, intact.len() / 2, intact.len() - 1] {
                let mut damaged = intact.clone();
                damaged[at] ^= 4;
                fs::write(&path, damaged).unwrap();
                let words = ["restore", &backup, "--into", "copy", "--yes"];
                let output = operator.run(&with(&words, &identity));
                assert_eq!(output.code, 65, "{file} at {at}: {output}");
                let is_salvaged = output.stderr.contains("--identity FILE` salvages");
                assert!(is_salvaged || file != ending, "{output}");
                assert_eq!(databases(&cluster), ["app"], "{output}");
            }
            let output = operator.run(&["verify", &backup]);
            assert_eq!(output.code, 65, "{output}");
            let expected = format!("{backup}{file} has been changed");
            let in_one_line = output.stdout.replace("\n    ", " ");
            assert!(in_one_line.contains(&expected), "{output}");
            // Bytes behind the end of the encryption are no part of it, and are seen all the same.
            fs::write(&path, [&intact[..], b"more"].concat()).unwrap();
            assert_eq!(
                operator.run(&with(&["verify", &backup], &identity)).code,
                65
            );
            fs::write(&path, intact).unwrap();
        }
        assert_eq!(operator.run(&with(&["verify", &backup], &identity)).code, 0);
    }
}

#[test]
fn drills_take_the_identity_of_the_command_line_or_of_the_configuration() {
    let cluster = Cluster::start();
    let (mut operator, identity) = encrypted(&cluster, "app");
    let place = open_directory();
    operator.set("drill.directory", place.path().display());
    operator.set("dump.format", "custom");
    operator.back_up();
    let output = operator.run(&["drill"]);
    assert_eq!(output.code, 64, "{output}");
    assert!(
        format!("{output}").contains("is encrypted to SHA256:"),
        "{output}"
    );
    let output = operator.run(&with(&["drill"], &identity));
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(change_of_recipients(&operator), None);

    // Whoever changes the recipients can name the identity of drills, too.
    let (other, recipient) = new_identity(&operator, "other.txt");
    operator.set_value("encryption.recipients", vec![recipient]);
    operator.set("drill.identity_file", other.display());
    operator.set("dump.format", "plain");
    wait_for_the_next_second();
    operator.back_up();
    let output = operator.run(&["drill"]);
    assert_eq!(output.code, 0, "{output}");
    let sentence = change_of_recipients(&operator).unwrap();
    assert!(
        sentence.starts_with("new backups are encrypted to SHA256:")
            && sentence.contains("`pgbackupd drill --identity -`"),
        "{sentence}"
    );
    let output = operator.run(&with(&["drill"], &other));
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(change_of_recipients(&operator), None);
    assert_empty(place.path());
}

#[test]
fn backups_that_are_not_encrypted_any_more_are_reported_until_that_is_accepted() {
    let cluster = Cluster::start();
    let (mut operator, _) = encrypted(&cluster, "app");
    operator.back_up();
    operator.set("encryption.scope", "copies");
    let sentence = change_of_recipients(&operator).unwrap();
    assert!(
        sentence.starts_with("new backups are not encrypted"),
        "{sentence}"
    );
    let accepted = operator.json(&["accept", "recipients"]);
    assert_eq!(accepted["backups_not_encrypted"], true, "{accepted}");
    assert_eq!(change_of_recipients(&operator), None);
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_readable() {
    let cluster = Cluster::start();
    let (mut operator, _) = encrypted(&cluster, "app");
    make_big_table(&cluster, "app", "big");
    cluster.psql_in(
        "app",
        "ALTER TABLE big ADD s text; UPDATE big SET s = 'as backed up'",
    );
    for format in ["plain", "custom"] {
        operator.set("dump.format", format);
        // What is written would be in the clear, then.
        operator.set("dump.compression", "none");
        let lock = HeldLock::on(&cluster, "app", "big");
        let (running, _) = operator.halted_midway_behind(lock, &cluster);
        running.signal(Signal::CONT);
        let artifact = || {
            let names = operator.temporaries().into_iter();
            let mut artifacts = names.filter(|name| name.ends_with(".artifact"));
            let path = artifacts.next().map(|name| operator.backups().join(name));
            path.and_then(|path| fs::read(path).ok())
                .unwrap_or_default()
        };
        wait_until("something is written", || artifact().len() > 1 << 16);
        running.signal(Signal::KILL);
        running.wait();
        assert!(artifact().starts_with(b"age-encryption.org/v1\n"));
        assert_closed(&operator.backups());
        operator.assert_no_processes();
    }
    operator.set("dump.compression", "gzip");
    operator.back_up();
    assert_eq!(operator.run(&["verify"]).code, 0);
}

#[test]
fn a_copy_of_an_encrypted_backup_is_opened_twice_by_the_same_identity() {
    let cluster = Cluster::start();
    let (mut operator, identity) = encrypted(&cluster, "app");
    plain_destination(&mut operator);
    operator.unset("destinations.far.plain");
    let place = open_directory();
    operator.set("drill.directory", place.path().display());
    for (index, format) in ["plain", "custom"].into_iter().enumerate() {
        operator.set("dump.format", format);
        wait_for_the_next_second();
        let backup = operator.back_up();
        assert_eq!(operator.run(&["copy"]).code, 0);
        let rehearsed = operator.json(&with(&["rehearse", "--from", "far"], &identity));
        assert_eq!(rehearsed[0]["outcome"], "opened", "{rehearsed}");
        assert_eq!(rehearsed[0]["compared"], "census", "{rehearsed}");
        let into = format!("fetched{index}");
        let words = [
            "restore", &backup, "--from", "far", "--into", &into, "--yes",
        ];
        let output = operator.run(&with(&words, &identity));
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(value(&cluster, &into), "as backed up");
        assert_eq!(setting(&cluster, &into), "sesame sesame");
        let to = operator.path(&into);
        let words = [
            "fetch",
            &backup,
            "--from",
            "far",
            "--to",
            to.to_str().unwrap(),
        ];
        let output = operator.run(&with(&words, &identity));
        assert_eq!(output.code, 0, "{output}");
        assert!(
            output.stdout.contains(".age --identity FILE` restores it"),
            "{output}"
        );
    }
    let output = operator.run(&with(&["drill", "--from", "far"], &identity));
    assert_eq!(output.code, 0, "{output}");
    assert_empty(place.path());
    let (_, second) = new_identity(&operator, "second.txt");
    let words = with(&["key", "add-recipient", &second], &identity);
    let output = operator.run(&words);
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stdout.contains("KEEP the old identity"), "{output}");
}

#[test]
fn old_backups_stay_readable_and_lost_rows_are_noticed_without_an_identity() {
    let cluster = Cluster::start();
    let (mut operator, _) = encrypted(&cluster, "app");
    cluster.psql_in(
        "app",
        "INSERT INTO t SELECT i, 'x' FROM generate_series(2, 2000) i",
    );
    operator.set("encryption.scope", "copies");
    let clear = operator.back_up();
    operator.set("encryption.scope", "all");
    for _ in 0..3 {
        wait_for_the_next_second();
        operator.back_up();
    }
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run(&["restore", &clear, "--into", "copy", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run(&["list"]);
    assert!(
        output.stdout.contains("3 of them encrypted to SHA256:"),
        "{output}"
    );
    let marked = output
        .stdout
        .lines()
        .filter(|line| line.contains("[clear]"));
    let marked: Vec<&str> = marked.collect();
    assert!(
        marked.len() == 1 && marked[0].contains(&clear),
        "{marked:?} {output}"
    );
    let kinds = |operator: &Operator| -> Vec<Value> {
        let status: Value =
            serde_json::from_str(&operator.run(&["status", "--json"]).stdout).unwrap();
        let all = status["attention"].as_array().unwrap().iter();
        all.map(|one| one["kind"].clone()).collect()
    };
    let before = kinds(&operator);
    assert!(!before.contains(&json!("rows")), "{before:?}");
    cluster.psql_in("app", "DELETE FROM t WHERE id > 10");
    wait_for_the_next_second();
    operator.back_up();
    let after = kinds(&operator);
    assert_ne!(after, before, "nobody has noticed that the rows are gone");
}

#[test]
fn a_comment_of_megabytes_comes_back() {
    let cluster = Cluster::start();
    let (operator, identity) = encrypted(&cluster, "app");
    // Sealed, it is a third longer.
    cluster.psql(
        "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE app IS %L', repeat('x', 3300000)); END $$",
    );
    let backup = operator.back_up();
    let output = operator.run(&with(&["verify", &backup], &identity));
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stdout.contains("intact, 1 row"), "{output}");
    let words = ["restore", &backup, "--into", "copy", "--yes"];
    let output = operator.run(&with(&words, &identity));
    assert_eq!(output.code, 0, "{output}");
    let sql = "SELECT length(shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = 'copy'";
    assert_eq!(cluster.psql(sql), "3300000");
}
