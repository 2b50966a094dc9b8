//! What the server refuses: a terminal shows the server's details, and no record shows a row.

use std::fs;
use std::path::Path;

use crate::support::clock::{WallClock, machine_time};
use crate::support::cluster::{Cluster, Options};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::drill::open_directory;
use crate::support::operator::Operator;
use chrono::TimeDelta;

/// What stands in rows, and so in no record.
const MARKER: &str = "marker-4711";

/// Everything that is written down in a directory and below it, but for dumps and incident reports.
fn written(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&written(&path));
        } else if ![".gz", ".md"]
            .iter()
            .any(|end| path.to_string_lossy().ends_with(end))
        {
            text.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap()));
        }
    }
    text
}

fn assert_unmarked(what: &str, text: &str) {
    assert!(!text.contains(MARKER), "{what}: {text}");
}

/// Ends of a dump whose rows the server refuses, each with what records say of it.
const REFUSED: [(&str, &str); 4] = [
    (
        "CREATE TABLE public.t (k text, n integer);\n\n\
         COPY public.t (k, n) FROM stdin;\nx\tmarker-4711\n\\.\n",
        "(SQLSTATE 22P02, COPY t, line 1, column n)",
    ),
    (
        "CREATE TABLE public.t (k text);\n\n\
         COPY public.t (k) FROM stdin;\nmarker-4711\nmarker-4711\n\\.\n\n\
         ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (k);\n",
        "(SQLSTATE 23505, schema public, table t, constraint t_pkey)",
    ),
    (
        "CREATE TABLE public.t (k text, CONSTRAINT short CHECK ((length(k) < 5)));\n\n\
         COPY public.t (k) FROM stdin;\nmarker-4711\n\\.\n",
        "(SQLSTATE 23514, schema public, table t, constraint short, COPY t, line 1)",
    ),
    (
        "CREATE FUNCTION public.f(t text) RETURNS boolean\n    LANGUAGE plpgsql\n    AS $$\n\
         BEGIN RAISE EXCEPTION 'not %', t; END $$;\n\n\
         CREATE TABLE public.t (k text, CONSTRAINT good CHECK (public.f(k)));\n\n\
         COPY public.t (k) FROM stdin;\nmarker-4711\n\\.\n",
        "(SQLSTATE P0001",
    ),
];

/// A dump that ends so.
fn whole(end: &str) -> String {
    format!(
        "--\n-- PostgreSQL database dump\n--\n\n{end}\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    )
}

#[test]
fn a_restore_shows_rows_to_the_terminal_alone() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    let dump = operator.path("dump.sql");
    for (end, recorded) in REFUSED {
        fs::write(&dump, whole(end)).unwrap();
        let output = operator.run(&["restore", dump.to_str().unwrap(), "--into", "copy"]);
        assert_eq!(output.code, 65, "{output}");
        assert!(output.stderr.contains(MARKER), "{output}");
        assert!(output.stderr.contains(recorded), "{output}");
        assert!(output.stderr.contains("line "), "{output}");
        fs::remove_file(&dump).unwrap();
        assert_unmarked("files", &written(&operator.path("")));
        assert!(written(&operator.path("")).contains(recorded));
    }
}

/// A backup that no server takes, since a row refers to what is not there.
fn unrestorable(cluster: &Cluster, operator: &Operator) {
    cluster.psql(&format!(
        "CREATE TABLE parent (k text PRIMARY KEY); CREATE TABLE child (k text REFERENCES parent); \
         SET session_replication_role = replica; INSERT INTO child VALUES ('{MARKER}')"
    ));
    assert_eq!(operator.run(&["backup"]).code, 0);
}

#[test]
fn a_test_restore_shows_rows_to_the_terminal_alone() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set_value("dump.globals", false);
    let drills = open_directory();
    operator.set("drill.directory", drills.path().display());
    unrestorable(&cluster, &operator);
    let recorded = "(SQLSTATE 23503, schema public, table child, constraint child_k_fkey)";

    // By the daemon, a moment before its next minute; and by hand.
    only_daily(&mut operator, "UTC", "0 2 1 1 *");
    operator.set_value("jobs.drill.enabled", true);
    operator.set("jobs.drill.schedule", "* * * * *");
    let soon = machine_time() + TimeDelta::minutes(1);
    let clock = WallClock::at(&operator, &soon.format("%FT%H:%M:58Z").to_string());
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for(recorded);
    assert_unmarked("log", &daemon.end().log);
    let name = operator.list().remove(0);
    let output = operator.run(&["drill", &name]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stderr.contains(MARKER), "{output}");
    assert!(output.words().contains(recorded), "{output}");

    assert_unmarked("files", &written(&operator.backups()));
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["list"],
        &["list", "--json"],
        &["incident", "--list"],
    ] {
        let output = operator.run(arguments);
        assert_unmarked("output", &format!("{output}"));
    }
}

/// Neither words of the server nor a superuser's right to choose their language decide.
#[test]
fn a_german_server_tells_an_ordinary_role_no_less() {
    let cluster = Cluster::with(&Options {
        settings: vec![("lc_messages", "de_DE.UTF-8".to_owned())],
        ..Options::default()
    });
    cluster.psql("CREATE ROLE app LOGIN CREATEDB; CREATE SCHEMA s; CREATE TABLE s.t (k text)");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("connection.user", "app");
    let dump = operator.path("dump.sql");
    let end = "CREATE TABLE public.t (k text,\n    \
        CONSTRAINT files CHECK ((pg_read_file('PG_VERSION'::text) IS NOT NULL)));\n\n\
        COPY public.t (k) FROM stdin;\nx\n\\.\n";
    for (end, recorded, way_out, code) in [
        (REFUSED[0].0, "(SQLSTATE 22P02, COPY t", "", 65),
        // It is not the backup's.
        (end, "(SQLSTATE 42501", "GRANT it to \"app\"", 69),
    ] {
        fs::write(&dump, whole(end)).unwrap();
        let output = operator.run(&["restore", dump.to_str().unwrap(), "--into", "copy"]);
        assert_eq!(output.code, code, "{output}");
        assert!(output.stderr.contains(recorded), "{output}");
        assert!(output.stderr.contains(way_out), "{output}");
    }
}
