//! Several servers: a failed one is never passed over in silence, and `SERVER/NAME` says which
//! database is meant.

use std::fs;

use serde_json::Value;

use crate::support::cluster::{Cluster, SUPERUSER};
use crate::support::operator::{Operator, Output};

/// An operator with `audit` on the server without a name and on `twin`, which is the same server.
fn with_twins(cluster: &Cluster) -> Operator {
    cluster.create_database("audit");
    let mut operator = Operator::of(cluster, "audit");
    operator.set("servers.twin.databases", "all");
    operator.set_value("servers.twin.include", vec!["audit"]);
    let socket = cluster.socket_directory();
    operator.set("servers.twin.connection.host", socket.display());
    operator.set_value("servers.twin.connection.port", cluster.port());
    operator.set("servers.twin.connection.user", SUPERUSER);
    operator
}

/// The labels of what a command has worked on.
fn named(output: &Output) -> Vec<String> {
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    let all = document.as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|one| format!("{}/{}", text(&one["server"]), text(&one["database"])))
        .collect()
}

#[track_caller]
fn refused(output: &Output, code: i32, start: &str) {
    assert_eq!(output.code, code, "{output}");
    assert!(output.stderr.starts_with(start), "{output}");
}

#[test]
fn a_server_that_does_not_answer_is_named_with_what_it_may_hold() {
    let cluster = Cluster::start();
    cluster.create_database("audit");
    let mut operator = Operator::of(&cluster, "audit");
    operator.set("servers.reports.databases", "all");
    operator.set_value("servers.reports.exclude", vec!["ours"]);
    operator.set("servers.reports.connection.host", "/nonexistent");
    let may_hold = "pgbackupd: server reports did not answer; it may also hold audit: ";

    for command in ["backup", "emergency"] {
        let output = operator.run(&[command, "-d", "audit"]);
        refused(&output, 69, may_hold);
        let hint = "\nhint: -d main/audit names the one that was found\n";
        assert!(output.stderr.ends_with(hint), "{output}");
        assert!(
            output.stdout.contains(": database main/audit, "),
            "{output}"
        );
    }
    let output = operator.run(&["backup", "-d", "main/audit", "--json"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
    assert_eq!(named(&output), ["main/audit"]);
    assert_eq!(operator.list().len(), 3);

    // It alone is asked for, with its name or because no other has it; what it excludes is not there.
    for name in ["reports/audit", "monthly"] {
        let database = name.trim_start_matches("reports/");
        let sentence =
            format!("pgbackupd: server reports did not answer; it may hold {database}: ");
        refused(&operator.run(&["backup", "-d", name]), 69, &sentence);
    }
    for name in ["reports/ours", "ours"] {
        let sentence = format!("pgbackupd: database \"{name}\" is not configured");
        refused(&operator.run(&["backup", "-d", name]), 64, &sentence);
    }
    assert_eq!(operator.list().len(), 3);

    // Directories are looked at without the server, and say all that there is.
    for command in [vec!["list"], vec!["verify"], vec!["prune", "--dry-run"]] {
        let output = operator.run(&[command.as_slice(), &["-d", "audit"]].concat());
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
        assert!(output.stdout.contains("main/audit"), "{output}");
    }

    // One that answers, and does not say which databases it has, is as silent.
    cluster.psql("CREATE ROLE backup LOGIN; REVOKE SELECT ON pg_database FROM public");
    let socket = cluster.socket_directory();
    operator.set("servers.reports.connection.host", socket.display());
    operator.set_value("servers.reports.connection.port", cluster.port());
    operator.set("servers.reports.connection.user", "backup");
    let output = operator.run(&["backup", "-d", "audit"]);
    let sentence = "pgbackupd: server reports could not be asked for its databases; it may also \
                    hold audit: ";
    refused(&output, 69, sentence);
    assert_eq!(operator.list().len(), 4);
}

#[test]
fn a_name_on_two_servers_means_both_or_is_asked_back() {
    let cluster = Cluster::start();
    let mut operator = with_twins(&cluster);
    let output = operator.run(&["backup", "-d", "audit", "--json"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(named(&output), ["main/audit", "twin/audit"]);
    let listed = operator.run(&["list"]);
    for name in ["main/audit", "twin/audit"] {
        assert!(
            listed.stdout.contains(&format!("database {name}: ")),
            "{listed}"
        );
        let output = operator.run(&["verify", "--latest", "-d", name]);
        assert_eq!(output.code, 0, "{output}");
        assert!(
            output.stdout.starts_with(&format!("{name}: backup_")),
            "{output}"
        );
        let plan = operator.run(&["restore", "--latest", "--plan", "-d", name]);
        assert_eq!(plan.code, 0, "{plan}");
        assert!(
            plan.words().contains(&format!(" as database {name} at ")),
            "{plan}"
        );
    }
    // What changes a database is not guessed, also of a file.
    let both = "\nhint: name one: --database main/audit or --database twin/audit";
    fs::write(operator.path("dump.sql"), "select 1;\n").unwrap();
    for command in [
        vec!["restore", "--latest", "--yes"],
        vec!["restore", "dump.sql", "--yes"],
        vec!["undo-restore", "--yes"],
        vec!["emergency"],
    ] {
        let output = operator.run(&[command.as_slice(), &["-d", "audit"]].concat());
        refused(&output, 64, "pgbackupd: ");
        assert!(output.stderr.contains(both), "{output}");
    }
    let stem = operator.list().pop().unwrap();
    let pinned = operator.json(&["pin", &stem, "-d", "twin/audit"]);
    assert_eq!(
        (&pinned["server"], &pinned["database"]),
        (&"twin".into(), &"audit".into())
    );

    // A name that two things can be.
    cluster.create_database("twin/audit");
    operator.unset("database");
    operator.set_value("databases", vec!["audit", "twin/audit"]);
    let output = operator.run(&["backup", "-d", "twin/audit"]);
    let sentence = "pgbackupd: \"twin/audit\" can mean database \"twin/audit\" of server main \
                    (-d main/twin/audit) or database \"audit\" of server twin\n";
    refused(&output, 64, sentence);
    let output = operator.run(&["backup", "-d", "main/twin/audit", "--json"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(named(&output), ["main/twin/audit"]);
}

#[test]
fn backups_that_cannot_be_looked_at_stop_what_cannot_be_undone_and_nothing_else() {
    let cluster = Cluster::start();
    let mut operator = with_twins(&cluster);
    operator.unset("servers.twin.include");
    let stem = operator.run(&["backup", "-d", "main/audit", "--json"]);
    let stem: Value = serde_json::from_str(&stem.stdout).unwrap();
    let (stem, path) = (&stem[0]["backup"], &stem[0]["path"]);
    let (stem, path) = (stem.as_str().unwrap(), path.as_str().unwrap());
    // Not to be read by root either.
    fs::write(operator.path("backups/twin"), "").unwrap();

    let unseen = "the backups of server twin cannot be read: cannot read the directory ";
    for command in [vec!["list"], vec!["verify"], vec!["restore"]] {
        let output = operator.run(&command);
        assert_eq!(output.code, 69, "{output}");
        assert!(output.stderr.contains(unseen), "{output}");
        assert!(output.stdout.contains(stem), "{output}");
        let named = operator.run(&[command.as_slice(), &["-d", "main/audit"]].concat());
        assert!(!named.stderr.contains("twin"), "{named}");
    }
    let before = fs::read_dir(operator.path("backups/audit"))
        .unwrap()
        .count();
    let may_hold = "server twin has a directory that cannot be read; it may also hold audit: ";
    for (command, undone) in [
        (vec!["prune"], "nothing was removed"),
        (vec!["restore", "--latest", "--yes"], "nothing was restored"),
        (vec!["restore", stem, "--yes"], "nothing was restored"),
        (vec!["undo-restore", "--yes"], "nothing was undone"),
        (vec!["pin", stem], "nothing was changed"),
        (vec!["unpin", stem], "nothing was changed"),
        (vec!["release", "x"], "nothing was changed"),
    ] {
        let output = operator.run(&[command.as_slice(), &["-d", "audit"]].concat());
        refused(&output, 69, &format!("pgbackupd: {undone}: "));
        if !command[0].starts_with("undo") {
            assert!(output.stderr.contains(may_hold), "{output}");
        }
        assert!(output.stderr.contains("\nhint: -d "), "{output}");
    }
    let after = fs::read_dir(operator.path("backups/audit"))
        .unwrap()
        .count();
    assert_eq!(after, before, "nothing was written");
    // What is meant by its place is not elsewhere.
    for command in [
        vec!["verify", path],
        vec!["pin", path],
        vec!["restore", path, "--plan"],
        vec!["prune", "-d", "main/audit"],
    ] {
        let output = operator.run(&command);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
    }
    let status = operator.run(&["status", "--json"]);
    assert_eq!(status.code, 2, "{status}");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let attention = &status["attention"][0];
    assert_eq!(attention["kind"], "directory");
    assert_eq!(attention["server"], "twin");
    assert_eq!(operator.run(&["status", "-d", "main/audit"]).code, 0);
    assert_eq!(operator.run(&["status", "-d", "audit"]).code, 2);
}

#[test]
fn a_hint_after_a_restore_means_that_database_among_several() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "first");
    for name in ["first", "second"] {
        cluster.create_database(name);
    }
    operator.unset("database");
    operator.set_value("databases", vec!["first", "second"]);
    assert_eq!(operator.run(&["backup"]).code, 0);
    let offered = operator.run(&["restore", "-d", "second"]);
    assert!(
        offered
            .stderr
            .contains("pgbackupd restore --database second backup_"),
        "{offered}"
    );
    let plan = operator.run(&["restore", "-d", "second", "--latest", "--plan"]);
    assert!(
        plan.words()
            .contains("`pgbackupd drill --database second` "),
        "{plan}"
    );
    let restored = operator.run(&["restore", "-d", "second", "--latest", "--yes"]);
    assert_eq!(restored.code, 0, "{restored}");
    let (_, hint) = restored.stdout.split_once("`pgbackupd ").unwrap();
    let (hint, _) = hint.split_once('`').unwrap();
    assert_eq!(hint, "undo-restore --database second");
    let words: Vec<&str> = hint.split(' ').chain(["--yes"]).collect();
    let undone = operator.run(&words);
    assert_eq!(undone.code, 0, "{undone}");
}

#[test]
fn before_the_first_backup_of_any_database_that_is_said() {
    let cluster = Cluster::start();
    cluster.create_database("audit");
    let mut operator = Operator::of(&cluster, "audit");
    operator.unset("database");
    operator.set("databases", "all");
    let none = "pgbackupd: no database has a directory for backups yet\nhint: `pgbackupd backup";
    for arguments in [
        &["drill"][..],
        &["drill", "--all-databases"],
        &["accept", "contents"],
    ] {
        refused(&operator.run(arguments), 64, none);
    }
}
