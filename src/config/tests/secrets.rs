//! Passwords: where they may stand, and that nothing shows them.

use secrecy::ExposeSecret;

use super::{Etc, refused, set_mode};
use crate::config::{PasswordSource, load};

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
        let error = load(&etc.source()).unwrap_err().to_string();
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
