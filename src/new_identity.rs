//! A new identity: the secret key that opens copies, as the file that `age-keygen` makes and `age -i` reads.
//! It is made for a person, who keeps it away from this machine: nothing here stores one.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use chrono::{DateTime, FixedOffset};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use crate::recipient::Recipient;

/// The work that a passphrase costs whoever guesses: 2 to the power of this, as of age's own files.
const WORK: u8 = 18;

/// An identity that was made just now.
pub struct NewIdentity {
    identity: age::x25519::Identity,
    recipient: Recipient,
    made: DateTime<FixedOffset>,
}

impl NewIdentity {
    /// Makes one, by the system's random numbers.
    ///
    /// # Panics
    /// Never: the public half of an identity is a recipient.
    #[expect(clippy::expect_used, reason = "age reads what age wrote")]
    pub fn make(now: DateTime<FixedOffset>) -> Self {
        let identity = age::x25519::Identity::generate();
        let recipient = Recipient::parse(&identity.to_public().to_string());
        Self {
            recipient: recipient.expect("the public half is a recipient"),
            identity,
            made: now,
        }
    }

    /// Its public half.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// The file that holds it, three lines. It is secret.
    pub fn file(&self) -> Zeroizing<String> {
        let secret = self.identity.to_string();
        // It does not grow: a copy that is left behind would not be wiped.
        let mut text = Zeroizing::new(String::with_capacity(512));
        let made = self.made.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        // Text takes all that is written to it.
        let _ = writeln!(
            text,
            "# created: {made}\n# public key: {}\n{}",
            self.recipient,
            secret.expose_secret()
        );
        text
    }

    /// The same file, encrypted to a passphrase: in ASCII armour, as `age -p -a` makes it.
    ///
    /// # Errors
    /// When the encryption fails.
    pub fn file_sealed_by(&self, passphrase: SecretString) -> io::Result<Zeroizing<String>> {
        use age::armor::{ArmoredWriter, Format};

        let mut recipient = age::scrypt::Recipient::new(passphrase);
        recipient.set_work_factor(WORK);
        let recipients = std::iter::once(&recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        let armored = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armored)?;
        writer.write_all(self.file().as_bytes())?;
        let sealed = writer.finish().and_then(ArmoredWriter::finish)?;
        String::from_utf8(sealed)
            .map(Zeroizing::new)
            .map_err(io::Error::other)
    }
}

/// Shows which key it is, and nothing of the secret.
impl fmt::Debug for NewIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NewIdentity")
            .field(&self.recipient.fingerprint())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::NewIdentity;

    fn identity() -> NewIdentity {
        NewIdentity::make("2026-11-30T02:00:00+03:00".parse().unwrap())
    }

    #[test]
    fn the_file_is_that_of_age_keygen() {
        let identity = identity();
        let file = identity.file();
        let lines: Vec<&str> = file.lines().collect();
        let [created, public, secret] = lines[..] else {
            panic!("three lines")
        };
        assert_eq!(created, "# created: 2026-11-30T02:00:00+03:00");
        assert_eq!(public, format!("# public key: {}", identity.recipient()));
        let secret: age::x25519::Identity = secret.parse().unwrap();
        assert_eq!(
            secret.to_public().to_string(),
            identity.recipient().to_string()
        );
        assert!(file.capacity() >= 512, "it has grown");
    }

    #[test]
    fn no_two_are_the_same_and_debug_shows_no_secret() {
        let (one, two) = (identity(), identity());
        assert_ne!(one.recipient(), two.recipient());
        let secret = one.file().lines().last().unwrap().to_owned();
        assert!(secret.starts_with("AGE-SECRET-KEY-1"));
        let shown = format!("{one:?}");
        assert!(!shown.contains("AGE-SECRET-KEY-1"), "{shown}");
        assert!(shown.contains(one.recipient().fingerprint()), "{shown}");
    }
}
