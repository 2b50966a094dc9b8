use serde_json::Value;

use super::*;
use crate::copies::RunSecret;

fn made() -> DateTime<Utc> {
    "2026-11-29T10:00:00.4Z".parse().unwrap()
}

fn state(concerns: usize) -> HostState {
    let concern = |number: usize| HostConcern {
        id: format!("failed-{number}"),
        kind: "failed".to_owned(),
        severity: Severity::Warning,
        about: Some("app".to_owned()),
        message: "the last run failed".to_owned(),
    };
    HostState {
        version: "0.1.0".to_owned(),
        concerns: (0..concerns).map(concern).collect(),
        more_concerns: 0,
        databases: vec![HostDatabase {
            server: "main".to_owned(),
            database: "app".to_owned(),
            newest: Some(made()),
            copies: Vec::new(),
        }],
    }
}

/// An identity and its recipient.
fn pair() -> (Identities, Recipient) {
    let identity = age::x25519::Identity::generate();
    let recipient = Recipient::parse(&identity.to_public().to_string()).unwrap();
    let text = secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    let identities = Identities::read(text.as_bytes(), &mut |_| None).unwrap();
    (identities, recipient)
}

#[test]
fn a_state_is_read_as_it_was_written_and_only_the_recipients_read_what_is_in_it() {
    let due = made() + chrono::TimeDelta::days(1);
    let (identities, recipient) = pair();
    let status = HostStatus {
        recipients: vec![recipient.fingerprint().to_owned()],
        sealed: Some(state(2).seal(&[recipient]).unwrap()),
        ..HostStatus::new("db1", "SHA256:x".to_owned(), (made(), due))
    };
    let key = status_at("db1", made()).unwrap();
    let bytes = status.to_bytes().unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    for secret in ["app", "main", "failed", "0.1.0"] {
        assert!(!text.contains(&format!("\"{secret}\"")), "{secret}: {text}");
    }
    let read = HostStatus::read(&bytes, &key).unwrap();
    assert_eq!(read, status);
    assert_eq!(read.open(&identities).unwrap().unwrap(), state(2));
    let (others, _) = pair();
    assert!(matches!(read.open(&others), Some(Err(OpenError::OtherKey))));
}

#[test]
fn nothing_else_passes_for_a_state_and_no_state_for_one_of_another_time_or_host() {
    let status = HostStatus::new("db1", "SHA256:x".to_owned(), (made(), made()));
    let bytes = status.to_bytes().unwrap();
    let key = |host, at| status_at(host, at).unwrap();
    let second = chrono::TimeDelta::seconds(1);
    for (key, is_its) in [
        (key("db1", made()), true),
        (key("db2", made()), false),
        (key("db1", made() + second), false),
    ] {
        assert_eq!(HostStatus::read(&bytes, &key).is_ok(), is_its, "{key}");
    }
    for (field, value) in [("document", "copy"), ("document", "fact"), ("hosts", "x")] {
        let mut changed: Value = serde_json::from_slice(&bytes).unwrap();
        changed[field] = value.into();
        let bytes = serde_json::to_vec(&changed).unwrap();
        let refused = HostStatus::read(&bytes, &key("db1", made()));
        assert!(refused.is_err(), "{field} {value}");
    }
    let mut newer: Value = serde_json::from_slice(&bytes).unwrap();
    newer["format"] = 9.into();
    let bytes = serde_json::to_vec(&newer).unwrap();
    let refused = HostStatus::read(&bytes, &key("db1", made())).unwrap_err();
    assert!(matches!(refused, DocumentError::Newer(9)), "{refused}");
}

#[test]
fn the_length_of_what_is_sealed_does_not_show_how_much_is_wrong() {
    let recipient = Recipient::parse(&RunSecret::fresh().public().to_string()).unwrap();
    let length = |concerns| {
        state(concerns)
            .seal(std::slice::from_ref(&recipient))
            .unwrap()
            .len()
    };
    // age adds a stanza of random length, of some hundred bytes at most.
    assert!(length(0).abs_diff(length(9)) < STEP / 4);
    assert!(length(200) > length(9) + STEP / 2);
}

#[test]
fn a_state_has_a_largest_size_whatever_is_wrong() {
    let mut large = state(2000);
    for concern in &mut large.concerns {
        concern.message = "ü".repeat(5000);
    }
    large.databases = vec![large.databases[0].clone(); 2000];
    let bounded = large.bounded();
    assert_eq!((bounded.concerns.len(), bounded.more_concerns), (200, 1800));
    assert_eq!(bounded.databases.len(), 500);
    assert_eq!(bounded.concerns[0].message.chars().count(), 401);
    let text = serde_json::to_vec(&bounded).unwrap();
    assert!((text.len() as u64) * 2 < LONGEST_STATUS, "{}", text.len());
}
