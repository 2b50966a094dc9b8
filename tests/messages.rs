//! The explanations of `journalctl -x` and the operator's table are those of the events that the
//! daemon tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use pgbackupd::cli::Cli;
use pgbackupd::telemetry::EventKind;

const CATALOGUE: &str = "packaging/journal/pgbackupd.catalog";
const TABLE: &str = "docs/messages.md";

#[test]
fn the_catalogue_explains_every_event_once() {
    let text = read(CATALOGUE);
    let mut explained = BTreeMap::new();
    for entry in entries(&text) {
        assert!(
            explained.insert(entry.id, entry).is_none(),
            "an id is there twice"
        );
    }
    let ids: BTreeSet<&str> = explained.keys().copied().collect();
    let expected: BTreeSet<&str> = EventKind::all().iter().map(|kind| kind.id()).collect();
    assert_eq!(ids, expected);
    for kind in EventKind::all() {
        let entry = &explained[kind.id()];
        assert_eq!(entry.headers["Defined-By"], "pgbackupd", "{kind:?}");
        assert!(
            entry.headers["Documentation"].starts_with("man:"),
            "{kind:?}"
        );
        assert!(!entry.headers["Subject"].is_empty(), "{kind:?}");
        assert!(!entry.body.trim().is_empty(), "{kind:?}");
        // journalctl shows a field that the event does not have by its name.
        let has: BTreeSet<String> = kind.fields().iter().map(|f| f.to_uppercase()).collect();
        for field in fields(entry.headers["Subject"]).chain(fields(&entry.body)) {
            assert!(has.contains(field), "{kind:?} has no field {field}");
            // It shows fields as they are, with what a terminal obeys. These are ours.
            assert!(
                ["JOB", "SERVER", "RUN_ID", "ALERT", "SEVERITY", "CHANNEL"].contains(&field),
                "{kind:?}: {field}"
            );
        }
    }
}

#[test]
fn the_commands_that_the_catalogue_recommends_parse() {
    let text = read(CATALOGUE);
    let mut count = 0;
    for line in text.lines() {
        if let Some(call) = line.strip_prefix("    pgbackupd ") {
            let words = std::iter::once("pgbackupd").chain(call.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
            count += 1;
        }
    }
    assert!(count > 3, "only {count} commands were found");
}

#[test]
fn systemd_reads_the_catalogue() {
    let namespace = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private"]);
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        unshare
            .args(["sh", "-c", script, "sh"])
            .arg(root().join(CATALOGUE));
        unshare.output()
    };
    // The compiled catalogue goes to a directory that only this process sees.
    let database = "set -e; test -d /var/lib/systemd; mount -t tmpfs tmpfs /var/lib/systemd; \
                    command -v journalctl >/dev/null; ";
    if !namespace(database).is_ok_and(|output| output.status.success()) {
        println!("skipped: no journalctl, or no mount namespace can be made");
        return;
    }
    let script = format!(
        "{database} mount -t tmpfs tmpfs /usr/lib/systemd/catalog; \
         cp \"$1\" /usr/lib/systemd/catalog/; \
         SYSTEMD_LOG_LEVEL=debug journalctl --update-catalog; journalctl --list-catalog"
    );
    let output = namespace(&script).unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let listed = String::from_utf8_lossy(&output.stdout);
    let listed: BTreeSet<&str> = listed
        .lines()
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    let expected: BTreeSet<&str> = EventKind::all().iter().map(|kind| kind.id()).collect();
    assert_eq!(listed, expected, "{told}");
}

#[test]
fn the_operators_table_is_that_of_the_events() {
    let text = read(TABLE);
    let meanings: Vec<(String, String)> = rows(&text, "## What each means")
        .into_iter()
        .map(|cells| {
            assert!(cells[2].len() > 20, "{cells:?}");
            (cells[0].clone(), cells[1].clone())
        })
        .collect();
    let expected: Vec<(String, String)> = EventKind::all()
        .iter()
        .map(|kind| {
            (
                format!("`{}`", kind.name()),
                kind.severity().name().to_owned(),
            )
        })
        .collect();
    assert_eq!(meanings, expected);

    let expected: Vec<Vec<String>> = EventKind::all()
        .iter()
        .map(|kind| {
            let fields: Vec<String> = kind
                .fields()
                .iter()
                .map(|field| format!("`{}`", field.to_uppercase()))
                .collect();
            vec![
                format!("`{}`", kind.name()),
                format!("`{}`", kind.id()),
                fields.join(", "),
            ]
        })
        .collect();
    assert_eq!(rows(&text, "## Ids"), expected);

    // Ids in the examples.
    for (at, _) in text.match_indices("MESSAGE_ID=") {
        let id = &text[at + "MESSAGE_ID=".len()..][..32];
        assert!(EventKind::from_id(id).is_some(), "{id}");
    }
    let described: BTreeSet<String> = rows(&text, "## Finding them")
        .iter()
        .flat_map(|cells| cells[0].split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for kind in EventKind::all() {
        for field in kind.fields() {
            let field = format!("`{}`", field.to_uppercase());
            assert!(described.contains(&field), "{field} is not described");
        }
    }
}

struct Entry<'a> {
    id: &'a str,
    headers: BTreeMap<&'a str, &'a str>,
    body: String,
}

/// The entries of a catalogue, see <https://systemd.io/CATALOG/>.
fn entries(text: &str) -> Vec<Entry<'_>> {
    let (_, first) = text.split_once("\n-- ").unwrap();
    first
        .split("\n-- ")
        .map(|entry| {
            let (id, rest) = entry.split_once('\n').unwrap();
            let (headers, body) = rest.split_once("\n\n").unwrap();
            let headers = headers
                .lines()
                .map(|line| line.split_once(": ").unwrap())
                .collect();
            Entry {
                id,
                headers,
                body: body.to_owned(),
            }
        })
        .collect()
}

/// The names between `@` in a text.
fn fields(text: &str) -> impl Iterator<Item = &str> {
    text.split('@').skip(1).step_by(2)
}

/// The cells of all tables in a section.
fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, section) = text.split_once(heading).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_start_matches("| ")
                .trim_end_matches('|')
                .replace("\\|", "¦")
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
