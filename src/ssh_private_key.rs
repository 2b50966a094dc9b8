//! Private keys in files of OpenSSH's: whether a text is one that a program can use, which nobody stands next to.

use ssh_key::{Algorithm, Error, PrivateKey};

/// How OpenSSH's own form begins (its PROTOCOL.key), in Base64: `openssh-key-v1` and a zero.
const MAGIC: &str = "b3BlbnNzaC1rZXktdjEA";

/// What comes next where the key is not encrypted: the cipher `none`, with its length.
const WITHOUT_CIPHER: &str = "AAAABG5vbmU";

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyUse {
    /// For ssh, which reads keys of all types and forms.
    LogIn,
    /// To sign copies: OpenSSH's own form, and one type.
    Sign,
}

/// Why a text is no key for a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is the other half.
    #[error("holds a public key")]
    Public,
    /// Nobody can type its passphrase.
    #[error("holds a private key with a passphrase, which nobody can enter")]
    Sealed,
    /// It is none at all.
    #[error("holds no OpenSSH private key, or a damaged one")]
    NoKey,
    /// It cannot sign.
    #[error("holds a private key of another type than ed25519")]
    OtherType,
}

/// Whether a line is a public key.
pub(crate) fn is_public(line: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| line.starts_with(kind))
}

impl KeyFault {
    /// What is wrong with a text that should be a private key; none where it can be used.
    pub(crate) fn of(text: &str, purpose: KeyUse) -> Option<Self> {
        let first = text.lines().next().unwrap_or_default();
        if is_public(first) {
            return Some(Self::Public);
        }
        if !first.starts_with("-----BEGIN ") || !first.contains("PRIVATE KEY") {
            return Some(Self::NoKey);
        }
        let is_openssh = first.contains("OPENSSH");
        let second = text.lines().nth(1).unwrap_or_default();
        let is_sealed = if is_openssh {
            second.starts_with(MAGIC) && !second[MAGIC.len()..].starts_with(WITHOUT_CIPHER)
        } else {
            first.contains("ENCRYPTED") || second.contains("ENCRYPTED")
        };
        if is_sealed {
            return Some(Self::Sealed);
        }
        match (purpose, PrivateKey::from_openssh(text)) {
            (KeyUse::LogIn, _) => None,
            (KeyUse::Sign, Ok(key)) if key.algorithm() == Algorithm::Ed25519 => None,
            (KeyUse::Sign, Err(error)) if is_openssh && error != Error::AlgorithmUnknown => {
                Some(Self::NoKey)
            }
            (KeyUse::Sign, _) => Some(Self::OtherType),
        }
    }

    /// The way out.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Public => "name the file of the private key, without .pub",
            Self::Sealed => {
                "make a key for this purpose alone: `ssh-keygen -t ed25519 -N '' -f FILE`"
            }
            Self::NoKey | Self::OtherType => "make one: `ssh-keygen -t ed25519 -N '' -f FILE`",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{KeyFault, KeyUse};

    #[test]
    fn a_text_is_a_key_for_some_purposes_and_not_for_others() {
        let home = tempfile::tempdir().unwrap();
        let made = |name: &str, options: &[&str]| {
            let path = home.path().join(name);
            let made = Command::new("ssh-keygen")
                .args(["-q", "-f"])
                .arg(&path)
                .args(options)
                .status();
            assert!(made.unwrap().success());
            (
                std::fs::read_to_string(&path).unwrap(),
                std::fs::read_to_string(path.with_extension("pub")).unwrap(),
            )
        };
        let (ed25519, public) = made("ed25519", &["-t", "ed25519", "-N", ""]);
        let (sealed, _) = made("sealed", &["-t", "ed25519", "-N", "hunter2"]);
        let (sealed_ecdsa, _) = made("sealed_ecdsa", &["-t", "ecdsa", "-N", "hunter2"]);
        let (ecdsa, ecdsa_public) = made("ecdsa", &["-t", "ecdsa", "-N", ""]);
        let (rsa, rsa_public) = made("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]);
        let (pem, _) = made("pem", &["-t", "ecdsa", "-m", "PEM", "-N", ""]);
        let (sealed_pem, _) = made("sealed_pem", &["-t", "ecdsa", "-m", "PEM", "-N", "hunter2"]);
        let cut = ed25519[..ed25519.len() / 2].to_owned();
        let (public_key, sealed_key) = (Some(KeyFault::Public), Some(KeyFault::Sealed));
        let (no_key, other) = (Some(KeyFault::NoKey), Some(KeyFault::OtherType));
        for (text, to_log_in, to_sign) in [
            (ed25519, None, None),
            (ecdsa, None, other),
            (rsa, None, other),
            (pem, None, other),
            (sealed, sealed_key, sealed_key),
            (sealed_ecdsa, sealed_key, sealed_key),
            (sealed_pem, sealed_key, sealed_key),
            (public, public_key, public_key),
            (ecdsa_public, public_key, public_key),
            (rsa_public, public_key, public_key),
            (cut, None, no_key),
            (String::new(), no_key, no_key),
            ("hunter2\n".to_owned(), no_key, no_key),
        ] {
            assert_eq!(KeyFault::of(&text, KeyUse::LogIn), to_log_in, "{text}");
            assert_eq!(KeyFault::of(&text, KeyUse::Sign), to_sign, "{text}");
        }
    }
}
