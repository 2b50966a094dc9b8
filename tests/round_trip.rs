//! What is backed up comes back whole, by `PostgreSQL`'s own programs alone: psql, `pg_restore` and
//! the decompressors that every system has.
//!
//! A restored database is backed up again, and the two censuses must not differ. That they do
//! differ after any change is the other half of the proof.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgbackupd::pipeline::census::Census;
use pgbackupd::pipeline::{InputFile, read_census};

use crate::support::cluster::{Cluster, Options, binary, wait_until};
use crate::support::operator::{Operator, Running};
use crate::support::sample::{SAMPLE, feed, run, server, server_with_the_sample};

/// Types a line into a shell, as an operator would who restores by hand.
fn type_in(cluster: &Cluster, database: &str, line: &str, file: &Path) -> String {
    run(Command::new("bash")
        .args(["-o", "pipefail", "-c", line, "bash"])
        .arg(file)
        .env_clear()
        .envs(cluster.environment())
        .env("PGDATABASE", database))
}

/// The one file or directory of the only backup whose name ends so.
fn file(operator: &Operator, suffix: &str) -> PathBuf {
    let backups = operator.backups();
    let mut names = operator.artifacts();
    names.retain(|name| name.ends_with(suffix));
    assert_eq!(names.len(), 1, "{names:?} end with {suffix}");
    backups.join(names.pop_first().unwrap())
}

/// Makes one backup, in a directory of its own, and gives its census.
fn back_up(operator: &Operator) -> Census {
    operator.back_up();
    operator.assert_all_whole();
    census_of(operator)
}

fn census_of(operator: &Operator) -> Census {
    let file = InputFile::new(file(operator, ".census.gz"), None);
    read_census(&file).unwrap().0
}

/// The census of a database as it is now.
fn census(cluster: &Cluster, database: &str) -> Census {
    let mut operator = Operator::of(cluster, database);
    operator.set_value("dump.globals", false);
    operator.back_up();
    census_of(&operator)
}

/// What two censuses do not share, in words.
fn differences(found: &Census, expected: &Census) -> Vec<String> {
    let differences = found.differences(expected);
    differences.iter().map(ToString::to_string).collect()
}

/// Loads roles and tablespaces. What is there already is reported and passed over.
fn restore_globals(operator: &Operator, target: &Cluster) {
    let told = type_in(
        target,
        "postgres",
        r#"zcat "$1" | psql -X -q -o /dev/null"#,
        &file(operator, ".globals.gz"),
    );
    for line in told.lines() {
        assert!(line.ends_with("already exists"), "{line}");
    }
}

/// Restores a backup into a new database by the line that fits its file.
fn restore(operator: &Operator, target: &Cluster, database: &str, suffix: &str) {
    target.psql(&format!(
        "CREATE DATABASE \"{database}\" TEMPLATE template0"
    ));
    let line = match suffix {
        ".sql.gz" => r#"zcat "$1" | psql -X -q -o /dev/null -v ON_ERROR_STOP=1"#,
        ".sql.zst" => r#"zstd -dc "$1" | psql -X -q -o /dev/null -v ON_ERROR_STOP=1"#,
        ".sql" => r#"psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -f "$1""#,
        ".dump" => r#"pg_restore --exit-on-error -d "$PGDATABASE" "$1""#,
        ".dir" => r#"pg_restore --exit-on-error -j 2 -d "$PGDATABASE" "$1""#,
        other => panic!("{other}"),
    };
    type_in(target, database, line, &file(operator, suffix));
}

#[test]
fn every_format_and_compression_comes_back_by_postgresql_s_own_programs() {
    let source = server_with_the_sample();
    let target = server();
    let mut first: Option<Census> = None;
    for (index, (format, compression, suffix)) in [
        ("plain", "gzip", ".sql.gz"),
        ("plain", "zstd", ".sql.zst"),
        ("plain", "none", ".sql"),
        ("custom", "gzip", ".dump"),
        ("custom", "none", ".dump"),
        ("directory", "gzip", ".dir"),
        ("directory", "none", ".dir"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut operator = Operator::of(&source, SAMPLE);
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        operator.set_value("dump.jobs", 2);
        let original = back_up(&operator);

        let what = format!("{format} with {compression}");
        let expected = first.get_or_insert_with(|| original.clone());
        assert_eq!(differences(&original, expected), [""; 0], "{what}");

        if index == 0 {
            restore_globals(&operator, &target);
        }
        let restored = format!("restored {index}");
        restore(&operator, &target, &restored, suffix);
        let restored = census(&target, &restored);
        assert_eq!(
            differences(&restored, &original),
            [""; 0],
            "{what}, restored"
        );
        assert_eq!(restored.summary(), original.summary(), "{what}, restored");
    }
    let globals = |cluster: &Cluster| {
        let mut command = cluster.command("pg_dumpall");
        let output = command.arg("--roles-only").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let without_tokens = |text: String| {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(
        without_tokens(globals(&target)),
        without_tokens(globals(&source)),
        "the roles came with the globals"
    );
}

#[test]
fn zstd_in_an_archive_is_refused_where_pg_dump_cannot_do_it() {
    let source = Cluster::start();
    if major(&source) >= 16 {
        println!("skipped: pg_dump is new enough to compress archives with zstd");
        return;
    }
    let mut operator = Operator::of(&source, "postgres");
    operator.set("dump.compression", "zstd");
    for format in ["custom", "directory"] {
        operator.set("dump.format", format);
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 78, "{output}");
        let sentence = format!(
            "pg_dump {} cannot compress the {format} format with zstd; that needs version 16\nhint: install postgresql-client-16 or newer, or set compression = \"gzip\" or format = \"plain\"\n",
            version()
        );
        assert_eq!(
            output.stderr,
            format!("pgbackupd: no backup of database postgres: {sentence}")
        );
        operator.assert_nothing_left();
    }
    operator.set("dump.compression", "gzip");
    operator.assert_next_run_succeeds();
}

fn major(cluster: &Cluster) -> u32 {
    let number: u32 = cluster.psql("SHOW server_version_num").parse().unwrap();
    number / 10_000
}

/// As `pg_dump --version` has it.
fn version() -> String {
    let output = Command::new(binary("pg_dump"))
        .arg("--version")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let version = text.trim().strip_prefix("pg_dump (PostgreSQL) ");
    version.unwrap().to_owned()
}

#[test]
fn any_change_to_a_restored_copy_is_named() {
    let source = server_with_the_sample();
    // It does not come along when a database is copied by the server.
    source.psql_in(SAMPLE, "DROP SUBSCRIPTION corner_feed");
    let expected = census(&source, SAMPLE);
    // Changes that the same object is named for stand in different groups.
    for group in [FIRST_CHANGES, SECOND_CHANGES, THIRD_CHANGES] {
        source.psql(&format!("CREATE DATABASE changed TEMPLATE {SAMPLE}"));
        let mut all_named = Vec::new();
        for (change, named) in group {
            // Triggers would change more than this.
            source.psql_in(
                "changed",
                &format!("SET session_replication_role = replica; {change}"),
            );
            all_named.push(*named);
        }
        let mut found = differences(&census(&source, "changed"), &expected);
        source.psql("DROP DATABASE changed");
        found.sort();
        all_named.sort_unstable();
        assert_eq!(found, all_named);
    }
}

/// A change, and the one sentence in which the censuses tell it.
type Changes = &'static [(&'static str, &'static str)];

const FIRST_CHANGES: Changes = &[
    (
        "UPDATE app.note SET real_number = real_number + 1e-9 WHERE id = 5",
        "app.note: the number of rows agrees, their content does not",
    ),
    (
        "INSERT INTO app.document SELECT * FROM app.document WHERE id = 1",
        "app.document: 20 rows expected, 21 rows found",
    ),
    (
        "UPDATE corner.options SET packed = NULL WHERE packed = 'p'",
        "corner.options: the number of rows agrees, their content does not",
    ),
    (
        "DROP INDEX app.task_words_idx",
        "index app.task_words_idx is missing",
    ),
    (
        "REVOKE SELECT ON app.note FROM tracker_reader",
        "the access list of TABLE note in schema app is missing",
    ),
    (
        "DROP TRIGGER task_audit ON app.task",
        "trigger app.task task_audit is missing",
    ),
    (
        "ALTER TABLE app.person ENABLE TRIGGER person_audit",
        "trigger app.person person_audit differs",
    ),
    (
        "SELECT nextval('app.project_code')",
        "the value of sequence app.project_code differs",
    ),
    (
        "COMMENT ON TABLE app.task IS 'What there is to do'",
        "the comment on TABLE task in schema app differs",
    ),
    (
        "SELECT lo_put(900002, 5, '\\x00')",
        "large object 900002 differs",
    ),
    ("SELECT lo_unlink(900003)", "large object 900003 is missing"),
    (
        "REVOKE SELECT ON LARGE OBJECT 900001 FROM tracker_reader",
        "large object 900001 differs",
    ),
    (
        "ALTER TABLE app.sprint ALTER COLUMN goal SET DEFAULT 'none'",
        "table app.sprint differs",
    ),
    (
        "ALTER TABLE app.note OWNER TO tracker_app",
        "table app.note differs",
    ),
    (
        "CREATE OR REPLACE FUNCTION corner.one() RETURNS integer LANGUAGE sql RETURN 2",
        "function corner.one() differs",
    ),
    (
        "ALTER POLICY restrict_all ON corner.slow TO corner_friend",
        "policy corner.slow restrict_all differs",
    ),
    (
        "ALTER TABLE corner.fast SET TABLESPACE pg_default",
        "table corner.fast differs",
    ),
    (
        "ALTER TABLE corner.slow DISABLE RULE never",
        "rule corner.slow never differs",
    ),
    (
        "ALTER PUBLICATION everything SET (publish = 'insert')",
        "publication everything differs",
    ),
    (
        "ALTER EVENT TRIGGER corner_watch ENABLE",
        "event trigger corner_watch differs",
    ),
];

const SECOND_CHANGES: Changes = &[
    (
        "UPDATE app.note AS n SET body = o.body FROM app.note AS o WHERE (n.id, o.id) IN ((4, 5), (5, 4))",
        "app.note: the number of rows agrees, their content does not",
    ),
    (
        "UPDATE corner.options SET half = half + 1000 WHERE packed = 'p'",
        "corner.options: the number of rows agrees, their content does not",
    ),
    (
        "ALTER TABLE app.note DROP CONSTRAINT note_body_is_short",
        "check constraint app.note note_body_is_short is missing",
    ),
    (
        "CREATE INDEX ON app.sprint (goal)",
        "index app.sprint_goal_idx should not be there",
    ),
    (
        "GRANT UPDATE ON app.note TO tracker_reader",
        "the access list of TABLE note in schema app differs",
    ),
    (
        "SELECT lo_create(77)",
        "large object 77 should not be there",
    ),
    (
        "ALTER TABLE corner.typed ALTER COLUMN y SET DEFAULT 'because'",
        "table corner.typed differs",
    ),
];

const THIRD_CHANGES: Changes = &[
    (
        "DELETE FROM app.note WHERE id = 5",
        "app.note: 5 rows expected, 4 rows found",
    ),
    (
        "INSERT INTO corner.nothing DEFAULT VALUES",
        "corner.nothing: 2 rows expected, 3 rows found",
    ),
];

/// A database of its own with what the SQL makes, restored into another server and compared.
/// Settings of the database are not in its dump, and here they are not restored.
fn comes_back(source: &Cluster, options: &str, sql: &[u8]) {
    source.psql(&format!(
        "CREATE DATABASE origin TEMPLATE template0 {options}"
    ));
    feed(source, "origin", sql);
    let operator = Operator::of(source, "origin");
    let original = back_up(&operator);
    let target = Cluster::start();
    target.psql(&format!(
        "CREATE DATABASE copy TEMPLATE template0 {options}"
    ));
    type_in(
        &target,
        "copy",
        r#"zcat "$1" | psql -X -q -o /dev/null -v ON_ERROR_STOP=1"#,
        &file(&operator, ".sql.gz"),
    );
    assert_eq!(differences(&census(&target, "copy"), &original), [""; 0]);
}

#[test]
fn an_empty_database_comes_back() {
    comes_back(&Cluster::start(), "", b"");
}

#[test]
fn bytes_that_are_no_utf_8_come_back_in_rows_and_in_names() {
    let source = Cluster::start();
    comes_back(
        &source,
        "ENCODING 'SQL_ASCII' LOCALE 'C'",
        b"CREATE TABLE \"caf\xe9\" (\"\xff\xfe\" text, \"\xc3\xa9\" text);\n\
          INSERT INTO \"caf\xe9\" VALUES (E'\\xe9\\xff', '\xe9'), ('\xc3\xa9', NULL);\n\
          CREATE TABLE \"caf\xe8\" (a text);\n\
          COMMENT ON TABLE \"caf\xe9\" IS '\x80';",
    );
    source.psql("DROP DATABASE origin");
    comes_back(
        &source,
        "ENCODING 'LATIN1' LOCALE 'C'",
        b"SET client_encoding = 'LATIN1';\n\
          CREATE TABLE \"caf\xe9\" (\"\xff\xfe\" text);\n\
          INSERT INTO \"caf\xe9\" VALUES ('na\xefve \xa7'), (E'\\xe9');\n\
          CREATE FUNCTION \"\xe9\"() RETURNS text LANGUAGE sql AS $\xe9$ SELECT ';\xe9' $\xe9$;",
    );
}

#[test]
fn tables_without_columns_with_1600_columns_and_2000_tables_come_back() {
    let wide: Vec<String> = (0..1600)
        .map(|i| format!("\"column {i} {}\" smallint", "x".repeat(45)))
        .collect();
    let sql = format!(
        "CREATE TABLE nothing ();\nINSERT INTO nothing SELECT FROM generate_series(1, 1000);\n\
         CREATE TABLE wide ({});\nINSERT INTO wide (\"column 7 {2}\", \"column 1599 {2}\") VALUES (1, 2);\n\
         {}",
        wide.join(", "),
        (0..2000).fold(String::new(), |sql, i| {
            sql + &format!("CREATE TABLE t{i} (id integer);\nINSERT INTO t{i} VALUES ({i});\n")
        }),
        "x".repeat(45),
    );
    comes_back(
        &Cluster::with(&Options {
            settings: vec![("max_locks_per_transaction", "256".to_owned())],
            ..Options::default()
        }),
        "",
        sql.as_bytes(),
    );
}

#[test]
fn settings_of_the_database_do_not_change_what_its_dump_says() {
    comes_back(
        &Cluster::start(),
        "",
        b"ALTER DATABASE origin SET standard_conforming_strings = off;\n\
          ALTER DATABASE origin SET backslash_quote = on;\n\
          ALTER DATABASE origin SET quote_all_identifiers = on;\n\
          ALTER DATABASE origin SET bytea_output = 'escape';\n\
          ALTER DATABASE origin SET timezone = 'Asia/Riyadh';\n\
          ALTER DATABASE origin SET datestyle = 'German';\n\
          ALTER DATABASE origin SET intervalstyle = 'sql_standard';\n\
          ALTER DATABASE origin SET extra_float_digits = -5;\n\
          ALTER DATABASE origin SET client_encoding = 'LATIN1';\n\
          \\c\n\
          SET escape_string_warning = off;\n\
          CREATE TABLE t (a text DEFAULT 'it\\'s; \\\\' CHECK (a <> '\\';'), b bytea, c timestamptz, d interval, e float8);\n\
          INSERT INTO t VALUES ('x', '\\\\x00ff5c', '2025-07-09 02:00+03', '-1 day 2 hours', 0.1 + 0.2);\n\
          COMMENT ON TABLE t IS 'a \\\\ and a \\';';\n\
          CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT \\'\\\\\\\\;\\'::text';\n\
          CREATE FUNCTION g() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT '\\\\;'::text; END;\n\
          SELECT lo_from_bytea(7, '\\\\x00ff');\n",
    );
}

#[test]
fn a_row_of_200_megabytes_needs_no_more_memory() {
    const MOST: u64 = 64 * 1024;
    let source = Cluster::start();
    source.psql(
        "CREATE TABLE big (a text, b bytea);\n\
         INSERT INTO big VALUES (repeat('0123456789', 20000000), NULL);",
    );
    let operator = Operator::of(&source, "postgres");
    let running = operator.spawn(&["backup"]);
    let peak = peak_memory(&running);
    let output = running.wait();
    assert_eq!(output.code, 0, "{output}");
    assert!(peak > 1024 && peak <= MOST, "{peak} KiB");
    assert_eq!(census_of(&operator).summary().rows, 1);
    operator.assert_all_whole();
}

/// The most memory that a process had, in KiB, read until it ends.
fn peak_memory(running: &Running) -> u64 {
    let status = format!("/proc/{}/status", running.pid().as_raw_nonzero());
    let mut peak = 0;
    wait_until("the backup ends", || {
        let text = fs::read_to_string(&status).unwrap();
        // A process that has ended has no memory any more.
        let Some(line) = text.lines().find(|line| line.starts_with("VmHWM:")) else {
            return true;
        };
        peak = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        false
    });
    peak
}
