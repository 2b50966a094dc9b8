//! Passwords: where they may stand, and that nothing shows them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use secrecy::ExposeSecret;

use super::{Etc, refused, set_mode};
use crate::config::{Loaded, PasswordSource, load};
use crate::new_identity::NewIdentity;

#[test]
fn a_password_in_a_file_that_others_can_read_is_refused_and_never_shown() {
    for setting in [
        "password = \"hunter2\"",
        "uri = \"postgres://u:hunter2@h/db\"",
        "conninfo = \"host=h password=hunter2\"",
    ] {
        let text = format!("database = \"a\"\n[connection]\n{setting}\n");
        let message = refused(&text);
        assert!(message.contains("run `chmod 0600 "), "{message}");
        assert!(message.contains("mode 0644"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");

        let etc = Etc::new(&text);
        set_mode(&etc.0.path().join("pgbackupd.toml"), 0o600);
        let loaded = load(&etc.source()).unwrap();
        assert_eq!(loaded.plan.warnings.len(), 1, "{:?}", loaded.plan.warnings);
        let Some(PasswordSource::Inline(secret)) = &loaded.plan.servers[0].connection.password
        else {
            panic!("{setting}: an inline password")
        };
        assert_eq!(secret.expose_secret(), "hunter2");
        let everything = format!("{loaded:?}");
        assert!(!everything.contains("hunter2"), "{everything}");
    }
}

#[test]
fn no_error_shows_a_secret_that_stands_in_its_line() {
    for text in [
        "database = \"a\"\n[connection]\npasword = \"hunter2\"",
        "database = \"a\"\n[connection]\npassword = \"hunter2",
        "database = \"a\"\nconnection = { hots = \"h\", password = \"hunter2\" }",
        "database = \"a\"\nconnection = \"postgres://u:hunter2@h/db\"",
        "database = \"a\"\n[connection]\npassword = [\"hunter2\"]",
        "database = \"a\"\n[connection]\npassword = 4711",
        "database = \"a\"\n[connection]\nconninfo = \"host=h password='hunter2\"",
        "database = \"a\"\n[connection]\npassword_file = \"hunter2\"\npassword = 7\nuri = \"x:hunter2\"",
    ] {
        // The file's name is no secret, so only what looks like a password's own value is hidden.
        let message = refused(text).replace("password_file = \"hunter2\"", "");
        let message = message.replace("\"hunter2\" is not a path", "");
        assert!(
            !message.contains("hunter2") && !message.contains("4711"),
            "{text}\n{message}"
        );
    }
    let etc = Etc::new("database = \"a\"");
    let source = etc.with(&[("PGBACKUPD_CONNECTION__PASSWROD", "hunter2")]);
    assert!(!load(&source).unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn a_password_file_that_others_can_read_is_refused() {
    let etc = Etc::new("");
    let secret = etc.write("secret", "hunter2\n");
    for setting in ["password_file", "passfile"] {
        let text = format!("database = \"a\"\n[connection]\n{setting} = {secret:?}\n");
        etc.write("pgbackupd.toml", &text);
        set_mode(&secret, 0o644);
        let error = etc.refusal();
        assert!(
            error.contains("can be read by others (mode 0644)"),
            "{error}"
        );
        set_mode(&secret, 0o600);
        assert!(load(&etc.source()).is_ok());
    }
}

#[test]
fn two_passwords_are_refused() {
    let etc = Etc::new("");
    let path = etc.write(
        "pgbackupd.toml",
        "database = \"a\"\n[connection]\npassword = \"x\"\ncredential = \"y\"\n",
    );
    set_mode(&path, 0o600);
    let error = load(&etc.source()).unwrap_err().to_string();
    assert!(
        error.contains("comes from connection.password too"),
        "{error}"
    );
}

/// Settings that name a file with a secret, each with what it needs around it.
const FILES: [(&str, &str); 8] = [
    ("connection.password_file", ""),
    (
        "servers.s.connection.password_file",
        "servers.s.database = 'b'",
    ),
    ("drill.identity_file", ""),
    ("encryption.signer_file", ""),
    (
        "destinations.d.secret_key_file",
        "destinations.d = { url = 's3://bucket', plain = true, access_key_id = 'ID', KEY }",
    ),
    (
        "destinations.d.identity_file",
        "destinations.d = { url = 'sftp://box/x', plain = true, KEY }",
    ),
    ("alerts.c.url_file", "alerts.c = { type = 'ping', KEY }"),
    (
        "alerts.c.password_file",
        "alerts.c = { type = 'email', to = ['a@b.c'], from = 'a@b.c', user = 'u', smtp = 'm', KEY }",
    ),
];

/// A configuration with one of them.
fn naming(setting: &str, around: &str, file: &Path) -> String {
    let name = setting.rsplit('.').next().unwrap();
    let inside = around.replace("KEY", &format!("{name} = {file:?}"));
    if inside == around {
        format!("database = 'a'\n{setting} = {file:?}\n{around}\n")
    } else {
        format!("database = 'a'\n{inside}\n")
    }
}

#[test]
fn a_file_with_a_secret_that_cannot_be_used_hinders_what_needs_it_and_nothing_else() {
    let etc = Etc::new("");
    let file = etc.0.path().join("secret");
    let pipe = etc.0.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let huge = etc.write("huge", "");
    fs::File::options()
        .write(true)
        .open(&huge)
        .and_then(|file| file.set_len(1 << 40))
        .unwrap();
    set_mode(&huge, 0o600);
    let open = etc.write("open", "hunter2\n");
    for (setting, around) in FILES {
        for (file, fault, way) in [
            (file.as_path(), "there is no file ", "run `"),
            (&open, "can be read by others (mode 0644)", "chmod 0600"),
            (etc.0.path(), " is not a file", "name a file"),
            (&pipe, " is not a file", "name a file"),
            (Path::new("/dev/zero"), " is not a file", "name a file"),
            (&huge, " is longer than 1 MiB", "name a file"),
        ] {
            etc.write("pgbackupd.toml", &naming(setting, around, file));
            let refusal = etc.refusal();
            assert!(refusal.contains(fault), "{setting}: {refusal}");
            assert!(refusal.contains("has 1 problem"), "{setting}: {refusal}");
            let loaded = load(&etc.source()).unwrap();
            let expected = |warning: &&String| {
                warning.starts_with(&format!("{setting}: "))
                    && warning.contains(fault)
                    && warning.contains(way)
            };
            let warnings = &loaded.plan.warnings;
            let found = warnings.iter().filter(expected).count();
            assert_eq!(found, 1, "{setting}: {warnings:?}");
        }
    }
}

/// A recipient of this host, whose identity drills have or have not.
const DRILLED: &str = "[encryption]\nscope = \"all\"\nrecipients = [RECIPIENT, \
    \"age1scp8kzp9pnczxplz5crr6v2j52xxptt7wwd2yjjrh50yhlg964cqnxugzq\"]\n";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_identity_of_drills_is_one_that_can_be_used_without_anybody() {
    let etc = Etc::new("");
    let made = |name: &str, options: &[&str]| {
        let path = etc.0.path().join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-f"]).arg(&path).args(options);
        assert!(command.status().unwrap().success());
        fs::read(&path).unwrap()
    };
    let now = "2026-11-30T02:00:00+03:00".parse().unwrap();
    let identity = NewIdentity::make(now);
    let age = identity.file().as_bytes().to_vec();
    let recipient = identity.recipient().to_string();
    let ssh = made("ed25519", &["-t", "ed25519", "-N", ""]);
    let public = fs::read(etc.0.path().join("ed25519.pub")).unwrap();
    let ssh_recipient = String::from_utf8(public.clone()).unwrap();
    let mut passphrase = age::scrypt::Recipient::new("hunter2".to_owned().into());
    passphrase.set_work_factor(2);
    let sealed = age::encrypt(&passphrase, &age).unwrap();
    let armoured = age::encrypt_and_armor(&passphrase, &age).unwrap();
    let (unattended, generate) = ("needs a passphrase, which nobody can enter", "key generate");
    let other = "drills of new backups will not be able to open them";
    for (content, recipient, fault, way) in [
        (age.clone(), recipient.trim(), "", ""),
        (ssh, ssh_recipient.trim(), "", ""),
        (age, ssh_recipient.trim(), other, "add its recipient"),
        (Vec::new(), "", "there is no identity in it", "age-keygen"),
        (vec![0xff; 9], "", "line 1 is not an identity", generate),
        (public, "", "a public key", "the secret half"),
        (
            recipient.clone().into(),
            "",
            "a public key",
            "the secret half",
        ),
        (sealed, "", unattended, generate),
        (armoured.into(), "", unattended, generate),
        (
            made("closed", &["-t", "ed25519", "-N", "hunter2"]),
            "",
            unattended,
            generate,
        ),
        (
            made("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]),
            "",
            "only keys of type ed25519",
            generate,
        ),
        (
            b"PuTTY-User-Key-File-3: ssh-ed25519\n".to_vec(),
            "",
            "of the kind PuTTY",
            generate,
        ),
    ] {
        let file = etc.0.path().join("identity");
        fs::write(&file, content).unwrap();
        let is_public = fault == "a public key";
        set_mode(&file, if is_public { 0o644 } else { 0o600 });
        let recipient = if recipient.is_empty() {
            &ssh_recipient
        } else {
            recipient
        };
        let encryption = DRILLED.replace("RECIPIENT", &format!("{:?}", recipient.trim()));
        etc.write(
            "pgbackupd.toml",
            &naming("drill.identity_file", &encryption, &file),
        );
        let warnings = load(&etc.source()).unwrap().plan.warnings.join("\n");
        assert!(!warnings.contains("hunter2"), "{warnings}");
        for part in [fault, way] {
            assert!(warnings.contains(part), "{part}: {warnings}");
        }
        let is_sound = fault.is_empty() || fault == other;
        let checked = load(&etc.source()).and_then(Loaded::with_usable_secrets);
        assert_eq!(checked.is_ok(), is_sound, "{fault}: {checked:?}");
        assert_eq!(warnings.is_empty(), fault.is_empty(), "{warnings}");
    }
}
