use std::fs;

use secrecy::SecretString;

use super::RunKeyError;
use crate::age_identities::tests::{age_file, read};
use crate::age_identities::{Identities, IdentityError};
use crate::copies::encryption::RunSecret;
use crate::copies::stock_tools::{is_missing, run};

#[test]
fn an_identity_opens_what_was_sealed_to_it_and_names_what_else_is_wanted() {
    let (first, recipient) = age_file();
    let (second, other) = age_file();
    let secret = RunSecret::fresh();
    let wanted = [recipient.fingerprint().to_owned()];
    let sealed = secret.seal_to(std::slice::from_ref(&recipient)).unwrap();
    for text in [first.clone(), format!("{second}\r\n{first}")] {
        let identities = read(text.as_bytes()).unwrap();
        let opened = identities.open_run_key(&sealed, &wanted).unwrap();
        assert_eq!(opened.public(), secret.public());
    }
    let error = read(second.as_bytes())
        .unwrap()
        .open_run_key(&sealed, &wanted)
        .unwrap_err();
    assert!(matches!(error, RunKeyError::OtherKey { .. }));
    let error = error.to_string();
    assert!(error.contains(recipient.fingerprint()), "{error}");
    assert!(error.contains(other.fingerprint()), "{error}");
}

#[test]
fn a_damaged_key_and_one_that_is_none_are_refused() {
    let (text, recipient) = age_file();
    let identities = read(text.as_bytes()).unwrap();
    let sealed = RunSecret::fresh()
        .seal_to(std::slice::from_ref(&recipient))
        .unwrap();
    for index in 0..sealed.len() {
        let mut changed = sealed.clone().into_bytes();
        changed[index] ^= 1;
        let Ok(changed) = String::from_utf8(changed) else {
            continue;
        };
        assert!(
            identities.open_run_key(&changed, &[]).is_err(),
            "byte {index}"
        );
    }
    let age: age::x25519::Recipient = recipient.to_string().parse().unwrap();
    let none = age::encrypt_and_armor(&age, b"no key").unwrap();
    let error = identities.open_run_key(&none, &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("its content is not the key of a copy"),
        "{error}"
    );
}

#[test]
fn keys_of_ssh_keygen_and_age_keygen_are_read() {
    if is_missing(&["age-keygen", "ssh-keygen"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let in_it = |words: &[&str]| run(directory.path(), words, b"").unwrap();
    let file = |name: &str| fs::read(directory.path().join(name)).unwrap();
    in_it(&["age-keygen", "-o", "age"]);
    in_it(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "plain"]);
    in_it(&[
        "ssh-keygen",
        "-q",
        "-t",
        "ed25519",
        "-N",
        "open",
        "-f",
        "closed",
    ]);
    in_it(&["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "ecdsa"]);

    let secret = RunSecret::fresh();
    for name in ["age", "plain", "closed"] {
        let identities = Identities::read(&file(name), &mut |_| {
            assert_eq!(name, "closed");
            Some(SecretString::from("open".to_owned()))
        })
        .unwrap();
        let recipient = identities.recipients().next().unwrap().clone();
        if name != "age" {
            let shown = in_it(&["ssh-keygen", "-l", "-f", &format!("{name}.pub")]);
            let shown = String::from_utf8(shown).unwrap();
            assert!(shown.contains(recipient.fingerprint()), "{shown}");
        }
        let sealed = secret.seal_to(&[recipient]).unwrap();
        let opened = identities.open_run_key(&sealed, &[]).unwrap();
        assert_eq!(opened.public(), secret.public());
    }
    let wrong = Identities::read(&file("closed"), &mut |_| {
        Some(SecretString::from("wrong".to_owned()))
    });
    assert_eq!(wrong.unwrap_err(), IdentityError::WrongPassphrase);
    let ecdsa = read(&file("ecdsa")).unwrap_err();
    assert!(matches!(ecdsa, IdentityError::Ssh(_)), "{ecdsa}");
    assert_eq!(read(&file("plain.pub")).unwrap_err(), IdentityError::Public);
}
