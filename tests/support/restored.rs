//! What tests of restores share: a small database with a backup, and looks at what stands then.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::cluster::Cluster;
use super::operator::Operator;

/// The databases of the server, but for those that every server has, sorted.
pub(crate) fn databases(cluster: &Cluster) -> Vec<String> {
    let text = cluster.psql(
        "SELECT encode(datname::text::bytea, 'hex') FROM pg_database \
          WHERE datname NOT IN ('postgres', 'template0', 'template1') ORDER BY datname",
    );
    let hex = |line: &str| {
        let digits = line.as_bytes().chunks(2);
        let bytes = digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap());
        String::from_utf8(bytes.collect()).unwrap()
    };
    let mut names: Vec<String> = text.lines().map(hex).collect();
    names.sort();
    names
}

/// The one database whose name begins so.
pub(crate) fn beginning_with(cluster: &Cluster, prefix: &str) -> String {
    let mut names = databases(cluster);
    names.retain(|name| name.starts_with(prefix));
    assert_eq!(names.len(), 1, "{names:?} begin with {prefix}");
    names.remove(0)
}

/// A small database, backed up once.
pub(crate) fn small(cluster: &Cluster, name: &str) -> Operator {
    let operator = small_without_backup(cluster, name);
    operator.back_up();
    // What a restore has to take back.
    cluster.psql_in(name, "UPDATE t SET v = 'as it stands'");
    operator
}

/// A small database that was not backed up yet.
pub(crate) fn small_without_backup(cluster: &Cluster, name: &str) -> Operator {
    cluster.create_database(name);
    cluster.psql_in(
        name,
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'as backed up')",
    );
    Operator::of(cluster, name)
}

/// The row of a small database.
pub(crate) fn value(cluster: &Cluster, database: &str) -> String {
    cluster.psql_in(database, "SELECT v FROM t")
}

/// The database serves as it did before the restore, and nothing is left next to it.
#[track_caller]
pub(crate) fn assert_untouched(cluster: &Cluster, operator: &Operator, name: &str) {
    assert_eq!(databases(cluster), [name]);
    assert_eq!(value(cluster, name), "as it stands");
    operator.assert_no_processes();
}

/// Writes a manifest as if it had been written so.
pub(crate) fn seal(path: &Path, manifest: &Value) {
    let mut manifest = manifest.clone();
    manifest.as_object_mut().unwrap().remove("checksum");
    let text = serde_json::to_string_pretty(&manifest).unwrap();
    let text = format!("{},\n  ", text.strip_suffix("\n}").unwrap());
    let checksum = xxhash_rust::xxh3::xxh3_128(text.as_bytes());
    fs::write(
        path,
        format!("{text}\"checksum\": \"{checksum:032x}\"\n}}\n"),
    )
    .unwrap();
}

/// The restore is refused before it begins, and says all of this.
#[track_caller]
pub(crate) fn assert_refused(cluster: &Cluster, operator: &Operator, expected: &[&str]) {
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    for phrase in expected {
        assert!(output.stderr.contains(phrase), "{phrase}: {output}");
    }
    assert_untouched(cluster, operator, "app");
    let events = operator.restore_log();
    assert!(
        events.iter().all(|record| record["event"] != "started"),
        "{events:?}"
    );
}
