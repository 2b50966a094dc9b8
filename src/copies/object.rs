//! The names of a copy's objects, below the place of its database. A name is written in one way only:
//! whatever reads is what would have been written.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::escape::{escape, unescape};
use crate::repository::Stem;

/// The longest slug of a reason in a key, in bytes as escaped. What is longer is left out, so that the
/// longest name behind it still is that of a file.
pub(super) const LONGEST_SLUG: usize = 96;

/// The name of a backup in keys: `<stem>.<run>`, with the run that made the backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CopyName {
    stem: Stem,
    run: Uuid,
}

impl CopyName {
    /// The name of a backup's copy. With encryption the reason's slug is left out of it, since keys are read
    /// by whoever reads the store; a slug that is too long for a file's name is left out too.
    pub fn new(stem: &Stem, run: Uuid, is_encrypted: bool) -> Self {
        let slug = stem.slug.clone();
        let stem = Stem {
            slug: slug.filter(|slug| !is_encrypted && escape(slug.as_str()).len() <= LONGEST_SLUG),
            ..stem.clone()
        };
        Self { stem, run }
    }

    /// The backup's stem, perhaps without its slug.
    pub fn stem(&self) -> &Stem {
        &self.stem
    }

    /// The run that made the backup.
    pub fn run(&self) -> Uuid {
        self.run
    }

    /// The name of one of the copy's files, by what follows the stem in it.
    pub fn file(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.stem)
    }

    /// Reads the name at the beginning of a text, and gives the rest. No stem has a dot in it.
    pub(super) fn split(text: &str) -> Option<(Self, &str)> {
        let (stem, rest) = text.split_once('.')?;
        let (run, rest) = uuid_at_start(rest)?;
        let stem = unescape(stem)?.parse().ok()?;
        Some((Self { stem, run }, rest))
    }
}

impl fmt::Display for CopyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", escape(&self.stem.to_string()), self.run)
    }
}

/// A text that is no name of the layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a copy")]
pub struct InvalidName(pub String);

impl FromStr for CopyName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::split(text) {
            Some((name, "")) if name.to_string() == text => Ok(name),
            _ => Err(InvalidName(text.to_owned())),
        }
    }
}

impl TryFrom<String> for CopyName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CopyName> for String {
    fn from(name: CopyName) -> Self {
        name.to_string()
    }
}

/// An object of a copy: what follows the copy's name in its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// A part of one of its files.
    Volume(VolumeName),
    /// Its manifest.
    Manifest {
        /// A new one each time that a manifest is put.
        attempt: Uuid,
    },
    /// The signature of that manifest.
    Signature {
        /// The manifest's.
        attempt: Uuid,
    },
    /// Something that was found or decided later.
    Fact {
        /// What.
        kind: FactKind,
        /// Its own id.
        id: Uuid,
    },
    /// The signature of that fact.
    FactSignature {
        /// The fact's.
        kind: FactKind,
        /// The fact's.
        id: Uuid,
    },
}

impl Object {
    /// The object that signs this one; none for a volume and for a signature.
    pub fn signature(&self) -> Option<Self> {
        match *self {
            Self::Manifest { attempt } => Some(Self::Signature { attempt }),
            Self::Fact { kind, id } => Some(Self::FactSignature { kind, id }),
            Self::Volume(_) | Self::Signature { .. } | Self::FactSignature { .. } => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(volume) => write!(f, "/{volume}"),
            Self::Manifest { attempt } => write!(f, ".{attempt}.json"),
            Self::Signature { attempt } => write!(f, ".{attempt}.json.sig"),
            Self::Fact { kind, id } => write!(f, ".{kind}.{id}.json"),
            Self::FactSignature { kind, id } => write!(f, ".{kind}.{id}.json.sig"),
        }
    }
}

impl FromStr for Object {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            if let Some(volume) = text.strip_prefix('/') {
                return volume.parse().ok().map(Self::Volume);
            }
            let text = text.strip_prefix('.')?;
            if let Some((attempt, rest)) = uuid_at_start(text) {
                return match rest {
                    ".json" => Some(Self::Manifest { attempt }),
                    ".json.sig" => Some(Self::Signature { attempt }),
                    _ => None,
                };
            }
            let (kind, rest) = text.split_once('.')?;
            let kind = FactKind::ALL.into_iter().find(|it| it.word() == kind)?;
            match uuid_at_start(rest)? {
                (id, ".json") => Some(Self::Fact { kind, id }),
                (id, ".json.sig") => Some(Self::FactSignature { kind, id }),
                _ => None,
            }
        };
        parsed().ok_or_else(|| InvalidName(text.to_owned()))
    }
}

/// What a later fact says of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactKind {
    /// It is kept whatever the rules say.
    Pin,
    /// The rules hold again.
    Unpin,
    /// Its key, sealed to further recipients.
    Key,
}

impl FactKind {
    const ALL: [Self; 3] = [Self::Pin, Self::Unpin, Self::Key];

    /// As it stands in keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Key => "key",
        }
    }
}

impl fmt::Display for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The name of a volume, below the copy's: `<file>.<number>-<random>`, and `.age` where it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName {
    file: String,
    number: u32,
    random: Random,
    is_encrypted: bool,
}

impl VolumeName {
    /// The name of a new volume: the part of this number, from 1, of a file of [`CopyName::file`]. Its random
    /// part is new each time, so that a second attempt overwrites nothing.
    pub fn fresh(file: &str, number: u32, is_encrypted: bool) -> Self {
        Self {
            file: file.to_owned(),
            number,
            random: Random::fresh(),
            is_encrypted,
        }
    }

    /// The file that it is a part of.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Which part of the file, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_encrypted { ".age" } else { "" };
        let (file, number, random) = (escape(&self.file), self.number, self.random);
        write!(f, "{file}.{number}-{random}{end}")
    }
}

impl FromStr for VolumeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (rest, is_encrypted) = match text.strip_suffix(".age") {
                Some(rest) => (rest, true),
                None => (text, false),
            };
            let (file, rest) = rest.rsplit_once('.')?;
            let (number, random) = rest.split_once('-')?;
            let volume = Self {
                file: unescape(file)?,
                number: number.parse().ok().filter(|number| *number > 0)?,
                random: Random(u64::from_str_radix(random, 16).ok()?),
                is_encrypted,
            };
            (volume.to_string() == text).then_some(volume)
        };
        parsed().ok_or_else(|| InvalidName(text.to_owned()))
    }
}

/// The random part of a volume's name: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Random(u64);

impl Random {
    /// A new one, with 62 random bits.
    fn fresh() -> Self {
        // RFC 9562: the last eight bytes of a UUIDv7 are its variant and random bits.
        Self(Uuid::now_v7().as_u64_pair().1)
    }
}

impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Reads a UUID in its one spelling at the beginning of a text, and gives the rest.
fn uuid_at_start(text: &str) -> Option<(Uuid, &str)> {
    let (start, rest) = text.split_at_checked(36)?;
    let uuid: Uuid = start.parse().ok()?;
    (uuid.to_string() == start).then_some((uuid, rest))
}

#[cfg(test)]
mod tests;
