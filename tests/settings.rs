//! A restored database finds the settings that it was made with: its own, those of its server that its
//! functions and conditions ask for, and nothing that would hinder it.

use std::fs;

use crate::support::cluster::{Cluster, Options, wait_until};
use crate::support::drill::{drill, operator};
use crate::support::operator::Operator;

/// The value of a setting that is a secret.
const SECRET: &str = "open-sesame-91";

/// A server whose configuration and whose database say what functions and conditions ask for.
fn server(lc_monetary: &str) -> Cluster {
    let cluster = Cluster::with(&Options {
        settings: vec![
            ("app.region", SECRET.to_owned()),
            ("plpgsql.variable_conflict", "use_column".to_owned()),
            ("lc_monetary", lc_monetary.to_owned()),
        ],
        ..Options::default()
    });
    cluster.psql(
        "CREATE ROLE grp; CREATE DATABASE app;
         ALTER DATABASE app SET app.tenant = 'acme';
         ALTER DATABASE app SET default_text_search_config = 'pg_catalog.german';
         ALTER DATABASE app SET DateStyle = 'ISO, DMY';
         ALTER DATABASE app SET role = grp;
         ALTER DATABASE app SET default_transaction_read_only = on;
         ALTER DATABASE app SET default_transaction_isolation = serializable",
    );
    cluster.psql_in(
        "app",
        "SET role = none; SET default_transaction_read_only = off;
         CREATE TABLE base (i int, region text CHECK (region = current_setting('app.region')),
                            tenant text CHECK (tenant = current_setting('app.tenant')),
                            day text CHECK (day::date = '2020-12-31'::date), m money);
         CREATE FUNCTION seen(i int) RETURNS int LANGUAGE plpgsql STABLE
             AS 'DECLARE n int; BEGIN SELECT count(*) INTO n FROM public.base AS b WHERE i = b.i; RETURN n; END';
         CREATE TABLE counted (i int CHECK (public.seen(i) >= 0),
                               twice int GENERATED ALWAYS AS (i * 2) STORED);
         CREATE MATERIALIZED VIEW words AS SELECT to_tsvector('Häuser und Katzen') AS w;
         CREATE MATERIALIZED VIEW mine AS SELECT count(*) FROM base
             WHERE tenant = current_setting('app.tenant', true);
         INSERT INTO counted VALUES (1)",
    );
    cluster.psql_in(
        "app",
        &format!(
            "SET role = none; SET default_transaction_read_only = off;
             INSERT INTO base VALUES (1, '{SECRET}', 'acme', '31/12/2020', 1234.56::numeric::money);
             REFRESH MATERIALIZED VIEW mine"
        ),
    );
    cluster
}

/// What the database computes.
fn computed(cluster: &Cluster, database: &str) -> String {
    cluster.psql_in(
        database,
        "SET role = none; SELECT w FROM words; SELECT count FROM mine;
         SELECT twice FROM counted; SELECT m::numeric FROM base",
    )
}

fn settings(cluster: &Cluster, database: &str) -> String {
    cluster.psql(&format!(
        "SELECT array(SELECT unnest(setconfig) ORDER BY 1) FROM pg_db_role_setting
          WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = '{database}')"
    ))
}

fn manifest(operator: &Operator, name: &str) -> serde_json::Value {
    let path = operator.backups().join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_database_is_restored_with_the_settings_that_it_was_made_with() {
    let cluster = server("C");
    for format in ["plain", "custom"] {
        let (mut operator, _place) = operator(&cluster, "app");
        operator.set("dump.format", format);
        let name = operator.back_up();
        let manifest = manifest(&operator, &name);
        let recorded = manifest["server"]["settings"].as_array().unwrap();
        let names: Vec<&str> = recorded
            .iter()
            .map(|one| one["name"].as_str().unwrap())
            .collect();
        for wanted in ["app.region", "plpgsql.variable_conflict", "lc_monetary"] {
            assert!(names.contains(&wanted), "{names:?}");
        }
        // The database's own comes with it.
        assert!(!names.contains(&"app.tenant"), "{names:?}");
        let recomputed = [
            "generated column public.counted.twice",
            "materialized view public.mine",
            "materialized view public.words",
        ];
        assert_eq!(manifest["recomputed"], serde_json::json!(recomputed));

        let (report, output) = drill(&operator, 0);
        assert_eq!(report["outcome"], "proven", "{output}");
        assert_eq!(report["remarks"], serde_json::json!([]), "{output}");
        assert_eq!(
            report["recomputed"],
            serde_json::json!(recomputed),
            "{output}"
        );

        let into = format!("copy_{format}");
        let output = operator.run(&["restore", &name, "--into", &into, "--yes"]);
        assert_eq!(output.code, 0, "{output}");
        assert!(!output.stderr.contains("does not set"), "{output}");
        assert_eq!(computed(&cluster, &into), computed(&cluster, "app"));
        assert_eq!(
            settings(&cluster, &into),
            settings(&cluster, "app"),
            "{output}"
        );

        let tables = format!("tables_{format}");
        let arguments = [
            "restore", &name, "--table", "base", "--into", &tables, "--yes",
        ];
        let output = operator.run(&arguments);
        assert_eq!(output.code, 0, "{output}");
        let rows = "SET role = none; SELECT region FROM base";
        assert_eq!(cluster.psql_in(&tables, rows), SECRET);

        // A server that does not set it: loaded with the value of then, and reported without it.
        cluster.psql("ALTER SYSTEM SET app.region = 'elsewhere'");
        cluster.psql("SELECT pg_reload_conf()");
        wait_until("the server reloads", || {
            cluster.psql("SELECT current_setting('app.region')") == "elsewhere"
        });
        let into = format!("moved_{format}");
        let output = operator.run(&["restore", &name, "--into", &into, "--yes"]);
        cluster.psql("ALTER SYSTEM RESET app.region");
        cluster.psql("SELECT pg_reload_conf()");
        wait_until("the server reloads", || {
            cluster.psql("SELECT current_setting('app.region')") == SECRET
        });
        assert_eq!(output.code, 0, "{output}");
        let told = "the server does not set what the server of the backup did: app.region.";
        assert!(output.stderr.contains(told), "{output}");
        assert_eq!(settings(&cluster, &into), settings(&cluster, "app"));
        for record in operator.restore_log() {
            assert!(!record.to_string().contains(SECRET), "{record}");
        }
        for text in [&output.stderr, &output.stdout] {
            assert!(!text.contains(SECRET), "{output}");
        }
    }
}

#[test]
fn money_is_read_as_it_was_written() {
    let cluster = Cluster::start();
    let mut asking = cluster.command("psql");
    let asking = asking.args(["-X", "-q", "-c", "SET lc_monetary = 'de_DE.UTF-8'"]);
    if !asking.output().unwrap().status.success() {
        println!("skipped: the locale de_DE.UTF-8 is not installed");
        return;
    }
    drop(cluster);
    let cluster = server("de_DE.UTF-8");
    let (operator, _place) = operator(&cluster, "app");
    operator.back_up();
    let (report, output) = drill(&operator, 0);
    assert_eq!(report["outcome"], "proven", "{output}");
    let output = operator.run(&["restore", "--latest", "--into", "copy", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(computed(&cluster, "copy"), computed(&cluster, "app"));
}

#[test]
fn event_triggers_of_an_extension_are_still_while_its_tables_are_loaded() {
    let cluster = Cluster::start();
    let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'periods'";
    if cluster.psql(available) == "0" {
        println!("skipped: the extension periods is not installed (postgresql-15-periods)");
        return;
    }
    cluster.create_database("perio");
    cluster.psql_in(
        "perio",
        "CREATE EXTENSION periods CASCADE;
         CREATE TABLE emp (id int, s date, e date, UNIQUE (id, s, e));
         SELECT periods.add_period('emp', 'validity', 's', 'e');
         SELECT periods.add_unique_key('emp', ARRAY['id'], 'validity', key_name => 'emp_uk');
         CREATE TABLE sal (emp int, s date, e date);
         SELECT periods.add_period('sal', 'validity', 's', 'e');
         SELECT periods.add_foreign_key('sal', ARRAY['emp'], 'validity', 'emp_uk', key_name => 'sal_fk');
         INSERT INTO emp VALUES (1, '2020-01-01', '2030-01-01');
         INSERT INTO sal VALUES (1, '2021-01-01', '2022-01-01')",
    );
    let (operator, _place) = operator(&cluster, "perio");
    operator.back_up();
    let (report, output) = drill(&operator, 0);
    assert_eq!(report["outcome"], "proven", "{output}");
    let output = operator.run(&["restore", "--latest", "--into", "copy", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    // They are there, and fire again.
    let enabled = "SELECT count(*) FROM pg_event_trigger WHERE evtenabled = 'O'";
    assert_ne!(cluster.psql_in("copy", enabled), "0");
    assert_eq!(
        cluster.psql_in("copy", enabled),
        cluster.psql_in("perio", enabled)
    );
    // Nor do they in the scratch database that a single table comes from.
    let arguments = ["restore", "--latest", "--table", "sal", "--yes"];
    for into in [&["--schema", "back"][..], &["--into", "tables"]] {
        let output = operator.run(&[&arguments[..], into].concat());
        assert_eq!(output.code, 0, "{output}");
    }
}

/// What checks rows is made after them, and reads them all, although triggers are kept still.
#[test]
fn a_dump_whose_rows_break_its_constraints_is_refused_as_ever() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        "CREATE TABLE parent (i int PRIMARY KEY); CREATE TABLE child (i int REFERENCES parent);
         CREATE TABLE once (i int UNIQUE DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO parent VALUES (1111); INSERT INTO child VALUES (1111);
         INSERT INTO once VALUES (1), (22)",
    );
    let operator = Operator::of(&cluster, "app");
    let path = operator.path("dump.sql");
    let mut pg_dump = cluster.command("pg_dump");
    let dumped = pg_dump.env("PGDATABASE", "app").output().unwrap();
    assert!(dumped.status.success(), "{dumped:?}");
    let dump = String::from_utf8(dumped.stdout).unwrap();
    let parent = "COPY public.parent (i) FROM stdin;\n";
    let orphaned = dump.replace(&format!("{parent}1111"), &format!("{parent}3333"));
    for (text, said) in [
        (orphaned, "violates foreign key constraint"),
        (
            dump.replace("\n22\n", "\n1\n"),
            "could not create unique index",
        ),
    ] {
        assert_ne!(text, dump);
        fs::write(&path, text).unwrap();
        let file = path.display().to_string();
        let output = operator.run(&["restore", &file, "--into", "copy", "--yes"]);
        assert_ne!(output.code, 0, "{output}");
        assert!(output.stderr.contains(said), "{output}");
    }
}
