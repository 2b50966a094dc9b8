//! Metrics: what the service writes is what Prometheus reads, and the rules that ship fire on it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::operator::Operator;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names of all metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let of_help = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    of_help.filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn the_service_writes_metrics_that_promtool_finds_no_fault_with() {
    let cluster = Cluster::start();
    let hostile = "a\"b\\c\nd";
    cluster.create_database(hostile);
    let mut operator = Operator::of(&cluster, hostile);
    only_daily(&mut operator, "UTC", "0 2 * * *");
    let file: PathBuf = operator.path("pgbackupd.prom");
    operator.set("metrics.file", file.display());
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let daemon = Daemon::start(&operator);
    wait_until("the metrics", || file.exists());
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(daemon.end().code, 0);

    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let of_it = "{server=\"main\",database=\"a\\\"b\\\\c\\nd\",series=\"daily\"} ";
    let value = |name: &str| -> f64 {
        let head = format!("{name}{of_it}");
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(&head));
        let value = line.unwrap_or_else(|| panic!("no {head} in {text}"));
        value.parse().unwrap()
    };
    assert!(value("pgbackupd_backup_last_success_timestamp_seconds") > 1.7e9);
    assert!(value("pgbackupd_backup_bytes") > 100.0);
    assert!(
        text.contains("pgbackupd_concerns{severity=\"critical\"} 0"),
        "{text}"
    );
    assert!(
        text.contains("pgbackupd_objective_seconds{objective=\"recovery_point\"} 86400"),
        "{text}"
    );
    // What is unknown is absent.
    assert!(
        !text.contains("pgbackupd_backup_last_failure_timestamp_seconds{"),
        "{text}"
    );
    assert!(
        !text.contains("pgbackupd_drill_last_success_timestamp_seconds{"),
        "{text}"
    );

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::from(fs::File::open(&file).unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let status = promtool.wait().unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(status.success(), "{said}\n{text}");
    assert_eq!(said, "", "{text}");
    assert_documented(&text);
}

/// Each metric is documented, and rules and dashboard use no other.
fn assert_documented(text: &str) {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `pgbackupd_")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let written: BTreeSet<&str> = names(text)
        .into_iter()
        .filter_map(|name| name.strip_prefix("pgbackupd_"))
        .collect();
    assert!(written.is_subset(&documented), "{written:?} {documented:?}");
    for file in ["pgbackupd.rules.yml", "pgbackupd-dashboard.json"] {
        let path = root().join("packaging/prometheus").join(file);
        let text = fs::read_to_string(path).unwrap();
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if let Some(name) = word.strip_prefix("pgbackupd_") {
                assert!(documented.contains(name), "{file}: {name}");
            }
        }
    }
}

#[test]
fn the_alert_rules_pass_their_tests() {
    let output = Command::new("promtool")
        .args(["test", "rules", "pgbackupd.test.yml"])
        .current_dir(root().join("packaging/prometheus"))
        .output()
        .expect("promtool");
    assert!(output.status.success(), "{output:?}");
}
