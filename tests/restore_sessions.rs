//! A dump in plain format is loaded over several sessions, and nobody can tell by the result.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::support::cluster::{Cluster, wait_until};
use crate::support::drill::open_directory;
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::restored::{assert_untouched, beginning_with, databases, small, value};
use crate::support::sample::feed;

/// Makes an index of a table that waits, where it is restored, for a second one to be made next to it.
const MEETING: &str = "
    CREATE TABLE left_one (a int); INSERT INTO left_one VALUES (1);
    CREATE TABLE right_one (a int); INSERT INTO right_one VALUES (1);
    CREATE FUNCTION meet(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN a; END';
    CREATE INDEX left_index ON left_one (meet(a));
    CREATE INDEX right_index ON right_one (meet(a));
    CREATE OR REPLACE FUNCTION meet(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_catalog.current_query() NOT LIKE 'CREATE INDEX%' THEN
            RETURN a;
        END IF;
        PERFORM pg_catalog.pg_advisory_lock_shared(1);
        FOR tries IN 1 .. 600 LOOP
            IF (SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory') >= 2 THEN
                RETURN a;
            END IF;
            PERFORM pg_catalog.pg_sleep(0.05);
        END LOOP;
        RAISE EXCEPTION 'nobody came';
    END $$;";

/// Counts the psqls that are started: one line each, with its arguments.
fn count_psqls(operator: &mut Operator) {
    let script = "echo \"$*\" >> \"$directory/started\"; exec \"$real\" \"$@\"";
    operator.stand_in("psql", script);
}

fn started(operator: &Operator) -> Vec<String> {
    let path = operator.path("started");
    let text = fs::read_to_string(&path).unwrap_or_default();
    fs::remove_file(path).ok();
    text.lines().map(str::to_owned).collect()
}

fn plain_dump(cluster: &Cluster, operator: &Operator, database: &str) -> std::path::PathBuf {
    let dump = operator.path("dump.sql");
    let mut command = cluster.command("pg_dump");
    let status = command.arg("-f").arg(&dump).arg(database).status();
    assert!(status.unwrap().success());
    dump
}

#[test]
fn indexes_are_made_side_by_side_by_as_many_sessions_as_are_wanted() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql_in("app", MEETING);
    let dump = plain_dump(&cluster, &operator, "app");
    let dump = dump.to_str().unwrap();
    count_psqls(&mut operator);
    let output = operator.run(&["restore", dump, "--into", "two"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(started(&operator).len(), 2, "as dump.jobs says by itself");
    let names = "SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM pg_index \
                  WHERE indrelid IN ('left_one'::regclass, 'right_one'::regclass) AND indisvalid";
    assert_eq!(cluster.psql_in("two", names), "left_index right_index");

    // Nobody else comes to a session that is alone.
    cluster.psql_in(
        "app",
        "CREATE OR REPLACE FUNCTION meet(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql \
         AS 'BEGIN RETURN a; END'",
    );
    plain_dump(&cluster, &operator, "app");
    operator.set_value("dump.jobs", 1);
    let output = operator.run(&["restore", dump, "--into", "one"]);
    assert_eq!(output.code, 0, "{output}");
    let only = started(&operator);
    assert_eq!(only.len(), 1, "{only:?}");
    assert!(only[0].contains("--output=/dev/null"), "{only:?}");
}

#[test]
fn no_commit_of_a_load_waits_for_the_disk_unless_the_operator_says_so() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.stand_in(
        "psql",
        "echo \"$PGOPTIONS\" >> \"$directory/started\"; exec \"$real\" \"$@\"",
    );
    let output = operator.run(&["restore", "--latest", "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    let options = started(&operator);
    assert!(
        options[0].starts_with("-c synchronous_commit=off -c "),
        "{options:?}"
    );
    // What the operator says comes last, and counts.
    operator.set("connection.options", "-c synchronous_commit=local");
    let output = operator.run(&["restore", "--latest", "--into", "other"]);
    assert_eq!(output.code, 0, "{output}");
    let options = started(&operator);
    assert!(
        options[0].rfind("synchronous_commit=local") > options[0].rfind("synchronous_commit=off"),
        "{options:?}"
    );
}

#[test]
fn an_index_that_cannot_be_made_is_named_with_its_line_and_the_database_serves() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE TABLE double (a int); INSERT INTO double SELECT 1 FROM generate_series(1, 2); \
         CREATE INDEX double_a ON double (a); CREATE INDEX t_v ON t (v); CREATE INDEX t_w ON t (v)",
    );
    let path = plain_dump(&cluster, &operator, "app");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("CREATE INDEX double_a", "CREATE UNIQUE INDEX double_a");
    fs::write(&path, &text).unwrap();
    let line = text
        .lines()
        .position(|line| line.starts_with("CREATE UNIQUE INDEX double_a"));
    let output = operator.run(&[
        "restore",
        path.to_str().unwrap(),
        "--database",
        "app",
        "--yes",
    ]);
    assert_eq!(output.code, 65, "{output}");
    let expected = format!(
        "the backup could not be loaded: psql ended with status 3: line {0}: could not create unique \
         index \"double_a\" (SQLSTATE 23505, schema public, table double, constraint double_a)\n\
         hint: `pgbackupd restore {1} --salvage --into app_salvaged` salvages what it holds\n\
         full output:\n\
         psql:<stdin>:{0}: ERROR:  could not create unique index \"double_a\"\n\
         DETAIL:  Key (a)=(1) is duplicated.",
        line.unwrap() + 1,
        path.display()
    );
    assert!(output.stderr.contains(&expected), "{output}");
    assert_eq!(output.stderr.matches("ERROR:").count(), 1, "{output}");
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn rows_that_the_server_quotes_are_on_the_terminal_and_in_the_incident_report_alone() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE TABLE marked (k text, n text); INSERT INTO marked VALUES ('marker7', '8');",
    );
    let path = plain_dump(&cluster, &operator, "app");
    let text = fs::read_to_string(&path).unwrap();
    // A function may choose any code.
    let raising = "CREATE FUNCTION public.see(k text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE \
                   check_violation USING MESSAGE = k; END';\nCREATE TABLE public.marked (\n    k text \
                   CHECK (public.see(k)),";
    for (code, from, to) in [
        ("23505", "marker7\t8\n", "marker7\t8\nmarker7\t8\n"),
        ("23514", "    n text\n", "    n text CHECK (n <> '8')\n"),
        ("22P02", "    k text,", "    k int,"),
        (
            "23514",
            "CREATE TABLE public.marked (\n    k text,",
            raising,
        ),
    ] {
        let mut broken = text.replace(from, to);
        if code == "23505" {
            broken = broken.replace("    k text,", "    k text PRIMARY KEY,");
        }
        assert_ne!(broken, text);
        fs::write(&path, &broken).unwrap();
        let output = operator.run(&["restore", path.to_str().unwrap(), "--into", "beside"]);
        assert_eq!(output.code, 65, "{code} by {to:?}: {output}");
        assert!(output.stderr.contains("marker7"), "{output}");
        assert!(output.stderr.contains(code), "{output}");
        let (mut recorded, mut reported) = (String::new(), String::new());
        for file in all_files(&operator.path("")) {
            let bytes = fs::read(&file).unwrap_or_default();
            if is_incident_report(&file) {
                reported.push_str(&String::from_utf8_lossy(&bytes));
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
                fs::remove_file(&file).unwrap();
            } else if file != path {
                recorded.push_str(&String::from_utf8_lossy(&bytes));
            }
        }
        assert!(
            recorded.contains(&format!("SQLSTATE {code}")),
            "{code}: {recorded}"
        );
        assert!(!recorded.contains("marker7"), "{code}: {recorded}");
        assert!(reported.contains("marker7"), "{code}: {reported}");
        for arguments in [["status"].as_slice(), &["status", "--json"], &["list"]] {
            let output = operator.run(arguments);
            assert!(!output.to_string().contains("marker7"), "{output}");
        }
    }
}

fn is_incident_report(file: &std::path::Path) -> bool {
    let name = file.file_name().unwrap().to_string_lossy();
    name.starts_with("incident_")
}

fn all_files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries {
        if path.is_dir() && !path.is_symlink() {
            found.extend(all_files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_line_behind_the_indexes_is_that_of_the_dump() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE TABLE u (id int REFERENCES t); CREATE INDEX u_1 ON u (id); \
         CREATE INDEX u_2 ON u (id); CREATE INDEX u_3 ON u (id)",
    );
    let path = plain_dump(&cluster, &operator, "app");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("REFERENCES public.t(id)", "REFERENCES public.gone(id)");
    fs::write(&path, &text).unwrap();
    let line = text.lines().position(|line| line.contains("public.gone"));
    let output = operator.run(&["restore", path.to_str().unwrap(), "--into", "beside"]);
    assert_eq!(output.code, 65, "{output}");
    let expected = format!(
        "psql:<stdin>:{}: ERROR:  relation \"public.gone\" does not exist",
        line.unwrap() + 1
    );
    assert!(output.stderr.contains(&expected), "{output}");
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn killed_while_indexes_are_made_it_leaves_what_the_next_one_sweeps_up() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    // Two indexes that are made only as soon as a file is there.
    let gate = operator.path("gate");
    rustix::fs::chmod(operator.path(""), 0o755.into()).unwrap();
    cluster.psql_in(
        "app",
        &MEETING.replace(
            "SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory') >= 2",
            &format!(
                "SELECT size FROM pg_catalog.pg_stat_file('{}', true)) = 0",
                gate.display()
            ),
        ),
    );
    operator.back_up();
    let running = operator.spawn(&["restore", "--latest", "--yes"]);
    let at_work = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgbackupd%' \
                    AND state = 'active' AND query LIKE 'CREATE INDEX%'";
    wait_until("two sessions make indexes", || cluster.psql(at_work) == "2");
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    operator.assert_no_processes();
    assert_eq!(value(&cluster, "app"), "as it stands");
    beginning_with(&cluster, "app_restoring_");

    fs::write(&gate, "").unwrap();
    wait_until("the server has done", || cluster.psql(at_work) == "0");
    let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(databases(&cluster), ["app"]);
}

#[test]
fn where_the_server_takes_no_more_sessions_one_is_enough() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "DO $$ BEGIN FOR n IN 1 .. 20 LOOP EXECUTE format('CREATE INDEX i_%s ON t (v)', n); \
         END LOOP; END $$",
    );
    let dump = plain_dump(&cluster, &operator, "app");
    operator.stand_in(
        "psql",
        "if test -e \"$directory/started\"; then \
             echo 'psql: error: FATAL:  sorry, too many clients already' >&2; exit 2; \
         fi; : > \"$directory/started\"; exec \"$real\" \"$@\"",
    );
    operator.set_value("dump.jobs", 4);
    let output = operator.run(&["restore", dump.to_str().unwrap(), "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn a_signal_ends_all_sessions() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    cluster.psql_in("app", &MEETING.replace(">= 2", ">= 9"));
    operator.back_up();
    let running = operator.spawn(&["restore", "--latest", "--yes"]);
    let at_work = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                    AND query LIKE 'CREATE INDEX%'";
    wait_until("two sessions make indexes", || cluster.psql(at_work) == "2");
    running.signal(Signal::TERM);
    let output = running.wait();
    assert!(output.stderr.contains("interrupted"), "{output}");
    assert_untouched(&cluster, &operator, "app");
}

/// What has indexes in every way: of partitions, with comments, elsewhere.
const EVERYTHING: &str = "
    CREATE EXTENSION btree_gist;
    CREATE TABLE part (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')
        PARTITION BY LIST (id);
    CREATE TABLE part_2_1 PARTITION OF part_2 FOR VALUES IN (1);
    CREATE TABLE part_2_2 PARTITION OF part_2 FOR VALUES IN (2);
    INSERT INTO part SELECT 1 + n % 2, date '2026-01-01' + n / 2 FROM generate_series(0, 99) n;
    CREATE INDEX part_at ON part (at); CREATE UNIQUE INDEX part_both ON part (at, id);
    CREATE INDEX part_1_own ON part_1 (id);
    CREATE TABLE parent (id int PRIMARY KEY, v text);
    CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
    CREATE TABLE booking (room int, during tsrange CONSTRAINT \"no two\" NOT NULL,
        CONSTRAINT \"not, twice; ever\" EXCLUDE USING gist (room WITH =, during WITH &&) WHERE (room > 0));
    COMMENT ON CONSTRAINT \"not, twice; ever\" ON booking IS 'a room; one guest';
    CREATE INDEX booking_far ON booking (room) TABLESPACE aside;
    CREATE INDEX booking_near ON booking (during);
    CREATE INDEX \"booking; 'very' far\" ON booking (lower(during)) TABLESPACE aside WHERE room <> 7;
    COMMENT ON INDEX \"booking; 'very' far\" IS E'a ''comment'';\\n\\\\. -- with lines';
    CREATE TABLE code (a text UNIQUE NULLS NOT DISTINCT DEFERRABLE, b text) ;
    ALTER TABLE code ALTER a SET NOT NULL;
    CREATE UNIQUE INDEX code_id ON code (a); ALTER TABLE code REPLICA IDENTITY USING INDEX code_id;
    CREATE INDEX code_b ON code (b); ALTER TABLE code CLUSTER ON code_b;
    CREATE INDEX code_expression ON code ((a || b), b); ALTER INDEX code_expression ALTER 1 SET STATISTICS 99;
    CREATE MATERIALIZED VIEW view AS SELECT id, count(*) FROM part GROUP BY id;
    CREATE UNIQUE INDEX view_id ON view (id);
    CREATE TABLE refers (id int, at date, FOREIGN KEY (id, at) REFERENCES part);
    CREATE INDEX refers_id ON refers (id);
    CREATE VIEW functional AS SELECT id, v FROM parent GROUP BY id;
    CREATE STATISTICS several ON room, during FROM booking;";

#[test]
fn indexes_of_every_kind_come_back_over_four_sessions() {
    let cluster = Cluster::start();
    let place = cluster.socket_directory().join("tablespace");
    cluster.psql(&format!(
        "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -m 0700 {0}';\n\
         CREATE TABLESPACE aside LOCATION '{0}';",
        place.display()
    ));
    cluster.create_database("app");
    feed(&cluster, "app", EVERYTHING.as_bytes());
    let mut operator = Operator::of(&cluster, "app");
    operator.set_value("dump.jobs", 4);
    operator.back_up();
    count_psqls(&mut operator);
    let output = operator.run(&["restore", "--latest", "--into", "copy"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stderr.contains("differ"), "{output}");
    assert!(started(&operator).len() > 1);
    let indexes = "SELECT string_agg(concat_ws(' ', indexrelid::regclass, indisvalid, reltablespace, \
                     obj_description(indexrelid, 'pg_class'), relispartition), '|' ORDER BY \
                     indexrelid::regclass::text) FROM pg_index JOIN pg_class c ON c.oid = indexrelid \
                    WHERE relnamespace = 'public'::regnamespace";
    let of_the_copy = cluster.psql_in("copy", indexes);
    assert!(of_the_copy.contains("part_2_1_at_idx t"), "{of_the_copy}");
    assert_eq!(of_the_copy, cluster.psql_in("app", indexes));
}

#[test]
fn names_in_other_encodings_come_back() {
    let cluster = Cluster::start();
    for (name, encoding) in [("latin", "LATIN1"), ("ascii", "SQL_ASCII")] {
        cluster.psql(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        ));
        let mut sql = format!("SET client_encoding = '{encoding}';\n").into_bytes();
        for number in b"1234" {
            sql.extend_from_slice(b"CREATE TABLE \"caf\xe9 ");
            sql.push(*number);
            sql.extend_from_slice(b"\" (a text PRIMARY KEY); CREATE INDEX \"\xfc");
            sql.push(*number);
            sql.extend_from_slice(b"\" ON \"caf\xe9 ");
            sql.push(*number);
            sql.extend_from_slice(b"\" ((a || '\xe9;')); COMMENT ON INDEX \"\xfc");
            sql.push(*number);
            sql.extend_from_slice(b"\" IS '\xe4';\n");
        }
        feed(&cluster, name, &sql);
        let mut operator = Operator::of(&cluster, name);
        operator.set_value("dump.jobs", 3);
        operator.back_up();
        count_psqls(&mut operator);
        let output = operator.run(&["restore", "--latest", "--yes"]);
        assert_eq!(output.code, 0, "{name}: {output}");
        assert!(started(&operator).len() > 1, "{name}");
    }
}

/// Two constraints whose functions read each other's table, once both are being made.
const CIRCLE: &str = "
    CREATE TABLE left_one (a int); INSERT INTO left_one VALUES (1);
    CREATE TABLE right_one (a int); INSERT INTO right_one VALUES (1);
    CREATE FUNCTION meet() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_catalog.pg_advisory_lock_shared(1);
        FOR tries IN 1 .. 60 LOOP
            EXIT WHEN (SELECT count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory') >= 2;
            PERFORM pg_catalog.pg_sleep(0.05);
        END LOOP;
    END $$;
    CREATE FUNCTION of_left(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN a; END';
    CREATE FUNCTION of_right(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN a; END';
    ALTER TABLE left_one ADD CONSTRAINT left_x EXCLUDE USING btree (of_left(a) WITH =);
    ALTER TABLE right_one ADD CONSTRAINT right_x EXCLUDE USING btree (of_right(a) WITH =);
    COMMENT ON CONSTRAINT left_x ON left_one IS 'on the left';
    COMMENT ON CONSTRAINT right_x ON right_one IS 'on the right';
    CREATE OR REPLACE FUNCTION of_left(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_catalog.current_query() LIKE '%ADD CONSTRAINT left_x%' THEN
            PERFORM public.meet();
            PERFORM FROM public.right_one;
        END IF;
        RETURN a;
    END $$;
    CREATE OR REPLACE FUNCTION of_right(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_catalog.current_query() LIKE '%ADD CONSTRAINT right_x%' THEN
            PERFORM public.meet();
            PERFORM FROM public.left_one;
        END IF;
        RETURN a;
    END $$;";

#[test]
fn constraints_that_wait_for_each_other_are_made_one_after_the_other() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql_in("app", CIRCLE);
    cluster.psql_in("app", "UPDATE t SET v = 'as backed up'");
    operator.set_value("dump.jobs", 2);
    operator.set_value("drill.jobs", 2);
    wait_for_the_next_second();
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(cluster.log().contains("deadlock detected"));
    assert_eq!(value(&cluster, "app"), "as backed up");
    let comments = "SELECT string_agg(obj_description(oid, 'pg_constraint'), ', ' ORDER BY 1) \
                      FROM pg_constraint WHERE contype = 'x'";
    assert_eq!(
        cluster.psql_in("app", comments),
        "on the left, on the right"
    );
    let place = open_directory();
    operator.set("drill.directory", place.path().display());
    let output = operator.run(&["drill"]);
    assert_eq!(output.code, 0, "{output}");
}

/// Whoever may not choose the language of messages gets the second attempt too: the SQLSTATE is in none.
#[test]
fn a_deadlock_is_known_in_any_language() {
    let cluster = Cluster::start();
    if !cluster.speaks_german() {
        return;
    }
    let mut operator = small(&cluster, "app");
    cluster.psql_in("app", CIRCLE);
    let dump = operator.path("dump.sql");
    let mut command = cluster.command("pg_dump");
    let status = command
        .args(["--no-owner", "-f"])
        .arg(&dump)
        .arg("app")
        .status();
    assert!(status.unwrap().success());
    cluster.psql(
        "CREATE ROLE maker LOGIN CREATEDB; ALTER SYSTEM SET lc_messages = 'de_DE.UTF-8'; \
         SELECT pg_reload_conf()",
    );
    operator.set("connection.user", "maker");
    operator.set_value("dump.jobs", 2);
    let output = operator.run(&["restore", dump.to_str().unwrap(), "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(cluster.log().contains("Verklemmung"), "{}", cluster.log());
    assert_eq!(value(&cluster, "beside"), "as it stands");
}

/// What was done first waits for the others, and then goes on.
#[test]
fn a_session_may_be_idle_while_others_make_their_indexes() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE FUNCTION slow(a int, seconds float) RETURNS int IMMUTABLE LANGUAGE plpgsql \
           AS 'BEGIN PERFORM pg_catalog.pg_sleep(seconds); RETURN a; END'; \
         CREATE INDEX a_first ON t (slow(id, 0.5)); CREATE TABLE u (id int); \
         INSERT INTO u VALUES (1); CREATE INDEX b_then ON u (slow(id, 2)); \
         ALTER TABLE u ADD FOREIGN KEY (id) REFERENCES t; UPDATE t SET v = 'as backed up'; \
         ALTER ROLE postgres SET idle_session_timeout = '300ms'",
    );
    operator.set_value("dump.jobs", 2);
    wait_for_the_next_second();
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
}

#[test]
fn no_event_trigger_fires_while_a_dump_is_loaded_whatever_it_was_declared() {
    let cluster = Cluster::start();
    cluster.create_database("loud");
    cluster.psql_in(
        "loud",
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100); \
         CREATE INDEX more ON t ((id + 1)); \
         CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t; \
         CREATE FUNCTION shout() RETURNS event_trigger LANGUAGE plpgsql \
           AS $$ BEGIN RAISE EXCEPTION 'fired by %', tg_tag; END $$; \
         CREATE EVENT TRIGGER \"an \"\"ordinary\" ON ddl_command_start EXECUTE FUNCTION shout(); \
         CREATE EVENT TRIGGER \"always; it\" ON ddl_command_start EXECUTE FUNCTION shout(); \
         CREATE EVENT TRIGGER replica ON ddl_command_end EXECUTE FUNCTION shout(); \
         CREATE EVENT TRIGGER never ON ddl_command_end EXECUTE FUNCTION shout(); \
         ALTER EVENT TRIGGER \"always; it\" ENABLE ALWAYS; \
         ALTER EVENT TRIGGER replica ENABLE REPLICA; ALTER EVENT TRIGGER never DISABLE",
    );
    let states = |database: &str| {
        let sql = "SELECT string_agg(evtname || ' ' || evtenabled::text, ', ' ORDER BY evtname) FROM pg_event_trigger";
        cluster.psql_in(database, sql)
    };
    for (format, jobs) in [("plain", 1), ("plain", 2), ("custom", 2), ("directory", 1)] {
        let mut operator = Operator::of(&cluster, "loud");
        operator.set("programs", crate::support::cluster::binaries().display());
        operator.set("dump.format", format);
        operator.set_value("dump.jobs", jobs);
        let stem = operator.back_up();
        let output = operator.run(&["restore", &stem, "--into", "quiet", "--yes"]);
        assert_eq!(output.code, 0, "{format} {jobs}: {output}");
        assert_eq!(states("quiet"), states("loud"), "{format} {jobs}");
        assert_eq!(cluster.psql_in("quiet", "SELECT count FROM m"), "100");
        cluster.psql("DROP DATABASE quiet");
    }
}
