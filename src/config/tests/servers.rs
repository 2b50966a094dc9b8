//! Several servers, their databases and directories.

use std::path::Path;

use super::{accepted, directories};
use crate::config::{Compression, Databases, Format};

#[test]
#[expect(clippy::too_many_lines, reason = "all that one configuration means")]
fn several_servers_have_databases_directories_and_dumps_of_their_own() {
    let loaded = accepted(
        r#"
        databases = ["a", { name = "b/c", directory = "/srv/bc", format = "custom", compression = "none" }]
        [dump]
        level = 9
        [connection]
        host = "/run/postgresql"
        port = 5433
        keepalives = 1
        service_file = "/etc/pg_service.conf"
        [servers.reports]
        databases = "all"
        exclude = ["test_*", "app"]
        connection = { uri = "postgresql://backup@reports/postgres", connect_timeout = 5 }
        dump = { compression = "zstd" }
        [servers.other]
        connection = { conninfo = "host=o dbname='x y'" }
        "#,
    );
    let names: Vec<&str> = loaded
        .plan
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(names, ["main", "other", "reports"]);
    assert_eq!(
        directories(&loaded),
        ["/var/backups/a", "/srv/bc", "/var/backups/other/x%20y"]
    );
    let [main, _, reports] = loaded.plan.servers.as_slice() else {
        panic!("three")
    };
    let parameters: Vec<String> = main
        .connection
        .parameters
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(
        parameters,
        [
            "host=/run/postgresql",
            "keepalives=1",
            "port=5433",
            "servicefile=/etc/pg_service.conf"
        ]
    );
    let Databases::Named(own) = &main.databases else {
        panic!("named")
    };
    assert_eq!(
        (own[0].dump.compression, own[0].dump.level),
        (Compression::Gzip, Some(9))
    );
    assert_eq!(
        (own[1].dump.compression, own[1].dump.level),
        (Compression::None, None)
    );
    assert_eq!(own[1].dump.format, Format::Custom);
    assert_eq!(reports.dump.compression, Compression::Zstd);
    assert_eq!(
        reports.dump.level, None,
        "a level of gzip's scale means nothing to zstd"
    );
    let Databases::All(selection) = &reports.databases else {
        panic!("all")
    };
    assert!(selection.matches("app_prod") && !selection.matches("app"));
    assert!(!selection.matches("test_x"));
    assert_eq!(
        reports.directory_for("p q"),
        Path::new("/var/backups/reports/p%20q")
    );
    assert_eq!(main.directory_for("b/c"), Path::new("/srv/bc"));
    assert_eq!(loaded.plan.warnings, [""; 0]);
}

#[test]
fn a_discovered_database_never_gets_a_directory_that_is_taken() {
    let loaded = accepted(
        "databases = \"all\"\n[servers.s]\ndatabase = \"x\"\n[servers.t]\ndatabases = \"all\"\n",
    );
    let main = &loaded.plan.servers[0];
    assert_eq!(loaded.plan.directory_taken_by(main, "free"), None);
    assert_eq!(
        loaded.plan.directory_taken_by(main, "s").as_deref(),
        Some("database \"x\" of server s")
    );
    assert_eq!(
        loaded.plan.directory_taken_by(main, "t").as_deref(),
        Some("the databases of server t")
    );
}
