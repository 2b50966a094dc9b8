//! Copies that are read: fetched as the backups that they were, on any machine, and never anything else.

mod elsewhere;
mod interrupted;
mod tampering;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, Output};
use crate::support::restored::{small, value};

/// A destination in a directory, which is configured as `far`.
struct Far {
    path: PathBuf,
    /// The file with the identity that opens what is there; none of plain copies.
    identity: Option<PathBuf>,
}

impl Far {
    /// Configures it, encrypted or not.
    fn of(operator: &mut Operator, is_encrypted: bool) -> Self {
        let path = operator.path("far");
        fs::create_dir_all(&path).unwrap();
        operator.set("name", "db1");
        operator.set("destinations.far.url", format!("file://{}", path.display()));
        let identity = is_encrypted.then(|| {
            let identity = age::x25519::Identity::generate();
            let recipient = identity.to_public().to_string();
            operator.set_value("encryption.recipients", vec![recipient]);
            let file = operator.path("key.txt");
            fs::write(&file, identity.to_string().expose_secret()).unwrap();
            file
        });
        if !is_encrypted {
            operator.set_value("destinations.far.plain", true);
        }
        Self { path, identity }
    }

    /// Its address.
    fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// The options that open what is there.
    fn opened(&self) -> Vec<&str> {
        match &self.identity {
            Some(file) => vec!["--identity", file.to_str().unwrap()],
            None => Vec::new(),
        }
    }

    /// All objects, by key.
    fn objects(&self) -> BTreeMap<String, PathBuf> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.path.clone()];
        while let Some(one) = open.pop() {
            for entry in fs::read_dir(&one).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let key = path.strip_prefix(&self.path).unwrap();
                    found.insert(key.display().to_string(), path);
                }
            }
        }
        found
    }

    /// The objects whose keys end so.
    fn ending(&self, end: &str) -> Vec<PathBuf> {
        let all = self.objects().into_iter();
        all.filter(|(key, _)| key.ends_with(end) && !key.ends_with("RESTORE.txt"))
            .map(|(_, path)| path)
            .collect()
    }

    /// The volumes.
    fn volumes(&self) -> Vec<PathBuf> {
        let all = self.objects().into_iter();
        all.filter(|(key, _)| key.split('/').count() == 6)
            .map(|(_, path)| path)
            .collect()
    }
}

/// Copies everything there is.
#[track_caller]
fn copy(operator: &Operator) {
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
}

/// The files of backups in a directory: name and content, those in directories too.
fn backups_in(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_other = [".log", ".state"].iter().any(|end| name.ends_with(end));
        if name.starts_with('.') || is_other {
            continue;
        }
        if path.is_dir() {
            let inside = backups_in(&path).into_iter();
            found.extend(inside.map(|(file, content)| (format!("{name}/{file}"), content)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

/// What is left of fetches in a directory.
fn leftovers(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(".pgbackupd-"))
        .collect()
}

fn fetch(operator: &Operator, far: &Far, words: &[&str]) -> Output {
    let mut all = vec!["fetch", "--from", "far"];
    all.extend(far.opened());
    all.extend(words);
    operator.run(&all)
}

#[test]
fn every_format_comes_back_byte_for_byte_encrypted_or_not() {
    let cluster = Cluster::start();
    for is_encrypted in [false, true] {
        let name = if is_encrypted { "sealed" } else { "open" };
        let mut operator = small(&cluster, name);
        let far = Far::of(&mut operator, is_encrypted);
        for (format, compression) in [
            ("plain", "zstd"),
            ("plain", "none"),
            ("custom", "none"),
            ("directory", "none"),
        ] {
            operator.set("dump.format", format);
            operator.set("dump.compression", compression);
            operator.json(&["backup", "--reason", "before the change"]);
        }
        copy(&operator);
        let made = backups_in(&operator.backups());
        let listed = operator.json(&["list", "--from", "far"]);
        let listed = listed[0]["copies"].as_array().unwrap().clone();
        assert_eq!(listed.len(), 5, "{listed:?}");
        let to = operator.path("fetched");
        for one in &listed {
            assert_eq!(one["encrypted"], is_encrypted, "{one}");
            let name = one["backup"].as_str().unwrap();
            let output = fetch(&operator, &far, &[name, "--to", to.to_str().unwrap()]);
            assert_eq!(output.code, 0, "{output}");
        }
        assert_eq!(backups_in(&to), made);
        assert_eq!(leftovers(&to), [""; 0]);
        let output = operator.run(&["verify", to.to_str().unwrap()]);
        assert_eq!(output.code, 0, "{output}");

        let mut words = vec!["verify", "--all", "--from", "far"];
        let read_back = operator.json(&words);
        words.extend(far.opened());
        let opened = operator.json(&words);
        for (document, state) in [
            (
                &read_back,
                if is_encrypted { "read_back" } else { "opened" },
            ),
            (&opened, "opened"),
        ] {
            let copies = document[0]["copies"].as_array().unwrap();
            assert_eq!(copies.len(), 5, "{document}");
            assert!(copies.iter().all(|one| one["state"] == state), "{document}");
        }

        // Once more, there is nothing to do.
        let name = listed[0]["backup"].as_str().unwrap();
        let output = fetch(&operator, &far, &[name, "--to", to.to_str().unwrap()]);
        assert_eq!(output.code, 0, "{output}");
        assert!(output.stdout.contains("already"), "{output}");
    }
}

#[test]
fn a_restore_from_a_destination_leaves_nothing_behind_but_its_record() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = Far::of(&mut operator, true);
    copy(&operator);
    let identity = far.identity.clone().unwrap();
    let words = ["restore", "--latest", "--from", "far", "--identity"];
    let words = [&words[..], &[identity.to_str().unwrap()]].concat();

    let planned = operator.run(&[&words[..], &["--plan"]].concat());
    assert_eq!(planned.code, 0, "{planned}");
    assert_eq!(value(&cluster, "app"), "as it stands");

    let restored = operator.run(&[&words[..], &["--yes"]].concat());
    assert_eq!(restored.code, 0, "{restored}");
    assert!(restored.stderr.contains("the newest copy is"), "{restored}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    let fetched = operator.path("state/fetched");
    assert_eq!(fs::read_dir(&fetched).unwrap().count(), 0);
    let record = operator.restore_log().pop().unwrap();
    assert_eq!(record["event"], "succeeded", "{record}");

    // With --keep it stays, and is an ordinary backup.
    let via = operator.path("via");
    let more = ["--into", "again", "--keep", "--via", via.to_str().unwrap()];
    let kept = operator.run(&[&words[..], &more].concat());
    assert_eq!(kept.code, 0, "{kept}");
    assert_eq!(value(&cluster, "again"), "as backed up");
    let kept = fs::read_dir(&via).unwrap().next().unwrap().unwrap().path();
    let verified = operator.run(&["verify", kept.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{verified}");
}

#[test]
fn p20_a_wrong_identity_and_none_are_refused_before_anything_is_fetched() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    Far::of(&mut operator, true);
    copy(&operator);
    let to = operator.path("fetched");
    let words = [
        "fetch",
        "--latest",
        "--from",
        "far",
        "--to",
        to.to_str().unwrap(),
    ];
    let output = operator.run(&words);
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains("--identity FILE"), "{output}");

    let other = operator.path("other.txt");
    let wrong = age::x25519::Identity::generate();
    fs::write(&other, wrong.to_string().expose_secret()).unwrap();
    let output = operator.run(&[&words[..], &["--identity", other.to_str().unwrap()]].concat());
    assert_eq!(output.code, 64, "{output}");
    assert!(
        output.stderr.contains("encrypted to other keys"),
        "{output}"
    );

    fs::write(&other, wrong.to_public().to_string()).unwrap();
    let output = operator.run(&[&words[..], &["--identity", other.to_str().unwrap()]].concat());
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains("public key"), "{output}");
    assert!(!to.exists(), "{output}");
}

/// The documents of `list --from --json`.
fn listed(operator: &Operator, words: &[&str]) -> Value {
    operator.json(&[&["list", "--from"], words].concat())
}
