use secrecy::{ExposeSecret as _, SecretString};

use super::{Identities, IdentityError, Protected};
use crate::recipient::Recipient;

/// A file as age-keygen writes it, and its recipient.
pub(crate) fn age_file() -> (String, Recipient) {
    let identity = age::x25519::Identity::generate();
    let public = identity.to_public().to_string();
    let secret = identity.to_string();
    let text = format!("# public key: {public}\n{}\n", secret.expose_secret());
    (text, Recipient::parse(&public).unwrap())
}

/// Reads identities for which nobody is asked.
pub(crate) fn read(text: &[u8]) -> Result<Identities, IdentityError> {
    Identities::read(text, &mut |_| panic!("no passphrase is needed"))
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
        ("ecdsa-sha2-nistp256 A".to_owned(), IdentityError::Public),
        (
            "PuTTY-User-Key-File-3: ssh-ed25519".to_owned(),
            IdentityError::Unsupported {
                line: 1,
                kind: "PuTTY",
            },
        ),
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
    assert_eq!(
        none.unwrap_err(),
        IdentityError::NoPassphrase(Protected::AgeFile)
    );
    let binary = age::encrypt(&scrypt, text.as_bytes()).unwrap();
    for unattended in [encrypted.as_bytes(), &binary] {
        let error = Identities::read_unattended(unattended).unwrap_err();
        assert_eq!(error, IdentityError::Unattended);
    }
    let age: age::x25519::Recipient = recipient.to_string().parse().unwrap();
    let volume = age::encrypt(&age, b"volume").unwrap();
    assert_eq!(read(&volume).unwrap_err(), IdentityError::NotByPassphrase);
}
