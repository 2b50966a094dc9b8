//! Backups that are encrypted: what has to be there, and what cannot be.

use super::destinations::ENCRYPTION;
use super::{accepted, refused};
use crate::config::{EncryptionScope, PasswordSource};

const WITHOUT_DRILLS: &str = "[jobs.drill]\nenabled = false\n";

#[test]
fn backups_are_encrypted_only_where_the_scope_says_so() {
    let usual = accepted(&format!("database = \"a\"\n{ENCRYPTION}"));
    assert_eq!(usual.plan.scope, EncryptionScope::Copies);
    assert!(!usual.plan.encrypts_backups());
    let all = accepted(&format!(
        "database = \"a\"\n{ENCRYPTION}scope = \"all\"\n{WITHOUT_DRILLS}[dump]\nformat = \"custom\""
    ));
    assert!(all.plan.encrypts_backups());
    assert_eq!(all.plan.recipients.len(), 2);
    let drilled = accepted(&format!(
        "database = \"a\"\n{ENCRYPTION}scope = \"all\"\n[drill]\ncredential = \"drill\""
    ));
    let expected = PasswordSource::Credential("drill".to_owned());
    assert_eq!(drilled.plan.drill.identity, Some(expected));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_keeps_backups_from_being_encrypted_or_drilled_is_refused_where_it_is() {
    let all = format!("{ENCRYPTION}scope = \"all\"\n");
    let table: [(String, &str, &[&str]); 6] = [
        (
            format!("[encryption]\nscope = \"all\"\n{WITHOUT_DRILLS}"),
            "3:9",
            &[
                "there is no recipient to encrypt them to",
                "pgbackupd key generate",
            ],
        ),
        (
            format!("[encryption]\nscope = \"all\"\nrecipients = []\n{WITHOUT_DRILLS}"),
            "3:9",
            &["there is no recipient to encrypt them to"],
        ),
        (
            all.clone(),
            "4:9",
            &[
                "the job drill restores backups for a test",
                "drill.identity_file or drill.credential",
            ],
        ),
        (
            format!("{all}{WITHOUT_DRILLS}[dump]\nformat = \"directory\""),
            "8:10",
            &[
                "a dump in directory format cannot be encrypted",
                "\"plain\" or \"custom\"",
            ],
        ),
        (
            format!(
                "{all}{WITHOUT_DRILLS}[servers.b]\ndatabase = \"b\"\n[servers.b.dump]\nformat = \"directory\""
            ),
            "10:10",
            &["a dump in directory format cannot be encrypted"],
        ),
        (
            format!("{ENCRYPTION}scope = \"some\""),
            "4:9",
            &["copies", "all"],
        ),
    ];
    for (text, place, words) in table {
        let message = refused(&format!("database = \"a\"\n{text}"));
        assert!(
            message.contains(&format!("pgbackupd.toml:{place}")),
            "{place}: {message}"
        );
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    let listed = refused(&format!(
        "databases = [{{ name = \"a\", format = \"directory\" }}]\n{all}{WITHOUT_DRILLS}"
    ));
    assert!(
        listed.contains("directory format cannot be encrypted"),
        "{listed}"
    );
}
