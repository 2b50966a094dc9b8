//! Any name that `PostgreSQL` accepts can be backed up, two names never share a directory, and a
//! reason is only ever words.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;

/// Names that somebody's shell, path, pattern, connection string or terminal would trip over.
const HOSTILE: [&str; 44] = [
    "plain",
    "App",
    "app",
    "a/b",
    "a_b",
    "a%2Fb",
    "a%2fb",
    " ",
    " leading and trailing ",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    ".hidden",
    "-",
    "--",
    "--help",
    "-d postgres",
    "it's",
    "a\"b",
    "\"",
    "\\",
    "\\c postgres",
    "new\nline",
    "carriage\rreturn",
    "a\tb",
    "\u{1}\u{1b}[31m",
    "%",
    "%s%n%h",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned;",
    "$HOME",
    "*",
    "?[a]{b,c}!",
    "all",
    "a=b",
    "dbname=postgres",
    "postgresql://x",
    "postgres://localhost/postgres?sslmode=disable",
    "caf\u{e9}",
    "cafe\u{301}",
    // 63 bytes: as long as a name can be.
    "قاعدة_بيانات_المبيعات_والمشتريات_1",
    "🌙 and \u{202e}reversed",
];

/// A server where each of these databases holds one row: its own name.
fn server(names: &[&str]) -> Cluster {
    let cluster = Cluster::start();
    let create = |name: &&str| format!("CREATE DATABASE \"{}\";\n", name.replace('"', "\"\""));
    cluster.psql(&names.iter().map(create).collect::<Vec<_>>().concat());
    for name in names {
        cluster.psql_in(
            name,
            "CREATE TABLE who AS SELECT current_database()::text AS am_i",
        );
    }
    cluster
}

/// The databases that `list` shows, each with its directory and its number of backups.
fn listed(operator: &Operator) -> Vec<(String, String, usize)> {
    let list = operator.json(&["list"]);
    let databases = list.as_array().unwrap().iter();
    databases
        .map(|database| {
            assert_eq!(database["problems"], json!([]));
            (
                database["database"].as_str().unwrap().to_owned(),
                database["directory"].as_str().unwrap().to_owned(),
                database["backups"].as_array().unwrap().len(),
            )
        })
        .collect()
}

fn names(listed: &[(String, String, usize)]) -> BTreeSet<&str> {
    listed.iter().map(|(name, ..)| name.as_str()).collect()
}

/// The only row of the only table in the only dump of a directory, as zcat shows it.
fn row_in(directory: &str) -> String {
    let output = Command::new("bash")
        .args(["-c", r#"zcat -- "$1"/*.sql.gz"#, "bash", directory])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, rows) = text
        .split_once("COPY public.who (am_i) FROM stdin;\n")
        .unwrap();
    rows.split_once("\n\\.").unwrap().0.to_owned()
}

/// A value as COPY writes it.
fn as_copied(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t")
}

/// Each database stands once in the list, with one backup, of its own rows, in its own directory
/// right below the one that is configured.
#[track_caller]
fn assert_each_has_its_own(operator: &Operator, expected: &[&str]) {
    let listed = listed(operator);
    assert_eq!(
        names(&listed),
        expected.iter().copied().collect::<BTreeSet<_>>()
    );
    let mut directories = BTreeSet::new();
    for (name, directory, backups) in &listed {
        assert_eq!(*backups, 1, "{name:?}");
        assert_eq!(row_in(directory), as_copied(name));
        assert_eq!(
            Path::new(directory).parent(),
            Some(operator.path("backups").as_path()),
            "{name:?}"
        );
        directories.insert(directory);
    }
    assert_eq!(directories.len(), expected.len());
    assert!(!operator.path("pwned").exists());
}

#[test]
fn every_name_in_the_configuration_gets_a_backup_and_a_directory_of_its_own() {
    let longest = HOSTILE.iter().map(|name| name.len()).max();
    assert_eq!(longest, Some(63), "as long as a name can be");
    let cluster = server(&HOSTILE);
    let mut operator = Operator::of(&cluster, HOSTILE[0]);
    operator.unset("database");
    operator.set_value("databases", HOSTILE.to_vec());

    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(output.stderr, "");
    // Whatever its name, each is reported in two lines.
    assert_eq!(output.stdout.lines().count(), 2 * HOSTILE.len(), "{output}");
    let unprintable = |c: char| c.is_control() && c != '\n';
    assert!(!output.stdout.contains(unprintable), "{output}");

    assert_each_has_its_own(&operator, &HOSTILE);
    operator.assert_all_whole();
    let shown = operator.run(&["list"]);
    assert!(!shown.stdout.contains(unprintable), "{shown}");

    // Each by itself, by its name.
    for name in ["..", "--help", "new\nline", "a=b", "*", "\\"] {
        let argument = format!("--database={name}");
        let list = operator.json(&["list", &argument]);
        assert_eq!(list.as_array().unwrap().len(), 1, "{name:?}");
        assert_eq!(list[0]["database"], *name);
        let output = operator.run(&["verify", &argument]);
        assert_eq!(output.code, 0, "{output}");
    }

    every_name_is_found_on_the_server_unless_a_pattern_excludes_it(&cluster);
}

/// The second part of the test above, since so many databases take their time to make.
fn every_name_is_found_on_the_server_unless_a_pattern_excludes_it(cluster: &Cluster) {
    let mut operator = Operator::of(cluster, HOSTILE[0]);
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value(
        "exclude",
        vec!["postgres", "A*", "cafe\u{301}", "\\$HOME", "[*]"],
    );
    operator.set_value("dump.globals", false);
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let mut expected = HOSTILE.to_vec();
    expected.retain(|name| !["App", "cafe\u{301}", "$HOME", "*"].contains(name));
    assert_each_has_its_own(&operator, &expected);
}

#[test]
fn patterns_that_include_match_whole_names() {
    let cluster = server(&["app", "my app", "app_1", "App", "a/b", "a\nb"]);
    let mut operator = Operator::of(&cluster, "app");
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value("include", vec!["app*", "a?b"]);
    operator.set_value("exclude", vec!["*_1"]);
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    assert_each_has_its_own(&operator, &["app", "a/b", "a\nb"]);
}

#[test]
fn a_reason_may_be_any_text_and_stays_out_of_the_path() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    let long = "long ".repeat(60);
    let cut = format!("manual_{}_", "long-".repeat(12).trim_end_matches('-'));
    let reasons = [
        ("pre-deployment", "manual_pre-deployment_"),
        ("قبل الترقية", "manual_قبل-الترقية_"),
        ("../../x", "manual_x_"),
        ("/", "manual_"),
        ("two\nlines", "manual_two-lines_"),
        (
            "$(touch pwned) `touch pwned`",
            "manual_touch-pwned-touch-pwned_",
        ),
        ("-r", "manual_r_"),
        (long.as_str(), cut.as_str()),
    ];
    for (reason, head) in reasons {
        let made = operator.json(&["backup", &format!("--reason={reason}")]);
        let name = made[0]["backup"].as_str().unwrap();
        let stamp = name.strip_prefix(head);
        let is_stamp = |stamp: &str| stamp.chars().all(|c| c.is_ascii_digit() || c == '_');
        assert!(stamp.is_some_and(is_stamp), "{name} for {reason:?}");
        assert_eq!(operator.last_record()["reason"], reason);
        assert_eq!(operator.last_record()["series"], "manual");
        let list = operator.json(&["list", "--series", "manual"]);
        let backup = list[0]["backups"].as_array().unwrap().last();
        assert_eq!(backup.unwrap()["reason"], reason);
    }
    operator.assert_all_whole();
    let listed = operator.run(&["list"]);
    assert_eq!(listed.code, 0, "{listed}");
    // A line each, and none that a reason has made: what does not fit stands indented below.
    let lines = listed.stdout.lines().skip(2);
    let (below, backups): (Vec<&str>, Vec<&str>) =
        lines.partition(|line| line.starts_with("     "));
    assert_eq!(backups.len(), reasons.len(), "{listed}");
    assert!(
        below.iter().all(|line| line.chars().count() <= 80),
        "{listed}"
    );
    assert!(
        backups.iter().all(|line| line.starts_with(" manual_")),
        "{listed}"
    );
    assert!(listed.stdout.contains("two\\nlines"), "{listed}");
    assert!(!operator.path("pwned").exists() && !operator.path("x").exists());

    let refused = operator.run(&["backup", "--reason", ""]);
    assert_eq!(refused.code, 64, "{refused}");
    assert!(
        refused
            .stderr
            .contains("a value is required for '--reason <TEXT>'"),
        "{refused}"
    );
}

/// What no output may have.
const NONE: [char; 0] = [];

/// What a terminal would obey, but for line feeds.
fn commands_of_a_terminal(text: &str) -> Vec<char> {
    let hostile = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(*c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(hostile).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one walk through all commands")]
fn no_command_in_any_format_lets_a_name_command_the_terminal_or_spoil_json() {
    let names = [
        "new\nline",
        "\u{1b}]0;pwned\u{7}\u{1b}[31mred",
        "\u{9b}2J \u{7f} \u{202e}reversed",
    ];
    let cluster = server(&names);
    for format in ["custom", "directory"] {
        let mut operator = Operator::of(&cluster, "postgres");
        operator.unset("database");
        operator.set_value("databases", names.to_vec());
        operator.set("dump.format", format);
        // Colours are not taken away because this is no terminal, and what is printed is seen.
        operator.set_variable("CLICOLOR_FORCE", "1");
        let colours = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m"];
        let run = |arguments: &[&str], codes: &[i32]| {
            let output = operator.run(arguments);
            assert!(codes.contains(&output.code), "{arguments:?}: {output}");
            // Those of `status` are its own: it begins and ends each of its sentences with them.
            let mut shown = output.stdout.clone();
            if arguments == ["status"] {
                for colour in colours {
                    shown = shown.replace(colour, "");
                }
            }
            assert_eq!(commands_of_a_terminal(&shown), NONE, "{arguments:?}");
            let mut told = output.stderr.clone();
            for level in [" WARN", "ERROR"] {
                told = told.replace(&format!("\u{1b}[33m{level}\u{1b}[0m"), level);
            }
            assert_eq!(commands_of_a_terminal(&told), NONE, "{arguments:?}");
            output.stdout
        };
        run(&["backup"], &[0]);
        for command in [
            ["status"].as_slice(),
            &["list"],
            &["verify", "--all"],
            &["prune", "--dry-run"],
            &["prune"],
            &["schedule"],
            &["config", "show"],
            &["config", "check"],
        ] {
            run(command, &[0]);
            let json = run(&[command, &["--json"]].concat(), &[0]);
            serde_json::from_str::<serde_json::Value>(&json).unwrap();
        }
        for name in names {
            let database = format!("--database={name}");
            let listed = run(&["list", "--json", &database], &[0]);
            let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
            assert_eq!(listed[0]["database"], name);
            let directory = listed[0]["directory"].as_str().unwrap();
            let backup = listed[0]["backups"][0]["name"].as_str().unwrap();
            let backup = format!("{directory}/{backup}");
            for command in [
                ["pin", &backup].as_slice(),
                &["unpin", &backup],
                &["verify", &backup],
                &["restore", &backup, "--plan"],
                &["emergency", &database, "--to", directory],
            ] {
                run(command, &[0]);
                let json = run(&[command, &["--json"]].concat(), &[0]);
                let json: serde_json::Value = serde_json::from_str(&json).unwrap();
                let told = json.get(0).unwrap_or(&json);
                assert_eq!(told["database"], name, "{command:?}");
            }
            // Refused, each with a sentence that has the name in it.
            run(&["list", &format!("{database}?")], &[64]);
            run(&["restore", &backup, "--into", name], &[69]);
            run(&["undo-restore", &database, "--yes"], &[69]);
            run(&["restore", &backup, "--yes", "--table", name], &[64]);
        }
        let (name, database) = (names[2], format!("--database={}", names[2]));
        let schema = "\u{1b}]0;\u{7}\u{9b}\u{202e}";
        run(&["drill", &database], &[0]);
        for json in [false, true] {
            let json: &[&str] = if json { &["--json"] } else { &[] };
            run(
                &[&["restore", "--latest", "--yes", &database], json].concat(),
                &[0],
            );
            run(
                &[&["undo-restore", "--yes", &database], json].concat(),
                &[0],
            );
            let table = [
                "restore",
                "--latest",
                "--yes",
                "--table=public.who",
                &database,
            ];
            let schema = format!("--schema={schema}{format}{}", json.len());
            run(&[&table, [schema.as_str()].as_slice(), json].concat(), &[0]);
            run(&[&["incident", &database], json].concat(), &[0]);
            run(&[&["incident", "--list", &database], json].concat(), &[0]);
            run(
                &[&["report", "weekly", "--format", "markdown"], json].concat(),
                &[0],
            );
            run(&[&["report"], json].concat(), &[0]);
        }
        cluster.psql_in(name, "ALTER TABLE who RENAME TO \"who\u{1b}[31m\u{9b}\"");
        run(&["backup", &database], &[0]);
        let missing = run(
            &["restore", "--latest", "--table=nobody", &database, "--json"],
            &[64],
        );
        assert!(missing.contains("who\\u001b[31m"), "{missing}");
        cluster.psql_in(name, "ALTER TABLE \"who\u{1b}[31m\u{9b}\" RENAME TO who");
    }
}

#[test]
fn a_name_that_the_server_would_not_keep_is_refused_before_anything_is_done() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    operator.assert_next_run_succeeds();
    let long = "x".repeat(64);
    for (option, name, fault) in [
        ("--into", "", "a database's name is not empty"),
        (
            "--into",
            long.as_str(),
            "a database's name has at most 63 bytes, not 64",
        ),
        ("--schema", "", "a schema's name is not empty"),
        (
            "--schema",
            long.as_str(),
            "a schema's name has at most 63 bytes, not 64",
        ),
    ] {
        let option = format!("{option}={name}");
        let output = operator.run(&["restore", "--latest", "--yes", "--table=t", &option]);
        assert_eq!(output.code, 64, "{output}");
        assert!(output.stderr.contains(fault), "{output}");
        assert!(!operator.backups().join("restore.log").exists());
    }
}
