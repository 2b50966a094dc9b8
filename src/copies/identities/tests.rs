use std::fs;

use secrecy::{ExposeSecret as _, SecretString};

use super::{Identities, IdentityError, RunKeyError};
use crate::copies::encryption::RunSecret;
use crate::copies::stock_tools::{is_missing, run};
use crate::recipient::Recipient;

/// A file as age-keygen writes it, and its recipient.
fn age_file() -> (String, Recipient) {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = format!("# public key: {public}\n{}\n", secret.expose_secret());
    (text, Recipient::parse(&public).unwrap())
}

fn read(text: &[u8]) -> Result<Identities, IdentityError> {
    Identities::read(text, &mut |_| panic!("no passphrase is needed"))
}

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
fn what_is_no_identity_is_refused_and_never_shown() {
    let (text, recipient) = age_file();
    let secret = text.lines().nth(1).unwrap();
    let cut = &secret[..secret.len() - 3];
    for (text, expected) in [
        (String::new(), IdentityError::Empty),
        ("# a comment\n".to_owned(), IdentityError::Empty),
        (recipient.to_string(), IdentityError::Public),
        ("ssh-ed25519 AAAA".to_owned(), IdentityError::Public),
        (format!("\n{cut}"), IdentityError::Line(2)),
        (
            "AGE-PLUGIN-YUBIKEY-1QQ".to_owned(),
            IdentityError::Unsupported {
                line: 1,
                kind: "age plugin",
            },
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n".to_owned(),
            IdentityError::Ssh("it is damaged"),
        ),
        ("x".repeat(2 << 20), IdentityError::Long),
    ] {
        let error = read(text.as_bytes()).unwrap_err();
        assert_eq!(error, expected);
        assert!(!error.to_string().contains(cut), "{error}");
    }
    assert_eq!(read(b"\xff").unwrap_err(), IdentityError::Line(1));
    let shown = format!("{:?}", read(text.as_bytes()).unwrap());
    assert!(
        shown.contains(recipient.fingerprint()) && !shown.contains("SECRET"),
        "{shown}"
    );
}

#[test]
fn a_file_that_is_encrypted_to_a_passphrase_asks_for_it() {
    let (text, recipient) = age_file();
    let mut scrypt = age::scrypt::Recipient::new(SecretString::from("open".to_owned()));
    scrypt.set_work_factor(4);
    let encrypted = age::encrypt_and_armor(&scrypt, text.as_bytes()).unwrap();
    let mut asked = Vec::new();
    let identities = Identities::read(encrypted.as_bytes(), &mut |what| {
        asked.push(what.to_owned());
        Some(SecretString::from("open".to_owned()))
    })
    .unwrap();
    assert_eq!(asked, ["the identity file"]);
    assert_eq!(identities.recipients().next(), Some(&recipient));

    let wrong = Identities::read(encrypted.as_bytes(), &mut |_| {
        Some(SecretString::from("wrong".to_owned()))
    });
    assert_eq!(wrong.unwrap_err(), IdentityError::WrongPassphrase);
    let none = Identities::read(encrypted.as_bytes(), &mut |_| None);
    assert_eq!(none.unwrap_err(), IdentityError::NoPassphrase);
    let age: age::x25519::Recipient = recipient.to_string().parse().unwrap();
    let volume = age::encrypt(&age, b"volume").unwrap();
    assert_eq!(read(&volume).unwrap_err(), IdentityError::NotByPassphrase);
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
