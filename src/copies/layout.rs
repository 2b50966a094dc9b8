//! Where the objects of copies lie at a destination: how the keys are made, and how they are read. A key is
//! written in one way only: whatever reads is what would have been written.

use std::fmt;

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};

use super::escape::{escape, unescape};
use super::object::{CopyName, LONGEST_SLUG, Object};
use crate::destination::Key;

/// The first segment of every key: the version of the layout.
pub const LAYOUT: &str = "v1";

/// The longest segment, in bytes: on a file system it is the name of a file.
const LONGEST_SEGMENT: usize = 255;

/// What follows a place in the longest key: two names of a copy of a series with the longest name, the
/// number of a volume, its random part and the extension.
const LONGEST_BELOW: usize = 2 * (LONGEST_SLUG + 100) + 80;

/// The longest key that S3 takes, in bytes, with the prefix of the destination.
const LONGEST_KEY: usize = 1024;

/// The copies of one database at a destination: `v1/<host>/<server>/<database>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The host's name in its configuration.
    pub host: String,
    /// The server's name in its configuration.
    pub server: String,
    /// The database's name on the server.
    pub database: String,
}

/// A name that makes no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Something has no name.
    #[error("the {0} of a copy has an empty name")]
    Empty(&'static str),
    /// Escaped, a name is longer than a file's may be.
    #[error(
        "cannot copy database {database:?}: the {what} {name:?} is too long for a key\n\
         hint: escaped, a name has at most {LONGEST_SEGMENT} bytes; every byte but A-Z a-z 0-9 . _ - counts three"
    )]
    LongSegment {
        /// The database.
        database: String,
        /// What the name is of.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The keys of the database's copies are longer than a store takes.
    #[error(
        "cannot copy database {database:?}: its keys would have up to {bytes} bytes, and a store takes \
         {LONGEST_KEY}\n\
         hint: shorten the prefix in the destination's url, or the server's name"
    )]
    LongKey {
        /// The database.
        database: String,
        /// So many bytes the longest may have.
        bytes: usize,
    },
}

impl Place {
    /// The place of a database's copies.
    ///
    /// # Errors
    /// When a name is empty, or too long for a key.
    pub fn new(host: &str, server: &str, database: &str) -> Result<Self, LayoutError> {
        for (what, name) in [("host", host), ("server", server), ("database", database)] {
            if name.is_empty() {
                return Err(LayoutError::Empty(what));
            }
            if escape(name).len() > LONGEST_SEGMENT {
                return Err(LayoutError::LongSegment {
                    database: database.to_owned(),
                    what,
                    name: name.to_owned(),
                });
            }
        }
        let place = Self {
            host: host.to_owned(),
            server: server.to_owned(),
            database: database.to_owned(),
        };
        place.check_length(0)?;
        Ok(place)
    }

    /// Whether the longest key below this place fits behind a prefix of so many bytes, its last slash among
    /// them.
    ///
    /// # Errors
    /// When it does not; the error names the database.
    pub fn check_length(&self, prefix: usize) -> Result<(), LayoutError> {
        let bytes = prefix + self.text().len() + LONGEST_BELOW;
        if bytes > LONGEST_KEY {
            return Err(LayoutError::LongKey {
                database: self.database.clone(),
                bytes,
            });
        }
        Ok(())
    }

    /// Its key: what the keys of all objects of the database begin with.
    ///
    /// # Panics
    /// When the fields were changed to names that make no key.
    pub fn key(&self) -> Key {
        key(&self.text())
    }

    /// The way back from [`key`](Self::key); none for any other key.
    pub fn of(key: &Key) -> Option<Self> {
        let mut segments = key.as_str().split('/');
        (segments.next()? == LAYOUT).then_some(())?;
        let mut name = || unescape(segments.next()?);
        let place = Self::new(&name()?, &name()?, &name()?).ok()?;
        segments.next().is_none().then_some(place)
    }

    fn text(&self) -> String {
        let [host, server, database] =
            [&self.host, &self.server, &self.database].map(|name| escape(name));
        format!("{LAYOUT}/{host}/{server}/{database}")
    }

    /// The key of an object of a copy at this place.
    ///
    /// # Panics
    /// When a volume's file has a name that makes no key.
    pub fn object(&self, copy: &CopyName, object: &Object) -> Key {
        key(&format!("{}/{copy}{object}", self.text()))
    }

    /// What a key below this place says. None for one that no program of this version writes.
    pub fn parse(&self, key: &Key) -> Option<(CopyName, Object)> {
        let rest = key.as_str().strip_prefix(&self.text())?.strip_prefix('/')?;
        let (copy, rest) = CopyName::split(rest)?;
        let object: Object = rest.parse().ok()?;
        (self.object(&copy, &object) == *key).then_some((copy, object))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// A key of checked names.
#[expect(
    clippy::expect_used,
    reason = "every segment is escaped and not empty, and its length was checked"
)]
fn key(text: &str) -> Key {
    Key::new(text).expect("escaped names make a key")
}

/// Below which all copies of all hosts lie.
pub fn root() -> Key {
    key(LAYOUT)
}

/// How to restore with stock tools.
pub fn restore_text() -> Key {
    key("v1/RESTORE.txt")
}

/// The key of a host: what the keys of all its objects begin with.
///
/// # Errors
/// When the name is empty, or too long for a key.
pub fn host(name: &str) -> Result<Key, LayoutError> {
    // The shortest other names: only the host's is judged.
    let place = Place::new(name, "s", "d")?;
    Ok(key(&format!("{LAYOUT}/{}", escape(&place.host))))
}

/// The host of a key of [`host`]; none for any other key.
pub fn host_of(key: &Key) -> Option<String> {
    unescape(key.as_str().strip_prefix("v1/")?)
}

/// The server of a folder of a host's key; none for any other key.
pub fn server_of(key: &Key) -> Option<String> {
    let (host, server) = key.as_str().strip_prefix("v1/")?.split_once('/')?;
    unescape(host)?;
    unescape(server)
}

/// Below which a check of a destination puts its objects. Like those of the state, they are right below it, so
/// that it is the folder of no server.
///
/// # Errors
/// As [`host`].
pub fn probe(host_name: &str) -> Result<Key, LayoutError> {
    Ok(key(&format!("{}/probe", host(host_name)?)))
}

/// Below which the state of a host is put.
///
/// # Errors
/// As [`host`].
pub fn status(host_name: &str) -> Result<Key, LayoutError> {
    Ok(key(&format!("{}/status", host(host_name)?)))
}

/// The key of a host's state at a time, to the second.
///
/// # Errors
/// As [`host`].
pub fn status_at(host_name: &str, at: DateTime<Utc>) -> Result<Key, LayoutError> {
    let at = at.trunc_subsecs(0).format(STATUS_TIME);
    Ok(key(&format!("{}/{at}.json", status(host_name)?)))
}

/// The key of the signature of a host's state; none of a key that is not one of [`status_at`].
pub fn status_signature(of: &Key) -> Option<Key> {
    status_time(of)?;
    Some(key(&format!("{of}.sig")))
}

/// The time in a key of [`status_at`]; none for any other key.
pub fn status_time(key: &Key) -> Option<DateTime<Utc>> {
    let (folder, name) = key.as_str().rsplit_once('/')?;
    let host = host_of(&Key::new(folder.strip_suffix("/status")?).ok()?)?;
    let time = NaiveDateTime::parse_from_str(name.strip_suffix(".json")?, STATUS_TIME).ok()?;
    let at = time.and_utc();
    (status_at(&host, at).ok()? == *key).then_some(at)
}

/// `20261130T091944Z`, which sorts by time.
const STATUS_TIME: &str = "%Y%m%dT%H%M%SZ";

#[cfg(test)]
mod tests;
