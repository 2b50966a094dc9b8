//! What holds for any command: its command line, pipes and readers that go away.

use std::fs;
use std::io::pipe;
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;

#[test]
fn a_wrong_command_line_is_refused_with_64_and_a_sentence() {
    let operator = Operator::without_server("postgres");
    for (arguments, sentence) in [
        (&[][..], "error: 'pgbackupd' requires a subcommand"),
        (&["restart"], "error: unrecognized subcommand 'restart'"),
        (&["backup", "now"], "error: unexpected argument 'now' found"),
        (
            &["backup", "--series=A b"],
            "error: invalid value 'A b' for '--series <NAME>': \"A b\" is not a series' name: use up to 32 lower-case letters, digits and hyphens, starting with a letter",
        ),
        (
            &["backup", "--series=x", "--reason=y"],
            "error: the argument '--series <NAME>' cannot be used with '--reason <TEXT>'",
        ),
        (
            &["verify", "--all", "--latest"],
            "error: the argument '--all' cannot be used with '--latest'",
        ),
        (
            &["schedule", "--count=0"],
            "error: invalid value '0' for '--count <N>': 0 is not in 1..=1000",
        ),
        (
            &["pin"],
            "error: the following required arguments were not provided:",
        ),
    ] {
        let output = operator.run(arguments);
        assert_eq!(output.code, 64, "{output}");
        assert_eq!(output.stdout, "");
        assert!(output.stderr.starts_with(sentence), "{output}");
    }
    for command in ["backup", "list", "verify", "prune"] {
        let output = operator.run(&[command, "--database=postgers"]);
        assert_eq!(output.code, 64, "{output}");
        assert_eq!(
            output.stderr,
            "pgbackupd: database \"postgers\" is not configured; did you mean \"postgres\"?\n"
        );
    }
}

#[test]
fn a_connection_string_in_place_of_a_name_is_refused_and_its_password_is_not_shown() {
    let mut operator = Operator::without_server("postgres");
    for text in [
        "postgresql://u:secret@h/db",
        "POSTGRES://u:secret@h/db",
        "postgres://u:123/secret@h/db",
        "host=h password=secret",
        "password = 'secret'",
    ] {
        for command in [
            &["backup", "-d"][..],
            &["list", "--database"],
            &["status", "-d"],
            &["restore", "--latest", "-d"],
            &["restore", "--latest", "--into"],
            &["restore", "--latest", "--server"],
            &["undo-restore", "--server"],
            &["emergency", "--to", "/nonexistent", "-d"],
            &["list"],
        ] {
            let output = operator.run(&[command, &[text]].concat());
            assert_eq!(output.code, 64, "{output}");
            assert!(!output.stderr.contains("secret"), "{output}");
            let is_named = command.len() > 1;
            assert_eq!(
                output.stderr.contains("connection string"),
                is_named,
                "{output}"
            );
        }
        // What could be a path is one.
        let output = operator.run(&["verify", text]);
        assert!(!output.stderr.contains("u:secret"), "{output}");
        operator.unset("database");
        operator.set_value("databases", vec![text]);
        let output = operator.run(&["list"]);
        assert_eq!(output.code, 78, "{output}");
        assert!(!output.stderr.contains("secret"), "{output}");
        assert!(output.stderr.contains("connection string"), "{output}");
        operator.unset("databases");
        operator.set("database", "postgres");
    }
}

#[test]
fn a_password_in_a_setting_that_is_none_is_in_no_message() {
    let mut operator = Operator::without_server("postgres");
    let refused = |operator: &Operator| {
        for arguments in [
            &["config", "check"][..],
            &["config", "check", "--json"],
            &["backup"],
            &["list"],
        ] {
            let output = operator.run(arguments);
            // A list goes on without a setting that it does not need.
            assert!(
                output.code == 78 || output.code == 0 && arguments == ["list"],
                "{output}"
            );
            assert!(!output.stderr.contains("secret"), "{output}");
            assert!(!output.stdout.contains("secret"), "{output}");
        }
    };
    let uri = "postgres://u:123/secret@h/db";
    for (key, value) in [
        ("connection.host", uri),
        ("connection.user", "host=h password=secret"),
        ("connection.service", uri),
        ("connection.port", uri),
        ("timezone", uri),
        ("limits.total", uri),
    ] {
        operator.set(key, value);
        refused(&operator);
        operator.unset(key);
    }
    operator.set_variable("PGBACKUPD_CONNECTION__PORT", uri);
    refused(&operator);
}

#[test]
fn what_is_piped_has_neither_colours_nor_progress() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set_variable("TERM", "xterm-256color");
    let runs = [
        &["backup"][..],
        &["status"],
        &["list"],
        &["verify"],
        &["prune", "--dry-run"],
        &["schedule"],
        &["config", "check"],
        &["config", "show"],
        &["list", "--database=x"],
        &["backup", "--nonsense"],
        &["--help"],
    ];
    for arguments in runs {
        let output = operator.run(arguments);
        let unprintable = |c: char| c.is_control() && c != '\n';
        assert!(
            !output.to_string().contains(unprintable),
            "{arguments:?}: {output:?}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_command_in_silence() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    for arguments in [
        &["backup"][..],
        &["list"],
        &["list", "--json"],
        &["verify", "--all"],
        &["prune", "--dry-run"],
        &["schedule"],
        &["config", "show"],
        &["config", "schema"],
        &["--help"],
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = operator
            .command(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
    assert_eq!(operator.list().len(), 1, "the backup was made all the same");
    operator.assert_all_whole();
}

#[test]
fn a_reader_that_goes_away_stops_no_work_and_hides_no_failure() {
    let cluster = Cluster::start();
    cluster.create_database("other");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.unset("database");
    operator.set_value("databases", vec!["postgres", "other"]);
    let unread = |arguments: &[&str]| {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let mut command = operator.command(arguments);
        let output = command.stdout(writer).stderr(Stdio::piped()).output();
        let output = output.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), stderr)
    };
    assert_eq!(unread(&["backup"]), (Some(0), String::new()));
    assert_eq!(operator.list().len(), 2);

    // Nor does a log on a full disk, but that is a failure of its own.
    let mut command = operator.command(&["backup"]);
    let full = fs::File::create("/dev/full").unwrap();
    let output = command.stdout(full).stderr(Stdio::piped()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(73));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "pgbackupd: cannot write the output: No space left on device (os error 28)\n"
    );
    assert_eq!(operator.list().len(), 4);

    let artifact = file_of(&operator, "other");
    fs::write(&artifact, "no dump").unwrap();
    assert_eq!(
        unread(&["verify"]),
        (
            Some(65),
            "pgbackupd: database other: 1 backup is damaged\n".to_owned()
        )
    );
}

/// The artifact of the newest backup of a database.
fn file_of(operator: &Operator, database: &str) -> PathBuf {
    let listed = operator.json(&["list", "--database", database]);
    let directory = PathBuf::from(listed[0]["directory"].as_str().unwrap());
    let newest = listed[0]["backups"].as_array().unwrap().last().unwrap();
    let name = newest["name"].as_str().unwrap();
    directory.join(format!("{name}.sql.gz"))
}
