//! Recipients: the public keys that copies are encrypted to. They are read here and used where copies are
//! encrypted; none of them is secret.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use ssh_key::{Algorithm, HashAlg, PublicKey};

/// A public key that copies are encrypted to: `age1…` (X25519), or a line `ssh-ed25519 AAAA… [comment]`.
/// Two are the same when they are the same key, whatever their comments.
#[derive(Clone, Debug)]
pub struct Recipient {
    text: String,
    kind: Kind,
    fingerprint: String,
}

/// What a recipient is.
#[derive(Clone, Debug)]
enum Kind {
    X25519,
    Ssh,
}

/// Why a text is no recipient. No text is shown that could be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecipient {
    /// The secret half was given.
    #[error(
        "this is a secret key: it must not be on this machine\n\
         hint: give its public half, which `{0}` prints, and treat the secret one as disclosed"
    )]
    Secret(&'static str),
    /// A key of a kind that is not supported.
    #[error(
        "recipients of the kind {0} are not supported\n\
         hint: give an age recipient (age1…) or an ssh-ed25519 public key"
    )]
    Unsupported(String),
    /// An age recipient with a typing error in it, or one that was cut.
    #[error(
        "this age recipient is damaged: its checksum does not match\nhint: copy the whole line again"
    )]
    DamagedAge,
    /// A line of an SSH key with a typing error in it, or one that was cut.
    #[error(
        "this ssh-ed25519 public key is damaged\n\
         hint: copy the whole line of the .pub file again"
    )]
    DamagedSsh,
    /// Something else.
    #[error("expected an age recipient (age1…) or an ssh-ed25519 public key")]
    Unknown,
}

impl Recipient {
    /// Reads a recipient.
    ///
    /// # Errors
    /// When it is none, a secret key, or of a kind that is not supported.
    pub fn parse(text: &str) -> Result<Self, InvalidRecipient> {
        let text = text.trim();
        refuse_secrets(text)?;
        if text.starts_with("age1") || text.starts_with("AGE1") {
            return Self::of_age(text);
        }
        let kind = text.split_whitespace().next().unwrap_or_default();
        if kind == "ssh-ed25519" {
            return Self::of_ssh(text);
        }
        let is_key_type =
            kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
        if is_key_type && kind.len() < 64 && kind.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidRecipient::Unsupported(kind.to_owned()));
        }
        Err(InvalidRecipient::Unknown)
    }

    fn of_age(text: &str) -> Result<Self, InvalidRecipient> {
        // Of a plugin, and of the hybrid kind, the part before the last 1 is longer: age1name1…
        let (prefix, _) = text.rsplit_once('1').ok_or(InvalidRecipient::Unknown)?;
        if prefix.len() > 3 {
            let is_name = prefix
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            return Err(if is_name && prefix.len() < 64 {
                InvalidRecipient::Unsupported(format!("{prefix}1…"))
            } else {
                InvalidRecipient::Unknown
            });
        }
        let key: age::x25519::Recipient = text.parse().map_err(|_| InvalidRecipient::DamagedAge)?;
        let text = key.to_string();
        let fingerprint = fingerprint_of_age(&text);
        Ok(Self {
            text,
            kind: Kind::X25519,
            fingerprint,
        })
    }

    fn of_ssh(text: &str) -> Result<Self, InvalidRecipient> {
        let key = PublicKey::from_openssh(text).map_err(|_| InvalidRecipient::DamagedSsh)?;
        let is_usable = text.parse::<age::ssh::Recipient>().is_ok();
        if key.algorithm() != Algorithm::Ed25519 || !is_usable || text.contains(['\n', '\r']) {
            return Err(InvalidRecipient::DamagedSsh);
        }
        Ok(Self {
            text: text.to_owned(),
            kind: Kind::Ssh,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        })
    }

    /// `SHA256:` and unpadded base64. For an SSH key it is what `ssh-keygen -lf` prints; for an age key it is
    /// over the recipient in lower case as text (`printf %s age1… | sha256sum` has the same bytes).
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The recipient as the encryption takes it.
    ///
    /// # Panics
    /// Never: it was read the same way before.
    #[expect(
        clippy::expect_used,
        reason = "the same text was parsed when this was made"
    )]
    pub fn for_encryption(&self) -> Box<dyn age::Recipient + Send> {
        match self.kind {
            Kind::X25519 => {
                let key: age::x25519::Recipient = self.text.parse().expect("it was parsed");
                Box::new(key)
            }
            Kind::Ssh => {
                let key: age::ssh::Recipient = self.text.parse().expect("it was parsed");
                Box::new(key)
            }
        }
    }
}

/// The fingerprint of an age recipient.
fn fingerprint_of_age(text: &str) -> String {
    let sum: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    ssh_key::Fingerprint::Sha256(sum).to_string()
}

/// Names a secret key that was given by mistake, and does not show it.
fn refuse_secrets(text: &str) -> Result<(), InvalidRecipient> {
    let upper = text.to_ascii_uppercase();
    if upper.contains("AGE-SECRET-KEY-") || upper.contains("AGE-PLUGIN-") {
        return Err(InvalidRecipient::Secret("age-keygen -y FILE"));
    }
    if upper.contains("PRIVATE KEY") {
        return Err(InvalidRecipient::Secret("ssh-keygen -y -f FILE"));
    }
    Ok(())
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Recipient {}

/// As written; an age recipient in lower case.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Recipient {
    type Err = InvalidRecipient;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidRecipient, Recipient};

    const AGE: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    const SSH: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    #[test]
    fn keys_of_both_kinds_are_read_and_shown_as_written() {
        for text in [AGE, SSH, &format!("{SSH} alice@example.org two words")] {
            let recipient = Recipient::parse(&format!(" {text}\n")).unwrap();
            assert_eq!(recipient.to_string(), text);
            assert_eq!(recipient.fingerprint().len(), "SHA256:".len() + 43);
            recipient.for_encryption();
        }
        assert_eq!(
            Recipient::parse(&AGE.to_uppercase()).unwrap(),
            Recipient::parse(AGE).unwrap()
        );
        let commented = Recipient::parse(&format!("{SSH} x")).unwrap();
        assert_eq!(commented, Recipient::parse(SSH).unwrap());
        assert_ne!(commented, Recipient::parse(AGE).unwrap());
        assert_eq!(
            commented.fingerprint(),
            "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ"
        );
    }

    #[test]
    fn every_bit_of_an_age_recipient_counts() {
        for index in 4..AGE.len() {
            let mut damaged = AGE.as_bytes().to_vec();
            damaged[index] ^= 1;
            let damaged = String::from_utf8(damaged).unwrap();
            assert!(Recipient::parse(&damaged).is_err(), "{damaged}");
        }
        assert_eq!(
            Recipient::parse(&AGE[..40]).unwrap_err(),
            InvalidRecipient::DamagedAge
        );
    }

    #[test]
    fn what_is_no_recipient_is_refused_in_a_sentence_and_no_secret_is_shown() {
        let secret = "QQPQZRJKQGQ5ZPRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0";
        for (text, reason) in [
            (format!("AGE-SECRET-KEY-1{secret}"), "this is a secret key"),
            (format!("age-secret-key-1{secret}"), "this is a secret key"),
            (
                format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{secret}"),
                "this is a secret key",
            ),
            (
                format!("AGE-PLUGIN-YUBIKEY-1{secret}"),
                "this is a secret key",
            ),
            (
                format!("ssh-rsa AAAA{secret}"),
                "kind ssh-rsa are not supported",
            ),
            (
                format!("sk-ssh-ed25519@openssh.com AAAA{secret}"),
                "kind sk-ssh-ed25519@openssh.com are not",
            ),
            (
                "age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt"
                    .to_owned(),
                "kind age1yubikey1… are not",
            ),
            (format!("ssh-ed25519 AAAA{secret}"), "public key is damaged"),
            ("ssh-ed25519".to_owned(), "public key is damaged"),
            (String::new(), "expected an age recipient"),
            (secret.to_owned(), "expected an age recipient"),
        ] {
            let error = Recipient::parse(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains(secret), "{error}");
        }
    }
}
