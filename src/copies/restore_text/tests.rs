use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use secrecy::ExposeSecret as _;

use super::RESTORE_TEXT;
use crate::copies::sample::Host;
use crate::copies::stock_tools::{is_missing, run};
use crate::copies::{FileRole, layout};
use crate::recipient::Recipient;

/// The commands of the text: the lines that begin with four blanks.
fn commands() -> String {
    let lines = RESTORE_TEXT
        .lines()
        .filter_map(|line| line.strip_prefix("    "));
    lines.collect::<Vec<_>>().join("\n")
}

fn export(host: &Host, directory: &Path) {
    for key in host.store.keys() {
        let path = directory.join(key.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, host.store.bytes(&key)).unwrap();
    }
}

/// Whether the file of the dump was encrypted before it was copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DumpFile {
    Clear,
    Encrypted,
}

/// Puts a copy of a dump, and does what the text says.
fn restore(is_encrypted: bool, dump_file: DumpFile) {
    if is_missing(&["age", "jq", "sha256sum", "ssh-keygen", "gzip", "zcat"]) {
        return;
    }
    let identity = age::x25519::Identity::generate();
    let recipients: Vec<_> = [identity.to_public().to_string()]
        .iter()
        .filter(|_| is_encrypted)
        .map(|text| Recipient::parse(text).unwrap())
        .collect();
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let sql = "SELECT 1;\n".repeat(30_000);
    let random: String = (0..400).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    let sql = format!("{sql}-- {random}\n");
    let dump = run(directory.path(), &["gzip", "-c"], sql.as_bytes()).unwrap();
    assert!(dump.len() > 3000, "several volumes");
    let (dump, suffix) = match dump_file {
        DumpFile::Clear => (dump, ".sql.gz"),
        DumpFile::Encrypted => {
            let sealed = age::encrypt(&identity.to_public(), &dump).unwrap();
            (sealed, ".sql.gz.age")
        }
    };
    let sum = crate::copies::Sha256Sum::of(&dump);
    let own = format!("{{\"artifact\": {{\"sha256\": \"{sum}\"}}}}\n");
    let files = [
        (FileRole::Manifest, ".json", own.as_bytes()),
        (FileRole::Artifact, suffix, &dump[..]),
    ];
    let key = host.put(&host.copy(&files, &recipients), &host.signer);
    host.store.put(&layout::restore_text(), RESTORE_TEXT);
    export(&host, directory.path());
    let secret = identity.to_string();
    fs::write(directory.path().join("key.txt"), secret.expose_secret()).unwrap();

    let script = commands()
        .replace("v1/HOST/SERVER/DATABASE/STEM.RUN.TRY.json", key.as_str())
        .replace("SIGNER", &host.signer.public().line())
        .replace("HOST", "db1")
        .replace("-i KEY", "-i key.txt");
    // Step 4 is for encrypted copies.
    let without = |line: &&str| is_encrypted || !line.contains(">run.key");
    let script = script
        .lines()
        .filter(without)
        .collect::<Vec<_>>()
        .join("\n");
    let output = sh(directory.path(), &script);
    assert!(output.contains(key.as_str()), "{output}");
    assert!(
        output.contains("Good \"pgbackupd-copy\" signature for db1"),
        "{output}"
    );
    assert!(
        output.contains(": OK") && !output.contains("FAILED"),
        "{output}"
    );
    assert!(!output.contains("STOP"), "{output}");
    assert_eq!(output.matches(&sum.to_string()).count(), 2, "{output}");
    let loaded = sh(directory.path(), "zcat restored/*.sql.gz");
    assert_eq!(loaded, sql);

    // What was changed at the store is seen by the same steps.
    let volume = host
        .store
        .keys()
        .into_iter()
        .find(|key| key.as_str().contains(&format!("{suffix}.2")));
    let path = directory.path().join(volume.unwrap().as_str());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "changed").unwrap();
    fs::remove_dir_all(directory.path().join("restored")).unwrap();
    assert!(sh(directory.path(), &script).contains("STOP"));
}

fn sh(directory: &Path, script: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let all = [output.stdout, output.stderr].concat();
    String::from_utf8(all).unwrap()
}

#[test]
fn a_plain_copy_is_restored_by_the_text_alone() {
    restore(false, DumpFile::Clear);
}

#[test]
fn an_encrypted_copy_is_restored_by_the_text_alone() {
    restore(true, DumpFile::Clear);
}

#[test]
fn a_copy_of_encrypted_files_is_restored_by_the_text_alone() {
    for is_encrypted in [false, true] {
        restore(is_encrypted, DumpFile::Encrypted);
    }
}

#[test]
fn the_text_fits_a_terminal() {
    for line in RESTORE_TEXT.lines() {
        let limit = if line.starts_with("    ") { 120 } else { 80 };
        assert!(line.chars().count() <= limit, "{line}");
    }
}
