//! The former signing keys of this host that the operator has adopted, for each destination: the copies there that
//! such a key signed are this host's own.
//!
//! `copying/<destination>/adopted.json` in the state directory. Each entry has a line of OpenSSH's
//! `allowed_signers` that ends with what the destination had when it was adopted: whatever somebody signs with the
//! key later, and puts there, counts for nothing.

use std::io;
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use super::copy_journal::{directory_of, home};
use super::error::RepositoryError;
use super::seal::{self, Names};
use crate::allowed_signer::AllowedSigner;

const NAMES: Names = Names {
    file: "adopted.json",
    lock: "adopted.lock",
    when_spoilt: "it is written again, and keys that were adopted before have to be adopted again",
};

/// The keys that were adopted for a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedSigners {
    /// In the order in which they were adopted.
    #[serde(default)]
    pub signers: Vec<AdoptedSigner>,
}

/// A key that was adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedSigner {
    /// Its fingerprint: `SHA256:…`.
    pub fingerprint: String,
    /// The line that trusts it: for this host, and for what the destination had by then.
    pub line: String,
    /// When it was adopted.
    pub adopted: DateTime<FixedOffset>,
    /// The user who adopted it.
    pub by: String,
}

impl AdoptedSigners {
    /// Reads them; none where there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not as it was written.
    pub fn read(state: &Path, destination: &str) -> Result<Self, RepositoryError> {
        let home = home(state, destination);
        let path = home.join(NAMES.file);
        let read: Self = seal::read(&home, &NAMES).map_err(RepositoryError::io("read", &path))?;
        match read
            .signers
            .iter()
            .try_for_each(|one| one.parse().map(drop))
        {
            Ok(()) => Ok(read),
            Err(source) => Err(RepositoryError::io("read", &path)(source)),
        }
    }

    /// The lines that trust them.
    pub fn lines(&self) -> Vec<AllowedSigner> {
        let signers = self.signers.iter();
        signers.filter_map(|one| one.parse().ok()).collect()
    }

    /// Adopts a key, in the place of an entry that there is of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn adopt(
        state: &Path,
        destination: &str,
        signer: AdoptedSigner,
    ) -> Result<(), RepositoryError> {
        change(state, destination, |signers| {
            signers.retain(|one| one.fingerprint != signer.fingerprint);
            signers.push(signer);
        })
    }

    /// Takes an adoption back, and gives whether there was one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn revoke(
        state: &Path,
        destination: &str,
        fingerprint: &str,
    ) -> Result<bool, RepositoryError> {
        change(state, destination, |signers| {
            let before = signers.len();
            signers.retain(|one| one.fingerprint != fingerprint);
            signers.len() < before
        })
    }
}

impl AdoptedSigner {
    fn parse(&self) -> io::Result<AllowedSigner> {
        AllowedSigner::parse(&self.line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}

fn change<R>(
    state: &Path,
    destination: &str,
    change: impl FnOnce(&mut Vec<AdoptedSigner>) -> R,
) -> Result<R, RepositoryError> {
    let path = home(state, destination).join(NAMES.file);
    let changed = directory_of(state, destination).and_then(|home| {
        seal::change(&home, &NAMES, |all: &mut AdoptedSigners| {
            change(&mut all.signers)
        })
    });
    changed.map_err(RepositoryError::io("write", &path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn signer(number: u8) -> AdoptedSigner {
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIPZOfPRA6q6fpl3U1shs2hj7fA5B8jZEZaFky0HRWv5u";
        AdoptedSigner {
            fingerprint: format!("SHA256:{number}"),
            line: format!(
                "db1 namespaces=\"pgbackupd-copy\",valid-before=\"2025070{number}020000Z\" ssh-ed25519 {key}"
            ),
            adopted: "2025-07-09T02:00:00+02:00".parse().unwrap(),
            by: "root".to_owned(),
        }
    }

    #[test]
    fn a_key_is_adopted_for_one_destination_until_that_is_taken_back() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path();
        let read = |destination| AdoptedSigners::read(state, destination).unwrap().signers;
        assert_eq!(read("far"), []);
        let adopt = |signer| AdoptedSigners::adopt(state, "far", signer).unwrap();
        adopt(signer(1));
        adopt(signer(2));
        let again = AdoptedSigner {
            by: "postgres".to_owned(),
            ..signer(1)
        };
        adopt(again.clone());
        assert_eq!(read("far"), [signer(2), again.clone()]);
        assert_eq!(read("near"), []);
        let path = state.join("copying/far/adopted.json");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        assert!(AdoptedSigners::revoke(state, "far", "SHA256:2").unwrap());
        assert!(!AdoptedSigners::revoke(state, "far", "SHA256:2").unwrap());
        assert_eq!(read("far"), [again]);

        // A line that was changed trusts nobody.
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("20250701", "20990701")).unwrap();
        assert!(AdoptedSigners::read(state, "far").is_err());
    }
}
