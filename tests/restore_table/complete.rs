//! What comes back with a table, from every kind of dump.

use super::{back_up, databases, dump, raw_dump, shop, taking};
use crate::support::cluster::Cluster;
use crate::support::operator::Operator;
use serde_json::Value;
use std::fs;

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

/// What was left out is reported with its statement, and what is next can be run as it stands.
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
    let output = operator.run(&taking(&["--table", "public.with_hstore"]));
    assert_eq!(output.code, 69, "{output}");
    for told in [
        "extensions that our user cannot install there are gone, no such",
        "table public.with_hstore: ",
    ] {
        assert!(output.stderr.contains(told), "{output}");
    }
    // Another table does not need it.
    let output = operator.run(&taking(&["--table", "public.orders", "--schema", "other"]));
    assert_eq!(output.code, 0, "{output}");
    let told = "skipped:\n      table public.with_hstore: ";
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
    // The statements that are reported bring back what ties it to the others.
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
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("with INSERT statements"), "{output}");
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
