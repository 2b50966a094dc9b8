//! Extensions whose libraries a server must load when it starts are tried too, and what they would do
//! of their own accord in the temporary cluster is not done.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::cluster::{Cluster, Options, binary, wait_until};
use crate::support::drill::{assert_empty, back_up, drill, operator};
use crate::support::operator::Operator;

/// A function for a CHECK constraint: in a temporary cluster it fails unless that loads exactly these
/// libraries, and does a look of its own.
fn function_that_looks(libraries: &str, look: &str) -> String {
    format!(
        "CREATE FUNCTION public.looks(integer) RETURNS boolean LANGUAGE plpgsql AS $body$\n\
         DECLARE found text;\n\
         BEGIN\n\
         IF current_setting('data_directory') !~ 'pgbackupd-drill-' THEN RETURN true; END IF;\n\
         found := current_setting('shared_preload_libraries');\n\
         IF found <> '{libraries}' THEN RAISE EXCEPTION 'loaded: %', found; END IF;\n\
         {look}\n\
         RETURN true;\n\
         END $body$;\n\
         CREATE TABLE public.looked (n integer CHECK (public.looks(n)));\n\
         INSERT INTO public.looked VALUES (1);\n"
    )
}

/// A server that preloads these libraries.
fn server_with(libraries: &str, more: &[(&'static str, &str)]) -> Cluster {
    let mut settings = vec![("shared_preload_libraries", libraries.to_owned())];
    settings.extend(
        more.iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    Cluster::with(&Options {
        settings,
        ..Options::default()
    })
}

/// A view that can only be filled in a server that has loaded a library.
const NEEDS_A_LIBRARY: &str = "CREATE EXTENSION pg_stat_statements;\n\
    CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) > 0 AS is_some FROM pg_stat_statements;";

fn manifest(operator: &Operator) -> Value {
    let backups = operator.backups();
    let mut manifests: Vec<_> = fs::read_dir(&backups)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|one| one == "json"))
        .collect();
    manifests.sort();
    serde_json::from_slice(&fs::read(manifests.last().unwrap()).unwrap()).unwrap()
}

#[test]
fn what_the_databases_extensions_need_is_preloaded_and_starts_no_worker() {
    let source = server_with("auto_explain, pg_prewarm,pg_stat_statements", &[]);
    // The library's worker, which is started with a server, is there or can be started.
    let no_worker = "BEGIN\n\
         PERFORM public.autoprewarm_start_worker();\n\
         RAISE EXCEPTION 'a worker was started';\n\
         EXCEPTION WHEN insufficient_resources THEN NULL; END;";
    source.psql(&format!(
        "{NEEDS_A_LIBRARY}\nCREATE EXTENSION pg_prewarm;\n{}",
        function_that_looks("pg_prewarm,pg_stat_statements", no_worker)
    ));
    let (operator, place) = operator(&source, "postgres");
    back_up(&operator);
    let manifest = manifest(&operator);
    assert_eq!(
        manifest["server"]["preload"],
        serde_json::json!(["auto_explain", "pg_prewarm", "pg_stat_statements"])
    );
    assert_eq!(
        manifest["properties"]["libraries"],
        serde_json::json!(["$libdir/pg_prewarm", "$libdir/pg_stat_statements"])
    );
    let (report, output) = drill(&operator, 0);
    assert_eq!(report["outcome"], "proven", "{output}");
    assert_eq!(report["remarks"], serde_json::json!([]), "{output}");
    assert_empty(place.path());
}

#[test]
fn where_the_setting_cannot_be_read_the_configuration_names_the_library() {
    let source = server_with("pg_stat_statements", &[]);
    source.psql(&format!(
        "{NEEDS_A_LIBRARY}\nCREATE ROLE reader LOGIN IN ROLE pg_read_all_data;"
    ));
    let (mut operator, place) = operator(&source, "postgres");
    operator.set("connection.user", "reader");
    operator.set_value("dump.globals", false);
    back_up(&operator);
    assert_eq!(manifest(&operator)["server"]["preload"], Value::Null);
    let (report, output) = drill(&operator, 69);
    assert_eq!(report["outcome"], "impossible", "{output}");
    let message = report["message"].as_str().unwrap();
    for words in [
        "must be loaded via shared_preload_libraries",
        "may not read that (GRANT pg_read_all_settings)",
        "name its library in drill.preload",
    ] {
        assert!(message.contains(words), "{message}");
    }
    operator.set_value("drill.preload", vec!["pg_stat_statements"]);
    let (report, output) = drill(&operator, 0);
    assert_eq!(report["outcome"], "proven", "{output}");

    // One that is not there is the machine's lack, and said as such.
    operator.set_value("drill.preload", vec!["pg_stat_statements", "unheard_of"]);
    let (report, output) = drill(&operator, 69);
    let message = report["message"].as_str().unwrap();
    assert!(message.contains(": unheard_of"), "{output}");
    assert_empty(place.path());
}

/// Whether an extension is installed for the server under test.
fn is_installed(extension: &str) -> bool {
    let directory = Command::new(binary("pg_config"))
        .arg("--sharedir")
        .output()
        .unwrap();
    let directory = String::from_utf8(directory.stdout).unwrap();
    let control = format!("{}/extension/{extension}.control", directory.trim());
    fs::exists(control).unwrap()
}

#[test]
fn jobs_of_pg_cron_come_back_and_none_is_carried_out() {
    if !is_installed("pg_cron") {
        println!("skipped: pg_cron is not installed (postgresql-15-cron)");
        return;
    }
    let source = server_with("pg_cron", &[("cron.database_name", "the shop")]);
    source.create_database("the shop");
    // It would be there within moments.
    let no_launcher = "PERFORM pg_sleep(2);\n\
         SELECT string_agg(backend_type, ', ') INTO found FROM pg_stat_activity\n\
          WHERE backend_type ~ 'pg_cron';\n\
         IF found IS NOT NULL THEN RAISE EXCEPTION 'at work: %', found; END IF;";
    let launcher = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher'";
    wait_until("the launcher is there", || source.psql(launcher) == "1");
    source.psql_in(
        "the shop",
        &format!(
            "CREATE EXTENSION pg_cron;\n\
             SELECT cron.schedule('* * * * *', 'CREATE TABLE public.carried_out ()');\n\
             SELECT cron.schedule('nightly', '0 3 * * *', 'VACUUM');\n{}",
            function_that_looks("pg_cron", no_launcher)
        ),
    );
    let (mut operator, place) = operator(&source, "the shop");
    for format in ["plain", "custom"] {
        operator.set("dump.format", format);
        back_up(&operator);
        let (report, output) = drill(&operator, 0);
        assert_eq!(report["outcome"], "proven", "{output}");
        assert_eq!(report["remarks"], serde_json::json!([]), "{output}");
    }
    assert_empty(place.path());

    // It could not be made in the database that a restore loads.
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("pg_cron by hand"), "{output}");
    let databases = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database";
    assert_eq!(
        source.psql(databases),
        "postgres,template0,template1,the shop"
    );
    // A table next to it comes back.
    let output = operator.run(&[
        "restore", "--latest", "--table", "looked", "--schema", "back", "--yes",
    ]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(source.psql_in("the shop", "SELECT * FROM back.looked"), "1");
}
