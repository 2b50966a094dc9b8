//! Single tables come back whole beside those that stand, and nothing that stands is ever touched.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::{Cluster, Options, binaries, wait_until};
use crate::support::filesystem::Filesystem;
use crate::support::operator::Operator;

/// A shop with everything that a table can have.
const SHOP: &str = r#"
    CREATE ROLE clerk; CREATE ROLE auditor;
    CREATE SCHEMA sales; CREATE SCHEMA "مبيعات";
    CREATE TYPE public.mood AS ENUM ('good', 'bad');
    CREATE DOMAIN public.price AS numeric(12, 2) CHECK (VALUE >= 0);
    CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := NEW.note || '!'; RETURN NEW; END $$;
    CREATE SEQUENCE public.shared;
    CREATE TABLE public.customers (id int PRIMARY KEY, name text);
    CREATE TABLE public.orders (
        id serial PRIMARY KEY,
        number bigint GENERATED ALWAYS AS IDENTITY (START 1000),
        customer int NOT NULL REFERENCES public.customers,
        amount public.price DEFAULT 1,
        doubled numeric GENERATED ALWAYS AS (amount * 2) STORED,
        mood public.mood[] DEFAULT '{good}',
        tag bigint DEFAULT nextval('public.shared'),
        details json,
        note text NOT NULL CHECK (note <> ''),
        EXCLUDE USING gist (int4range(id, id, '[]') WITH &&));
    CREATE INDEX orders_note ON public.orders (lower(note)) WHERE amount > 0;
    CREATE STATISTICS public.orders_stats (ndistinct) ON customer, tag FROM public.orders;
    COMMENT ON STATISTICS public.orders_stats IS 'it''s ours';
    CREATE TRIGGER orders_touch BEFORE UPDATE ON public.orders FOR EACH ROW EXECUTE FUNCTION public.touch();
    COMMENT ON TABLE public.orders IS 'all "orders"';
    COMMENT ON COLUMN public.orders.note IS 'a note';
    ALTER TABLE public.orders ENABLE ROW LEVEL SECURITY;
    CREATE POLICY mine ON public.orders TO clerk USING (note <> 'secret');
    GRANT SELECT ON public.orders TO auditor; GRANT UPDATE (note) ON public.orders TO clerk;
    ALTER TABLE public.orders OWNER TO clerk;
    CREATE TABLE public.lines ("order" int REFERENCES public.orders ON DELETE CASCADE, line int);
    CREATE VIEW public.totals AS SELECT sum(amount) FROM public.orders;
    CREATE TABLE sales."Odd ""name"".x" ("A ""b" text, "order" int);
    CREATE TABLE "مبيعات"."طلبات" ("رقم" int PRIMARY KEY, "اسم" text);
    CREATE TABLE public.measures (at date NOT NULL, value int) PARTITION BY RANGE (at);
    CREATE TABLE public.measures_1 PARTITION OF public.measures FOR VALUES FROM ('2025-01-01') TO ('2025-07-01');
    CREATE TABLE public.measures_2 PARTITION OF public.measures FOR VALUES FROM ('2025-07-01') TO ('2026-01-01') PARTITION BY LIST (value);
    CREATE TABLE public.measures_2a PARTITION OF public.measures_2 DEFAULT;
    CREATE INDEX ON public.measures (value);
    CREATE TABLE public.animals (name text); CREATE TABLE public.cats (lives int) INHERITS (public.animals);
    CREATE EVENT TRIGGER watch ON ddl_command_end WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION public.watched();
"#;

/// The same, with rows.
fn shop(cluster: &Cluster) -> Operator {
    cluster.create_database("shop");
    let function = "CREATE FUNCTION public.watched() RETURNS event_trigger LANGUAGE plpgsql \
        AS $$ BEGIN RAISE EXCEPTION 'somebody altered a table'; END $$";
    cluster.psql_in("shop", function);
    cluster.psql_in("shop", SHOP);
    cluster.psql_in(
        "shop",
        r#"INSERT INTO customers SELECT i, 'c' || i FROM generate_series(1, 20) AS i;
           INSERT INTO orders (customer, amount, details, note)
             SELECT 1 + i % 20, i, json_build_object('i', i), E'note\t\\.\n' || i FROM generate_series(1, 500) AS i;
           INSERT INTO lines SELECT i, 1 FROM generate_series(1, 500) AS i;
           INSERT INTO sales."Odd ""name"".x" VALUES (E'\\.', 1), ('public.orders', 2);
           INSERT INTO "مبيعات"."طلبات" VALUES (1, 'قهوة'), (2, 'شاي');
           INSERT INTO measures SELECT '2025-01-01'::date + i, i FROM generate_series(0, 299) AS i;
           INSERT INTO animals VALUES ('ant'); INSERT INTO cats VALUES ('tom', 9)"#,
    );
    Operator::of(cluster, "shop")
}

/// Backs up, in one of the forms that a dump can have.
fn back_up(operator: &mut Operator, format: &str, compression: &str) {
    // Also where another version of the server is tried than the installed one.
    operator.set("programs", binaries().display());
    operator.set("dump.format", format);
    operator.set("dump.compression", compression);
    operator.back_up();
}

/// The databases of the server, but for those that every server has.
fn databases(cluster: &Cluster) -> String {
    cluster.psql(
        "SELECT string_agg(datname::text, ' ' ORDER BY datname) FROM pg_database \
          WHERE datname NOT IN ('postgres', 'template0', 'template1')",
    )
}

/// Everything in a database, as `pg_dump` writes it.
fn raw_dump(cluster: &Cluster, database: &str, more: &[&str]) -> String {
    let output = cluster
        .command("pg_dump")
        .args(more)
        .env("PGDATABASE", database)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same, without the tokens that change each time.
fn dump(cluster: &Cluster, database: &str, more: &[&str]) -> String {
    let text = raw_dump(cluster, database, more);
    let counts = |line: &&str| !line.starts_with('\\') && !line.is_empty();
    text.lines().filter(counts).collect::<Vec<_>>().join("\n")
}

/// The arguments of a restore of tables that asks nothing.
fn taking<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["restore", "--latest", "--yes"], more].concat()
}

#[test]
fn a_table_comes_back_from_every_kind_of_dump_with_all_that_belongs_to_it() {
    let cluster = Cluster::start();
    shop(&cluster);
    for (index, (format, compression)) in [
        ("plain", "gzip"),
        ("plain", "zstd"),
        ("custom", "gzip"),
        ("directory", "none"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut operator = Operator::of(&cluster, "shop");
        back_up(&mut operator, format, compression);
        // In the backup it is there, and would speak up if it came into the scratch database.
        cluster.psql_in("shop", "ALTER EVENT TRIGGER watch DISABLE");
        let before = dump(&cluster, "shop", &[]);
        let schema = format!("back_{index}");
        let restored = operator.json(&taking(&[
            "--table",
            "public.orders",
            "--table",
            "sales.\"Odd \"\"name\"\".x\"",
            "--table",
            "طل*",
            "--table",
            "MEASURES",
            "--schema",
            &schema,
        ]));
        assert_eq!(restored["schema"], schema, "{restored}");
        assert_eq!(restored["rows"], 500 + 2 + 2 + 300, "{restored}");
        let becomes = |table: &str| {
            let tables = restored["tables"].as_array().unwrap();
            let one = tables.iter().find(|one| one["table"] == table);
            one.unwrap_or_else(|| panic!("{table}: {restored}"))["restored_as"].clone()
        };
        assert_eq!(
            becomes("\"مبيعات\".\"طلبات\""),
            format!("{schema}.\"طلبات\"")
        );
        assert_eq!(
            becomes("public.measures_2a"),
            format!("{schema}.measures_2a")
        );

        // Nothing that stands was touched.
        let others = ["--exclude-schema", &schema];
        assert_eq!(dump(&cluster, "shop", &others), before, "{format}");
        assert_eq!(databases(&cluster), "shop");

        assert_as_they_were(&cluster, &schema);
        assert_next_is_ready(&cluster, &restored);

        let log = operator.restore_log();
        let events: Vec<_> = log.iter().map(|record| &record["event"]).collect();
        assert_eq!(events, ["started", "succeeded"]);
        let message = log[1]["message"].as_str().unwrap();
        assert!(message.contains("public.orders as"), "{message}");
        assert!(log[0]["requested_by"]["user"].is_string(), "{log:?}");
    }
}

/// Definitions, values and rows are what they were, but for the schema and the foreign key.
fn assert_as_they_were(cluster: &Cluster, schema: &str) {
    let original = dump(
        cluster,
        "shop",
        &["-t", "public.orders", "-t", "public.measures*"],
    );
    let copy = format!("{schema}.");
    let found = dump(
        cluster,
        "shop",
        &[
            "-t",
            &format!("{copy}orders"),
            "-t",
            &format!("{copy}measures*"),
        ],
    );
    let found = found.replace(&copy, "public.").replace(schema, "public");
    let key = "-- Name: orders orders_customer_fkey; Type: FK CONSTRAINT";
    let (head, rest) = original.split_once(key).unwrap();
    let rest = rest
        .split_once("REFERENCES public.customers(id);\n")
        .unwrap()
        .1;
    let expected = format!("{}{rest}", head.trim_end_matches("--\n"));
    assert_eq!(sorted(&found), sorted(&expected), "{schema}");
    assert_eq!(
        cluster.psql_in("shop", &format!("SELECT nextval('{copy}orders_id_seq'), nextval('{copy}orders_number_seq'), nextval('public.orders_id_seq') = currval('public.orders_id_seq')")),
        "501|1500|t"
    );
    assert_eq!(
        cluster.psql_in("shop", &format!("SELECT pg_get_statisticsobjdef(oid), obj_description(oid, 'pg_statistic_ext') FROM pg_statistic_ext WHERE stxrelid = '{copy}orders'::regclass")),
        format!("CREATE STATISTICS {copy}orders_stats (ndistinct) ON customer, tag FROM {copy}orders|it's ours")
    );
    assert_eq!(
        cluster.psql_in("shop", &format!(r#"SELECT * FROM {copy}"Odd ""name"".x" EXCEPT SELECT * FROM sales."Odd ""name"".x""#)),
        ""
    );
    let analysed =
        format!("SELECT count(*) > 0 FROM pg_statistic WHERE starelid = '{copy}orders'::regclass");
    assert_eq!(cluster.psql_in("shop", &analysed), "t");
}

/// What was left out is told with its statement, and what is next can be run as it stands.
fn assert_next_is_ready(cluster: &Cluster, restored: &Value) {
    let told = restored.to_string();
    for word in [
        "orders_customer_fkey",
        "lines_order_fkey",
        "ON DELETE CASCADE",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    cluster.psql_in("shop", "DELETE FROM public.orders WHERE id = 7; UPDATE public.orders SET details = NULL WHERE id = 8");
    let next: Vec<&str> = restored["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    let differing = next
        .iter()
        .find(|line| line.contains("EXCEPT SELECT id,"))
        .unwrap();
    assert_eq!(
        cluster.psql_in(
            "shop",
            &format!(
                "SELECT count(*) FROM ({}) AS x",
                differing.trim_end_matches(';')
            )
        ),
        "2"
    );
    cluster.psql_in("shop", &next.join("\n"));
    if let Some((_, drop)) = next
        .last()
        .unwrap()
        .split_once("-- once nothing in it is needed: ")
    {
        cluster.psql_in("shop", drop);
    }
    assert_eq!(
        cluster.psql_in("shop", "SELECT count(*) FROM public.orders"),
        "500"
    );
    cluster.psql_in("shop", "SELECT setval('orders_id_seq', 500); DELETE FROM lines; INSERT INTO lines SELECT i, 1 FROM generate_series(1, 500) AS i; ALTER EVENT TRIGGER watch ENABLE");
}

/// The lines of a text in order: a restored table's objects come in another one.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn what_cannot_be_done_is_told_and_nothing_is_left() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "plain", "gzip");
    cluster.psql_in("shop", "DROP EVENT TRIGGER watch");
    let before = dump(&cluster, "shop", &[]);
    for (arguments, code, told) in [
        (
            ["--table", "ordes"].as_slice(),
            64,
            "there is public.orders",
        ),
        (&["--table", "orders", "--table", "nobody"], 64, "it holds"),
        (
            &["--table", "totals"],
            64,
            "public.totals is a view, which holds no rows",
        ),
        (&["--table", "a.b.c"], 64, "more than one dot"),
        (
            &["--table", "orders", "--drop-old"],
            64,
            "cannot be used with",
        ),
        (&["--schema", "x"], 64, "--table"),
        // A table that stands is not touched, not even an empty one's place.
        (
            &["--table", "orders", "--schema", "public"],
            69,
            "has public.orders, ",
        ),
    ] {
        let output = operator.run(&taking(arguments));
        assert_eq!(output.code, code, "{arguments:?}: {output}");
        assert!(output.stderr.contains(told), "{arguments:?}: {output}");
    }
    // Nobody is there to be asked.
    let output = operator.run(&["restore", "--latest", "--table", "orders"]);
    assert_eq!(output.code, 64, "{output}");
    for told in [
        "public.orders (500 rows), with",
        "are read in full",
        "give --yes",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
    // Nothing was read or made before the question, and no report speaks of it.
    let records = operator.restore_log().len();
    let refused = operator.run_at_a_terminal(&["restore", "--latest", "--table", "orders"], "no");
    assert_eq!(refused.code, 64, "{refused}");
    assert!(refused.stdout.contains("nothing was changed"), "{refused}");
    assert_eq!(dump(&cluster, "shop", &[]), before);
    assert_eq!(operator.restore_log().len(), records);

    // Somebody has cleaned up too much.
    cluster.psql_in(
        "shop",
        "DROP TABLE public.orders CASCADE; DROP TYPE public.mood; DROP FUNCTION public.touch()",
    );
    let before = dump(&cluster, "shop", &[]);
    let output = operator.run(&taking(&["--table", "orders"]));
    assert_eq!(output.code, 69, "{output}");
    for told in [
        "type public.mood;",
        "function public.touch()",
        "--into NAME",
        "every database is as it was",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
    assert_eq!(dump(&cluster, "shop", &[]), before);
    assert_eq!(databases(&cluster), "shop");

    // The way out: a new database has all that they need, and no other table.
    let restored = operator.json(&taking(&["--table", "orders", "--into", "found again"]));
    assert_eq!(restored["made_database"], true);
    assert_eq!(restored["tables"][0]["restored_as"], "public.orders");
    assert_eq!(databases(&cluster), "found again shop");
    assert_eq!(
        cluster.psql_in("found again", "SELECT count(*), sum(doubled), (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace) FROM orders"),
        "500|250500.00|1"
    );
    assert_eq!(
        cluster.psql_in("found again", "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"),
        ""
    );
    assert_eq!(dump(&cluster, "shop", &[]), before);
    operator.assert_no_processes();
}

#[test]
fn what_would_be_done_can_be_read_before() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "custom", "gzip");
    let bare = operator.path("shop.sql");
    let mut pg_dump = cluster.command("pg_dump");
    pg_dump.args(["-f", bare.to_str().unwrap(), "shop"]);
    assert!(pg_dump.status().unwrap().success());
    cluster.psql("CREATE ROLE weak LOGIN; GRANT pg_read_all_data TO weak");
    let before = dump(&cluster, "shop", &[]);
    let plan = |arguments: &[&str]| {
        let arguments = [&["restore", "--plan", "--table", "orders"], arguments].concat();
        operator.run(&arguments)
    };
    for (arguments, told) in [
        (
            &["--latest"][..],
            &[
                " into database shop at ",
                "scratch database shop_restoring_",
                "public.orders (500 rows), partitions and child tables included",
                "into schema restored_2",
                "drop shop_restoring_",
            ][..],
        ),
        (
            &["--latest", "--into", "beside"],
            &["a new database beside, each in its own schema"],
        ),
        (
            &[bare.to_str().unwrap(), "--database", "shop"],
            &["public.orders (500 rows)"],
        ),
    ] {
        let output = plan(arguments);
        assert_eq!(output.code, 0, "{arguments:?}: {output}");
        for told in told {
            assert!(output.stdout.contains(told), "{told}: {output}");
        }
    }
    let output = plan(&["--latest", "--schema", "public"]);
    assert_eq!(output.code, 69, "{output}");
    let told = "it cannot be restored now:\ndatabase \"shop\" has public.orders already";
    assert!(output.stderr.contains(told), "{output}");
    let output = operator.run(&["restore", "--plan", "--latest", "--table", "ordes"]);
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains("there is public.orders"), "{output}");
    let steps = operator.json(&["restore", "--plan", "--latest", "--table", "orders"]);
    assert_eq!(steps["steps"].as_array().unwrap().len(), 6, "{steps}");
    operator.set("connection.user", "weak");
    let arguments = ["restore", "--plan", "--latest", "--table", "orders"];
    let output = operator.run(&arguments);
    let told = "user weak may not create databases, and a scratch database is needed";
    assert!(output.stderr.contains(told), "{output}");
    // Nothing was made for it, and nothing is on record.
    assert_eq!(dump(&cluster, "shop", &[]), before);
    assert_eq!(databases(&cluster), "shop");
    assert!(!operator.backups().join("restore.log").exists());
}

#[test]
fn an_extension_that_nothing_needs_is_in_nobody_s_way() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    let rename = |extension: &str, name: &str| {
        cluster.psql_in(
            "shop",
            &format!(
                "CREATE EXTENSION {extension}; COMMENT ON EXTENSION {extension} IS 'x'; \
                 UPDATE pg_extension SET extname = '{name}' WHERE extname = '{extension}'"
            ),
        );
    };
    cluster.psql_in("shop", "DROP EVENT TRIGGER watch");
    // pg_dump has no objection, and the server cannot install what is called so.
    rename("pg_stat_statements", "no such");
    for format in ["plain", "custom"] {
        back_up(&mut operator, format, "gzip");
        let restored = operator.json(&taking(&["--table", "public.orders", "--schema", format]));
        assert_eq!(restored["ok"], true, "{restored}");
    }
    let restored = operator.json(&taking(&["--table", "public.orders", "--into", "alone"]));
    let left_out = restored["left_out"].to_string();
    assert!(
        left_out.contains("in the backup needs: no such"),
        "{left_out}"
    );

    rename("hstore", "gone");
    cluster.psql_in("shop", "CREATE TABLE with_hstore (h hstore)");
    back_up(&mut operator, "plain", "gzip");
    let output = operator.run(&taking(&["--table", "public.orders"]));
    assert_eq!(output.code, 69, "{output}");
    let told =
        "extensions that our user cannot install there are gone, no such: make what is missing";
    assert!(output.stderr.contains(told), "{output}");
}

/// Rows of tables that refer to each other come back by one paste, whatever the tables are called.
#[test]
fn emptied_tables_are_filled_in_the_order_of_their_references() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "plain", "gzip");
    let tables = [
        "--table",
        "lines",
        "--table",
        "orders",
        "--table",
        "customers",
    ];
    // Our user fires the trigger that refuses every ALTER TABLE.
    cluster.psql_in(
        "shop",
        "DROP EVENT TRIGGER watch; TRUNCATE customers CASCADE",
    );
    let restored = operator.json(&taking(&tables));
    let next: Vec<&str> = restored["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    cluster.psql_in("shop", &next.join("\n"));
    let counted = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), \
                   (SELECT count(*) FROM lines)";
    assert_eq!(cluster.psql_in("shop", counted), "20|500|500");
    // What was restored stays until somebody drops it.
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'restored%'";
    assert_eq!(cluster.psql_in("shop", schemas), "1");
}

#[test]
fn a_dropped_table_goes_back_where_it_was() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "custom", "gzip");
    cluster.psql_in(
        "shop",
        "DROP EVENT TRIGGER watch; DROP TABLE public.orders CASCADE; DROP TABLE public.measures_1",
    );
    // Straight into its schema, where nothing bears its name any more.
    let restored = operator.json(&taking(&["--table", "orders", "--schema", "public"]));
    assert_eq!(restored["tables"][0]["restored_as"], "public.orders");
    assert_eq!(restored["next"], serde_json::json!([]));
    assert_eq!(
        cluster.psql_in("shop", "SELECT count(*) FROM public.orders"),
        "500"
    );
    // The statements that are told bring back what ties it to the others.
    for left_out in restored["left_out"].as_array().unwrap() {
        let (_, statement) = left_out.as_str().unwrap().split_once(": ").unwrap();
        cluster.psql_in("shop", statement);
    }
    cluster.psql_in("shop", "DELETE FROM public.orders WHERE id = 1");
    assert_eq!(
        cluster.psql_in("shop", "SELECT count(*) FROM public.lines"),
        "499"
    );

    // A partition comes alone, and is put where it was.
    let restored = operator.json(&taking(&["--table", "measures_1"]));
    let next: Vec<&str> = restored["next"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert!(next[1].starts_with("ALTER TABLE restored_"), "{next:?}");
    cluster.psql_in("shop", next[1]);
    let left_out = restored["left_out"][0].as_str().unwrap();
    cluster.psql_in("shop", left_out.split_once(": ").unwrap().1);
    assert_eq!(
        cluster.psql_in("shop", "SELECT count(*) FROM measures"),
        "300"
    );
}

#[test]
fn whatever_ends_it_midway_leaves_every_database_as_it_was() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "plain", "gzip");
    cluster.psql_in("shop", "DROP EVENT TRIGGER watch");
    let schemas = || {
        cluster.psql_in(
            "shop",
            "SELECT count(*) FROM pg_namespace WHERE nspname IN ('back', 'other')",
        )
    };

    // Somebody else's code changes a row while the table is made: the comparison sees it.
    cluster.psql_in("shop", "CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM back.orders WHERE id = 7; END $$; CREATE EVENT TRIGGER meddle ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION meddle()");
    let output = operator.run(&taking(&["--table", "orders", "--schema", "back"]));
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("back.orders: 499 rows, 500 in the backup"),
        "{output}"
    );
    assert_eq!(schemas(), "0");
    assert_eq!(databases(&cluster), "shop");

    // Ended while its transaction is in the middle of something long.
    cluster.psql_in("shop", "CREATE OR REPLACE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$");
    let sleeping = || {
        cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    };
    let running = operator.spawn(&taking(&["--table", "orders", "--schema", "back"]));
    wait_until("it is in the middle", sleeping);
    running.signal(Signal::TERM);
    let output = running.wait();
    assert_eq!(output.code, 143, "{output}");
    assert!(
        output.stderr.contains("every database is as it was"),
        "{output}"
    );
    wait_until("the session is gone", || !sleeping());
    assert_eq!(schemas(), "0");
    assert_eq!(databases(&cluster), "shop");

    // Killed: the next one drops what was left.
    let running = operator.spawn(&taking(&["--table", "orders", "--schema", "back"]));
    wait_until("it is in the middle again", sleeping);
    running.signal(Signal::KILL);
    running.wait();
    cluster.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    );
    assert_eq!(schemas(), "0");
    assert!(databases(&cluster).contains("shop_restoring_"));
    cluster.psql_in("shop", "DROP EVENT TRIGGER meddle");
    let output = operator.run(&taking(&["--table", "orders", "--schema", "back"]));
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(databases(&cluster), "shop");
    let log = operator.restore_log();
    let events: Vec<&str> = log
        .iter()
        .filter_map(|record| record["event"].as_str())
        .collect();
    assert!(
        events.contains(&"interrupted") && events.last() == Some(&"succeeded"),
        "{events:?}"
    );
}

#[test]
fn a_row_of_any_length_takes_no_memory_for_its_length() {
    /// The most that the program may have in memory, in KiB: less than two thirds of the row.
    const MOST: u64 = 96 * 1024;
    let cluster = Cluster::start();
    cluster.create_database("shop");
    // A tab, a backslash and a newline each take two bytes in a dump, and a byte of a bytea two.
    cluster.psql_in(
        "shop",
        r"CREATE TABLE files (id int, content bytea, note text);
          INSERT INTO files VALUES (1, 'short', 'a'),
            (2, decode(repeat('00ff5c', 14000000), 'hex'), repeat(E'\t\\\n', 11000000)),
            (3, NULL, '')",
    );
    let mut operator = Operator::of(&cluster, "shop");
    back_up(&mut operator, "plain", "none");
    let arguments = ["--table", "files", "--schema", "back"];

    let running = operator.spawn(&taking(&arguments));
    let status = format!("/proc/{}/status", running.pid().as_raw_nonzero());
    let mut peak = 0;
    while let Ok(status) = fs::read_to_string(&status) {
        let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) else {
            break;
        };
        let number = line.split_whitespace().nth(1).unwrap();
        peak = peak.max(number.parse().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = running.wait();
    assert_eq!(output.code, 0, "{output}");
    assert!((1..MOST).contains(&peak), "{peak} KiB");
    let compared = "SELECT count(*) FROM files AS a JOIN back.files AS b USING (id) \
        WHERE a.content IS NOT DISTINCT FROM b.content AND a.note = b.note";
    assert_eq!(cluster.psql_in("shop", compared), "3");
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn other_encodings_other_databases_and_bare_files_will_do() {
    let cluster = Cluster::start();
    cluster.psql("CREATE DATABASE old TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'; CREATE ROLE gone; CREATE DATABASE other");
    cluster.psql_in("old", "CREATE TABLE \"Café\" (\"Prénom\" text); INSERT INTO \"Café\" VALUES ('René'), (NULL); ALTER TABLE \"Café\" OWNER TO gone; GRANT SELECT ON \"Café\" TO gone; CREATE TABLE empty ()");
    let mut operator = Operator::of(&cluster, "old");
    back_up(&mut operator, "plain", "none");
    cluster.psql_in("old", "DROP OWNED BY gone; DROP ROLE gone");
    let restored = operator.json(&taking(&["--table", "\"Ca\"*", "--table", "EMPTY"]));
    assert_eq!(restored["rows"], 2, "{restored}");
    let name = restored["tables"][0]["restored_as"].as_str().unwrap();
    assert_eq!(
        cluster.psql_in(
            "old",
            &format!("SELECT \"Prénom\" FROM {name} WHERE \"Prénom\" IS NOT NULL")
        ),
        "René"
    );
    assert!(
        restored["warnings"]
            .to_string()
            .contains("lacks the role \\\"gone\\\""),
        "{restored}"
    );

    // A file that there is no manifest for, into a database that has nothing to do with it.
    let bare = operator.path("bare.sql");
    let text = raw_dump(
        &cluster,
        "old",
        &["-t", "public.empty", "-t", "public.\"Ca*\"", "--no-owner"],
    );
    fs::write(&bare, text).unwrap();
    let output = operator.run(&[
        "restore",
        bare.to_str().unwrap(),
        "--database",
        "old",
        "--into",
        "other",
        "--table",
        "empty",
        "--yes",
    ]);
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stderr.contains("there is no manifest for"),
        "{output}"
    );
    assert!(
        output
            .stdout
            .contains("public.empty: 0 rows, the same as in the backup"),
        "{output}"
    );

    let inserts = operator.path("inserts.sql");
    fs::write(&inserts, raw_dump(&cluster, "other", &["--inserts"])).unwrap();
    let output = operator.run(&[
        "restore",
        inserts.to_str().unwrap(),
        "--database",
        "other",
        "--table",
        "empty",
        "--yes",
    ]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stderr.contains("holds no rows of any"), "{output}");
    // Nothing of a dump is carried out that pg_dump would not have written.
    let hostile = operator.path("hostile.sql");
    let text = fs::read_to_string(&bare).unwrap();
    fs::write(
        &hostile,
        format!("\\! touch {}\n{text}", operator.path("touched").display()),
    )
    .unwrap();
    let output = operator.run(&[
        "restore",
        hostile.to_str().unwrap(),
        "--database",
        "other",
        "--table",
        "empty",
        "--yes",
    ]);
    assert_eq!(output.code, 65, "{output}");
    assert!(
        output.stderr.contains("a command of psql's own"),
        "{output}"
    );
    assert!(!operator.path("touched").exists());
}

#[test]
fn without_a_superuser_s_rights_a_table_comes_back_as_one_s_own() {
    let cluster = Cluster::start();
    cluster.psql("CREATE ROLE keeper LOGIN CREATEDB; CREATE ROLE other");
    cluster.psql("CREATE DATABASE kept OWNER keeper");
    cluster.psql_in(
        "kept",
        "SET ROLE keeper; CREATE TABLE of_rows (a int); INSERT INTO of_rows VALUES (1); \
         CREATE TABLE t (a of_rows); INSERT INTO t VALUES (ROW(7)); GRANT SELECT ON t TO other; \
         RESET ROLE; ALTER TABLE t OWNER TO other; GRANT SELECT ON t TO keeper",
    );
    let mut operator = Operator::of(&cluster, "kept");
    back_up(&mut operator, "plain", "gzip");
    operator.set("connection.user", "keeper");
    let restored = operator.json(&taking(&["--table", "t", "--schema", "mine"]));
    assert_eq!(
        cluster.psql_in(
            "kept",
            "SELECT tableowner, (SELECT (a).a FROM mine.t) FROM pg_tables WHERE schemaname = 'mine'"
        ),
        "keeper|7"
    );
    let told = restored["warnings"].to_string();
    assert!(
        told.contains("cannot act for the role \\\"other\\\""),
        "{told}"
    );

    // Into a database of its own comes what a column has the type of, without its rows.
    let restored = operator.json(&taking(&["--table", "t", "--into", "apart"]));
    assert!(
        restored["left_out"][0]
            .as_str()
            .unwrap()
            .contains("public.of_rows"),
        "{restored}"
    );
    assert_eq!(
        cluster.psql_in(
            "apart",
            "SELECT (a).a, (SELECT count(*) FROM of_rows) FROM t"
        ),
        "7|0"
    );
}

#[test]
fn rows_for_which_the_server_has_no_room_are_refused_before_anything_is_made() {
    let Some(disk) = Filesystem::in_memory("size=200m") else {
        return;
    };
    let cluster = Cluster::with(&Options {
        below: Some(disk.path()),
        ..Options::default()
    });
    cluster.create_database("shop");
    cluster.psql_in(
        "shop",
        "CREATE TABLE numbers AS SELECT i FROM generate_series(1, 200000) AS i",
    );
    let operator = Operator::of(&cluster, "shop");
    operator.back_up();
    // A mebibyte, where each of the rows takes 28 bytes at least. What the server has to write, it writes
    // before that is measured.
    let ballast = disk.path().join("ballast");
    wait_until("the disk takes the ballast", || {
        cluster.psql("CHECKPOINT");
        let space = disk.space();
        let length = (space.f_bfree - 256) * space.f_frsize;
        let written = fs::write(&ballast, vec![0; length.try_into().unwrap()]);
        if written.is_err() {
            fs::remove_file(&ballast).unwrap();
        }
        written.is_ok()
    });
    let numbers = taking(&["--table", "numbers"]);
    let output = operator.run(&numbers);
    assert_eq!(output.code, 69, "{output}");
    let sentence = "free, and the rows of the tables need 5.3 MiB at least: free some space there";
    assert!(output.stderr.contains(sentence), "{output}");
    assert_eq!(databases(&cluster), "shop");
    let log = operator.restore_log();
    assert!(
        log.iter().all(|record| record["event"] != "started"),
        "{log:?}"
    );
    fs::remove_file(&ballast).unwrap();
    let output = operator.run(&numbers);
    assert_eq!(output.code, 0, "{output}");
}
