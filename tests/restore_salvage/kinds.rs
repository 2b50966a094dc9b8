//! Kinds of databases that do not restore: everything comes, or is named.

use super::{drop_copy, dump, hard, pairs, salvage};
use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::restored::databases;
use crate::support::sample::feed;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

/// A schema that does not restore, or restores only with a part of it left out.
struct Kind {
    name: &'static str,
    /// What makes it, in a database that has a table `fine` of a thousand rows.
    sql: &'static str,
    /// Changes the text of the dump: this becomes that.
    edit: Option<(&'static str, &'static str)>,
    /// What is missing in the end, as states and objects.
    missing: &'static [(&'static str, &'static str)],
    /// What came only with the database's own `search_path`.
    by_own_path: &'static [&'static str],
    /// A query in the salvaged database, and its answer.
    query: &'static str,
    answer: &'static str,
}

const NOTHING: &[(&str, &str)] = &[];

const KINDS: [Kind; 23] = [
    Kind {
        name: "a trigger's condition",
        sql: "CREATE EXTENSION ltree; CREATE TABLE n (p ltree); \
              CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end'; \
              CREATE TRIGGER moved AFTER UPDATE ON n FOR EACH ROW \
              WHEN (old.p IS DISTINCT FROM new.p) EXECUTE FUNCTION f()",
        edit: None,
        missing: NOTHING,
        by_own_path: &["trigger public.n moved"],
        query: "SELECT count(*) FROM pg_trigger WHERE tgname = 'moved'",
        answer: "1",
    },
    Kind {
        name: "a computed column",
        sql: "CREATE FUNCTION enc(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT encode($1, 'hex')$$; \
              CREATE FUNCTION enc(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT enc(int4send($1))'; \
              CREATE TABLE g (i int, t text GENERATED ALWAYS AS (enc(i)) STORED); INSERT INTO g VALUES (1)",
        edit: None,
        missing: NOTHING,
        by_own_path: &["table public.g"],
        query: "SELECT t FROM g",
        answer: "00000001",
    },
    Kind {
        name: "a computed column whose function fails",
        sql: "CREATE SCHEMA s; CREATE TABLE s.x (i int); INSERT INTO s.x VALUES (5); \
              CREATE FUNCTION calc(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
              'begin return $1 + (select max(i) from x); end'; SET search_path = public, s; \
              CREATE TABLE a_g (i int, t int GENERATED ALWAYS AS (calc(i)) STORED); INSERT INTO a_g VALUES (1)",
        edit: None,
        missing: &[
            ("differs", "rows of public.a_g"),
            ("missing", "computed column t of public.a_g"),
        ],
        by_own_path: &[],
        query: "SELECT i FROM a_g",
        answer: "1",
    },
    Kind {
        name: "a check that reads a table which comes later",
        sql: "CREATE TABLE z_kind (k text); INSERT INTO z_kind VALUES ('a'); \
              CREATE FUNCTION known(text) RETURNS boolean LANGUAGE sql STABLE AS \
              'SELECT exists (SELECT FROM public.z_kind WHERE k = $1)'; \
              CREATE TABLE a_thing (k text CHECK (known(k))); INSERT INTO a_thing VALUES ('a')",
        edit: None,
        missing: NOTHING,
        by_own_path: &[],
        query: "SELECT convalidated FROM pg_constraint WHERE conname = 'a_thing_k_check'",
        answer: "t",
    },
    Kind {
        name: "a check that its rows break",
        sql: "CREATE FUNCTION ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
              CREATE TABLE d (i int CONSTRAINT ok CHECK (ok(i))); INSERT INTO d VALUES (1), (-1); \
              CREATE OR REPLACE FUNCTION ok(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0'",
        edit: None,
        missing: &[("not_validated", "check constraint ok of public.d")],
        by_own_path: &[],
        query: "SELECT count(*) FROM d",
        answer: "2",
    },
    Kind {
        name: "a domain that its values break",
        sql: "CREATE FUNCTION fits(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
              CREATE DOMAIN word AS text CONSTRAINT fits CHECK (fits(VALUE)); \
              CREATE TABLE w (t word); INSERT INTO w VALUES ('one'), ('two words'); \
              CREATE OR REPLACE FUNCTION fits(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS \
              $$SELECT $1 !~ ' '$$",
        edit: None,
        missing: &[(
            "not_validated",
            "check constraint fits of domain public.word",
        )],
        by_own_path: &[],
        query: "SELECT count(*) FROM w",
        answer: "2",
    },
    Kind {
        name: "a domain over a domain that its values break",
        sql: "CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
              CREATE DOMAIN lower AS int CONSTRAINT fits CHECK (fits(VALUE)); \
              CREATE DOMAIN upper AS lower CONSTRAINT small CHECK (VALUE < 100); \
              CREATE TABLE w (i upper); INSERT INTO w VALUES (1), (-1); \
              CREATE OR REPLACE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0'",
        edit: None,
        missing: &[(
            "not_validated",
            "check constraint fits of domain public.lower",
        )],
        by_own_path: &[],
        query: "SELECT count(*) FROM w",
        answer: "2",
    },
    Kind {
        name: "domains over each other with checks of one name",
        sql: "CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
              CREATE DOMAIN lower AS int CONSTRAINT fits CHECK (VALUE < 100); \
              CREATE DOMAIN upper AS lower CONSTRAINT fits CHECK (fits(VALUE)); \
              CREATE TABLE w (i upper); INSERT INTO w VALUES (1), (-1); \
              CREATE OR REPLACE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0'",
        edit: None,
        missing: &[(
            "not_validated",
            "check constraint fits of domain public.upper",
        )],
        by_own_path: &[],
        query: "SELECT count(*) FROM w, pg_constraint \
                WHERE contypid = 'lower'::regtype AND contype = 'c' AND convalidated",
        answer: "2",
    },
    Kind {
        name: "a null where the domain of a domain allows none",
        sql: "CREATE DOMAIN lower AS int NOT NULL; CREATE DOMAIN upper AS lower; \
              CREATE TABLE w (i upper, j int); INSERT INTO w VALUES (42, 1), (4711, 2)",
        edit: Some(("\n4711\t2\n", "\n\\N\t2\n")),
        missing: &[("missing", "NOT NULL of domain public.lower")],
        by_own_path: &[],
        query: "SELECT count(*) FROM w",
        answer: "2",
    },
    Kind {
        name: "a domain whose check raises an error",
        sql: "CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \
              'begin return true; end'; \
              CREATE DOMAIN lower AS int CONSTRAINT fits CHECK (fits(VALUE)); \
              CREATE DOMAIN upper AS lower; \
              CREATE TABLE w (i upper[]); INSERT INTO w VALUES ('{1}'), ('{-1,2}'); \
              CREATE OR REPLACE FUNCTION fits(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS \
              $$begin if $1 < 0 then raise 'no'; end if; return true; end$$",
        edit: None,
        missing: &[(
            "not_validated",
            "check constraint fits of domain public.lower",
        )],
        by_own_path: &[],
        query: "SELECT count(*) FROM w",
        answer: "2",
    },
    Kind {
        name: "a domain whose check divides by zero",
        sql: "CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
              CREATE DOMAIN part AS int CONSTRAINT fits CHECK (fits(VALUE)); \
              CREATE TABLE w (i part); INSERT INTO w VALUES (1), (0), (2); \
              CREATE OR REPLACE FUNCTION fits(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT 1 / $1 >= 0'",
        edit: None,
        missing: &[(
            "not_validated",
            "check constraint fits of domain public.part",
        )],
        by_own_path: &[],
        query: "SELECT count(*) FROM w",
        answer: "3",
    },
    Kind {
        name: "a check of a partitioned table",
        sql: "CREATE FUNCTION even(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true'; \
              CREATE TABLE p (i int, CONSTRAINT even CHECK (even(i))) PARTITION BY RANGE (i); \
              CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
              CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20); \
              INSERT INTO p SELECT generate_series(0, 19); \
              CREATE OR REPLACE FUNCTION even(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2 = 0'",
        edit: None,
        missing: &[("not_validated", "check constraint even of public.p")],
        by_own_path: &[],
        query: "SELECT count(*) FROM p",
        answer: "20",
    },
    Kind {
        name: "an index on an expression",
        sql: "CREATE FUNCTION helper(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
              CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'begin return helper($1); end'; \
              CREATE TABLE e (i int); INSERT INTO e VALUES (1); CREATE INDEX e_f ON e (f(i))",
        edit: None,
        missing: NOTHING,
        by_own_path: &["index public.e_f"],
        query: "SELECT count(*) FROM pg_indexes WHERE indexname = 'e_f'",
        answer: "1",
    },
    Kind {
        name: "a materialized view",
        sql: "CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql STABLE AS \
              'begin return (select count(*) from fine); end'; \
              CREATE MATERIALIZED VIEW m AS SELECT total() AS n",
        edit: None,
        missing: NOTHING,
        by_own_path: &["materialized view data public.m"],
        query: "SELECT n FROM m",
        answer: "1000",
    },
    Kind {
        name: "an event trigger",
        sql: "CREATE FUNCTION deny() RETURNS event_trigger LANGUAGE plpgsql AS \
              $$begin raise exception 'nothing may be changed'; end$$; \
              CREATE TABLE after_all (i int); \
              CREATE EVENT TRIGGER deny ON ddl_command_start EXECUTE FUNCTION deny(); \
              ALTER EVENT TRIGGER deny ENABLE ALWAYS",
        edit: None,
        missing: NOTHING,
        by_own_path: &[],
        query: "SELECT evtenabled FROM pg_event_trigger",
        answer: "A",
    },
    Kind {
        name: "orphaned rows",
        sql: "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int REFERENCES parent); \
              SET session_replication_role = replica; INSERT INTO child VALUES (99)",
        edit: None,
        missing: &[("not_validated", "fk constraint public.child child_p_fkey")],
        by_own_path: &[],
        query: "SELECT p FROM child",
        answer: "99",
    },
    Kind {
        name: "duplicates",
        sql: "CREATE TABLE u (e text); CREATE UNIQUE INDEX u_e ON u (e); INSERT INTO u VALUES ('a'); \
              UPDATE pg_index SET indisready = false WHERE indexrelid = 'u_e'::regclass; \
              INSERT INTO u VALUES ('a'); \
              UPDATE pg_index SET indisready = true WHERE indexrelid = 'u_e'::regclass",
        edit: None,
        missing: &[("missing", "index public.u_e")],
        by_own_path: &[],
        query: "SELECT count(*) FROM u",
        answer: "2",
    },
    Kind {
        name: "invalid bytes",
        sql: "CREATE TABLE b (i int, t text); INSERT INTO b SELECT i, 'MARK' || i FROM generate_series(1, 50) i",
        edit: Some(("MARK17\n", "M\u{1}\n")),
        missing: &[("rows_missing", "rows of public.b")],
        by_own_path: &[],
        query: "SELECT count(*) FROM b",
        answer: "49",
    },
    Kind {
        name: "a role that is gone",
        sql: "CREATE TABLE r (i int)",
        edit: Some((
            "ALTER TABLE public.r OWNER TO ",
            "GRANT SELECT ON TABLE public.r TO nobody_at_all;\nALTER TABLE public.r OWNER TO ",
        )),
        missing: &[("missing", "table public.r")],
        by_own_path: &[],
        query: "SELECT count(*) FROM r",
        answer: "0",
    },
    Kind {
        name: "a table whose type is gone",
        sql: "CREATE TABLE bt (i int, k int); INSERT INTO bt SELECT i, i FROM generate_series(1, 5) i; \
              CREATE TABLE zz (i int); INSERT INTO zz VALUES (7)",
        edit: Some(("    k integer\n", "    k public.gone\n")),
        missing: &[
            ("missing", "owner of table public.bt"),
            ("missing", "table public.bt"),
            ("rows_missing", "rows of public.bt"),
        ],
        by_own_path: &[],
        query: "SELECT i FROM zz",
        answer: "7",
    },
    Kind {
        name: "a value that is none of its type",
        sql: "CREATE TABLE v (i int, t text); INSERT INTO v SELECT i, 'x' FROM generate_series(1, 3000) i",
        edit: Some(("\n1777\tx\n", "\nno number\tx\n")),
        missing: &[("rows_missing", "rows of public.v")],
        by_own_path: &[],
        query: "SELECT count(*) FROM v",
        answer: "2999",
    },
    Kind {
        name: "a null where none may be",
        sql: "CREATE TABLE nn (i int NOT NULL); INSERT INTO nn VALUES (42), (4711)",
        edit: Some(("\n4711\n", "\n\\N\n")),
        missing: &[("missing", "NOT NULL of public.nn.i")],
        by_own_path: &[],
        query: "SELECT count(*) FROM nn",
        answer: "2",
    },
    Kind {
        name: "a default whose function is gone",
        sql: "CREATE FUNCTION next() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
              CREATE TABLE df (i int DEFAULT next(), j int); INSERT INTO df VALUES (1, 2)",
        edit: Some(("DEFAULT public.next()", "DEFAULT public.gone()")),
        missing: &[("missing", "default of column i of table public.df")],
        by_own_path: &[],
        query: "SELECT j FROM df",
        answer: "2",
    },
];

#[test]
fn of_each_kind_that_does_not_restore_everything_comes_or_is_named() {
    let cluster = Cluster::start();
    cluster.create_database("hard");
    let operator = Operator::of(&cluster, "hard");
    let mut wrong = Vec::new();
    for kind in &KINDS {
        hard(&cluster, kind.sql);
        let backup = if let Some(edit) = kind.edit {
            dump(&cluster, &operator, edit).to_str().unwrap().to_owned()
        } else {
            wait_for_the_next_second();
            operator.back_up();
            operator.list().into_iter().max().unwrap()
        };
        let arguments = ["--json", "restore", &backup, "--salvage", "--into", "copy"];
        let output = operator.run(&arguments);
        let report: Value = serde_json::from_str(&output.stdout).unwrap_or_default();
        let by_own_path = pairs(&report["needs_own_search_path"]).into_iter();
        let by_own_path: Vec<String> = by_own_path.map(|(_, object)| object).collect();
        let fine = "SELECT count(*) FROM fine WHERE EXISTS (SELECT FROM pg_indexes WHERE indexname = 'fine_pkey')";
        let found = (
            output.code,
            pairs(&report["missing"]),
            by_own_path,
            cluster.psql_in("copy", fine),
            cluster.psql_in("copy", kind.query),
            databases(&cluster),
        );
        let missing = kind.missing.iter();
        let missing = missing.map(|(state, object)| ((*state).to_owned(), (*object).to_owned()));
        let expected = (
            if kind.missing.is_empty() { 0 } else { 65 },
            missing.collect::<Vec<_>>(),
            kind.by_own_path.iter().map(ToString::to_string).collect(),
            "1000".to_owned(),
            kind.answer.to_owned(),
            vec!["copy".to_owned(), "hard".to_owned()],
        );
        if found != expected {
            wrong.push(format!("{}:\n{found:?}\n{expected:?}\n{output}", kind.name));
        }
        drop_copy(&cluster);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is left to be done is in files that nobody else reads, and doing it makes the database complete.
#[test]
fn what_is_left_is_done_by_running_the_files() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE v (i int, t text); INSERT INTO v SELECT i, 'x' FROM generate_series(1, 3000) i; \
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int REFERENCES parent); \
         SET session_replication_role = replica; INSERT INTO child VALUES (99)",
    );
    let operator = Operator::of(&cluster, "hard");
    let path = dump(&cluster, &operator, ("\n1777\tx\n", "\nno number\tx\n"));
    let (report, output) = salvage(&operator, path.to_str().unwrap(), 65);
    let file = |key: &str| PathBuf::from(report[key].as_str().unwrap());
    let (todo, rows) = (file("todo"), file("refused_rows"));
    for path in [&todo, &rows] {
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{output}");
    }
    let text = fs::read_to_string(&rows).unwrap();
    assert!(
        text.contains("COPY public.v (i, t) FROM stdin;\nno number\tx\n\\.\n"),
        "{text}"
    );
    fs::write(&rows, text.replace("no number", "1777")).unwrap();
    cluster.psql_in("copy", "INSERT INTO parent VALUES (99)");
    let todo = fs::read_to_string(&todo).unwrap();
    assert!(todo.contains("VALIDATE CONSTRAINT child_p_fkey;"), "{todo}");
    let script = operator.path("salvage.sql");
    let rows_name = rows.file_name().unwrap().to_str().unwrap();
    fs::write(&script, todo.replace(rows_name, rows.to_str().unwrap())).unwrap();
    let ran = cluster
        .command("psql")
        .args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", "copy"])
        .stdin(Stdio::from(fs::File::open(&script).unwrap()))
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert_eq!(cluster.psql_in("copy", "SELECT count(*) FROM v"), "3000");
    let validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'child_p_fkey'";
    assert_eq!(cluster.psql_in("copy", validated), "t");
}

/// A hostile dump reaches no more than by a restore: what reaches beyond the database is not sent.
#[test]
fn what_reaches_beyond_the_database_is_not_sent_and_is_named() {
    let cluster = Cluster::start();
    hard(&cluster, "SELECT 1");
    let operator = Operator::of(&cluster, "hard");
    let witness = operator.path("witness");
    let hostile = format!(
        "CREATE ROLE evil SUPERUSER;\nALTER SYSTEM SET port = 1;\n\\! touch {0}\nDROP DATABASE hard;\n\
         COPY public.fine TO PROGRAM 'touch {0}';\nDO $$ BEGIN CREATE ROLE evil2; END $$;\n\
         \\connect postgres\nGRANT pg_write_server_files TO public;\nSELECT pg_reload_conf();\n\
         ALTER DATABASE hard RENAME TO gone;\nSELECT 1; CREATE ROLE evil3;\n\
         ALTER TABLE public.fine OWNER TO ",
        witness.display()
    );
    let path = dump(
        &cluster,
        &operator,
        ("ALTER TABLE public.fine OWNER TO ", &hostile),
    );
    let (report, output) = salvage(&operator, path.to_str().unwrap(), 65);
    let not_sent = pairs(&report["missing"]);
    assert!(not_sent.len() >= 10, "{output}");
    assert!(
        not_sent.iter().all(|(state, _)| state == "not_sent"),
        "{output}"
    );
    assert!(!witness.exists(), "{output}");
    assert_eq!(
        cluster.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'evil%'"),
        "0"
    );
    assert_eq!(
        cluster.psql("SELECT count(*) FROM pg_file_settings WHERE name = 'port' AND setting = '1'"),
        "0"
    );
    assert_eq!(databases(&cluster), ["copy", "hard"]);
    assert_eq!(cluster.psql_in("copy", "SELECT count(*) FROM fine"), "1000");
    // There is nothing to run.
    assert_eq!(report["todo"], Value::Null, "{output}");
}

/// Schemas, tables and columns may have names that are no UTF-8: their rows come as any others.
#[test]
fn rows_of_tables_with_names_in_other_encodings_come() {
    let cluster = Cluster::start();
    for encoding in ["SQL_ASCII", "LATIN1"] {
        cluster.psql("DROP DATABASE IF EXISTS hard");
        cluster.psql(&format!(
            "CREATE DATABASE hard ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ));
        let sql = [
            format!("SET client_encoding = '{encoding}';").as_bytes(),
            b"CREATE SCHEMA \"s\xe9\"; CREATE TABLE \"s\xe9\".\"caf\xe9\" ( \
              id int GENERATED ALWAYS AS IDENTITY, \"\xff\xfe\" text, n int); \
              INSERT INTO \"s\xe9\".\"caf\xe9\" (\"\xff\xfe\", n) VALUES ('\xe8', 1), ('b', 4711), (NULL, 3); \
              CREATE TABLE plain (a int, g int GENERATED ALWAYS AS (a * 2) STORED, \"\xe8\" text); \
              INSERT INTO plain VALUES (1, DEFAULT, '\xe9\\'), (2, DEFAULT, 'x');",
        ]
        .concat();
        feed(&cluster, "hard", &sql);
        let operator = Operator::of(&cluster, "hard");
        let backup = operator.back_up();
        let (report, output) = salvage(&operator, &backup, 0);
        assert_eq!(report["rows"], 5, "{encoding}: {output}");
        drop_copy(&cluster);
        for arguments in [
            ["--create", "--load-via-partition-root"],
            ["--create", "--inserts"],
        ] {
            let dumped = cluster
                .command("pg_dump")
                .args(arguments)
                .arg("hard")
                .output()
                .unwrap();
            assert!(dumped.status.success());
            let at = memchr::memmem::find(&dumped.stdout, b"4711").unwrap();
            let number: &[u8] = if arguments[1] == "--inserts" {
                b"'no number'"
            } else {
                b"no number"
            };
            let text = [&dumped.stdout[..at], number, &dumped.stdout[at + 4..]].concat();
            let path = operator.path("hard.sql");
            fs::write(&path, text).unwrap();
            let (report, output) = salvage(&operator, path.to_str().unwrap(), 65);
            assert_eq!(report["rows"], 4, "{encoding}: {output}");
            let missing = report["missing"].as_array().unwrap();
            assert_eq!(missing.len(), 1, "{encoding}: {output}");
            assert_eq!(missing[0]["rows"], 1, "{encoding}: {output}");
            let rows = fs::read(report["refused_rows"].as_str().unwrap()).unwrap();
            assert!(
                memchr::memmem::find(&rows, b"no number").is_some(),
                "{output}"
            );
            assert!(
                memchr::memmem::find(&rows, b"caf\xe9").is_some(),
                "{output}"
            );
            drop_copy(&cluster);
        }
    }
}

/// Thousands of refused rows in a row take none with them that the server would take.
#[test]
fn behind_thousands_of_refused_rows_the_others_come() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE v (i int, k int); INSERT INTO v SELECT i, i FROM generate_series(1, 4000) i",
    );
    let operator = Operator::of(&cluster, "hard");
    let path = dump(&cluster, &operator, ("\n1\t1\n", "\n1\t1\n"));
    let text = fs::read_to_string(&path).unwrap();
    let (before, rows) = text
        .split_once("COPY public.v (i, k) FROM stdin;\n")
        .unwrap();
    let mut bad = format!("{before}COPY public.v (i, k) FROM stdin;\n");
    for (number, line) in rows.split_inclusive('\n').enumerate() {
        if (1000..2300).contains(&number) {
            bad.push_str("no ");
        }
        bad.push_str(line);
    }
    fs::write(&path, bad).unwrap();
    let (report, output) = salvage(&operator, path.to_str().unwrap(), 65);
    let there: u64 = cluster
        .psql_in("copy", "SELECT count(*) FROM v")
        .parse()
        .unwrap();
    // The rows before them all come, and of those behind at most one group is missing.
    assert!((2698..=2700).contains(&there), "{there}: {output}");
    let refused = fs::read_to_string(report["refused_rows"].as_str().unwrap()).unwrap();
    let kept = refused.lines().filter(|line| line.contains('\t')).count() as u64;
    assert_eq!(kept + there, 4000, "{output}");
}

/// Rows as INSERT statements come one by one; one that is refused is kept, and the others are counted.
#[test]
fn of_rows_as_insert_statements_the_others_come() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE \"V w\" (i int, t text); INSERT INTO \"V w\" SELECT i, 'x' FROM generate_series(1, 30) i",
    );
    let operator = Operator::of(&cluster, "hard");
    let path = operator.path("inserts.sql");
    let output = cluster
        .command("pg_dump")
        .args(["--inserts", "hard"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let bad = text.replace("VALUES (17, 'x');", "VALUES ('no number', 'x');");
    assert_ne!(bad, text);
    fs::write(&path, &bad).unwrap();
    let (report, output) = salvage(&operator, path.to_str().unwrap(), 65);
    let missing = pairs(&report["missing"]);
    let expected = (
        "rows_missing".to_owned(),
        "rows of public.\"V w\"".to_owned(),
    );
    assert_eq!(missing, [expected], "{output}");
    assert_eq!(report["missing"][0]["rows"], 1, "{output}");
    assert_eq!(
        cluster.psql_in("copy", "SELECT count(*) FROM \"V w\""),
        "29"
    );
    let rows = fs::read_to_string(report["refused_rows"].as_str().unwrap()).unwrap();
    assert!(
        rows.contains("INSERT INTO public.\"V w\" VALUES ('no number', 'x');\n"),
        "{rows}"
    );
    drop_copy(&cluster);
    fs::write(&path, text).unwrap();
    let (report, output) = salvage(&operator, path.to_str().unwrap(), 0);
    assert_eq!(report["rows"], 1030, "{output}");
}
