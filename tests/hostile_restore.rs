//! A restore sends only what belongs to the one database that it made: whatever else a dump holds, it
//! is refused before anything is touched, in whatever way the restore is asked for, with line and
//! statement; and a file that changes after it was read is stopped before what is refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::path::Path;

use support::cluster::Cluster;
use support::drill::operator as drilling;
use support::operator::Operator;
use support::restored::beginning_with;

/// Everything on a server that no restore of a dump may change: databases with their attributes, roles,
/// settings, rows of the database that serves, and the files of its configuration.
fn server(cluster: &Cluster) -> String {
    let catalogue = cluster.psql(
        "SELECT string_agg(d::text, E'\\n' ORDER BY oid) FROM (SELECT oid, datname, datdba, datistemplate, \
         datallowconn, datconnlimit, datacl, shobj_description(oid, 'pg_database') FROM pg_database) AS d; \
         SELECT string_agg(r::text, E'\\n' ORDER BY rolname) FROM pg_authid AS r; \
         SELECT string_agg(m::text, E'\\n') FROM pg_auth_members AS m; \
         SELECT string_agg(s::text, E'\\n') FROM pg_db_role_setting AS s; \
         SELECT string_agg(s::text, E'\\n') FROM pg_parameter_acl AS s; \
         SELECT string_agg(spcname, E'\\n') FROM pg_tablespace",
    );
    let rows = cluster.psql_in("live", "SELECT count(*), sum(id) FROM orders");
    let files = ["postgresql.auto.conf", "postgresql.conf", "pg_hba.conf"];
    let files = files.map(|name| fs::read_to_string(cluster.data_directory().join(name)).unwrap());
    format!("{catalogue}\n{rows}\n{}", files.concat())
}

/// A database that serves, whose dump is older than it is.
fn live(cluster: &Cluster) -> Operator {
    cluster.psql("CREATE ROLE app_owner; CREATE ROLE idle; CREATE DATABASE live OWNER app_owner");
    cluster.psql_in(
        "live",
        "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT generate_series(1, 10)",
    );
    Operator::of(cluster, "live")
}

/// What one of `PostgreSQL`'s programs writes.
fn output_of(cluster: &Cluster, program: &str, arguments: &[&str]) -> String {
    let output = cluster.command(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Restores a file in every way; each is refused with these words, and with the server as before.
fn assert_refused(cluster: &Cluster, operator: &Operator, file: &Path, words: &[&str]) {
    let before = server(cluster);
    let file = file.display().to_string();
    for way in [
        vec!["--into", "look"],
        vec!["--into", "look", "--plan"],
        vec!["--into", "look", "--accept-unexpected"],
        vec!["--database", "live", "--yes"],
        vec!["--database", "live", "--table", "orders", "--yes"],
    ] {
        let mut arguments = vec!["restore", file.as_str()];
        arguments.extend(&way);
        let output = operator.run(&arguments);
        assert_eq!(output.code, 65, "{way:?}: {output}");
        for word in words {
            assert!(output.stderr.contains(word), "{word:?} {way:?}: {output}");
        }
        assert!(!output.stderr.contains("secret"), "{output}");
        assert_eq!(server(cluster), before, "{way:?}: {output}");
    }
}

#[test]
fn a_dump_that_reaches_beyond_its_database_is_refused_before_anything_is_touched() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    let file = operator.path("nightly.sql");
    let create = ["make the dump again without --create", "hint:"];
    let clean_create = ["--create", "--clean", "--if-exists", "live"];
    let whole = output_of(&cluster, "pg_dump", &clean_create);
    cluster.psql_in("live", "INSERT INTO orders SELECT generate_series(11, 15)");
    for (text, words) in [
        (
            whole,
            &[&create[..], &["DROP DATABASE IF EXISTS live"]].concat(),
        ),
        (
            output_of(&cluster, "pg_dump", &["--create", "live"]),
            &[&create[..], &["CREATE DATABASE live WITH"]].concat(),
        ),
        (
            output_of(&cluster, "pg_dumpall", &[]),
            &vec!["CREATE ROLE", "output of pg_dumpall"],
        ),
        (
            output_of(
                &cluster,
                "pg_dumpall",
                &["--globals-only", "--clean", "--if-exists"],
            ),
            &vec!["DROP ROLE IF EXISTS", "output of pg_dumpall"],
        ),
        (
            "--\n-- roles\n--\n\nCREATE ROLE made SUPERUSER LOGIN PASSWORD 'secret';\n".to_owned(),
            &vec!["line 5, CREATE ROLE made SUPERUSER LOGIN PASSWORD …"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        assert_refused(&cluster, &operator, &file, words);
    }
}

#[test]
fn whatever_is_put_into_a_dump_is_refused_with_its_line() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    let dump = output_of(&cluster, "pg_dump", &["live"]);
    let at = dump.find("--\n-- Name: orders; Type: TABLE;").unwrap();
    let line = dump[..at].matches('\n').count() + 1;
    let out = operator.path("out");
    let out = out.display();
    let file = operator.path("hostile.sql");
    let before = server(&cluster);
    for (hostile, shown) in [
        (
            "ALTER SYSTEM SET work_mem TO '1MB';".to_owned(),
            "ALTER SYSTEM SET work_mem TO …",
        ),
        (
            "GRANT pg_read_server_files TO idle;".to_owned(),
            "GRANT pg_read_server_files TO idle",
        ),
        (
            "GRANT SET ON PARAMETER work_mem TO idle;".to_owned(),
            "GRANT SET ON PARAMETER",
        ),
        (
            "DROP OWNED BY app_owner;".to_owned(),
            "DROP OWNED BY app_owner",
        ),
        (
            "ALTER ROLE idle SUPERUSER;".to_owned(),
            "ALTER ROLE idle SUPERUSER",
        ),
        (
            "COMMENT ON DATABASE live IS 'secret';".to_owned(),
            "COMMENT ON DATABASE live IS …",
        ),
        ("\\connect live".to_owned(), "\\connect"),
        (format!("\\! touch {out}"), "\\!"),
        (format!("\\copy (SELECT 1) TO '{out}'"), "\\copy"),
        (format!("COPY (SELECT 1) TO '{out}';"), "COPY …"),
        (
            format!("COPY pg_class TO PROGRAM 'cat > {out}';"),
            "COPY pg_class TO PROGRAM …",
        ),
        (
            format!("SELECT lo_export(1, '{out}');"),
            "SELECT lo_export …",
        ),
        (
            format!("DO $$ BEGIN COPY (SELECT 1) TO '{out}'; END $$;"),
            "DO …",
        ),
        (
            "UPDATE pg_catalog.pg_database SET datallowconn = false;".to_owned(),
            "UPDATE pg_catalog.pg_database",
        ),
        (
            "COPY pg_catalog.pg_auth_members (roleid) FROM stdin;\n1\n\\.".to_owned(),
            "COPY pg_catalog.pg_auth_members …",
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'password=secret' PUBLICATION p;".to_owned(),
            "CREATE SUBSCRIPTION s CONNECTION …",
        ),
        ("SET ROLE idle;".to_owned(), "SET ROLE idle"),
        (
            "COMMENT ON TABLE x IS E'a'\n'\\', '; ALTER ROLE idle SUPERUSER; --';".to_owned(),
            "read it differently",
        ),
        ("-- comment\rALTER ROLE idle SUPERUSER;".to_owned(), "CR LF"),
        ("CREATE NONSENSE x;".to_owned(), "CREATE NONSENSE x"),
    ] {
        let text = format!("{}{hostile}\n{}", &dump[..at], &dump[at..]);
        fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let restore = ["restore", &file, "--into", "look", "--accept-unexpected"];
        let output = operator.run(&restore);
        assert_eq!(output.code, 65, "{hostile}: {output}");
        for word in [&format!("line {line}"), shown, "hint:"] {
            assert!(output.stderr.contains(word), "{word}: {output}");
        }
        assert!(!output.stderr.contains("secret"), "{output}");
        assert_eq!(server(&cluster), before, "{hostile}: {output}");
        assert!(!operator.path("out").exists(), "{hostile}");
    }
}

#[test]
fn an_archive_is_judged_by_the_text_that_pg_restore_makes_of_it() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    let comment = format!("COMMENT ON TABLE public.orders IS '{}';", "x".repeat(60));
    cluster.psql_in("live", &comment);
    let file = operator.path("live.dump");
    let name = file.display().to_string();
    output_of(
        &cluster,
        "pg_dump",
        &["--format=custom", "--compress=0", "--file", &name, "live"],
    );
    // Restored as it is.
    let output = operator.run(&["restore", &name, "--into", "look"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql_in("look", "SELECT count(*) FROM orders"), "10");
    let archive = fs::read(&file).unwrap();
    let at = memchr::memmem::find(&archive, comment.as_bytes()).unwrap();
    let hostile = format!(
        "{:<width$};",
        "ALTER ROLE idle SUPERUSER",
        width = comment.len() - 1
    );
    let changed = [
        &archive[..at],
        hostile.as_bytes(),
        &archive[at + comment.len()..],
    ]
    .concat();
    fs::write(&file, changed).unwrap();
    let words = [
        "ALTER ROLE idle SUPERUSER",
        "in the text that pg_restore makes of it: line ",
    ];
    cluster.psql("DROP DATABASE look");
    assert_refused(&cluster, &operator, &file, &words);
}

#[test]
fn forms_that_a_restore_does_not_take_are_refused_with_the_way_out() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    let file = operator.path("other.sql");
    let plain = output_of(&cluster, "pg_dump", &["live"]);
    for (text, words) in [
        (
            output_of(&cluster, "pg_dump", &["--inserts", "live"]),
            ["INSERT INTO public.orders VALUES …", "without --inserts"],
        ),
        (
            output_of(&cluster, "pg_dump", &["--clean", "live"]),
            ["DROP CONSTRAINT orders_pkey", "--clean --if-exists"],
        ),
        (
            output_of(&cluster, "pg_dump", &["--schema-only", "live"]),
            ["no rows", "--schema-only"],
        ),
        (
            plain.replace('\n', "\r\n"),
            ["line 1: the line ends as on Windows", "sed 's/\\r$//'"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        assert_refused(&cluster, &operator, &file, &words);
    }
    // What pg_dump --clean --if-exists writes belongs to the one database, and psql passes over the mark
    // of a text in UTF-8.
    let clean = output_of(&cluster, "pg_dump", &["--clean", "--if-exists", "live"]);
    fs::write(&file, format!("\u{feff}{clean}")).unwrap();
    let output = operator.run(&["restore", &file.display().to_string(), "--into", "look"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql_in("look", "SELECT count(*) FROM orders"), "10");
}

#[test]
fn a_file_that_changes_after_it_was_read_is_stopped_before_what_is_refused() {
    let cluster = Cluster::start();
    let mut operator = live(&cluster);
    let plain = operator.path("plain.sql");
    let dump = output_of(&cluster, "pg_dump", &["live"]);
    fs::write(&plain, &dump).unwrap();
    // The application is stopped between reading and loading.
    let hostile = operator.path("hostile.sql");
    fs::write(
        &hostile,
        dump.replace("COPY public", "ALTER ROLE idle SUPERUSER;\nCOPY public"),
    )
    .unwrap();
    let command = format!("cp {} {}", hostile.display(), plain.display());
    operator.set_value("restore.stop", vec!["/bin/sh", "-c", command.as_str()]);
    let before = server(&cluster);
    let output = operator.run(&[
        "restore",
        &plain.display().to_string(),
        "--database",
        "live",
        "--yes",
    ]);
    assert_eq!(output.code, 65, "{output}");
    for word in [
        "ALTER ROLE idle SUPERUSER",
        "was changed after it had been read",
        "serves as before",
    ] {
        assert!(output.stderr.contains(word), "{output}");
    }
    assert_eq!(server(&cluster), before, "{output}");

    // An archive of our own is loaded by pg_restore itself.
    operator.set("dump.format", "custom");
    let stem = operator.back_up();
    let touch = format!("touch {}/{stem}.dump", operator.backups().display());
    operator.set_value("restore.stop", vec!["/bin/sh", "-c", touch.as_str()]);
    let output = operator.run(&["restore", &stem, "--yes"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(
        output.stderr.contains("was changed after it had been read"),
        "{output}"
    );
    assert_eq!(server(&cluster), before, "{output}");
}

#[test]
fn while_a_dump_is_loaded_the_database_that_serves_cannot_be_dropped() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    // It is refreshed at the end of the load, and tells who was there.
    cluster.psql_in(
        "live",
        "CREATE MATERIALIZED VIEW who AS SELECT count(*) FROM pg_stat_activity WHERE datname = 'live'",
    );
    operator.back_up();
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    beginning_with(&cluster, "live_before_restore_");
    assert_eq!(cluster.psql_in("live", "SELECT count FROM who"), "1");
    // And beside it, too.
    let output = operator.run(&["restore", "--latest", "--into", "look"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql_in("look", "SELECT count FROM who"), "1");
}

#[test]
fn a_statement_of_an_unknown_kind_in_a_backup_of_ours_goes_on_when_it_is_accepted() {
    let cluster = Cluster::start();
    let (mut operator, _place) = drilling(&cluster, "postgres");
    cluster.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    // As if a newer pg_dump had written it.
    let writes = |statement: &str| {
        format!(
            "\"$real\" \"$@\" | sed '/^-- PostgreSQL database dump complete/i {statement}'\n\
             exit ${{PIPESTATUS[0]}}"
        )
    };
    operator.stand_in("pg_dump", &writes("VACUUM public.t;"));
    let stem = operator.back_up();
    let output = operator.run(&["restore", &stem, "--into", "look"]);
    assert_eq!(output.code, 65, "{output}");
    for word in ["VACUUM public.t", "--accept-unexpected", "not known"] {
        assert!(output.stderr.contains(word), "{word}: {output}");
    }
    let accepting = ["restore", &stem, "--into", "look", "--accept-unexpected"];
    let output = operator.run(&accepting);
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stderr.contains("VACUUM public.t"), "{output}");
    assert_eq!(cluster.psql_in("look", "SELECT count(*) FROM t"), "1");

    // What is on the list stays refused, and a test restore does not pass it by.
    operator.stand_in("pg_dump", &writes("ALTER SYSTEM SET work_mem = 100;"));
    let stem = operator.back_up();
    let output = operator.run(&["restore", &stem, "--into", "again", "--accept-unexpected"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(
        output.stderr.contains("ALTER SYSTEM SET work_mem"),
        "{output}"
    );
    operator.send_stand_ins_home();
    let arguments = ["drill", stem.as_str()];
    let output = operator.run(&arguments);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.to_string().contains("ALTER SYSTEM SET work_mem"),
        "{output}"
    );
}
