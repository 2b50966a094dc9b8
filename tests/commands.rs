//! What every command does and prints: to people, to programs, and when something is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and one that is skipped says so"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::pipe;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use support::cluster::Cluster;
use support::operator::{Operator, Output, PROGRAM, Running};

/// Runs a command with its clock held at a moment in UTC; none where faketime is not installed.
fn at(operator: &Operator, moment: &str, arguments: &[&str]) -> Option<Output> {
    if Command::new("faketime").arg("--version").output().is_err() {
        println!("skipped: the package faketime is not installed");
        return None;
    }
    // Without a sign before it, the moment stands still, and names are the same however slow the
    // machine is. Limits of time go by the other clock, which must go on.
    let starter = [
        "env",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "faketime",
        "-f",
        moment,
    ];
    let output = operator.run_under(&starter, arguments);
    assert_eq!(output.code, 0, "{output}");
    Some(output)
}

/// Somebody with six daily backups, of the first days of 2025; none where faketime is missing.
fn with_six_old_backups(cluster: &Cluster) -> Option<Operator> {
    let mut operator = Operator::of(cluster, "postgres");
    operator.set_value("dump.globals", false);
    for day in 1..=6 {
        at(&operator, &format!("2025-01-0{day} 02:00:00"), &["backup"])?;
    }
    Some(operator)
}

/// The names of the daily backups of these dates; runs at 02:00 UTC are at 05:00 in Riyadh.
fn of(dates: &[&str]) -> Vec<String> {
    let name = |date: &&str| format!("backup_{date}_050000");
    dates.iter().map(name).collect()
}

const JANUARY: [&str; 6] = [
    "20250101", "20250102", "20250103", "20250104", "20250105", "20250106",
];

#[test]
fn prune_says_what_it_would_do_and_then_does_that() {
    let cluster = Cluster::start();
    let Some(operator) = with_six_old_backups(&cluster) else {
        return;
    };
    let february = "2025-02-10 02:00:00";
    let run = |arguments: &[&str]| at(&operator, february, arguments).unwrap().stdout;
    assert_eq!(
        run(&["pin", "backup_20250102_050000"]),
        "backup_20250102_050000: pinned: retention keeps it until it is unpinned\n"
    );
    let would = run(&["prune", "--dry-run"]);
    let (head, rest) = would.split_once('\n').unwrap();
    assert!(
        head.starts_with("database postgres: 2 backups would be removed, "),
        "{head}"
    );
    assert_eq!(
        rest,
        "  keep backup_20250106_050000: one of the 3 verified backups that always stay\n  \
           keep backup_20250105_050000: one of the 3 verified backups that always stay\n  \
           keep backup_20250104_050000: one of the 3 verified backups that always stay\n  \
           remove backup_20250103_050000: older than 30 days\n  \
           keep backup_20250102_050000: pinned\n  \
           remove backup_20250101_050000: older than 30 days\n"
    );
    assert_eq!(operator.list(), of(&JANUARY), "nothing was removed");

    let done = run(&["prune"]);
    let (head, rest) = done.split_once('\n').unwrap();
    assert!(
        head.starts_with("database postgres: 2 backups removed, "),
        "{head}"
    );
    assert_eq!(
        rest,
        "  removed backup_20250103_050000: older than 30 days\n  \
           removed backup_20250101_050000: older than 30 days\n"
    );
    let left = of(&["20250102", "20250104", "20250105", "20250106"]);
    assert_eq!(operator.list(), left);
    assert!(
        operator
            .artifacts()
            .iter()
            .all(|file| left.iter().any(|name| file.starts_with(name)))
    );
    assert_eq!(
        run(&["prune"]),
        "database postgres: 0 backups removed, 0 B\n"
    );

    // A backup takes the place of the oldest that always stays, and says so.
    assert_eq!(
        run(&["unpin", "backup_20250102_050000"]),
        "backup_20250102_050000: no longer pinned: retention may remove it\n"
    );
    let backup = run(&["backup"]);
    assert!(
        backup.ends_with(
            "\n  backup_20250104_050000 removed by retention\n  backup_20250102_050000 removed by retention\n"
        ) || backup.ends_with(
            "\n  backup_20250102_050000 removed by retention\n  backup_20250104_050000 removed by retention\n"
        ),
        "{backup}"
    );
    assert_eq!(operator.list(), of(&["20250105", "20250106", "20250210"]));
    operator.assert_all_whole();
}

#[test]
fn a_clock_that_jumps_removes_nothing_and_is_told() {
    let cluster = Cluster::start();
    let Some(operator) = with_six_old_backups(&cluster) else {
        return;
    };
    let advice = "so the clock looks wrong and nothing is removed: set it right, or, if it is \
                  right, run `pgbackupd prune --trust-clock`";
    for (moment, doubt) in [
        (
            "2099-02-10 02:00:00",
            "27063 days lie between backup backup_20250106_050000 and the next one, \
             backup_20990210_050000",
        ),
        (
            "1970-01-02 02:00:00",
            "the clock says 1970-01-02 02:00 UTC, but backup backup_20990210_050000 is dated \
             2099-02-10 02:00 UTC, which is later",
        ),
        (
            "2025-02-10 02:00:00",
            "the clock says 2025-02-10 02:00 UTC, but backup backup_20990210_050000 is dated \
             2099-02-10 02:00 UTC, which is later",
        ),
    ] {
        let before = operator.list();
        for command in ["backup", "prune"] {
            let output = at(&operator, moment, &[command]).unwrap();
            assert_eq!(
                output.stderr,
                format!(" WARN series daily: {doubt}, {advice}\n"),
                "{command} at {moment}"
            );
        }
        let after = operator.list();
        assert!(before.iter().all(|name| after.contains(name)), "{after:?}");
        assert_eq!(after.len(), before.len() + 1);
    }
    let all = [&["19700102"], &JANUARY[..], &["20250210", "20990210"]].concat();
    assert_eq!(operator.list(), of(&all));
    operator.assert_all_whole();

    // The backup of a wrong date can be set aside by hand; then the rules act again.
    let right = "2025-02-10 02:10:00";
    at(&operator, right, &["pin", "backup_20990210_050000"]).unwrap();
    at(&operator, right, &["pin", "backup_19700102_050000"]).unwrap();
    let output = at(&operator, right, &["prune"]).unwrap();
    assert_eq!(output.stderr, "");
    let left = of(&["19700102", "20250105", "20250106", "20250210", "20990210"]);
    assert_eq!(operator.list(), left);
}

#[test]
fn verify_checks_what_it_is_told_to() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    for arguments in [&["backup"][..], &["backup"], &["backup", "--series=weekly"]] {
        assert_eq!(operator.run(arguments).code, 0);
    }
    let names = operator.list();
    let [first, second, weekly] = &names[..] else {
        panic!("{names:?}")
    };
    let path = operator.backups().join(format!("{first}.sql.gz"));
    let manifest = format!("backups/postgres/{first}.json");
    let whole = |names: &[&String]| -> String {
        let line = |name: &&String| format!("{name}: whole, 0 rows\n");
        names.iter().map(line).collect::<Vec<_>>().concat()
    };
    for (arguments, checked) in [
        (&[][..], whole(&[weekly, second])),
        (&["--latest"], whole(&[weekly, second])),
        (&["--all"], whole(&[weekly, second, first])),
        (&[first.as_str()], whole(&[first])),
        (&[path.to_str().unwrap()], whole(&[first])),
        (&[&manifest, weekly.as_str()], whole(&[weekly, first])),
    ] {
        let output = operator.run(&[&["verify"], arguments].concat());
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(output.stderr, "");
        assert_eq!(output.stdout, checked, "{arguments:?}");
    }
    for (arguments, sentence) in [
        (
            "x",
            "\"x\" is not the name of a backup; `pgbackupd list` shows the names there are",
        ),
        (
            "backup_20200101_000000",
            "there is no backup backup_20200101_000000; `pgbackupd list` shows what there is",
        ),
        (
            &format!("/nonexistent/{first}"),
            &format!(
                "there is no backup {first} in /nonexistent; `pgbackupd list` shows what there is"
            ),
        ),
    ] {
        let output = operator.run(&["verify", arguments]);
        assert_eq!(output.code, 64, "{output}");
        assert_eq!(output.stderr, format!("pgbackupd: {sentence}\n"));
    }
}

#[test]
fn verify_by_path_checks_that_file_and_no_other_of_the_same_name() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    assert_eq!(operator.run(&["backup"]).code, 0);
    let name = operator.list().pop().unwrap();
    let copy = operator.path("copy");
    let status = Command::new("cp")
        .arg("-r")
        .arg(operator.backups())
        .arg(&copy)
        .status();
    assert!(status.unwrap().success());
    let copied = copy.join(format!("{name}.sql.gz"));
    let output = operator.run(&["verify", copied.to_str().unwrap()]);
    assert_eq!(
        (output.code, output.stdout),
        (0, format!("{name}: whole, 0 rows\n"))
    );

    let mut bytes = fs::read(&copied).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&copied, bytes).unwrap();
    let output = operator.run(&["verify", copied.to_str().unwrap()]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(
        output.stderr,
        "pgbackupd: database postgres: 1 backup is damaged\n"
    );
    assert!(
        output.stdout.starts_with(&format!("{name}: DAMAGED: ")),
        "{output}"
    );
    assert_eq!(operator.run(&["verify", &name]).code, 0);
}

#[test]
fn pins_are_told_and_need_one_backup() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    assert_eq!(operator.run(&["backup"]).code, 0);
    let name = operator.list().pop().unwrap();
    for (command, told) in [
        ("unpin", "not pinned"),
        ("pin", "pinned: retention keeps it until it is unpinned"),
        ("pin", "pinned already"),
    ] {
        let output = operator.run(&[command, &name]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        assert_eq!(output.stdout, format!("{name}: {told}\n"));
    }
    let listed = operator.run(&["list"]).stdout;
    assert!(listed.contains("[pinned]"), "{listed}");
    operator.assert_all_whole();
}

#[test]
fn an_emergency_backup_needs_a_connection_and_a_directory_and_no_more() {
    let cluster = Cluster::start();
    cluster.psql(
        "CREATE TABLE t AS SELECT 1 AS a; CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader",
    );
    let operator = Operator::of(&cluster, "postgres");
    let environment = cluster.environment();
    let to = operator.path("somewhere/else");
    let emergency = |arguments: &[&str], user: &str| {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.clone())
            .env("PGUSER", user)
            .current_dir(operator.path(""))
            .stdin(Stdio::null());
        Running::start(command).wait()
    };
    let to_argument = format!("--to={}", to.display());
    let made = |output: &Output| {
        assert_eq!(output.code, 0, "{output}");
        assert!(output.stdout.starts_with("manual_"), "{output}");
        let path = output.stdout.lines().nth(1).unwrap().trim();
        assert!(path.starts_with(to.to_str().unwrap()), "{output}");
        let verified = operator.run(&["verify", path]);
        assert_eq!(verified.code, 0, "{verified}");
    };

    // Without any configuration.
    let output = emergency(&["emergency", &to_argument], "postgres");
    made(&output);
    assert_eq!(output.stderr, "");
    assert!(
        output
            .stdout
            .contains("database postgres, 1 row in 1 table"),
        "{output}"
    );

    // With a broken one.
    fs::write(operator.path("broken.toml"), "databse = \"x\"\n").unwrap();
    let output = emergency(
        &["--config=broken.toml", "emergency", &to_argument],
        "postgres",
    );
    made(&output);
    assert!(
        output
            .stderr
            .starts_with(" WARN the configuration is of no use: "),
        "{output}"
    );
    assert!(
        output
            .stderr
            .ends_with(" WARN going on with libpq's environment alone\n"),
        "{output}"
    );
    let output = emergency(&["--config=broken.toml", "emergency"], "postgres");
    assert_eq!(output.code, 78, "{output}");
    let last = output.stderr.lines().last();
    assert_eq!(
        last,
        Some("--to DIRECTORY must say where to write without it")
    );

    // By a user who cannot read roles: their passwords at least are left out.
    let output = emergency(
        &["emergency", &to_argument, "--reason=disk fails"],
        "reader",
    );
    made(&output);
    assert!(output.stdout.starts_with("manual_disk-fails_"), "{output}");
    assert_eq!(
        output.stderr,
        " WARN the roles' passwords are not in the backup: user reader may not read them, which \
         takes a superuser or a member of pg_read_all_data\n"
    );

    // With a sound configuration: where that says, unless told otherwise.
    let output = operator.run(&["emergency"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(operator.list().len(), 1);
    made(&operator.run(&["emergency", &to_argument, "--database=postgres"]));
}

#[test]
fn an_emergency_backup_does_without_roles_where_a_usual_one_fails() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.stand_in(
        "pg_dumpall",
        "echo 'pg_dumpall: error: no roles today' >&2; exit 1",
    );
    let usual = operator.run(&["backup"]);
    assert_eq!(usual.code, 69, "{usual}");
    assert!(usual.stderr.contains("no roles today"), "{usual}");
    operator.assert_nothing_left();

    let emergency = operator.run(&["emergency"]);
    assert_eq!(emergency.code, 0, "{emergency}");
    assert!(emergency.stderr.starts_with(" WARN "), "{emergency}");
    assert!(emergency.stderr.contains("no roles today"), "{emergency}");
    let artifacts = operator.artifacts();
    assert!(
        !artifacts.iter().any(|name| name.contains("globals")),
        "{artifacts:?}"
    );
    operator.assert_all_whole();
}

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

#[test]
fn a_server_that_does_not_answer_keeps_no_other_from_its_backups() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("servers.reports.databases", "all");
    operator.set("servers.reports.connection.host", "/nonexistent");
    let sentence = "pgbackupd: no backup of any database of server reports: ";

    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.starts_with(sentence), "{output}");
    assert_eq!(operator.list().len(), 1);

    let output = operator.run(&["backup", "--database=postgres"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert_eq!(operator.list().len(), 2);

    // It may well be there.
    let output = operator.run(&["backup", "--database=monthly"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.starts_with(sentence), "{output}");
    let output = operator.run(&["emergency"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.starts_with(sentence), "{output}");
    assert_eq!(operator.list().len(), 2);
    operator.assert_all_whole();
}

#[test]
fn a_database_that_is_found_never_gets_the_directory_of_another() {
    let cluster = Cluster::start();
    cluster.create_database("reports");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.unset("database");
    operator.set("databases", "all");
    operator.set("servers.reports.databases", "all");
    operator.set_value("servers.reports.include", vec!["postgres"]);
    operator.set(
        "servers.reports.connection.host",
        cluster.socket_directory().display(),
    );
    operator.set("servers.reports.connection.user", "postgres");
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 78, "{output}");
    let directory = operator.path("backups/reports");
    assert_eq!(
        output.stderr,
        format!(
            "pgbackupd: no backup of database \"reports\" of server main: its directory {} belongs \
             to the databases of server reports; give one of the two servers another directory\n",
            directory.display()
        )
    );
    assert_eq!(operator.list().len(), 2, "the others were backed up");
}

#[test]
fn a_run_that_finds_no_database_is_no_success() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value("include", vec!["sales_*"]);
    for command in ["backup", "emergency"] {
        let output = operator.run(&[command]);
        assert_eq!(output.code, 69, "{output}");
        assert_eq!(
            output.stderr,
            "pgbackupd: there is nothing to back up: no database that was found on a server is \
             chosen by include and exclude\n"
        );
    }
}

#[test]
fn who_asked_is_on_record() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set_variable("SUDO_USER", "noura");
    assert_eq!(
        operator
            .run(&["backup", "--reason=before the upgrade"])
            .code,
        0
    );
    let name = operator.list().pop().unwrap();
    let manifest = fs::read_to_string(operator.backups().join(format!("{name}.json"))).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let started = operator
        .ledger()
        .into_iter()
        .find(|record| record["event"] == "started");
    let started = started.unwrap();
    let me = Command::new("id").arg("-un").output().unwrap().stdout;
    let me = String::from_utf8(me).unwrap();
    for record in [&manifest, &started] {
        assert_eq!(record["requested_by"]["user"], me.trim());
        assert_eq!(record["requested_by"]["sudo_user"], "noura");
        assert_eq!(record["reason"], "before the upgrade");
    }
}

#[test]
fn the_configuration_and_the_schedule_are_shown_as_they_are_in_force() {
    let mut operator = Operator::without_server("sales");
    operator.set("connection.password", "s3cret");
    operator.set_variable("PGBACKUPD_JOBS__DAILY__SCHEDULE", "30 1 * * *");
    let checked = operator.run(&["config", "check"]);
    assert_eq!(checked.code, 0, "{checked}");
    let file = operator.configuration().display().to_string();
    let sound = format!("the configuration is sound ({file})\n");
    assert!(checked.stdout.starts_with(&sound), "{checked}");

    let shown = operator.run(&["config", "show"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert!(!shown.stdout.contains("s3cret"), "{shown}");
    let line = |start: &str| {
        let found = shown.stdout.lines().find(|line| line.starts_with(start));
        found
            .unwrap_or_else(|| panic!("{start}: {shown}"))
            .to_owned()
    };
    assert!(line("database = \"sales\"").contains(&file), "{shown}");
    assert!(
        line("schedule = \"30 1 * * *\"").contains("PGBACKUPD_JOBS__DAILY__SCHEDULE"),
        "{shown}"
    );

    let schedule = operator.run(&["schedule", "--count=1"]);
    assert_eq!(schedule.code, 0, "{schedule}");
    assert!(
        schedule
            .stdout
            .starts_with("daily: a backup of the series daily "),
        "{schedule}"
    );

    operator.set("timezone", "Asia/Riad");
    let refused = operator.run(&["config", "check"]);
    assert_eq!(refused.code, 78, "{refused}");
    assert!(refused.stderr.contains("Asia/Riyadh"), "{refused}");
}

/// The paths of all keys in a document: `[].backups[].name`.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => {
            for item in items {
                keys(item, &format!("{path}[]"), found);
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{key}");
                found.insert(path.clone());
                keys(value, &path, found);
            }
        }
        _ => {}
    }
}

/// A test restore on record.
fn note_a_drill_of(operator: &Operator, name: &str) {
    let record = serde_json::json!({
        "at": "2025-07-09T02:00:00+03:00",
        "run": "01a203cf-b867-70ab-999d-12597912332f",
        "operation": "drill",
        "event": "succeeded",
        "database": "postgres",
        "backup": name,
        "bytes": 7,
        "phases": [{"phase": "load", "seconds": 1.5}],
    });
    fs::write(
        operator.backups().join("restore.log"),
        format!("{record}\n"),
    )
    .unwrap();
}

/// What a program gets of a restore that is undone.
fn undo_of(cluster: &Cluster) -> Value {
    cluster.create_database("undone");
    let operator = Operator::of(cluster, "undone");
    operator.json(&["backup"]);
    operator.json(&["restore", "--latest", "--yes"]);
    operator.json(&["undo-restore", "--yes"])
}

/// The keys that docs/json.md lists under a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let text = include_str!("../docs/json.md");
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("docs/json.md has no heading {heading}"));
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect()
}

#[test]
fn every_key_that_a_program_gets_is_documented_and_every_documented_one_is_there() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    let made = operator.json(&["backup"]);
    let name = made[0]["backup"].as_str().unwrap().to_owned();
    // Something for the lists of problems.
    let stray = operator.backups().join("backup_20200101_000000.sql.gz");
    fs::write(stray, "").unwrap();
    // And for what is in quarantine.
    let bad = operator.json(&["backup"])[0]["backup"].clone();
    let bad = bad.as_str().unwrap();
    let damage = |directory: PathBuf| {
        let path = directory.join(format!("{bad}.sql.gz"));
        let mut bytes = fs::read(&path).unwrap();
        bytes[300] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    damage(operator.backups());
    assert_eq!(operator.run(&["verify", bad, "--quarantine"]).code, 65);
    let check = |heading: &str, documents: &[Value]| {
        let mut found = BTreeSet::new();
        for document in documents {
            keys(document, "", &mut found);
        }
        assert_eq!(found, documented(heading), "{heading}");
    };
    check(
        "backup and emergency",
        &[made, operator.json(&["emergency"])],
    );
    check("list", &[operator.json(&["list"])]);
    let output = operator.run(&["verify", "--all", "--json"]);
    check("verify", &[serde_json::from_str(&output.stdout).unwrap()]);
    damage(operator.backups().join("quarantine").join(bad));
    check("release", &[operator.json(&["release", bad])]);
    check("prune", &[operator.json(&["prune", "--dry-run"])]);
    check("restore without a backup", &[operator.json(&["restore"])]);
    let beside = ["restore", &name, "--into", "beside"];
    let plan = [beside.as_slice(), &["--plan"]].concat();
    note_a_drill_of(&operator, &name);
    check("restore with a plan", &[operator.json(&plan)]);
    let nowhere = ["restore", &name, "--into", "postgres", "--json"];
    let failed = operator.run(&nowhere).stdout;
    let failed = serde_json::from_str(&failed).unwrap();
    check("restore", &[operator.json(&beside), failed]);
    check("undo-restore", &[undo_of(&cluster)]);
    check("incident", &[operator.json(&["incident"])]);
    check(
        "incident with a list",
        &[operator.json(&["incident", "--list"])],
    );
    check(
        "pin and unpin",
        &[
            operator.json(&["pin", &name]),
            operator.json(&["unpin", &name]),
        ],
    );
    check("schedule", &[operator.json(&["schedule"])]);
    check("directories", &[operator.json(&["directories"])]);
    operator.set_variable("PGBACKUPD_DUMP__LEVEL", "1");
    check("config show", &[operator.json(&["config", "show"])]);
    let sound = operator.json(&["config", "check"]);
    operator.set("timezone", "Asia/Riad");
    operator.set_variable("PGBACKUPD_DUMP__LEVEL", "many");
    let refused = operator.run(&["config", "check", "--json"]);
    assert_eq!(refused.code, 78, "{refused}");
    let refused = serde_json::from_str(&refused.stdout).unwrap();
    check("config check", &[sound, refused]);
}
