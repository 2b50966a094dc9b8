//! Single tables come back whole besides those that stand, and nothing that stands is ever touched.

mod complete;
mod midway;
mod refused;

use crate::support::cluster::{Cluster, binaries};
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
