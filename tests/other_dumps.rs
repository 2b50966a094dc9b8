//! Dumps of other programs, which are files without a manifest: written with other options than ours, for
//! several databases, on Windows, compressed once more. What psql loads is restored, and what is not read is
//! called by its name.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;
use crate::support::restored::databases;

/// Objects of many kinds, and names that want quotes beside names that want none.
const SAMPLE: &str = "
    CREATE SCHEMA \"Sales\"; CREATE TYPE \"Sales\".mood AS ENUM ('sad', 'ok');
    CREATE TABLE \"Sales\".orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"user\" text, note text DEFAULT 'x\"y', m \"Sales\".mood);
    INSERT INTO \"Sales\".orders (\"user\", note, m) VALUES ('a', E'one\\ntwo\\r\\\\', 'ok'), (NULL, '\\.', NULL), ('DROP TABLE \"t\";', '', 'sad');
    CREATE TABLE t (id serial PRIMARY KEY, b bytea, f float8, bits bit(3), ok bool);
    INSERT INTO t (b, f, bits, ok) VALUES ('\\x00ff', 'NaN', B'101', true), (NULL, -1.5e-7, NULL, false);
    CREATE TABLE empty_one (a int); CREATE TABLE parent (a int); CREATE TABLE child (t int REFERENCES t) INHERITS (parent);
    CREATE VIEW v AS SELECT id, \"user\" FROM \"Sales\".orders;
    CREATE FUNCTION f(a text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        RETURN a || ' \"t\"';
    END $$;
    COMMENT ON FUNCTION f(text) IS 'adds \"t\"';
    COMMENT ON COLUMN t.b IS 'bytes'; GRANT SELECT ON t TO reader;
    SELECT lo_from_bytea(4711, 'large');
    CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM t;";

struct Place {
    cluster: Cluster,
    operator: Operator,
}

impl Place {
    fn new() -> Self {
        let cluster = Cluster::start();
        cluster
            .psql("CREATE ROLE app_owner; CREATE ROLE reader; CREATE DATABASE app OWNER app_owner");
        cluster.psql_in("app", SAMPLE);
        let operator = Operator::of(&cluster, "app");
        Self { cluster, operator }
    }

    /// What one of `PostgreSQL`'s programs writes.
    fn output_of(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self
            .cluster
            .command(program)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.operator.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Restores a file into a new database that is dropped again; gives what was printed.
    #[track_caller]
    fn restores(&self, file: &Path, more: &[&str], look: impl FnOnce(&Cluster)) -> String {
        let file = file.display().to_string();
        let output = self
            .operator
            .run(&[&["restore", &file, "--into", "look"], more].concat());
        assert_eq!(output.code, 0, "{file} {more:?}: {output}");
        look(&self.cluster);
        self.cluster.psql("DROP DATABASE look");
        output.to_string()
    }

    /// A file is refused with these words, and nothing is made.
    #[track_caller]
    fn refuses(&self, file: &Path, code: i32, words: &[&str]) {
        let before = databases(&self.cluster);
        let file = file.display().to_string();
        let output = self.operator.run(&["restore", &file, "--into", "look"]);
        assert_eq!(output.code, code, "{file}: {output}");
        for word in words {
            assert!(output.stderr.contains(word), "{word:?}: {output}");
        }
        assert_eq!(databases(&self.cluster), before);
    }
}

/// The rows of a database, as text.
fn rows(cluster: &Cluster, database: &str) -> String {
    cluster.psql_in(
        database,
        "SELECT string_agg(o::text, '|' ORDER BY id) FROM \"Sales\".orders AS o; \
         SELECT string_agg(t::text, '|' ORDER BY id) FROM t; SELECT nextval('t_id_seq'), f('a'), convert_from(lo_get(4711), 'UTF8')",
    )
}

/// As they are in the database that the dumps are of.
fn all_rows(place: &Place) -> String {
    let found = rows(&place.cluster, "app");
    place.cluster.psql_in("app", "SELECT setval('t_id_seq', 2)");
    found
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn of_windows(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).unwrap();
    format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes()
}

#[test]
fn whatever_options_pg_dump_had_what_it_wrote_is_restored_and_compared() {
    let place = Place::new();
    let expected = all_rows(&place);
    let clean = ["--clean", "app"];
    let quoted = ["--quote-all-identifiers", "app"];
    let both = ["--quote-all-identifiers", "--clean", "--if-exists", "app"];
    let large = ["--format=custom", "--quote-all-identifiers", "app"];
    for (name, dump) in [
        ("clean.sql", place.output_of("pg_dump", &clean)),
        ("quoted.sql", place.output_of("pg_dump", &quoted)),
        ("both.sql", place.output_of("pg_dump", &both)),
        ("quoted.dump", place.output_of("pg_dump", &large)),
        (
            "windows.sql",
            of_windows(&place.output_of("pg_dump", &["app"])),
        ),
        (
            "windows_clean.sql.gz",
            gzip(&of_windows(&place.output_of("pg_dump", &clean))),
        ),
        ("tar", place.output_of("pg_dump", &["--format=tar", "app"])),
        (
            "tar.gz",
            gzip(&place.output_of("pg_dump", &["--format=tar", "app"])),
        ),
        (
            "custom.gz",
            gzip(&place.output_of("pg_dump", &["--format=custom", "app"])),
        ),
        ("quoted.gz", gzip(&place.output_of("pg_dump", &large))),
    ] {
        let file = place.file(name, &dump);
        let printed = place.restores(&file, &[], |cluster| {
            assert_eq!(rows(cluster, "look"), expected, "{name}");
        });
        for word in ["agree", "differ", "psql's own"] {
            assert!(!printed.contains(word), "{name}: {printed}");
        }
        assert!(printed.contains("compared"), "{name}: {printed}");
    }
}

/// What a file names and a function of its own takes away again is missed; what `pg_dump` leaves out is not.
#[test]
fn every_object_that_a_file_names_is_to_be_there() {
    let place = Place::new();
    let dump = String::from_utf8(place.output_of("pg_dump", &["app"])).unwrap();
    let thief = "CREATE FUNCTION public.take() RETURNS trigger LANGUAGE plpgsql AS $$ \
        BEGIN COMMENT ON COLUMN public.t.b IS NULL; RETURN NEW; END $$;\n\
        CREATE TRIGGER take BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.take();\n\
        ALTER TABLE public.t ENABLE ALWAYS TRIGGER take;\n--\n-- Data for Name: t;";
    let stolen = dump.replacen("--\n-- Data for Name: t;", thief, 1);
    assert_ne!(stolen, dump);
    let file = place.file("stolen.sql", stolen.as_bytes());
    let lost = "the comment on COLUMN t.b in schema public is missing";
    place.refuses(&file, 69, &[lost]);
    let path = file.display().to_string();
    let output = place
        .operator
        .run(&["--json", "restore", &path, "--salvage", "--into", "look"]);
    assert_eq!(output.code, 65, "{output}");
    let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let missing = &report["missing"];
    assert_eq!(missing.as_array().unwrap().len(), 1, "{output}");
    assert_eq!(
        missing[0]["object"],
        "the comment on COLUMN t.b in schema public"
    );
    place.cluster.psql("DROP DATABASE look");
    for options in [
        &["--no-owner"][..],
        &["--no-privileges", "--no-comments"],
        &["--schema-only"],
        &["--create", "--clean"],
        &["--table=t", "--no-owner"],
        &["--schema=\"Sales\""],
        &["--section=pre-data", "--section=data"],
        &["--exclude-table-data=t"],
        &["--inserts", "--no-owner"],
    ] {
        let dump = place.output_of("pg_dump", &[options, &["app"]].concat());
        let file = place.file("some.sql", &dump);
        place.restores(&file, &[], |_| {});
        let path = file.display().to_string();
        let salvage = ["restore", &path, "--salvage", "--into", "look"];
        let output = place.operator.run(&salvage);
        assert_eq!(output.code, 0, "{options:?}: {output}");
        place.cluster.psql("DROP DATABASE look");
    }
}

#[test]
fn rows_as_inserts_are_loaded_and_counted_and_a_schema_alone_is_made() {
    let place = Place::new();
    let expected = all_rows(&place);
    for options in [
        &["--inserts"][..],
        &["--column-inserts"],
        &["--rows-per-insert=2"],
        &[
            "--inserts",
            "--on-conflict-do-nothing",
            "--quote-all-identifiers",
        ],
        &["--inserts", "--format=custom"],
    ] {
        let dump = place.output_of("pg_dump", &[options, &["app"]].concat());
        let file = place.file("inserts", &dump);
        let printed = place.restores(&file, &[], |cluster| {
            assert_eq!(rows(cluster, "look"), expected, "{options:?}");
        });
        assert!(
            printed.contains("5 rows in 2 tables loaded and counted; rows not compared"),
            "{printed}"
        );
        assert!(!printed.contains("differ"), "{printed}");
    }
    // One that is lost on the way shows.
    let dump = place.output_of("pg_dump", &["--inserts", "app"]);
    let dump = String::from_utf8(dump).unwrap();
    let trigger = "CREATE FUNCTION public.eat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;\n\
        CREATE TRIGGER eat BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.eat();\n\
        ALTER TABLE public.t ENABLE ALWAYS TRIGGER eat;\n--\n-- Data for Name: t;";
    let eaten = dump.replacen("--\n-- Data for Name: t;", trigger, 1);
    assert_ne!(eaten, dump);
    let file = place.file("eaten.sql", eaten.as_bytes());
    place.refuses(&file, 69, &["public.t: 2 rows expected, 0 rows found"]);

    let schema = place.output_of("pg_dump", &["--schema-only", "app"]);
    let file = place.file("schema.sql", &schema);
    let printed = place.restores(&file, &[], |cluster| {
        assert_eq!(cluster.psql_in("look", "SELECT count(*) FROM v"), "0");
    });
    let made = "5 tables made (the dump holds no rows)";
    assert!(printed.contains(made), "{printed}");
    assert!(!printed.contains("differ"), "{printed}");
    let part = place.output_of("pg_dump", &["--exclude-table-data=t", "app"]);
    let file = place.file("part.sql", &part);
    place.restores(&file, &[], |cluster| {
        assert_eq!(cluster.psql_in("look", "SELECT count(*) FROM t"), "0");
    });

    let data = place.output_of("pg_dump", &["--data-only", "app"]);
    let file = place.file("data.sql", &data);
    place.refuses(&file, 65, &["--data-only", "hint:"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "the ways to write several databases")]
fn of_several_databases_one_is_chosen_and_gets_its_properties_and_roles() {
    let place = Place::new();
    let expected = all_rows(&place);
    let cluster = &place.cluster;
    cluster.psql("CREATE ROLE \"new one\" LOGIN PASSWORD 'x'; GRANT reader TO \"new one\"");
    for sql in [
        "ALTER DATABASE app SET work_mem = '5MB'",
        "ALTER DATABASE app SET search_path = 'Sales', public",
        "ALTER ROLE reader IN DATABASE app SET lock_timeout = '7s'",
        "COMMENT ON DATABASE app IS 'it''s \"app\"'",
        "REVOKE CONNECT ON DATABASE app FROM PUBLIC",
        "GRANT CONNECT ON DATABASE app TO \"new one\" WITH GRANT OPTION",
    ] {
        cluster.psql(sql);
    }
    let properties = |name: &str| {
        cluster.psql(&format!(
            "SELECT encoding, datcollate, rolname, ARRAY(SELECT unnest(datacl)::text ORDER BY 1), shobj_description(d.oid, 'pg_database'), \
             ARRAY(SELECT setrole::regrole || setconfig::text FROM pg_db_role_setting WHERE setdatabase = d.oid ORDER BY 1) \
             FROM pg_database d JOIN pg_roles r ON r.oid = datdba WHERE datname = '{name}'"
        ))
    };
    let of_app = properties("app");
    assert!(
        of_app.contains("5MB") && of_app.contains("new one"),
        "{of_app}"
    );
    let looks = |cluster: &Cluster| {
        assert_eq!(rows(cluster, "look"), expected);
        assert_eq!(properties("look"), of_app);
    };
    for (options, windows) in [
        (&["--create"][..], false),
        (&["--create", "--clean"], false),
        (
            &[
                "--create",
                "--clean",
                "--if-exists",
                "--quote-all-identifiers",
            ],
            true,
        ),
    ] {
        let dump = place.output_of("pg_dump", &[options, &["app"]].concat());
        let dump = if windows { of_windows(&dump) } else { dump };
        let printed = place.restores(&place.file("create.sql", &dump), &[], looks);
        assert!(!printed.contains("WARN"), "{options:?}: {printed}");
    }
    // Of a cluster one alone has content: it is taken without asking.
    let dump = place.output_of("pg_dumpall", &[]);
    let file = place.file("all.sql", &dump);
    let printed = place.restores(&file, &[], looks);
    assert!(!printed.contains("WARN"), "{printed}");
    // A role that is gone comes back with its membership and its password.
    cluster.psql("DROP DATABASE app");
    cluster.psql("DROP ROLE \"new one\"");
    let printed = place.restores(&file, &[], looks);
    assert!(printed.contains("roles created: new one"), "{printed}");
    let member = "SELECT pg_has_role('new one', 'reader', 'member')";
    assert_eq!(cluster.psql(member), "t");

    // Of two that have content one is named.
    cluster.psql("CREATE DATABASE app; CREATE DATABASE \"Other's one\"");
    cluster.psql_in("app", SAMPLE);
    cluster.psql_in(
        "Other's one",
        "CREATE TABLE o (a int); INSERT INTO o VALUES (7)",
    );
    for options in [
        &[][..],
        &["--clean"],
        &["--clean", "--if-exists", "--quote-all-identifiers"],
    ] {
        let dump = place.output_of("pg_dumpall", options);
        let file = place.file("two.sql", &dump);
        place.refuses(
            &file,
            64,
            &[
                "holds several databases",
                "\"app\" (",
                "\"Other's one\" (1 object)",
                "\"postgres\" (empty)",
                "--of-database",
            ],
        );
        place.restores(&file, &["--of-database", "Other's one"], |cluster| {
            assert_eq!(cluster.psql_in("look", "SELECT a FROM o"), "7");
        });
        place.restores(&file, &["--of-database", "app"], |cluster| {
            assert_eq!(rows(cluster, "look"), expected);
        });
    }
    let other = [
        "restore",
        &file.display().to_string(),
        "--into",
        "look",
        "--of-database",
        "nowhere",
    ];
    let output = place.operator.run(&other);
    assert_eq!(output.code, 64, "{output}");
    assert!(
        output.stderr.contains("no database \"nowhere\""),
        "{output}"
    );
}

/// A text that makes its databases itself reaches no other one than the new one, and no role that is there.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_hostile_text_of_several_databases_reaches_no_more_than_any_other() {
    let place = Place::new();
    let cluster = &place.cluster;
    let state = || {
        cluster.psql(
            "SELECT string_agg(d::text, '|' ORDER BY oid) FROM (SELECT oid, datname, datdba, datacl, datconnlimit FROM pg_database) d; \
             SELECT string_agg(r::text, '|' ORDER BY rolname) FROM pg_authid r; \
             SELECT count(*) FROM pg_auth_members; SELECT string_agg(s::text, '|') FROM pg_db_role_setting s",
        )
    };
    let create = String::from_utf8(place.output_of("pg_dump", &["--create", "app"])).unwrap();
    let all = String::from_utf8(place.output_of("pg_dumpall", &[])).unwrap();
    let at = "--\n-- Name: t; Type: TABLE;";
    let globals = "--\n-- Roles\n--\n";
    let before = state();
    for (text, place_of_it, hostile, words) in [
        (
            &create,
            at,
            "ALTER ROLE reader SUPERUSER;\n",
            "ALTER ROLE reader SUPERUSER",
        ),
        (
            &create,
            at,
            "DROP DATABASE postgres;\n",
            "DROP DATABASE postgres",
        ),
        (
            &create,
            at,
            "ALTER DATABASE postgres CONNECTION LIMIT 0;\n",
            "ALTER DATABASE postgres",
        ),
        (&create, at, "\\! id\n", "\\!"),
        (&create, at, "\\c postgres\n", "\\c"),
        (&create, at, "\\connect postgres user\n", "\\connect"),
        (
            &create,
            at,
            "INSERT INTO pg_authid VALUES (1);\n",
            "INSERT INTO pg_authid",
        ),
        // What it goes on with belongs to a database that it does not make.
        (
            &create,
            at,
            "\\connect postgres\nALTER ROLE reader SUPERUSER;\n",
            "CREATE DATABASE app",
        ),
        (
            &all,
            at,
            "GRANT pg_read_server_files TO reader;\n",
            "GRANT pg_read_server_files",
        ),
        (
            &all,
            globals,
            "ALTER SYSTEM SET work_mem = '1MB';\n",
            "ALTER SYSTEM",
        ),
        (
            &all,
            globals,
            "ALTER ROLE ALL SET work_mem = '1MB';\n",
            "ALTER ROLE ALL",
        ),
        (&all, globals, "DO $$ BEGIN END $$;\n", "DO"),
    ] {
        let changed = text.replacen(place_of_it, &format!("{hostile}{place_of_it}"), 1);
        assert_ne!(&changed, text, "{hostile}");
        let file = place.file("hostile.sql", changed.as_bytes());
        place.refuses(&file, 65, &[words]);
        assert_eq!(state(), before, "{hostile}");
    }
    // Properties are those of the new database, whatever the text says of others.
    for hostile in [
        "ALTER DATABASE app CONNECTION LIMIT 0;\n",
        "DROP DATABASE app;\n",
        "COMMENT ON DATABASE app IS 'gone';\n",
    ] {
        let changed = create.replacen(at, &format!("{hostile}{at}"), 1);
        let file = place.file("hostile.sql", changed.as_bytes());
        place.restores(&file, &[], |_| {});
        assert_eq!(state(), before, "{hostile}");
    }
}

#[test]
fn what_is_not_read_is_called_by_its_name_with_the_way_out() {
    let place = Place::new();
    for (bytes, words) in [
        (&b"\xfd7zXZ\0\0\x04"[..], ["compressed with xz", "xz -dc "]),
        (b"BZh91AY&SY", ["compressed with bzip2", "bzip2 -dc "]),
        (b"\x04\x22\x4d\x18\x64", ["compressed with lz4", "lz4 -dc "]),
        (
            b"-----BEGIN AGE ENCRYPTED FILE-----\n",
            ["encrypted with age, in ASCII armor", "age -d -i KEY "],
        ),
        (
            b"-----BEGIN PGP MESSAGE-----\n",
            ["encrypted with OpenPGP", "gpg -d "],
        ),
        (
            b"\x8c\x0d\x04\x09\x03\x08",
            ["encrypted with OpenPGP", "gpg -d "],
        ),
        (b"Salted__12345678", ["openssl enc", "-in "]),
        (b"\xff\xfe-\0-\0", ["UTF-16", "iconv -f UTF-16 -t UTF-8 "]),
        (b"", ["is empty", ""]),
        (b"-- MySQL dump 10.13\n", ["MySQL", ""]),
    ] {
        // Whatever it is called.
        let file = place.file("it's.sql.gz", bytes);
        place.refuses(&file, 65, &words);
    }
    let twice = place.file("twice", &gzip(&gzip(b"--\n")));
    place.refuses(&twice, 65, &["compressed again", "gzip -dc "]);
    let inner = place.file("inner", &gzip(b"age-encryption.org/v1\n"));
    place.refuses(
        &inner,
        65,
        &["what is in it is encrypted with age", "gzip -dc "],
    );
    let closed = place.file("closed.sql.age", b"age-encryption.org/v1\n");
    let words = [
        "closed.sql.age is encrypted with age",
        "hint: give the file with its identity by --identity FILE",
    ];
    place.refuses(&closed, 64, &words);
    let custom = place.output_of("pg_dump", &["--format=custom", "app"]);
    let cut = gzip(&custom);
    let cut = place.file("cut.dump.gz", &cut[..cut.len() - 6]);
    place.refuses(&cut, 65, &["is not a complete dump: "]);
    for name in ["nothing.sql", "nowhere/nothing", "nothing.dump.gz"] {
        let file = place.operator.path(name);
        place.refuses(&file, 64, &["no such file"]);
    }
}

/// One definition that the server refuses does not stand between anybody and another table.
#[test]
#[expect(clippy::too_many_lines, reason = "a schema and what becomes of it")]
fn a_refused_definition_keeps_back_only_the_tables_that_need_it() {
    let place = Place::new();
    let cluster = &place.cluster;
    // The dump's search_path does not have the operator, nor the function.
    cluster.psql_in(
        "app",
        "CREATE EXTENSION ltree; CREATE TABLE n (p ltree); INSERT INTO n VALUES ('a'); \
         CREATE FUNCTION moved() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end'; \
         CREATE TRIGGER moved AFTER UPDATE ON n FOR EACH ROW WHEN (OLD.p IS DISTINCT FROM NEW.p) EXECUTE FUNCTION moved(); \
         CREATE FUNCTION enc(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS 'select encode($1, ''hex'')'; \
         CREATE FUNCTION enc(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'select enc(int4send($1))'; \
         CREATE TABLE g (i int, s text); CREATE INDEX g_enc ON g (enc(i)); INSERT INTO g VALUES (1, 'x');",
    );
    place.operator.back_up();
    for (table, into) in [
        ("t", "t_look"),
        ("Sales.orders", "o_look"),
        ("empty_one", "e_look"),
    ] {
        let pattern = if table == "Sales.orders" {
            "\"Sales\".orders"
        } else {
            table
        };
        let restore = [
            "restore", "--latest", "--table", pattern, "--into", into, "--yes",
        ];
        let output = place.operator.run(&restore);
        assert_eq!(output.code, 0, "{output}");
        for word in [
            "skipped",
            "trigger public.n moved: ",
            "operator does not exist",
        ] {
            assert!(output.stderr.contains(word), "{word}: {output}");
        }
    }
    assert_eq!(cluster.psql_in("t_look", "SELECT count(*) FROM t"), "2");
    let restore = [
        "restore", "--latest", "--table", "n", "--into", "n_look", "--yes",
    ];
    let output = place.operator.run(&restore);
    assert_eq!(output.code, 69, "{output}");
    for word in [
        "definitions that the tables need",
        "trigger public.n moved: ",
        "operator does not exist",
    ] {
        assert!(output.stderr.contains(word), "{word}: {output}");
    }
    // The same out of an archive, compressed once more or not.
    let dump = place.output_of("pg_dump", &["--format=custom", "app"]);
    for bytes in [dump.clone(), gzip(&dump)] {
        let file = place.file("app.dump", &bytes).display().to_string();
        let restore = [
            "restore", &file, "--table", "t", "--into", "a_look", "--yes",
        ];
        let output = place.operator.run(&restore);
        assert_eq!(output.code, 0, "{output}");
        assert!(
            output.stderr.contains("trigger public.n moved: "),
            "{output}"
        );
        assert_eq!(cluster.psql_in("a_look", "SELECT count(*) FROM t"), "2");
        cluster.psql("DROP DATABASE a_look");
    }
}

/// The words that need quotes are those of the server itself.
#[test]
fn names_are_in_quotes_where_pg_dump_has_them_in_quotes() {
    let place = Place::new();
    let words = place
        .cluster
        .psql("SELECT string_agg(word, ' ' ORDER BY word) FROM pg_get_keywords()");
    let columns: Vec<String> = words
        .split(' ')
        .map(|word| format!("\"{word}\" int"))
        .collect();
    place.cluster.psql("CREATE DATABASE words");
    let sql = format!("CREATE TABLE words ({})", columns.join(", "));
    place.cluster.psql_in("words", &sql);
    let dump = place.output_of("pg_dump", &["--quote-all-identifiers", "words"]);
    let printed = place.restores(&place.file("words.sql", &dump), &[], |_| {});
    assert!(!printed.contains("differ"), "{printed}");
}
