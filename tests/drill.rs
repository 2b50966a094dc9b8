//! A drill proves that a backup restores, and a backup that does not come back whole is found out.
//!
//! What goes wrong between the backup and its copy is done by a psql of our own, which runs the real
//! one and then changes the copy.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, DaemonOptions, only_daily};
use crate::support::drill::{
    assert_empty, back_up, drill, open_directory, operator, programs_with, psql_that_changes,
};
use crate::support::filesystem::Filesystem;
use crate::support::operator::Operator;
use crate::support::sample::{SAMPLE, server_with_the_sample};

#[test]
fn a_backup_of_every_format_and_compression_is_proven() {
    let source = server_with_the_sample();
    for (format, compression) in [
        ("plain", "gzip"),
        ("plain", "zstd"),
        ("plain", "none"),
        ("custom", "gzip"),
        ("custom", "none"),
        ("directory", "gzip"),
        ("directory", "none"),
    ] {
        let (mut operator, place) = operator(&source, SAMPLE);
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        back_up(&operator);
        let (report, output) = drill(&operator, 0);
        assert_eq!(report["outcome"], "proven", "{output}");
        assert_eq!(report["remarks"], Value::Array(Vec::new()), "{output}");
        assert!(report["rows"].as_u64() > Some(0), "{output}");
        let phases: Vec<&str> = report["phases"]
            .as_array()
            .unwrap()
            .iter()
            .map(|phase| phase["phase"].as_str().unwrap())
            .collect();
        let all = ["verify", "server", "globals", "load", "dump", "compare"];
        assert_eq!(phases, all);
        assert_empty(place.path());
        let log = operator.restore_log();
        let events: Vec<&str> = log
            .iter()
            .map(|record| record["event"].as_str().unwrap())
            .collect();
        assert_eq!(events, ["started", "succeeded"]);
        assert_eq!(log[1]["phases"].as_array().unwrap().len(), all.len());
    }
}

/// Changes to a restored copy, and the one sentence in which the test restore names each; none for
/// the row that is deleted, because the number of rows stands in it.
const CHANGES: &[(&str, &str)] = &[
    // Rows: one bit, dropped, doubled, values that change places.
    (
        "UPDATE app.picture SET digest = set_bit(digest, 9, 1 - get_bit(digest, 9)) \
         WHERE id = (SELECT min(id) FROM app.picture)",
        "app.picture: the number of rows agrees, their content does not",
    ),
    ("DELETE FROM app.task WHERE id = 1", ""),
    (
        "INSERT INTO app.document SELECT * FROM app.document WHERE id = 1",
        "app.document: 20 rows in the backup, 21 restored",
    ),
    (
        "UPDATE app.organisation SET (name, name_ar) = (name_ar, name) WHERE id = 100",
        "app.organisation: the number of rows agrees, their content does not",
    ),
    (
        "UPDATE app.note AS n SET body = o.body FROM app.note AS o \
         WHERE (n.id, o.id) IN ((4, 5), (5, 4))",
        "app.note: the number of rows agrees, their content does not",
    ),
    // Objects of many kinds, missing, surplus and changed.
    (
        "DROP INDEX app.task_words_idx",
        "index app.task_words_idx is missing after the restore",
    ),
    (
        "REVOKE SELECT ON app.note FROM tracker_reader",
        "the access list of TABLE note in schema app is missing after the restore",
    ),
    (
        "GRANT UPDATE ON app.sprint TO tracker_reader",
        "the access list of TABLE sprint in schema app differs after the restore",
    ),
    (
        "DROP TRIGGER task_audit ON app.task",
        "trigger app.task task_audit is missing after the restore",
    ),
    (
        "ALTER TABLE app.person ENABLE TRIGGER person_audit",
        "trigger app.person person_audit differs after the restore",
    ),
    (
        "SELECT nextval('app.project_code')",
        "the value of sequence app.project_code differs after the restore",
    ),
    (
        "COMMENT ON TABLE app.task IS 'What there is to do'",
        "the comment on TABLE task in schema app differs after the restore",
    ),
    (
        "ALTER TABLE app.note DROP CONSTRAINT note_body_is_short",
        "check constraint app.note note_body_is_short is missing after the restore",
    ),
    (
        "ALTER TABLE app.sprint ALTER COLUMN goal SET DEFAULT 'none'",
        "table app.sprint differs after the restore",
    ),
    (
        "ALTER TABLE app.note OWNER TO tracker_app",
        "the owner of table app.note differs after the restore",
    ),
    (
        "CREATE INDEX surplus ON app.sprint (goal)",
        "index app.surplus is not in the backup",
    ),
    (
        "CREATE OR REPLACE FUNCTION corner.one() RETURNS integer LANGUAGE sql RETURN 2",
        "function corner.one() differs after the restore",
    ),
    (
        "ALTER POLICY restrict_all ON corner.slow TO corner_friend",
        "policy corner.slow restrict_all differs after the restore",
    ),
    (
        "ALTER TABLE corner.slow DISABLE RULE never",
        "rule corner.slow never differs after the restore",
    ),
    (
        "ALTER TABLE corner.fast SET TABLESPACE pg_default",
        "table corner.fast differs after the restore",
    ),
    // Large objects: content, one too few, one too many, privileges.
    (
        "SELECT lo_put(900002, 5, '\\x00')",
        "large object 900002 differs after the restore",
    ),
    (
        "SELECT lo_unlink(900003)",
        "large object 900003 is missing after the restore",
    ),
    (
        "SELECT lo_create(77)",
        "large object 77 is not in the backup",
    ),
    (
        "REVOKE SELECT ON LARGE OBJECT 900001 FROM tracker_reader",
        "large object 900001 differs after the restore",
    ),
    // Roles, and the database itself.
    (
        "REVOKE tracker_reader FROM tracker_app",
        "of roles and tablespaces, \"GRANT tracker_reader TO tracker_app GRANTED BY postgres;\" is \
         missing",
    ),
    (
        "ALTER ROLE tracker_reader SET work_mem = '1MB'",
        "of roles and tablespaces, \"ALTER ROLE tracker_reader SET work_mem TO '1MB';\" should not \
         be there",
    ),
    (
        "GRANT CREATE ON DATABASE productivity_tracker TO tracker_reader",
        "of the database, its privilege tracker_reader=C/tracker_owner was not recorded",
    ),
    (
        "ALTER ROLE tracker_reader IN DATABASE productivity_tracker SET work_mem = '2MB'",
        "of the database, its setting work_mem=2MB for role tracker_reader was not recorded",
    ),
];

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn whatever_differs_in_the_copy_is_named() {
    let source = server_with_the_sample();
    source.psql("GRANT tracker_reader TO tracker_app");
    let (mut operator, place) = operator(&source, SAMPLE);
    back_up(&operator);
    // Changed is when psql ends: another one could be at work still.
    operator.set_value("drill.jobs", 1);
    // All in one go, so that either every change is made or none.
    let changes: Vec<&str> = CHANGES.iter().map(|(change, _)| *change).collect();
    let programs = psql_that_changes(&[&format!(
        "SET session_replication_role = replica;\n{};",
        changes.join(";\n")
    )]);
    operator.set("programs", programs.path().display());
    let (report, output) = drill(&operator, 65);
    assert_eq!(report["outcome"], "differs", "{output}");
    let tasks: u64 = source
        .psql_in(SAMPLE, "SELECT count(*) FROM app.task")
        .parse()
        .unwrap();
    let with_commas = |number: u64| {
        let text = number.to_string();
        match text.len() {
            0..=3 => text,
            length => format!("{},{}", &text[..length - 3], &text[length - 3..]),
        }
    };
    let dropped = format!(
        "app.task: {} rows in the backup, {} restored",
        with_commas(tasks),
        with_commas(tasks - 1)
    );
    let sentences = CHANGES.iter().map(|(_, sentence)| match *sentence {
        "" => dropped.clone(),
        other => other.to_owned(),
    });
    let mut expected: Vec<String> = sentences.collect();
    expected.sort();
    let mut found: Vec<String> = report["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| difference.as_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, expected, "{output}");
    assert_empty(place.path());
    // It is on record, and `status` tells.
    let log = operator.restore_log();
    assert_eq!(log[1]["event"], "failed");
    assert!(log[1]["damaged"][0]["what"].is_string());
    let status = operator.run(&["status"]);
    assert_eq!(status.code, 2, "{status}");
    let words: Vec<&str> = status.stdout.split_whitespace().collect();
    let said = words.join(" ");
    let name = log[1]["backup"].as_str().unwrap();
    let sentence = format!(
        "the backup {name} does not restore: what was restored is not what was dumped, {} \
         differences: ",
        CHANGES.len()
    );
    assert!(said.contains(&sentence), "{status}");

    // It counts no more, and no other look at the same bytes changes that.
    operator.unset("programs");
    let newest = |operator: &Operator| {
        let status: Value =
            serde_json::from_str(&operator.run(&["status", "--json"]).stdout).unwrap();
        status["databases"][0]["series"][0]["newest"].clone()
    };
    assert_eq!(newest(&operator), Value::Null);
    operator.assert_all_whole();
    let listed = operator.run(&["list"]);
    assert!(listed.stdout.contains("DOES NOT RESTORE"), "{listed}");
    assert_eq!(newest(&operator), Value::Null);
    let output = operator.run(&["restore", "--latest"]);
    assert_eq!(output.code, 65, "{output}");
    let output = operator.run(&["drill"]);
    assert_eq!(
        output.code, 69,
        "it is not the one to prove anything: {output}"
    );
    // A test restore that comes through does.
    let output = operator.run(&["drill", name]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(newest(&operator), name);
    let listed = operator.json(&["list"]);
    let backup = &listed[0]["backups"][0];
    assert!(
        backup["restored"].is_string() && backup["verified"].is_string(),
        "{backup}"
    );
    assert_eq!(operator.run(&["status"]).code, 0);
}

#[test]
fn what_the_machine_lacks_is_not_held_against_the_backup() {
    let source = Cluster::start();
    source.psql(
        "CREATE TABLE t AS SELECT generate_series(1, 10);\n\
         SET allow_system_table_mods = on;\n\
         INSERT INTO pg_extension VALUES (99999, 'nowhere', 10, 2200, true, '1.0', NULL, NULL);",
    );
    let (mut operator, place) = operator(&source, "postgres");
    back_up(&operator);
    let (report, output) = drill(&operator, 69);
    assert_eq!(report["outcome"], "impossible", "{output}");
    assert!(
        report["message"]
            .as_str()
            .unwrap()
            .ends_with(": nowhere 1.0"),
        "{output}"
    );
    assert_empty(place.path());

    if let Some(small) = Filesystem::in_memory("size=40m") {
        operator.set("drill.directory", small.path().display());
        let (report, output) = drill(&operator, 69);
        assert_eq!(report["outcome"], "impossible", "{output}");
        let message = report["message"].as_str().unwrap();
        assert!(message.contains("a restored copy needs about"), "{output}");
    }
    operator.set("drill.directory", "/nonexistent");
    let (report, output) = drill(&operator, 69);
    assert_eq!(report["outcome"], "impossible", "{output}");
    assert!(output.stderr.contains("drill.directory"), "{output}");
}

#[test]
fn a_damaged_backup_and_one_that_the_server_refuses_are_reported_apart_from_good_ones() {
    let source = Cluster::start();
    source.psql("CREATE TABLE t AS SELECT generate_series(1, 10) AS n");
    let (mut operator, place) = operator(&source, "postgres");
    // A dump of two rows under a constraint that they break is whole, and does not restore.
    source.psql("CREATE FUNCTION f(integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';\nALTER TABLE t ADD CHECK (f(n));\nCREATE OR REPLACE FUNCTION f(integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 < 5';");
    let state = operator.path("state");
    fs::create_dir(&state).unwrap();
    back_up(&operator);
    let (report, output) = drill(&operator, 65);
    assert_eq!(report["outcome"], "refused", "{output}");
    let message = report["message"].as_str().unwrap();
    assert!(message.contains("violates check constraint"), "{output}");
    assert!(!message.contains("Failing row"), "{output}");
    assert_empty(place.path());
    // All that the server said is kept in the state directory, for its owner alone.
    let mut files = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let kept = files
        .find(|path| path.extension().is_some_and(|end| end == "txt"))
        .unwrap();
    let remark = format!("which may show rows, is in {}", kept.display());
    assert!(report["remarks"].to_string().contains(&remark), "{output}");
    let said = fs::read_to_string(&kept).unwrap();
    assert!(
        said.contains("DETAIL:  Failing row contains (5)."),
        "{said}"
    );
    assert_eq!(kept.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    source.psql("ALTER TABLE t DROP CONSTRAINT t_n_check");
    back_up(&operator);
    drill(&operator, 0);
    assert!(!kept.exists(), "the next backup restores");

    let artifact = operator
        .artifacts()
        .into_iter()
        .find(|name| name.ends_with(".sql.gz"))
        .unwrap();
    let artifact = operator.backups().join(artifact);
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&artifact, bytes).unwrap();
    operator.set("timezone", "UTC");
    // It is not chosen by itself any more.
    let name = operator.list().remove(0);
    let output = operator.run(&["--json", "drill", &name]);
    assert_eq!(output.code, 65, "{output}");
    let reports: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(reports[0]["outcome"], "damaged", "{output}");
    assert_empty(place.path());
}

#[test]
fn a_dump_that_holds_more_than_pg_dump_writes_is_not_loaded() {
    let source = Cluster::start();
    let (mut operator, place) = operator(&source, "postgres");
    let outside = open_directory();
    for hostile in [
        format!("\\! touch {0}/witness", outside.path().display()),
        format!(
            "SELECT 1 \\! touch {0}/witness\n;",
            outside.path().display()
        ),
        format!(
            "COPY (SELECT 1) TO PROGRAM $$touch {}/witness$$;",
            outside.path().display()
        ),
        format!(
            "/**/ COPY (SELECT 1) TO $${}/witness$$;",
            outside.path().display()
        ),
    ] {
        let script = outside.path().join("hostile.sql");
        fs::write(&script, format!("{hostile}\n")).unwrap();
        let programs = programs_with(
            "pg_dump",
            &format!(
                "case \"$*\" in *--version*) exec \"$real\" \"$@\";; esac\n\
                 \"$real\" \"$@\" | awk '/^-- PostgreSQL database dump complete/ {{ while ((getline line < \"{}\") > 0) print line }} {{ print }}'",
                script.display()
            ),
        );
        operator.set("programs", programs.path().display());
        back_up(&operator);
        operator.unset("programs");
        let (report, output) = drill(&operator, 69);
        assert_eq!(report["outcome"], "impossible", "{output}");
        assert!(report["recovery_seconds"].is_null(), "{output}");
        assert!(
            report["message"]
                .as_str()
                .unwrap()
                .contains("it holds what a restore does not send: line "),
            "{output}"
        );
        assert!(!outside.path().join("witness").exists(), "{hostile}");
        assert_empty(place.path());
    }
}

/// A materialized view is filled again when it is loaded, out of whatever it was made of.
#[test]
fn a_backup_is_not_blamed_for_what_it_reads_elsewhere_while_it_is_loaded() {
    let (source, other) = (Cluster::start(), Cluster::start());
    let file = source.data_directory().join("rates.csv");
    fs::write(&file, "1\n").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let [file, other_host] =
        [&*file, other.socket_directory()].map(|path| path.display().to_string());
    let link = format!("host={other_host} user=postgres dbname=postgres");
    let views = [
        (
            "by_file",
            format!("SELECT pg_read_file('{file}') AS v"),
            "it reads files of the server's machine",
        ),
        (
            "by_link",
            format!("SELECT * FROM dblink('{link}', 'SELECT 1') AS t(v int)"),
            "it reads from another server",
        ),
        (
            "by_table",
            "SELECT * FROM ft".to_owned(),
            "it reads from another server",
        ),
    ];
    let backed_up = views.map(|(database, view, expected)| {
        source.create_database(database);
        source.psql_in(
            database,
            &format!(
                "CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw; \
                 CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw \
                   OPTIONS (host '{other_host}', dbname 'postgres'); \
                 CREATE USER MAPPING FOR postgres SERVER far OPTIONS (user 'postgres'); \
                 CREATE FOREIGN TABLE ft (datname name) SERVER far \
                   OPTIONS (schema_name 'pg_catalog', table_name 'pg_database'); \
                 CREATE MATERIALIZED VIEW mv AS {view}"
            ),
        );
        let operator = operator(&source, database);
        back_up(&operator.0);
        (operator, expected)
    });
    drop(other);
    fs::remove_file(&file).unwrap();
    for ((operator, _place), expected) in &backed_up {
        let (report, output) = drill(operator, 69);
        assert_eq!(report["outcome"], "impossible", "{output}");
        assert!(
            report["message"].as_str().unwrap().contains(expected),
            "{output}"
        );
    }
}

#[test]
fn a_directory_that_is_closed_to_the_server_s_user_is_named() {
    let source = Cluster::start();
    let (mut operator, place) = operator(&source, "postgres");
    back_up(&operator);
    let closed = place.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    operator.set("drill.directory", closed.display());
    // Only root has it run by somebody else.
    if rustix::process::geteuid().is_root() {
        let (report, output) = drill(&operator, 69);
        assert_eq!(report["outcome"], "impossible", "{output}");
        let expected = format!(
            "cannot pass through {}\nhint: chmod o+x it",
            closed.display()
        );
        assert!(output.stderr.contains(&expected), "{output}");
    } else {
        drill(&operator, 0);
    }
    assert_empty(&closed);
}

/// Processes of servers whose data is below a directory.
fn servers_below(directory: &Path) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|process| fs::read_link(process.path().join("cwd")).ok())
        .filter(|cwd| cwd.starts_with(directory))
        .count()
}

#[test]
fn a_drill_that_is_killed_leaves_nothing_for_long() {
    let source = Cluster::start();
    source.psql("CREATE TABLE t AS SELECT generate_series(1, 10)");
    let (mut operator, place) = operator(&source, "postgres");
    back_up(&operator);
    let programs = programs_with(
        "psql",
        "case \"$*\" in *--file*) sleep 60;; esac\nexec \"$real\" \"$@\"",
    );
    operator.set("programs", programs.path().display());

    for signal in [Signal::TERM, Signal::KILL] {
        let running = operator.spawn(&["drill", "--json"]);
        wait_until("the server runs", || {
            fs::read_dir(place.path()).unwrap().flatten().any(|home| {
                home.path().join("socket/.s.PGSQL.5432").exists()
                    && fs::read_dir(home.path().join("data")).is_ok()
            })
        });
        // Whoever looks sees it, although it holds no lock.
        let status = operator.run(&["status", "--json"]).stdout;
        let status: Value = serde_json::from_str(&status).unwrap();
        let seen = &status["databases"][0]["running"];
        assert_eq!(seen[0]["operation"], "test restore", "{seen}");
        assert!(seen[0]["backup"].is_string() && seen[1].is_null(), "{seen}");
        let began = Instant::now();
        running.signal(signal);
        let output = running.wait();
        assert!(began.elapsed() < Duration::from_secs(5), "{output}");
        if signal == Signal::TERM {
            assert_eq!(output.code, 143, "{output}");
            // A program is reported as well.
            let told: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(told[0]["outcome"], "impossible", "{output}");
            assert_empty(place.path());
        } else {
            wait_until("the server has ended", || servers_below(place.path()) == 0);
        }
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    operator.unset("programs");
    let (report, output) = drill(&operator, 0);
    assert_eq!(report["outcome"], "proven", "{output}");
    assert_empty(place.path());
    let events: Vec<String> = operator
        .restore_log()
        .iter()
        .map(|record| record["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        events,
        [
            "started",
            "interrupted",
            "started",
            "interrupted",
            "started",
            "succeeded"
        ]
    );
}

#[test]
fn the_service_drills_when_its_job_is_due() {
    let source = Cluster::start();
    source.psql("CREATE TABLE t AS SELECT generate_series(1, 10)");
    let (mut operator, place) = operator(&source, "postgres");
    back_up(&operator);
    only_daily(&mut operator, "Asia/Riyadh", "0 2 * * *");
    operator.set_value("jobs.daily.enabled", false);
    operator.set_value("jobs.drill.enabled", true);
    let clock = WallClock::at(&operator, "2036-01-01T01:59:58Z");
    let daemon = Daemon::with(
        &operator,
        DaemonOptions {
            clock: Some(&clock),
            ..DaemonOptions::default()
        },
    );
    daemon.wait_for("drill of postgres succeeded (job drill): ");
    assert_eq!(daemon.end().code, 0);
    let log = operator.restore_log();
    assert_eq!(log.len(), 2);
    // The recovery time is reported with its target next to it.
    let said = log[1]["message"].as_str().unwrap();
    assert!(
        said.contains("the data was back in ") && said.ends_with(" (of 30 minutes)"),
        "{said}"
    );
    let status = |operator: &Operator| -> Value {
        serde_json::from_str(&operator.run(&["status", "--json"]).stdout).unwrap()
    };
    let measured = &status(&operator)["databases"][0]["recovery_time"];
    assert_eq!(
        (&measured["met"], &measured["target_seconds"]),
        (&true.into(), &1800.into())
    );
    assert_eq!(measured["backup"], log[1]["backup"]);
    operator.set("objectives.recovery_time", "1ms");
    let status = status(&operator);
    assert_eq!(status["databases"][0]["recovery_time"]["met"], false);
    let kinds: Vec<&str> = status["attention"]
        .as_array()
        .unwrap()
        .iter()
        .map(|concern| concern["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"recovery_time"), "{kinds:?}");
    for record in &log {
        assert_eq!(record["job"], "drill");
        assert_eq!(record["due"], "2036-01-01T05:00:00+03:00");
    }
    assert_eq!(log[1]["event"], "succeeded");
    assert_empty(place.path());
}
