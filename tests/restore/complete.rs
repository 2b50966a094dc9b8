//! What comes back, and where.

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;
use crate::support::restored::{assert_untouched, beginning_with, databases, small, value};
use serde_json::Value;
use std::fs;

/// Everything about a database that `pg_dump` leaves to `pg_dumpall`, and who may do what in it.
fn around(cluster: &Cluster, name: &str) -> String {
    cluster.psql(&format!(
        "SELECT pg_get_userbyid(datdba), datcollate, datconnlimit, datistemplate, \
                (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) AS a), \
                shobj_description(oid, 'pg_database'), \
                (SELECT string_agg(concat(setrole::regrole, c), '; ' ORDER BY setrole, c) \
                   FROM pg_db_role_setting, unnest(setconfig) AS c WHERE setdatabase = oid) \
           FROM pg_database WHERE datname = '{name}'"
    ))
}

/// A database with privileges, settings, partitions and a large object.
fn make_surrounded(cluster: &Cluster) {
    cluster.psql(
        "CREATE ROLE \"the owner\"; CREATE ROLE reader; CREATE ROLE granter; \
         CREATE DATABASE app OWNER \"the owner\" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'; \
         REVOKE ALL ON DATABASE app FROM PUBLIC; \
         GRANT CONNECT ON DATABASE app TO granter WITH GRANT OPTION; \
         SET ROLE granter; GRANT CONNECT ON DATABASE app TO reader; RESET ROLE; \
         COMMENT ON DATABASE app IS 'it''s \\ ours'; \
         ALTER DATABASE app SET search_path TO \"$user\", 'a, \"b', public; \
         ALTER DATABASE app SET \"my.own\" TO 'x = ''y'''; \
         ALTER DATABASE app SET default_transaction_read_only TO on; \
         ALTER ROLE reader IN DATABASE app SET work_mem TO '7MB'; \
         ALTER DATABASE app CONNECTION LIMIT 17",
    );
    cluster.psql_in(
        "app",
        "SET default_transaction_read_only = off; CREATE SCHEMA \"a, \"\"b\"; SET search_path = public; \
         CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, i::text FROM generate_series(1, 1000) AS i; \
         CREATE TABLE parts (a int, b text) PARTITION BY RANGE (a); \
         CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         INSERT INTO parts VALUES (1, 'x'); \
         GRANT SELECT ON t TO reader; ALTER TABLE t OWNER TO \"the owner\"; \
         SELECT lo_from_bytea(4711, 'a large object'); GRANT SELECT ON LARGE OBJECT 4711 TO reader",
    );
}

#[test]
fn a_database_comes_back_with_all_that_surrounds_it() {
    let cluster = Cluster::start();
    make_surrounded(&cluster);
    let before = around(&cluster, "app");
    let operator = Operator::of(&cluster, "app");
    operator.back_up();
    cluster.psql_in(
        "app",
        "SET default_transaction_read_only = off; DROP TABLE t; SELECT lo_unlink(4711)",
    );

    let restored = operator.json(&["restore", "--latest", "--yes"]);
    assert_eq!(restored["database"], "app");
    assert_eq!(restored["rows"], 1001);
    assert_eq!(restored["in_time"], true);
    assert_eq!(around(&cluster, "app"), before);
    assert_eq!(
        cluster.psql_in("app", "SELECT count(*), sum(id) FROM t"),
        "1000|500500"
    );
    assert_eq!(
        cluster.psql_in("app", "SELECT convert_from(lo_get(4711), 'UTF8')"),
        "a large object"
    );
    assert_eq!(
        cluster.psql_in("app", "SELECT has_table_privilege('reader', 't', 'SELECT'), tableowner FROM pg_tables WHERE tablename = 't'"),
        "t|the owner"
    );
    // What was replaced is there.
    let kept = beginning_with(&cluster, "app_before_restore_");
    assert_eq!(restored["kept_as"], kept);
    assert_eq!(cluster.psql_in(&kept, "SELECT to_regclass('t')"), "");
    // And who asked for it is on record.
    let log = operator.restore_log();
    let events: Vec<_> = log.iter().map(|record| &record["event"]).collect();
    assert_eq!(events, ["started", "succeeded"]);
    assert_eq!(log[0]["operation"], "restore");
    assert!(log[0]["requested_by"]["user"].is_string(), "{log:?}");
    // In words too, for people to add what they know.
    let report = fs::read_to_string(restored["incident"].as_str().unwrap()).unwrap();
    for part in [
        "# Incident report: restore of database `app`\n",
        "- Outcome: **restored**\n",
        "**no difference**",
        &format!("- Kept as: `{kept}`\n"),
        "| loading into app_restoring_",
        "(`objectives.recovery_point`): 1 day allowed, **met**",
        "[TO FILL IN]",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }

    // The way back.
    let undone = operator.json(&["undo-restore", "--yes"]);
    assert_eq!(undone["brought_back"], kept);
    // Nothing is written over, whatever the names are.
    assert_ne!(undone["incident"], restored["incident"]);
    let again = operator.run(&["incident", log[0]["run"].as_str().unwrap()]);
    assert_eq!(again.stdout, report, "{again}");
    assert_eq!(cluster.psql_in("app", "SELECT to_regclass('t')"), "");
    assert_eq!(around(&cluster, "app"), before);
    beginning_with(&cluster, "app_undone_");
    assert_eq!(operator.restore_log()[3]["operation"], "undo-restore");
    // There is nothing more to undo.
    let output = operator.run(&["undo-restore", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
}

#[test]
fn a_lost_database_is_created_again_with_its_roles() {
    let cluster = Cluster::start();
    cluster.psql(
        "CREATE ROLE keeper LOGIN PASSWORD 'x'; CREATE ROLE members; GRANT members TO keeper",
    );
    let operator = small(&cluster, "app");
    cluster.psql_in("app", "ALTER TABLE t OWNER TO keeper; UPDATE t SET v = 'as backed up'; ALTER DATABASE app OWNER TO keeper");
    operator.back_up();
    cluster.psql("DROP DATABASE app");
    cluster.psql("DROP ROLE keeper");

    // Nothing is replaced, so nothing is asked.
    let restored = operator.json(&["restore", "--latest"]);
    assert_eq!(restored["kept_as"], Value::Null);
    assert_eq!(restored["roles"], serde_json::json!(["keeper"]));
    assert_eq!(value(&cluster, "app"), "as backed up");
    assert_eq!(databases(&cluster), ["app"]);
    assert_eq!(
        cluster.psql("SELECT rolcanlogin, rolpassword LIKE 'SCRAM%', pg_has_role('keeper', 'members', 'MEMBER') FROM pg_authid WHERE rolname = 'keeper'"),
        "t|t|t"
    );
}

#[test]
fn a_role_that_the_server_has_stays_as_it_is() {
    let cluster = Cluster::start();
    cluster.psql("CREATE ROLE keeper LOGIN; CREATE ROLE members; GRANT members TO keeper");
    let operator = small(&cluster, "app");
    cluster.psql("ALTER ROLE keeper NOLOGIN; REVOKE members FROM keeper");
    let state = "SELECT rolcanlogin, pg_has_role('keeper', 'members', 'MEMBER') FROM pg_roles WHERE rolname = 'keeper'";
    let output = operator.run(&["restore", "--latest", "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql(state), "f|f");
    let output = operator.run(&[
        "restore",
        "--latest",
        "--into",
        "other",
        "--overwrite-roles",
    ]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql(state), "t|t");
}

#[test]
fn next_to_it_nothing_is_replaced() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.set_value("restore.stop", serde_json::json!(["false"]));
    let output = operator.run(&["restore", "--latest", "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(databases(&cluster), ["app", "beside"]);
    assert_eq!(value(&cluster, "app"), "as it stands");
    assert_eq!(value(&cluster, "beside"), "as backed up");
    // A failure has its document as well; a report only where something was done.
    let output = operator.run(&["restore", "--latest", "--into", "beside", "--json"]);
    assert_eq!(output.code, 69, "{output}");
    let taken = "there is a database \"beside\" already";
    assert!(output.stderr.contains(taken), "{output}");
    let told: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(told["ok"], false);
    assert_eq!(told["rows"], Value::Null);
    assert!(told["error"].as_str().unwrap().contains(taken), "{told}");
    assert_eq!(told["incident"], Value::Null);
    let report = operator.run(&["incident"]).stdout;
    assert!(report.contains("- Outcome: **FAILED**"), "{report}");
    assert!(report.contains(taken), "{report}");
}

#[test]
fn whatever_is_loaded_is_compared() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    // A psql that loads something else.
    operator.stand_in(
        "psql",
        "sed --unbuffered 's/as backed up/as baked up/' | exec \"$real\" \"$@\"",
    );
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("what was loaded is not what the backup holds"),
        "{output}"
    );
    assert!(
        output
            .stderr
            .contains("public.t: the number of rows agrees, their content does not"),
        "{output}"
    );
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn any_name_is_restored_and_undone() {
    let cluster = Cluster::start();
    for name in [
        "a\"b",
        "it's",
        "-d postgres",
        "postgresql://x",
        "new\nline",
        "$(touch pwned)",
        // 63 bytes: as long as a name can be.
        "قاعدة_بيانات_المبيعات_والمشتريات_1",
    ] {
        let operator = small(&cluster, name);
        let output = operator.run(&["restore", "--latest", "--yes"]);
        assert_eq!(output.code, 0, "{name:?}: {output}");
        assert_eq!(value(&cluster, name), "as backed up", "{name:?}");
        let output = operator.run(&["undo-restore", "--yes"]);
        assert_eq!(output.code, 0, "{name:?}: {output}");
        assert_eq!(value(&cluster, name), "as it stands", "{name:?}");
        assert!(!operator.path("pwned").exists());
    }
}

#[test]
fn every_format_comes_back_and_so_does_a_bare_dump() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    for format in ["custom", "directory"] {
        operator.set("dump.format", format);
        cluster.psql_in("app", "UPDATE t SET v = 'as backed up'");
        operator.back_up();
        cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
        let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
        assert_eq!(output.code, 0, "{format}: {output}");
        assert_eq!(value(&cluster, "app"), "as backed up");
    }
    for (arguments, file) in [
        (["-Fp"].as_slice(), "x.sql"),
        (&["-Fp", "-Z6"], "x.sql.gz"),
        (&["-Fc"], "x.dump"),
        (&["-Fd"], "x.dir"),
    ] {
        cluster.psql_in("app", "UPDATE t SET v = 'as backed up'");
        let path = operator.path(file);
        let status = cluster
            .command("pg_dump")
            .args(arguments)
            .arg("-f")
            .arg(&path)
            .arg("app")
            .status()
            .unwrap();
        assert!(status.success());
        cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
        let path = path.to_str().unwrap();
        let output = operator.run(&["restore", path, "--yes"]);
        assert_eq!(output.code, 64, "{file}: {output}");
        let output = operator.run(&["restore", path, "--database", "app", "--yes", "--drop-old"]);
        assert_eq!(output.code, 0, "{file}: {output}");
        assert!(
            output.stderr.contains("there is no manifest for"),
            "{output}"
        );
        assert_eq!(value(&cluster, "app"), "as backed up");
    }
    // One that is cut short is none.
    let whole = fs::read(operator.path("x.sql")).unwrap();
    fs::write(operator.path("cut.sql"), &whole[..whole.len() / 2]).unwrap();
    let cut = operator.path("cut.sql");
    let output = operator.run(&[
        "restore",
        cut.to_str().unwrap(),
        "--database",
        "app",
        "--yes",
    ]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(databases(&cluster), ["app"]);
}

#[test]
fn a_backup_is_restored_on_another_machine() {
    let source = Cluster::start();
    let operator = small(&source, "app");
    let elsewhere = Cluster::start();
    let other = Operator::of(&elsewhere, "unrelated");
    let copied = other.path("copied");
    fs::create_dir(&copied).unwrap();
    for name in operator.artifacts() {
        fs::copy(operator.backups().join(&name), copied.join(&name)).unwrap();
    }
    let name = operator.list().remove(0);
    let path = copied.join(format!("{name}.sql.gz"));
    let output = other.run(&["restore", path.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&elsewhere, "app"), "as backed up");
}
