use super::Reason::{
    Ambiguous, Clean, Code, Command, Connect, Copy, Database, Encoding, Inserts, LineEnds,
    Membership, Owned, Query, Restriction, Role, Server, Setting, Subscription, SystemCatalog,
    Tablespace, Transaction, Unexpected, Zero,
};
use super::{Reason, judge_globals};
use crate::pipeline::census::Scanner;

/// What a scanner finds in a text that arrives in blocks of so many bytes: the line and the reason.
fn found(text: &[u8], block: usize) -> Option<(u64, Reason)> {
    let mut scanner = Scanner::new();
    for block in text.chunks(block) {
        if scanner.push(block).is_err() {
            break;
        }
    }
    let findings = scanner.take_findings();
    findings
        .refusal(false)
        .map(|finding| (finding.line, finding.reason))
}

fn reason(text: &str) -> Option<Reason> {
    let whole = found(text.as_bytes(), text.len());
    for block in [1, 2, 7] {
        assert_eq!(found(text.as_bytes(), block), whole, "{text:?} in {block}");
    }
    whole.map(|(_, reason)| reason)
}

/// What the `pg_dump` of 14 to 18 writes, with all that it can be asked for but `--create`, `--inserts` and
/// `--clean` alone.
const WRITTEN: &[&str] = &[
    "SET statement_timeout = 0;",
    "SET transaction_timeout = 0;",
    "SET client_encoding = 'UTF8';",
    "SET client_encoding = 'EUC_JIS_2004';",
    "SET standard_conforming_strings = on;",
    "SET xmloption = content;",
    "SET default_tablespace = \"Fast one\";",
    "SET default_tablespace = '';",
    "SET default_table_access_method = heap;",
    "SET search_path = public, pg_catalog;",
    "SELECT pg_catalog.set_config('search_path', '', false);",
    "SET SESSION AUTHORIZATION \"the \"\"boss\";",
    "SET SESSION AUTHORIZATION DEFAULT;",
    "SET SESSION AUTHORIZATION 'somebody';",
    "RESET SESSION AUTHORIZATION;",
    "CREATE SCHEMA s;",
    "ALTER SCHEMA s OWNER TO pg_database_owner;",
    "COMMENT ON SCHEMA public IS 'database; role';",
    "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;",
    "CREATE TYPE s.t AS ENUM (\n    'DROP DATABASE x;',\n    'b'\n);",
    "CREATE TYPE s.t;",
    "ALTER TYPE s.t OWNER TO o;",
    "CREATE DOMAIN s.d AS text\n\tCONSTRAINT c CHECK ((VALUE <> ''::text));",
    "CREATE OR REPLACE PROCEDURAL LANGUAGE plperl;",
    "CREATE TRUSTED PROCEDURAL LANGUAGE l HANDLER s.h;",
    "CREATE FUNCTION s.f(role text) RETURNS text\n    LANGUAGE sql COST 1e+06\n    AS $_$ drop database x; \\! ls $_$;",
    "CREATE FUNCTION s.f() RETURNS int\n    LANGUAGE c\n    AS '$libdir/x', 'f';",
    "CREATE FUNCTION s.f(a integer) RETURNS integer\n    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT 1;\n SELECT CASE WHEN (a > 0) THEN 1 ELSE 2 END AS \"end\";\nEND;",
    "CREATE FUNCTION s.f() RETURNS void\n    LANGUAGE sql\n    BEGIN ATOMIC\nEND;",
    "CREATE PROCEDURE s.p()\n    LANGUAGE sql\n    BEGIN ATOMIC\n INSERT INTO s.t (a)\n   VALUES (1);\nEND;",
    "CREATE FUNCTION s.f() RETURNS integer\n    LANGUAGE sql\n    RETURN 1;",
    "ALTER FUNCTION s.f(a integer) OWNER TO o;",
    "ALTER FUNCTION s.f() DEPENDS ON EXTENSION e;",
    "CREATE AGGREGATE s.a(integer) (\n    SFUNC = int4_sum,\n    STYPE = bigint\n);",
    "CREATE OPERATOR s.<-> (\n    FUNCTION = s.f,\n    LEFTARG = integer\n);",
    "CREATE OPERATOR CLASS s.c\n    DEFAULT FOR TYPE s.t USING btree AS\n    OPERATOR 1 s.<(s.t,s.t);",
    "ALTER OPERATOR FAMILY s.c USING btree ADD\n    OPERATOR 1 s.<(s.t,s.t);",
    "CREATE CAST (s.a AS text) WITHOUT FUNCTION AS ASSIGNMENT;",
    "CREATE TRANSFORM FOR s.t LANGUAGE l (FROM SQL WITH FUNCTION s.f(internal));",
    "CREATE COLLATION s.c (provider = icu, locale = 'de');",
    "CREATE DEFAULT CONVERSION s.c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;",
    "CREATE TEXT SEARCH CONFIGURATION s.c (\n    PARSER = pg_catalog.\"default\" );",
    "ALTER TEXT SEARCH CONFIGURATION s.c\n    ADD MAPPING FOR asciiword WITH simple;",
    "CREATE ACCESS METHOD a TYPE INDEX HANDLER h;",
    "CREATE EVENT TRIGGER e ON ddl_command_end\n   EXECUTE FUNCTION s.f();",
    "ALTER EVENT TRIGGER e ENABLE ALWAYS;",
    "CREATE FOREIGN DATA WRAPPER w;",
    "CREATE SERVER f FOREIGN DATA WRAPPER w OPTIONS (\n    host 'x'\n);",
    "CREATE USER MAPPING FOR role SERVER f OPTIONS (\n    password 'x'\n);",
    "CREATE FOREIGN TABLE s.f (\n    a integer\n)\nSERVER f;",
    "CREATE TABLE s.t (\n    a integer DEFAULT '1'::integer,\n    b integer GENERATED ALWAYS AS ((a + 1)) STORED,\n    c integer[] DEFAULT ('{1}'::integer[])[1:2]\n)\nINHERITS (s.p)\nWITH (fillfactor='70');",
    "CREATE UNLOGGED TABLE s.t (\n    a integer\n)\nPARTITION BY RANGE (a);",
    "CREATE TABLE s.t OF s.c (\n    CONSTRAINT k PRIMARY KEY (a)\n);",
    "ALTER TABLE ONLY s.p ATTACH PARTITION s.t FOR VALUES FROM (1) TO (2);",
    "ALTER TABLE s.t OWNER TO o;",
    "ALTER TABLE s.t ALTER COLUMN a ADD GENERATED ALWAYS AS IDENTITY (\n    SEQUENCE NAME s.q\n    START WITH 1\n);",
    "ALTER TABLE ONLY s.t\n    ADD CONSTRAINT k PRIMARY KEY (a);",
    "ALTER TABLE s.t DISABLE TRIGGER ALL;",
    "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;",
    "ALTER TABLE s.t CLUSTER ON k;",
    "CREATE SEQUENCE s.q\n    START WITH -1\n    CACHE 1;",
    "CREATE UNLOGGED SEQUENCE s.q;",
    "ALTER SEQUENCE s.q OWNED BY s.t.a;",
    "CREATE VIEW s.v WITH (security_barrier='true') AS\n SELECT 1 AS \"as\";",
    "CREATE OR REPLACE VIEW s.v AS\nSELECT\n    NULL::integer AS a;",
    "CREATE MATERIALIZED VIEW s.m AS\n SELECT 1 AS a\n  WITH NO DATA;",
    "REFRESH MATERIALIZED VIEW s.m;",
    "CREATE UNIQUE INDEX i ON s.t USING btree (a) WHERE (b = ANY ('{1,2}'::integer[]));",
    "ALTER INDEX s.i ATTACH PARTITION s.j;",
    "CREATE STATISTICS s.x ON a, b FROM s.t;",
    "ALTER STATISTICS s.x SET STATISTICS 100;",
    "CREATE RULE r AS\n    ON INSERT TO s.v DO INSTEAD ( INSERT INTO s.t (a)\n  VALUES (1);\n DELETE FROM s.t;\n);",
    "INSERT INTO s.t VALUES (1, -2.5, 'a', NULL, true, B'101', E'\\n', DEFAULT);",
    "INSERT INTO s.t (a, \"b c\") OVERRIDING SYSTEM VALUE VALUES\n\t(1, 'x'),\n\t(2, ')') ON CONFLICT DO NOTHING;",
    "INSERT INTO s.t DEFAULT VALUES;",
    "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.f('x');",
    "CREATE TRIGGER t BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.f();",
    "CREATE POLICY p ON s.t FOR SELECT TO role USING ((a > 0));",
    "CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');",
    "ALTER PUBLICATION p ADD TABLE ONLY s.t (a) WHERE ((a > 1));",
    "ALTER PUBLICATION p ADD TABLES IN SCHEMA s;",
    "CREATE SUBSCRIPTION s CONNECTION 'host=x password=y' PUBLICATION a, \"b c\" WITH (connect = false, slot_name = 's', binary = true, streaming = parallel);",
    "ALTER SUBSCRIPTION s OWNER TO o;",
    "COMMENT ON COLUMN s.t.a IS E'it\\'s; \\\\';",
    "COMMENT ON CONSTRAINT k ON s.t IS 'x';",
    "COMMENT ON LARGE OBJECT 123 IS 'x';",
    "COMMENT ON EXTENSION hstore IS 'x';",
    "SECURITY LABEL FOR p ON TABLE s.t IS 'x';",
    "SECURITY LABEL FOR \"p q\" ON COLUMN s.t.a IS 'x';",
    "GRANT ALL ON SCHEMA s TO PUBLIC;",
    "GRANT SELECT,INSERT ON TABLE s.t TO \"on\" WITH GRANT OPTION;",
    "GRANT SELECT(a),UPDATE(a) ON TABLE s.t TO x;",
    "REVOKE GRANT OPTION FOR ALL ON FUNCTION s.f(integer) FROM x;",
    "GRANT ALL ON FOREIGN SERVER f TO x;",
    "GRANT ALL ON LARGE OBJECT 123 TO x;",
    "REVOKE SELECT ON TABLE pg_catalog.pg_authid FROM PUBLIC;",
    "ALTER DEFAULT PRIVILEGES FOR ROLE o IN SCHEMA s GRANT SELECT ON TABLES TO x;",
    "COPY s.t (a, \"b c\") FROM stdin;\n1\t\\\\.\n\\.",
    "COPY \"pg_ours\".t  FROM stdin;\n\\.",
    "SELECT pg_catalog.setval('s.q', 7, true);",
    "SELECT pg_catalog.setval('s.\"Q''\"', -7, false);",
    "SELECT pg_catalog.lo_create('123');",
    "ALTER LARGE OBJECT 123 OWNER TO o;",
    "BEGIN;\n\nSELECT pg_catalog.lo_open('123', 131072);\nSELECT pg_catalog.lowrite(0, '\\x00ff');\nSELECT pg_catalog.lo_close(0);\n\nCOMMIT;",
    "SELECT * FROM pg_catalog.pg_restore_relation_stats(\n\t'version', '180006'::integer,\n\t'schemaname', 's',\n\t'relname', 't',\n\t'reltuples', '-1'::real,\n\t'relallvisible', '0'::integer\n);",
    "SELECT * FROM pg_catalog.pg_restore_attribute_stats(\n\t'most_common_freqs', '{0.5}'::real[],\n\t'most_common_vals', '{\"a''b\"}'::text,\n\t'inherited', 'f'::boolean\n);",
    // --clean --if-exists
    "DROP TABLE IF EXISTS s.t;",
    "DROP SCHEMA IF EXISTS public;",
    "DROP USER MAPPING IF EXISTS FOR postgres SERVER f;",
    "DROP TRIGGER IF EXISTS t ON s.t;",
    "DROP CAST IF EXISTS (s.a AS text);",
    "DROP SUBSCRIPTION IF EXISTS s;",
    "ALTER TABLE IF EXISTS ONLY s.t DROP CONSTRAINT IF EXISTS k;",
    "ALTER DOMAIN s.d DROP CONSTRAINT IF EXISTS k;",
    "CREATE TABLE public.execute (\n    a integer\n);",
    "ALTER TABLE IF EXISTS s.t ALTER COLUMN a DROP DEFAULT;",
    "SELECT pg_catalog.lo_unlink('123');",
    "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '123';",
    // Restricted mode.
    "\\restrict aB3\n\nSET lock_timeout = 0;\n\n\\unrestrict aB3\n",
];

#[test]
fn what_pg_dump_writes_is_sent() {
    for text in WRITTEN {
        assert_eq!(reason(&format!("{text}\n")), None, "{text}");
    }
    let together = WRITTEN
        .iter()
        .filter(|text| !text.starts_with("DROP SUBSCRIPTION"));
    let all: Vec<&str> = together.copied().collect();
    let all = all.join("\n");
    // Only the last line ends restricted mode.
    assert_eq!(reason(&format!("{all}\n")), None);
}

/// What reaches further than the one database, and why it is refused.
const REFUSED: &[(&str, Reason)] = &[
    ("CREATE DATABASE x WITH TEMPLATE = template0;", Database),
    ("DROP DATABASE IF EXISTS live;", Database),
    ("ALTER DATABASE live SET work_mem TO '1MB';", Database),
    ("COMMENT ON DATABASE live IS 'x';", Database),
    ("SECURITY LABEL FOR p ON DATABASE live IS 'x';", Database),
    ("GRANT CONNECT ON DATABASE live TO x;", Database),
    ("drop/**/database live;", Database),
    ("DROP -- TABLE IF EXISTS t\nDATABASE live;", Database),
    ("CREATE ROLE x SUPERUSER;", Role),
    ("create user x;", Role),
    ("DROP GROUP x;", Role),
    ("ALTER USER x WITH PASSWORD 'y';", Role),
    ("ALTER ROLE ALL SET search_path TO x;", Role),
    ("COMMENT ON ROLE x IS 'y';", Role),
    ("SECURITY LABEL ON ROLE x IS 'y';", Role),
    ("CREATE TABLESPACE t LOCATION '/x';", Tablespace),
    ("GRANT ALL ON TABLESPACE t TO x;", Tablespace),
    ("COMMENT ON TABLESPACE t IS 'x';", Tablespace),
    ("ALTER SYSTEM SET archive_command TO 'x';", Server),
    ("GRANT SET ON PARAMETER work_mem TO x;", Server),
    ("REVOKE ALTER SYSTEM ON PARAMETER a.b FROM x;", Server),
    ("GRANT a TO b;", Membership),
    ("GRANT \"on\" TO b WITH ADMIN OPTION;", Membership),
    ("REVOKE ADMIN OPTION FOR a FROM b;", Membership),
    ("REASSIGN OWNED BY a TO b;", Owned),
    ("DROP OWNED BY a;", Owned),
    ("DO $$ BEGIN END $$;", Code),
    ("do language plpgsql 'x';", Code),
    ("CALL s.p();", Code),
    ("LOAD 'x';", Code),
    (
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p;",
        Subscription,
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION 'connect = false' PUBLICATION p WITH (enabled = true);",
        Subscription,
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (slot_name = 'connect = false');",
        Subscription,
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, connect = true);",
        Subscription,
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = true);",
        Subscription,
    ),
    ("ALTER SUBSCRIPTION s ENABLE;", Subscription),
    ("ALTER SUBSCRIPTION s REFRESH PUBLICATION;", Subscription),
    (
        "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = 'x');\nDROP SUBSCRIPTION IF EXISTS s;",
        Subscription,
    ),
    ("\\connect other", Connect),
    ("\\connect -reuse-previous=on \"dbname='x'\"", Connect),
    ("\\c other", Connect),
    ("\\! ls", Command),
    ("   \\! ls", Command),
    ("\\i x.sql", Command),
    ("\\copy t from program 'ls'", Command),
    ("\\set ECHO all", Command),
    ("SELECT 1 \\gexec\n;", Command),
    ("CREATE TABLE s.t (a int) \\! ls\n;", Command),
    ("COPY s.t TO PROGRAM 'ls';", Copy),
    ("COPY s.t FROM '/etc/passwd';", Copy),
    ("COPY s.t FROM PROGRAM 'x FROM stdin';", Copy),
    ("COPY (SELECT 1) TO '/x';", Copy),
    ("copy s.t (a) from stdin;\n\\.", Copy),
    ("COPY s.t (a) FROM stdin WITH (FORMAT csv);", Copy),
    (
        "COPY pg_catalog.pg_authid (rolname) FROM stdin;\nx\n\\.",
        SystemCatalog,
    ),
    (
        "COPY \"pg_catalog\".pg_database (datname) FROM stdin;\nx\n\\.",
        SystemCatalog,
    ),
    (
        "COPY pg_authid (rolname) FROM stdin;\nx\n\\.",
        SystemCatalog,
    ),
    ("INSERT INTO s.t VALUES (f());", Inserts),
    ("INSERT INTO s.t VALUES ((SELECT 1));", Inserts),
    ("INSERT INTO s.t SELECT 1;", Inserts),
    ("INSERT INTO s.t VALUES ('x'::regclass);", Inserts),
    ("INSERT INTO s.t VALUES (\"f\"(1));", Inserts),
    ("INSERT INTO s.t VALUES (1) RETURNING 1;", Inserts),
    ("INSERT INTO s.t AS x VALUES (1);", Inserts),
    ("INSERT INTO s.t (a[f()]) VALUES (1);", Inserts),
    (
        "INSERT INTO s.t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = f();",
        Inserts,
    ),
    ("insert into s.t values (1);", Inserts),
    (
        "INSERT INTO pg_catalog.pg_authid VALUES (1);",
        SystemCatalog,
    ),
    ("INSERT INTO pg_authid VALUES (1);", SystemCatalog),
    (
        "INSERT INTO \"pg_catalog\".\"pg_authid\" VALUES (1);",
        SystemCatalog,
    ),
    (
        "UPDATE pg_catalog.pg_database SET datistemplate = true;",
        Query,
    ),
    ("DELETE FROM pg_catalog.pg_authid;", Query),
    ("WITH x AS (DELETE FROM s.t RETURNING 1) SELECT 1;", Query),
    ("SELECT pg_catalog.pg_terminate_backend(1);", Query),
    ("SELECT pg_catalog.setval('s.q', (SELECT 1), true);", Query),
    ("SELECT pg_catalog.setval(s.f(), 7, true);", Query),
    ("SELECT pg_catalog.set_config('role', 'x', false);", Query),
    (
        "SELECT pg_catalog.set_config('search_path', 'x', true);",
        Query,
    ),
    ("SELECT pg_catalog.lo_create('1'), s.f();", Query),
    ("SELECT pg_catalog.lo_export(1, '/x');", Query),
    (
        "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata;",
        Query,
    ),
    (
        "SELECT * FROM pg_catalog.pg_restore_relation_stats('relname', s.f());",
        Query,
    ),
    (
        "SELECT * FROM pg_catalog.pg_restore_relation_stats('relname', 't'), s.v;",
        Query,
    ),
    ("(SELECT 1);", Query),
    ("PREPARE x AS SELECT 1;", Query),
    ("EXECUTE x;", Query),
    ("CREATE TABLE s.t AS SELECT 1;", Query),
    ("CREATE TABLE s.t (a) AS EXECUTE x;", Query),
    ("CREATE MATERIALIZED VIEW s.m AS SELECT s.f();", Query),
    ("BEGIN;\nCREATE TABLE s.t (a int);\nCOMMIT;", Transaction),
    ("BEGIN ISOLATION LEVEL SERIALIZABLE;", Transaction),
    ("BEGIN;\n", Transaction),
    ("COMMIT;", Transaction),
    ("ROLLBACK;", Transaction),
    ("START TRANSACTION;", Transaction),
    ("END;", Transaction),
    ("PREPARE TRANSACTION 'x';", Query),
    ("SET ROLE x;", Setting),
    ("SET LOCAL lock_timeout = 1;", Setting),
    ("SET SESSION lock_timeout = 1;", Setting),
    ("SET role = x;", Setting),
    ("SET session_preload_libraries = 'x';", Setting),
    ("SET allow_system_table_mods = on;", Setting),
    ("SET standard_conforming_strings TO off;", Setting),
    ("SET standard_conforming_strings = 'off';", Setting),
    ("SET  standard_conforming_strings = off;", Setting),
    ("SET standard_conforming_strings /* = */ = off;", Setting),
    ("COPY s.t /* */ (a) FROM stdin;\n\\.", Copy),
    ("SET \"standard_conforming_strings\" = off;", Setting),
    ("set standard_conforming_strings = off;", Setting),
    ("RESET ALL;", Setting),
    ("DISCARD ALL;", Setting),
    ("SET client_encoding = 'SJIS';", Encoding),
    ("SET client_encoding = 'GBK';", Encoding),
    ("SET client_encoding = BIG5;", Encoding),
    ("DROP TABLE s.t;", Clean),
    ("ALTER TABLE ONLY s.t DROP CONSTRAINT k;", Clean),
    ("DROP EXTENSION hstore;", Clean),
    ("\\restrict a b", Restriction),
    ("\\restrict a'b", Restriction),
    ("\\restrict a\n\\restrict b", Restriction),
    ("\\unrestrict a", Restriction),
    ("\\restrict a\n\\unrestrict b", Restriction),
    ("\\restrict a\n\\unrestrict a\n\\restrict b", Restriction),
    (
        "\\restrict a\n\\unrestrict a\nSET lock_timeout = 0;",
        Restriction,
    ),
];

#[test]
fn what_reaches_further_than_the_one_database_is_refused_whatever_is_said() {
    for (text, expected) in REFUSED {
        assert_eq!(
            reason(&format!("{text}\n")).as_ref(),
            Some(expected),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_known_is_shown_and_may_be_accepted() {
    for text in [
        "CREATE PROPERTY GRAPH s.g;",
        "ALTER WAREHOUSE w RESUME;",
        "SET new_setting = 1;",
        "VACUUM s.t;",
        "CREATE TEMP TABLE t (a int);",
        "CREATE SCHEMA s CREATE TABLE t (a int);",
        "CREATE SCHEMA s AUTHORIZATION o;",
        "ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b;",
        "GRANT SELECT ON ALL TABLES IN SCHEMA s TO x;",
        "IMPORT FOREIGN SCHEMA x FROM SERVER f INTO s;",
        "SELECT * FROM pg_catalog.pg_restore_extended_stats('a', 'b');",
    ] {
        assert_eq!(reason(&format!("{text}\n")), Some(Unexpected), "{text}");
        let mut scanner = Scanner::new();
        scanner.push(text.as_bytes()).unwrap();
        let findings = scanner.take_findings();
        assert_eq!(findings.refusal(true), None, "{text}");
        assert_eq!(findings.unexpected_count, 1);
    }
}

/// psql splits the text, the server parses what it gets, and we judge what we take for a statement: where
/// the three could part, nobody guesses.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_could_be_read_in_two_ways_is_refused() {
    for (text, expected) in [
        // A carriage return ends a comment.
        ("-- harmless\rDROP DATABASE live;", LineEnds),
        ("CREATE TABLE s.t ( -- a\rb int);", LineEnds),
        ("SET lock_timeout = 0;\r", LineEnds),
        ("--\r", LineEnds),
        // The end of rows with one is an end to psql.
        (
            "COPY s.t (a) FROM stdin;\n1\n\\.\r\nDROP DATABASE live;\n\\.",
            LineEnds,
        ),
        ("COPY s.t (a) FROM stdin;\r\n\\.", LineEnds),
        // psql goes on with it behind the rows.
        (
            "COPY s.t (a) FROM stdin; DROP DATABASE live;\n1\n\\.",
            Ambiguous,
        ),
        ("COPY s.t (a) FROM stdin; \n1\n\\.", Ambiguous),
        // An escape string goes on in the next line, and its escapes do.
        (
            "COMMENT ON TABLE s.t IS E'a'\n'b\\' , '; DROP DATABASE live; --';",
            Ambiguous,
        ),
        (
            "COMMENT ON TABLE s.t IS E'a' -- c\n 'b\\' , '; DROP DATABASE live; --';",
            Ambiguous,
        ),
        // Numbers, and what begins behind them.
        (
            "CREATE TABLE s.t (a int DEFAULT 1$a$); COMMENT ON TABLE s.t IS '$a$);';",
            Ambiguous,
        ),
        (
            "CREATE TABLE s.t (a text DEFAULT 1e'\\'; DROP DATABASE live; --');",
            Ambiguous,
        ),
        ("CREATE TABLE s.t (a text DEFAULT 1E $$ a);", Ambiguous),
        ("CREATE TABLE s.t (a int DEFAULT $x);", Ambiguous),
        // A variable of psql's own.
        (
            "CREATE TABLE s.t (a int DEFAULT :LAST_ERROR_MESSAGE);",
            Ambiguous,
        ),
        // Bodies that end earlier for the server than for psql.
        (
            "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'select 1'; DROP DATABASE live; END;",
            Ambiguous,
        ),
        (
            "CREATE FUNCTION s.f() RETURNS int BEGIN ATOMIC SELECT a.begin FROM a; END; DROP ROLE x; END;",
            Ambiguous,
        ),
        (
            "CREATE FUNCTION s.f() RETURNS int BEGIN ATOMIC SELECT a.case FROM a; END; DROP ROLE x; END;",
            Ambiguous,
        ),
        (
            "CREATE FUNCTION s.f() RETURNS int BEGIN ATOMIC SELECT 1 case; END; DROP ROLE x; END;",
            Ambiguous,
        ),
        (
            "CREATE FUNCTION s.f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; END;",
            Ambiguous,
        ),
        (
            "CREATE FUNCTION s.f() RETURNS int BEGIN ATOMIC SELECT 1; END x;",
            Ambiguous,
        ),
        // Neither a comment nor a statement.
        ("- 1; DROP DATABASE live;", Ambiguous),
        ("'x';", Ambiguous),
        ("CREATE TABLE s.t (a \x01 int);", Ambiguous),
        // psql reads the rest of the line in the old way.
        (
            "SET standard_conforming_strings = off; COMMENT ON TABLE s.t IS '\\'; DROP DATABASE live; --';",
            Ambiguous,
        ),
        (
            "SET standard_conforming_strings = off;\nCOMMENT ON TABLE s.t IS x'\\';",
            Ambiguous,
        ),
    ] {
        assert_eq!(reason(&format!("{text}\n")), Some(expected), "{text}");
    }
    assert_eq!(reason("SET lock_timeout = 0;\0\n"), Some(Zero));
    assert_eq!(reason("COPY s.t (a) FROM stdin;\n\0\n\\.\n"), Some(Zero));
}

#[test]
fn quotes_are_those_that_psql_sees() {
    for (text, expected) in [
        (
            "COMMENT ON TABLE s.t IS '\\'; DROP DATABASE live; --';",
            Some(Database),
        ),
        (
            "SET standard_conforming_strings = off;\nCOMMENT ON TABLE s.t IS '\\'; DROP DATABASE live; --';",
            None,
        ),
        (
            "SET standard_conforming_strings = off;\nCOMMENT ON TABLE s.t IS '\\\\'; DROP DATABASE live;",
            Some(Database),
        ),
        (
            "SET standard_conforming_strings = off;\nSET standard_conforming_strings = on;\nCOMMENT ON TABLE s.t IS '\\'; DROP DATABASE live;",
            Some(Database),
        ),
        (
            "COMMENT ON TABLE s.t IS $a$ $b$ $a$; DROP DATABASE live;",
            Some(Database),
        ),
        (
            "COMMENT ON TABLE s.t IS /* ' */ 'x'; DROP DATABASE live; --'",
            Some(Database),
        ),
        (
            "COMMENT ON TABLE \"a;\"\"\" IS 'x'; DROP DATABASE live;",
            Some(Database),
        ),
        (
            "CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'a\r\nb';",
            None,
        ),
        (
            "COPY s.t (a) FROM stdin;\n\\\\!\nDROP DATABASE live;\n\\.",
            None,
        ),
        (
            "COPY s.t (a) FROM stdin;\n\\.\nDROP DATABASE live;",
            Some(Database),
        ),
        ("\u{feff}SET lock_timeout = 0;", None),
        ("\u{feff}\\! ls", Some(Command)),
        (";", None),
        ("; DROP DATABASE live;", Some(Database)),
    ] {
        assert_eq!(reason(&format!("{text}\n")), expected, "{text}");
    }
    // psql carries out what it has at the end of its input.
    assert_eq!(reason("\\! ls"), Some(Command));
}

#[test]
fn the_line_and_the_words_are_those_of_the_statement() {
    let text = "--\n-- PostgreSQL database dump\n--\n\nCOPY s.t (a) FROM stdin;\n1\n2\n\\.\n\n\n\
        CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS '\n\n';\n  DROP\n DATABASE live;\n";
    for block in [1, 7, text.len()] {
        assert_eq!(found(text.as_bytes(), block), Some((14, Database)));
    }
    let mut scanner = Scanner::new();
    scanner.push(text.as_bytes()).unwrap();
    let findings = scanner.take_findings();
    let finding = findings.refused.unwrap();
    assert_eq!(
        finding.to_string(),
        "line 14, DROP DATABASE live: reaches a database, and not something in the new one"
    );
    assert!(finding.hint().contains("--create"), "{}", finding.hint());
}

#[test]
fn a_statement_too_long_to_be_held_is_judged_by_its_beginning_and_watched_to_its_end() {
    let long = "x".repeat(3 << 20);
    for (text, expected) in [
        (
            format!("CREATE FUNCTION s.f() RETURNS text AS '{long}';\n"),
            None,
        ),
        (format!("COMMENT ON TABLE s.t IS '{long}';\n"), None),
        (format!("CREATE ROLE \"{long}\";\n"), Some(Role)),
        (
            format!("CREATE FUNCTION s.f() AS '{long}' \\! ls\n;\n"),
            Some(Command),
        ),
        (
            format!("SELECT * FROM pg_catalog.pg_restore_attribute_stats('a', '{long}'::text);\n"),
            None,
        ),
        (
            format!("SELECT * FROM pg_catalog.pg_restore_attribute_stats('a', '{long}', s.f());\n"),
            Some(Query),
        ),
        (
            format!("CREATE TABLE s.t (a text DEFAULT '{long}');\n"),
            Some(Ambiguous),
        ),
    ] {
        for before in ["", "SET lock_timeout = 0;\n"] {
            let text = format!("{before}{text}");
            for block in [4096, 1 << 20] {
                let found = found(text.as_bytes(), block).map(|(_, reason)| reason);
                assert_eq!(found, expected, "{} in {block}", &text[..60]);
            }
        }
    }
}

#[test]
fn globals_hold_roles_tablespaces_and_nothing_else() {
    let globals = "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict a\n\n\
        SET default_transaction_read_only = off;\n\nSET client_encoding = 'UTF8';\n\
        SET standard_conforming_strings = on;\n\nCREATE ROLE \"a b\";\n\
        ALTER ROLE \"a b\" WITH SUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z';\n\
        ALTER ROLE a SET search_path TO 'x', 'y';\n\
        ALTER ROLE a IN DATABASE d SET \"a.b\" TO 'x';\n\
        COMMENT ON ROLE a IS 'x';\nSECURITY LABEL FOR p ON ROLE a IS 'x';\n\
        GRANT \"a b\" TO c WITH INHERIT TRUE GRANTED BY postgres;\n\
        CREATE TABLESPACE t OWNER a LOCATION '/x';\nALTER TABLESPACE t SET (seq_page_cost=1);\n\
        GRANT ALL ON TABLESPACE t TO PUBLIC;\nREVOKE ALL ON PARAMETER work_mem FROM a;\n\
        SET SESSION AUTHORIZATION a;\nGRANT SET ON PARAMETER work_mem TO a;\n\
        RESET SESSION AUTHORIZATION;\n\n\\unrestrict a\n\n";
    assert_eq!(judge_globals(globals.as_bytes()), None);
    let lines = globals.lines().count() as u64;
    for hostile in [
        "ALTER SYSTEM SET archive_command TO 'x';",
        "\\connect postgres",
        "\\! ls",
        "DO $$ BEGIN END $$;",
        "ALTER ROLE ALL SET search_path TO 'x';",
        "ALTER ROLE a RENAME TO b;",
        "DROP ROLE a;",
        "CREATE ROLE a SUPERUSER;",
        "CREATE DATABASE x;",
        "SELECT 1;",
        "SET ROLE a;",
        "CREATE TABLESPACE t OWNER a LOCATION '/x' WITH (a=1);",
        "GRANT SELECT ON TABLE t TO a;",
        "ALTER ROLE a WITH LOGIN PASSWORD E'x'\n'\\'; ALTER SYSTEM RESET ALL; --';",
        "ALTER ROLE a WITH LOGIN",
        "-- x\rALTER SYSTEM RESET ALL;",
    ] {
        let text = format!("{globals}{hostile}\n");
        let finding = judge_globals(text.as_bytes());
        assert_eq!(finding.map(|one| one.line), Some(lines + 1), "{hostile}");
    }
}
