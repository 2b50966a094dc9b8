//! Test restores: somebody who makes them, and programs of `PostgreSQL`'s in other clothes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::cluster::{Cluster, binary, short_temp_dir};
use super::operator::{Operator, Output};

/// A directory that the temporary cluster's user can pass through.
pub(crate) fn open_directory() -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("pgbackupd-test-drill-")
        .tempdir_in(short_temp_dir())
        .unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Somebody who drills in a directory of its own.
pub(crate) fn operator(cluster: &Cluster, database: &str) -> (Operator, TempDir) {
    let place = open_directory();
    let mut operator = Operator::of(cluster, database);
    operator.set("drill.directory", place.path().display());
    (operator, place)
}

/// `PostgreSQL`'s programs, with one of them in another's clothes: a shell script in which `$real`
/// is the real one.
pub(crate) fn programs_with(name: &str, script: &str) -> TempDir {
    let directory = open_directory();
    for program in [
        "pg_dump",
        "pg_dumpall",
        "pg_restore",
        "psql",
        "initdb",
        "postgres",
    ] {
        let real = binary(program);
        let path = directory.path().join(program);
        if program == name {
            fs::write(
                &path,
                format!("#!/bin/sh\nreal='{}'\n{script}\n", real.display()),
            )
            .unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        } else {
            symlink(real, &path).unwrap();
        }
    }
    directory
}

/// A psql that changes what the real one has loaded. Of a change that cannot be made yet, because
/// only the roles are there, nothing is heard; a reference, for which the copy has been set aside, is left
/// as it is.
pub(crate) fn psql_that_changes(changes: &[&str]) -> TempDir {
    let aside = "SELECT 1 FROM pg_database WHERE datname = 'aside'";
    let mut script = format!(
        "\"$real\" \"$@\" || exit\n[ -z \"$(\"$real\" -XAt -c \"{aside}\")\" ] || exit 0\n"
    );
    for change in changes {
        let lines = [
            "\"$real\" -X -q -c \"$(cat <<'END'",
            change,
            "END",
            ")\" >&- 2>&-\n",
        ];
        script += &lines.join("\n");
    }
    programs_with("psql", &(script + "exit 0"))
}

pub(crate) fn back_up(operator: &Operator) {
    operator.back_up();
}

/// Drills, and gives the one report.
pub(crate) fn drill(operator: &Operator, expected: i32) -> (Value, Output) {
    let output = operator.run(&["--json", "drill"]);
    assert_eq!(output.code, expected, "{output}");
    let mut reports: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(reports.len(), 1, "{output}");
    (reports.remove(0), output)
}

pub(crate) fn assert_empty(directory: &Path) {
    let left: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [""; 0].map(PathBuf::from));
}
