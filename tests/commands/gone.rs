//! What was there before and is not any more is a concern, until it is put right or accepted.

use std::fs;

use serde_json::Value;

use crate::support::cluster::{Cluster, Options};
use crate::support::operator::{Operator, code_of_status, wait_for_the_next_second};

/// Somebody who backs up one database, and whose service has a state directory. One backup a series
/// stays but for what must.
fn operator(cluster: &Cluster) -> Operator {
    let mut operator = Operator::of(cluster, "postgres");
    operator.set_value("dump.globals", false);
    fs::create_dir(operator.path("state")).unwrap();
    operator.set("daemon.runtime_directory", operator.path("run").display());
    operator.set_value("retention.floor", 1);
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    operator
}

/// The kinds of concerns, and their sentences in one text.
#[track_caller]
fn concerns(operator: &Operator) -> (Vec<String>, String) {
    let output = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let attention = status["attention"].as_array().unwrap();
    let text = |key: &str| -> Vec<String> {
        let all = attention.iter();
        all.map(|one| one[key].as_str().unwrap().to_owned())
            .collect()
    };
    let kinds = text("kind");
    assert_eq!(output.code, code_of_status(&status), "{output}");
    (kinds, text("message").join("\n"))
}

#[track_caller]
fn assert_well(operator: &Operator) {
    assert_eq!(concerns(operator), (Vec::new(), String::new()));
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_database_that_is_empty_overnight_is_a_concern_until_it_is_accepted() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    // One that never had a table, and one that shrinks by a third.
    for sql in [
        "SELECT 1",
        "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i; CREATE TABLE u ()",
        "DELETE FROM t WHERE i > 700",
    ] {
        cluster.psql(sql);
        let backup = operator.run(&["backup"]);
        assert_eq!(
            (backup.code, backup.stderr.as_str()),
            (0, ""),
            "{sql}: {backup}"
        );
        assert_well(&operator);
    }
    assert_eq!(operator.list().len(), 1, "retention works");
    let full = operator.list().remove(0);

    cluster.psql("DELETE FROM t WHERE i > 300");
    let says = format!(
        "database postgres has lost more than half of its rows: the backup {full} holds 700 rows in 2 \
         tables, "
    );
    let way_out = "run `pgbackupd accept contents --database postgres`";
    // The second one repeats the loss, and does not end it.
    for count in [2, 2] {
        let backup = operator.run(&["backup"]);
        assert_eq!(backup.code, 0, "{backup}");
        assert!(
            backup.stderr.contains(&says) && backup.stderr.contains(way_out),
            "{backup}"
        );
        let (kinds, sentence) = concerns(&operator);
        assert_eq!(kinds, ["contents"]);
        assert!(
            sentence.contains(&says) && sentence.contains(way_out),
            "{sentence}"
        );
        let kept = operator.list();
        assert!(kept.contains(&full), "{kept:?}");
        assert!(kept.len() <= count + 1, "{kept:?}");
    }
    let prune = operator.run(&["prune", "--dry-run"]);
    let held = format!("keep {full}: made before a loss that nobody has accepted\n");
    assert!(prune.stdout.contains(&held), "{prune}");
    // Only what is lost can be accepted.
    assert_eq!(operator.run(&["accept", "vanished"]).code, 64);
    let accepted = operator.run(&["accept", "contents"]);
    assert_eq!(accepted.code, 0, "{accepted}");
    let record = operator.last_record();
    assert_eq!(record["operation"], "accept");
    assert_eq!(record["accepted"], "contents");
    assert!(record["requested_by"]["user"].is_string());
    assert_well(&operator);
    assert_eq!(operator.run(&["accept", "contents"]).code, 64);
    assert_eq!(operator.run(&["prune"]).code, 0);
    assert!(!operator.list().contains(&full));
    operator.back_up();
    assert_well(&operator);

    // No table is left; when they come back, all is well again.
    cluster.psql("ALTER TABLE t RENAME TO v; DROP TABLE u; DROP TABLE v");
    operator.back_up();
    let (kinds, sentence) = concerns(&operator);
    assert_eq!(kinds, ["contents"]);
    assert!(sentence.contains("has no table left"), "{sentence}");
    cluster.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i");
    operator.back_up();
    assert_well(&operator);
    operator.assert_all_whole();
}

#[test]
fn the_last_backup_of_a_database_that_is_found_at_each_run_is_given_up_by_the_printed_command() {
    let cluster = Cluster::start();
    cluster.psql("CREATE DATABASE \"-odd one\"");
    let mut operator = operator(&cluster);
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value("include", vec!["-odd*"]);
    operator.back_up();
    let listed = operator.json(&["list"]);
    let directory = listed[0]["directory"].as_str().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "log") {
            fs::remove_file(path).unwrap();
        }
    }
    let (kinds, sentence) = concerns(&operator);
    assert!(kinds.contains(&"vanished".to_owned()), "{kinds:?}");
    let mut commands = sentence.split('`').skip(1).step_by(2);
    let command = commands.find(|command| command.contains(" accept "));
    let accepted = operator.paste(command.unwrap());
    assert_eq!(accepted.code, 0, "{command:?}: {accepted}");
    assert!(!concerns(&operator).0.contains(&"vanished".to_owned()));
}

#[test]
fn our_own_restore_explains_what_the_next_backup_holds() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in("app", "CREATE TABLE t AS SELECT 1 AS i");
    let mut operator = Operator::of(&cluster, "app");
    operator.set_value("dump.globals", false);
    let old = operator.back_up();
    cluster.psql_in("app", "INSERT INTO t SELECT generate_series(1, 100)");
    operator.back_up();
    operator.json(&["restore", &old, "--yes"]);
    operator.back_up();
    let (kinds, _) = concerns(&operator);
    assert!(!kinds.contains(&"contents".to_owned()), "{kinds:?}");
    // But what is lost after that is lost.
    cluster.psql_in("app", "TRUNCATE t");
    operator.back_up();
    assert!(concerns(&operator).0.contains(&"contents".to_owned()));
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn earlier_backups_that_are_gone_and_another_server_are_concerns() {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT 1 AS i");
    let mut operator = operator(&cluster);
    let first = operator.back_up();
    assert_well(&operator);
    let directory = operator.backups();
    let mounted = operator.path("mounted");
    // The second is in a backup's name: in an empty directory the next one would take that of the first.
    wait_for_the_next_second();

    // The disk is not mounted: before a backup, and after one, which repeats it.
    fs::rename(&directory, &mounted).unwrap();
    fs::create_dir(&directory).unwrap();
    let gone = format!(
        "the backup {first} was the newest in {} and is gone",
        directory.display()
    );
    let (kinds, sentence) = concerns(&operator);
    assert!(kinds.contains(&"vanished".to_owned()), "{kinds:?}");
    assert!(sentence.contains(&gone), "{sentence}");
    for _ in 0..2 {
        let backup = operator.run(&["backup"]);
        assert!(
            backup.code == 0 && backup.stderr.contains(&gone),
            "{backup}"
        );
        assert_eq!(concerns(&operator).0, ["vanished"]);
        let latest = operator.run(&["restore", "--latest", "--plan"]);
        assert!(
            !latest.stderr.contains(&first),
            "what is older is not passed over: {latest}"
        );
    }
    let accepted = operator.json(&["accept", "vanished"]);
    assert_eq!(accepted["backups"], serde_json::json!([first]));
    assert_well(&operator);
    let under = operator.back_up();
    assert_well(&operator);

    // It is mounted again: now it is the other ones that are gone.
    fs::rename(&directory, operator.path("under")).unwrap();
    fs::rename(&mounted, &directory).unwrap();
    let (kinds, sentence) = concerns(&operator);
    assert_eq!(kinds, ["vanished"]);
    assert!(sentence.contains(&under), "{sentence}");
    // Going back to what is left is going back.
    let latest = operator.run(&["restore", "--latest", "--yes"]);
    assert!(
        latest.code == 65 && latest.stderr.contains(&under),
        "{latest}"
    );
    operator.json(&["accept", "vanished"]);
    assert_well(&operator);

    // A directory that moves with its backups, and one that is new, are none.
    let newest = operator.back_up();
    let elsewhere = operator.path("elsewhere");
    fs::rename(operator.path("backups"), &elsewhere).unwrap();
    operator.set("directory", elsewhere.display());
    assert_well(&operator);
    operator.back_up();
    assert_well(&operator);
    // What retention took away is on record.
    assert!(!operator.list().contains(&newest), "retention works");

    // Another server answers under the name.
    let other = Cluster::with(&Options {
        own_identifier: true,
        ..Options::default()
    });
    other.psql("CREATE TABLE t AS SELECT 1 AS i");
    operator.set("connection.host", other.socket_directory().display());
    operator.set_value("connection.port", other.port());
    for _ in 0..2 {
        let backup = operator.run(&["backup"]);
        assert!(
            backup.code == 0 && backup.stderr.contains("another server answers"),
            "{backup}"
        );
        assert_eq!(concerns(&operator).0, ["other_server"]);
    }
    operator.json(&["accept", "server"]);
    operator.back_up();
    assert_well(&operator);

    // The newest, deleted by hand, is missed; one that was found bad is the operator's to delete.
    let delete = |name: &str| {
        for entry in fs::read_dir(operator.backups()).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(name)
            {
                fs::remove_file(path).unwrap();
            }
        }
    };
    operator.json(&["backup", "--series", "weekly"]);
    let bad = operator.back_up();
    fs::write(operator.backups().join(format!("{bad}.sql.gz")), "torn").unwrap();
    assert_eq!(operator.run(&["verify", &bad]).code, 65);
    delete(&bad);
    assert_well(&operator);
    delete(&operator.back_up());
    assert_eq!(concerns(&operator).0, ["vanished"]);
}

#[test]
fn a_lost_manifest_is_named_everywhere_and_keeps_what_is_older() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    let older = operator.json(&["backup", "--series", "weekly"]);
    let older = older[0]["backup"].as_str().unwrap().to_owned();
    let lost = operator.back_up();
    operator.run(&["pin", &lost]);
    // A script's dump, named alike, never was a backup.
    let stray = operator.backups().join("backup_20200101_000000.sql.gz");
    fs::write(stray, "").unwrap();
    assert_well(&operator);
    let manifest = operator.backups().join(format!("{lost}.json"));
    let aside = operator.path("aside");
    fs::rename(&manifest, &aside).unwrap();
    let told =
        format!("{lost}.sql.gz: its manifest {lost}.json is lost, so it counts for no backup");
    let check = |kinds: &[&str]| {
        let listed = operator.run(&["list"]);
        assert!(
            listed.code == 0 && listed.words().contains(&told),
            "{listed}"
        );
        for all in ["--all", "--latest", "--older-than=1 day"] {
            let verify = operator.run(&["verify", all]);
            assert!(
                verify.code == 65 && verify.words().contains(&told),
                "{all}: {verify}"
            );
        }
        let (found, sentence) = concerns(&operator);
        assert_eq!(found, kinds, "{sentence}");
        assert!(
            sentence.contains(&format!("the manifest of the backup {lost} is lost")),
            "{sentence}"
        );
    };
    check(&["lost_manifest"]);
    // Who names another has not asked for it.
    assert_eq!(operator.run(&["verify", &older]).code, 0);
    // With nothing next to it, the ledger still knows it.
    for ending in ["census.gz", "state"] {
        fs::remove_file(operator.backups().join(format!("{lost}.{ending}"))).unwrap();
    }
    check(&["lost_manifest"]);
    // Back in its place, it is a backup again, though a damaged one.
    fs::rename(&aside, &manifest).unwrap();
    assert!(operator.list().contains(&lost));
    fs::rename(&manifest, &aside).unwrap();

    // Accepted, it is a file like the script's, and what is older may go.
    operator.json(&["accept", "manifest"]);
    assert_well(&operator);
    assert_eq!(operator.run(&["verify", "--all"]).code, 0);
    assert!(!operator.run(&["list"]).stdout.contains("is lost"));
}

#[test]
fn a_state_that_is_hit_keeps_its_backup_and_counts_as_pinned_until_somebody_says_otherwise() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    let name = operator.back_up();
    operator.json(&["pin", &name]);
    let state = operator.backups().join(format!("{name}.state"));
    let sealed = fs::read_to_string(&state).unwrap();
    for (from, to) in [
        ("\"pinned\"", "\"pinnee\""),
        ("{", "["),
        ("\"checksum\"", "\"checksul\""),
        ("\"format\"", "\"gormat\""),
    ] {
        fs::write(&state, sealed.replacen(from, to, 1)).unwrap();
        let (kinds, sentence) = concerns(&operator);
        assert_eq!(kinds, ["lost_state"], "{to}");
        let way_out = format!("`pgbackupd verify --database postgres {name}`");
        assert!(sentence.contains(&way_out), "{sentence}");
        let list = operator.run(&["list"]);
        assert!(
            list.stdout.contains("[pinned]") && list.stdout.contains("unknown"),
            "{list}"
        );
        assert!(
            list.stdout
                .contains(&format!("its state {name}.state cannot be used")),
            "{list}"
        );
        // It fills no rule, and is not removed.
        operator.back_up();
        assert_eq!(operator.list().len(), 2);
        assert!(operator.list().contains(&name));

        let verify = operator.run(&["verify", &name]);
        assert_eq!(verify.code, 0, "{verify}");
        let note = format!(
            "it is pinned now, in case it was, until you run `pgbackupd unpin {}/{name}`",
            operator.backups().display()
        );
        assert!(verify.words().contains(&note), "{verify}");
        assert_well(&operator);
        let list = operator.run(&["list"]);
        assert!(
            list.stdout.contains("[pinned]") && !list.stdout.contains("unknown"),
            "{list}"
        );
        let text = fs::read_to_string(operator.backups().join("backup.log")).unwrap();
        assert!(text.contains("its state was lost"), "{text}");
    }
    // `unpin` alone is the operator's word too.
    fs::write(&state, sealed.replacen("pinned", "pinnee", 1)).unwrap();
    operator.json(&["unpin", &name]);
    assert_well(&operator);
    assert!(!operator.run(&["list"]).stdout.contains("[pinned]"));
}
