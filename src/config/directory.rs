//! Which directory is whose: a database's name as one path component, and no directory for two.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::plan::{Databases, Plan, Server};

/// The longest plain encoding, in bytes. A name that `PostgreSQL` accepts (63 bytes) has at most
/// 189; only a server built with a larger `NAMEDATALEN` can exceed it.
const LONGEST: usize = 200;

/// How many bytes of a longer encoding stay readable before its hash.
const PREFIX: usize = 120;

/// The name of a database as one component of a path: readable, at most 200 bytes, and
/// different for different names.
///
/// Letters and digits of any script, `_`, `-` and `.` stay as they are; every other character, and
/// a `.` or `-` at the start, becomes `%` and two upper-case hexadecimal digits for each byte of
/// its UTF-8 form. An encoding that would be too long is cut and ends with `%h` and the SHA-256 of
/// the whole name: `h` is no hexadecimal digit, so no plain encoding looks like that. The empty
/// name, which no database has, is `%`.
pub fn directory_name(database: &str) -> String {
    if database.is_empty() {
        return "%".to_owned();
    }
    let mut encoded = String::with_capacity(database.len());
    let mut readable_until = 0;
    for (index, character) in database.char_indices() {
        let plain = character.is_alphanumeric()
            || character == '_'
            || (matches!(character, '-' | '.') && index > 0);
        if plain {
            encoded.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                push_hex(&mut encoded, '%', byte);
            }
        }
        if encoded.len() <= PREFIX {
            readable_until = encoded.len();
        }
    }
    if encoded.len() > LONGEST {
        encoded.truncate(readable_until);
        encoded.push_str("%h");
        for byte in Sha256::digest(database.as_bytes()) {
            push_hex(&mut encoded, '\0', byte);
        }
    }
    encoded
}

/// Appends a byte's two digits, after a sign unless it is NUL.
fn push_hex(text: &mut String, sign: char, byte: u8) {
    if sign != '\0' {
        text.push(sign);
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{byte:02X}");
}

impl Server {
    /// Where the backups of a database of this server stand: its own directory where the plan names
    /// the database, and else one under the server's.
    pub fn directory_for(&self, database: &str) -> PathBuf {
        if let Databases::Named(named) = &self.databases
            && let Some(found) = named.iter().find(|named| named.name == database)
        {
            return found.directory.clone();
        }
        self.directory.join(directory_name(database))
    }
}

impl Plan {
    /// Who else has the directory that a *discovered* database of this server would get, in words;
    /// none if it is free.
    ///
    /// Named databases are compared when the plan is made, but which databases `databases = "all"`
    /// finds is known only at the time of a run: main's database `reports` and the server
    /// `reports` would meet in `/var/backups/reports`.
    pub fn directory_taken_by(&self, server: &Server, database: &str) -> Option<String> {
        let directory = server.directory_for(database);
        self.servers
            .iter()
            .filter(|other| other.name != server.name)
            .find_map(|other| match &other.databases {
                Databases::Named(named) => named
                    .iter()
                    .find(|named| overlap(&named.directory, &directory))
                    .map(|named| format!("database {:?} of server {}", named.name, other.name)),
                Databases::All(_) | Databases::FromEnvironment => other
                    .directory
                    .starts_with(&directory)
                    .then(|| format!("the databases of server {}", other.name)),
            })
    }
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// A directory that the configuration gives away.
pub(super) struct Claim {
    /// The directory.
    pub(super) directory: PathBuf,
    /// To whom, in words.
    pub(super) owner: String,
    /// Whether it holds directories of databases that a run discovers, rather than backups.
    pub(super) is_root: bool,
    /// The setting that an error points at.
    pub(super) key: Vec<String>,
}

/// Every pair of claims that cannot both hold, the offending one second: the same directory twice,
/// or one inside a database's.
pub(super) fn conflicts(claims: &[Claim]) -> Vec<(&Claim, &Claim)> {
    let mut sorted: Vec<&Claim> = claims.iter().collect();
    // Path's order is by components, so whatever lies inside a directory follows it directly.
    sorted.sort_by(|a, b| a.directory.cmp(&b.directory));
    let mut found = Vec::new();
    let mut before: Option<&Claim> = None;
    let mut around: Option<&Claim> = None;
    for claim in sorted {
        if let Some(before) = before.filter(|before| before.directory == claim.directory) {
            found.push((before, claim));
        } else if let Some(outer) = around.filter(|o| claim.directory.starts_with(&o.directory)) {
            found.push((outer, claim));
        } else if !claim.is_root {
            around = Some(claim);
        }
        before = Some(claim);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::{Claim, LONGEST, conflicts, directory_name};

    #[test]
    fn hostile_names_become_one_readable_component_each() {
        let arabic = "قاعدة_البيانات";
        let table = [
            ("productivity_tracker", "productivity_tracker"),
            ("My-App.v2", "My-App.v2"),
            ("my-app.v2", "my-app.v2"),
            (arabic, arabic),
            ("a/b", "a%2Fb"),
            ("a_b", "a_b"),
            ("..", "%2E."),
            (".", "%2E"),
            (".hidden", "%2Ehidden"),
            ("-rf", "%2Drf"),
            ("a b", "a%20b"),
            ("a\nb", "a%0Ab"),
            ("100%", "100%25"),
            ("100%25", "100%2525"),
            ("$(reboot)", "%24%28reboot%29"),
            ("it's \"quoted\"", "it%27s%20%22quoted%22"),
            ("\u{202e}x", "%E2%80%AEx"),
            ("", "%"),
        ];
        for (database, directory) in table {
            assert_eq!(directory_name(database), directory, "{database:?}");
        }
    }

    #[test]
    fn the_longest_name_of_postgresql_needs_no_hash() {
        assert_eq!(directory_name(&"/".repeat(63)), "%2F".repeat(63));
    }

    #[test]
    fn a_longer_name_is_cut_and_distinguished_by_its_hash() {
        let (one, other) = ("/".repeat(100), "/".repeat(101));
        let encoded = directory_name(&one);
        assert!(encoded.starts_with(&("%2F".repeat(40) + "%h")), "{encoded}");
        assert!(encoded.len() <= LONGEST);
        assert_ne!(encoded, directory_name(&other));
    }

    /// Undoes a plain encoding.
    fn decoded(directory: &str) -> Vec<u8> {
        let mut bytes = directory.bytes();
        let mut name = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = str::from_utf8(&digits).unwrap();
                name.push(u8::from_str_radix(digits, 16).unwrap());
            } else {
                name.push(byte);
            }
        }
        name
    }

    proptest! {
        #[test]
        fn every_name_can_be_read_back_so_no_two_share_a_directory(name in "\\PC{1,15}|[%./\\-a\n]{1,20}") {
            let directory = directory_name(&name);
            prop_assert_eq!(decoded(&directory), name.as_bytes());
            prop_assert!(!directory.contains('/') && !directory.starts_with(['.', '-']));
            prop_assert!(!directory.chars().any(char::is_control));
        }

        #[test]
        fn long_names_are_reported_apart(one in "[a/]{150,300}", other in "[a/]{150,300}") {
            prop_assume!(one != other);
            prop_assert_ne!(directory_name(&one), directory_name(&other));
            prop_assert!(directory_name(&one).len() <= LONGEST);
        }
    }

    #[test]
    fn two_claims_clash_when_equal_or_when_one_lies_inside_a_databases_directory() {
        let pairs = |claims: &[(&str, bool)]| {
            let claims: Vec<Claim> = claims
                .iter()
                .map(|(path, is_root)| Claim {
                    directory: PathBuf::from(path),
                    owner: (*path).to_owned(),
                    is_root: *is_root,
                    key: Vec::new(),
                })
                .collect();
            conflicts(&claims)
                .into_iter()
                .map(|(a, b)| format!("{} {}", a.owner, b.owner))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            pairs(&[("/b/x", false), ("/b/y", false), ("/b/xy", false)]),
            [""; 0]
        );
        assert_eq!(pairs(&[("/b/x", false), ("/b/x", false)]), ["/b/x /b/x"]);
        assert_eq!(
            pairs(&[("/b/x/y", false), ("/b/x", false)]),
            ["/b/x /b/x/y"]
        );
        assert_eq!(pairs(&[("/b", true), ("/b/x", false)]), [""; 0]);
        assert_eq!(pairs(&[("/b", true), ("/b", true)]), ["/b /b"]);
        assert_eq!(
            pairs(&[("/b/x", false), ("/b/x/all", true)]),
            ["/b/x /b/x/all"]
        );
        assert_eq!(
            pairs(&[("/b", false), ("/b/x", true), ("/b/z", false)]),
            ["/b /b/x", "/b /b/z"]
        );
    }
}
