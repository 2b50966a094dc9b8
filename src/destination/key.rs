//! The key of an object: segments of harmless characters between slashes.

use std::fmt;

/// The longest key that S3 takes, in bytes.
const LONGEST: usize = 1024;

/// A key below the address of a destination: segments of `A-Z a-z 0-9 . _ - =`, with slashes between them.
/// A segment is never empty, `.` or `..`, so that a key is a path on a disk as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// It is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid key {0:?}")]
pub struct InvalidKey(String);

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// When a segment is empty, `.` or `..`, has another character in it, or the key is too long.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        let is_fine = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-=".contains(&byte))
        };
        if text.len() <= LONGEST && text.split('/').all(is_fine) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey(text.to_owned()))
        }
    }

    /// The key of something below this one.
    ///
    /// # Errors
    /// When `rest` is no key, or both together are too long for one.
    pub fn below(&self, rest: &str) -> Result<Self, InvalidKey> {
        Self::new(&format!("{}/{rest}", self.0))
    }

    /// As the store has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is behind the last slash.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_path_on_a_disk_as_well() {
        for text in ["v1", "v1/db1/main/app=2f/x.0-a.age", "a.b/c_d-e"] {
            assert_eq!(Key::new(text).unwrap().as_str(), text);
        }
        let long = "a".repeat(LONGEST + 1);
        for text in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a b", "a%2f", "ä", "a\\b", "a\n",
            &long,
        ] {
            assert_eq!(Key::new(text), Err(InvalidKey(text.to_owned())), "{text:?}");
        }
        let key = Key::new("v1/db1").unwrap();
        assert_eq!(key.below("main/app").unwrap().as_str(), "v1/db1/main/app");
        assert!(key.below("../x").is_err());
        assert_eq!(key.name(), "db1");
    }
}
