//! A restore sends only what belongs to the one database that it made: whatever else a dump holds, it
//! is refused before anything is touched, in whatever way the restore is asked for, with line and
//! statement; and a file that changes after it was read is stopped before what is refused.

use std::fs;
use std::path::Path;

use crate::support::cluster::Cluster;
use crate::support::drill::operator as drilling;
use crate::support::operator::Operator;
use crate::support::restored::beginning_with;

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
    for (text, words) in [
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
#[expect(clippy::too_many_lines, reason = "a table of cases")]
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

/// Rows too are a part of that text: bytes that end them early are statements in it.
#[test]
fn rows_of_an_archive_that_end_early_are_judged_as_the_statements_that_they_become() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    let row = "x".repeat(60);
    cluster.psql_in(
        "live",
        &format!("CREATE TABLE zeta (note text); INSERT INTO zeta VALUES ('{row}')"),
    );
    let file = operator.path("live.dump");
    let name = file.display().to_string();
    output_of(
        &cluster,
        "pg_dump",
        &["--format=custom", "--compress=0", "--file", &name, "live"],
    );
    let archive = fs::read(&file).unwrap();
    let at = memchr::memmem::find(&archive, row.as_bytes()).unwrap();
    let witness = operator.path("w");
    for (hostile, word) in [
        ("\\.\nALTER ROLE idle SUPERUSER;".to_owned(), "ALTER ROLE"),
        (format!("\\.\n\\! >{}", witness.display()), "\\!"),
        ("\\.\n\\connect postgres".to_owned(), "\\connect"),
        ("\\.\nCOPY orders FROM PROGRAM $$id$$;".to_owned(), "COPY"),
    ] {
        let changed = [
            &archive[..at],
            format!("{hostile:<width$}", width = row.len()).as_bytes(),
            &archive[at + row.len()..],
        ]
        .concat();
        fs::write(&file, changed).unwrap();
        assert_refused(&cluster, &operator, &file, &[word]);
        assert!(!witness.exists());
    }
}

#[test]
fn what_pg_dump_clears_away_with_if_exists_is_restored() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    let file = operator.path("other.sql");
    // Some of what --clean --if-exists writes fails where there is nothing to clear away.
    cluster.psql_in(
        "live",
        "CREATE SCHEMA s; CREATE DOMAIN s.d AS int; \
         ALTER DOMAIN s.d ADD CONSTRAINT k CHECK (VALUE > 0) NOT VALID; \
         CREATE TABLE s.t (id int PRIMARY KEY, d s.d); INSERT INTO s.t VALUES (1, 7); \
         CREATE VIEW s.v AS SELECT id, d FROM s.t GROUP BY id; \
         CREATE ACCESS METHOD am TYPE INDEX HANDLER bthandler; CREATE OPERATOR FAMILY s.f USING am; \
         CREATE OPERATOR CLASS s.o FOR TYPE int USING am FAMILY s.f AS OPERATOR 1 <",
    );
    // What pg_dump --clean --if-exists writes belongs to the one database, and psql passes over the mark
    // of a text in UTF-8.
    let clean = output_of(&cluster, "pg_dump", &["--clean", "--if-exists", "live"]);
    fs::write(&file, format!("\u{feff}{clean}")).unwrap();
    let output = operator.run(&["restore", &file.display().to_string(), "--into", "look"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql_in("look", "SELECT count(*) FROM orders"), "10");
    assert_eq!(cluster.psql_in("look", "SELECT sum(d) FROM s.v"), "7");
    for part in [
        "ALTER DOMAIN s.d DROP CONSTRAINT IF EXISTS k;",
        "CREATE OR REPLACE VIEW s.v AS\nSELECT\n    NULL::integer",
        "DROP OPERATOR CLASS IF EXISTS s.o USING am;",
        "DROP OPERATOR FAMILY IF EXISTS s.f USING am;",
    ] {
        assert!(clean.contains(part), "{part}");
    }
    let table = [
        "--database",
        "live",
        "--table",
        "s.t",
        "--schema",
        "back",
        "--yes",
    ];
    let name = file.display().to_string();
    let arguments = [&["restore", name.as_str()][..], &table].concat();
    let output = operator.run(&arguments);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql_in("live", "SELECT sum(d) FROM back.t"), "7");
    // A later statement of the kind stays where it is, and fails.
    let later = clean.replace("-- PostgreSQL database dump complete", "-- Name: x; Type: DOMAIN; Schema: -; Owner: -\nALTER DOMAIN s.gone DROP CONSTRAINT IF EXISTS k;\n-- PostgreSQL database dump complete");
    fs::write(&file, later).unwrap();
    let output = operator.run(&["restore", &file.display().to_string(), "--into", "other"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stderr.contains("s.gone"), "{output}");
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
        "is in use as before",
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
    // And next to it, too.
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

/// The SHA-256 of a file, in hexadecimal digits.
fn sha256(path: &Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(path).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    text.split_once(' ').unwrap().0.to_owned()
}

/// Changes the globals of a backup, and its manifest so that every digest and checksum fits.
fn forge_globals(operator: &Operator, stem: &str, change: impl FnOnce(&str) -> String) {
    let path = operator.backups().join(format!("{stem}.globals.gz"));
    let (old, length) = (sha256(&path), fs::metadata(&path).unwrap().len());
    let plain = path.with_extension("");
    let mut gunzip = std::process::Command::new("gunzip");
    assert!(gunzip.arg("--force").arg(&path).status().unwrap().success());
    let text = fs::read_to_string(&plain).unwrap();
    fs::write(&plain, change(&text)).unwrap();
    let mut command = std::process::Command::new("gzip");
    assert!(
        command
            .args(["--no-name", "--force"])
            .arg(&plain)
            .status()
            .unwrap()
            .success()
    );
    let manifest = operator.backups().join(format!("{stem}.json"));
    let text = fs::read_to_string(&manifest).unwrap();
    let at = text.find(&old).unwrap();
    let number = format!("\"bytes\": {length}");
    let bytes = at + text[at..].find(&number).unwrap();
    let new = format!("\"bytes\": {}", fs::metadata(&path).unwrap().len());
    let text = [&text[..bytes], &new, &text[bytes + number.len()..]].concat();
    let text = text.replace(&old, &sha256(&path));
    let mark = "\"checksum\": \"";
    let end = text.rfind(mark).unwrap();
    let checksum = xxhash_rust::xxh3::xxh3_128(&text.as_bytes()[..end]);
    let text = format!("{}{mark}{checksum:032x}\"\n}}\n", &text[..end]);
    fs::write(&manifest, text).unwrap();
}

#[test]
fn globals_that_somebody_has_written_more_into_are_refused() {
    let cluster = Cluster::start();
    let operator = live(&cluster);
    let stem = operator.back_up();
    // The files fit each other, and what is not changed is restored.
    forge_globals(&operator, &stem, |text| format!("{text}-- more\n"));
    let output = operator.run(&["restore", &stem, "--into", "look"]);
    assert_eq!(output.code, 0, "{output}");
    cluster.psql("DROP DATABASE look");
    let before = server(&cluster);
    let original = std::cell::RefCell::new(None);
    for hostile in [
        "ALTER SYSTEM SET archive_command = 'touch /tmp/x';",
        "GRANT pg_execute_server_program TO idle\n;COPY (SELECT 1) TO PROGRAM 'id';",
        "COPY (SELECT 1) TO PROGRAM 'id';",
        "DO $$ BEGIN DROP DATABASE live; END $$;",
        "DROP ROLE idle;",
        "DROP DATABASE live;",
        "CREATE DATABASE made;",
        "ALTER DATABASE live ALLOW_CONNECTIONS false;",
        "SET ROLE idle;",
        "UPDATE pg_catalog.pg_authid SET rolsuper = true;",
        "\\! id",
        "\\connect live",
    ] {
        forge_globals(&operator, &stem, |text| {
            let mut original = original.borrow_mut();
            let text = original.get_or_insert_with(|| text.to_owned());
            text.replace(
                "CREATE ROLE idle;",
                &format!("CREATE ROLE idle;\n{hostile}"),
            )
        });
        for way in [
            vec!["--into", "look"],
            vec!["--into", "look", "--accept-unexpected"],
            vec!["--into", "look", "--overwrite-roles"],
            vec!["--yes"],
        ] {
            let arguments = [&["restore", stem.as_str()][..], &way].concat();
            let output = operator.run(&arguments);
            assert_eq!(output.code, 65, "{hostile} {way:?}: {output}");
            assert!(
                output.stderr.contains("the roles of the backup"),
                "{hostile}: {output}"
            );
            assert_eq!(server(&cluster), before, "{hostile} {way:?}: {output}");
        }
    }
}

#[test]
fn an_archive_of_ours_that_was_forged_is_refused_before_anything_is_touched() {
    let cluster = Cluster::start();
    let comment = format!("COMMENT ON TABLE public.orders IS '{}';", "x".repeat(80));
    for (format, file) in [("custom", "$file"), ("directory", "$file/toc.dat")] {
        cluster.psql("DROP DATABASE IF EXISTS live; DROP ROLE IF EXISTS app_owner, idle");
        let mut operator = live(&cluster);
        cluster.psql_in("live", &comment);
        operator.set("dump.format", format);
        operator.set("dump.compression", "none");
        let before = server(&cluster);
        for hostile in [
            "ALTER ROLE idle SUPERUSER",
            "ALTER SYSTEM SET work_mem = 100",
            "COPY public.orders TO PROGRAM $$cat$$",
            "SELECT 1; DROP DATABASE postgres",
        ] {
            // As if whoever can write the files had made manifest, census and digests again.
            let padded = format!("{hostile:<width$};", width = comment.len() - 1);
            let script = format!(
                "\"$real\" \"$@\" || exit\nfor one; do case $one in --file=*) file=${{one#--file=}};; \
                 esac; done\ncomment=\"{comment}\" padded='{padded}'\nLC_ALL=C sed -i \"s/$comment/$padded/\" \"{file}\""
            );
            operator.stand_in("pg_dump", &script);
            let stem = operator.back_up();
            operator.send_stand_ins_home();
            for way in [
                vec!["--into", "look"],
                vec!["--into", "look", "--accept-unexpected"],
                vec!["--yes"],
                vec!["--table", "orders", "--schema", "look", "--yes"],
            ] {
                let arguments = [&["restore", stem.as_str()][..], &way].concat();
                let output = operator.run(&arguments);
                assert_eq!(output.code, 65, "{hostile} {way:?}: {output}");
                assert!(
                    output
                        .stderr
                        .contains("in the text that pg_restore makes of it"),
                    "{hostile} {way:?}: {output}"
                );
                assert_eq!(server(&cluster), before, "{hostile} {way:?}: {output}");
            }
        }
    }
}
