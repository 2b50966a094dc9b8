//! Reading and listing the objects at a server.

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::fault::Fault;
use super::files::{AT_ONCE, Files};
use super::packet::{Access, Attributes, FileKind};
use super::place::above;
use crate::destination::judgement;
use crate::destination::key::Key;
use crate::destination::{Listed, ObjectFacts};

/// What is in a directory under names that a key can have.
struct Entry {
    key: Key,
    kind: FileKind,
    attributes: Attributes,
}

impl Files {
    /// Reads an object, or a range of it.
    pub(super) async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, Fault> {
        if !self.has_directories(above(key.as_str())).await? {
            return Err(judgement::no_object().into());
        }
        let path = self.place.path(key.as_str());
        let (found, opened) = tokio::join!(
            self.session.look(&path),
            self.session.open_file(&path, Access::Read)
        );
        let length = match found?.map(|found| (found.kind(), found.bytes)) {
            Some((Some(FileKind::Other), _)) => {
                return Err(judgement::in_the_way(key.name()).into());
            }
            None | Some((Some(FileKind::Directory), _)) => {
                return Err(judgement::no_object().into());
            }
            Some((_, bytes)) => bytes.ok_or_else(Fault::unexpected)?,
        };
        let file = opened?;
        let range = range.unwrap_or(0..length);
        if range.end > length {
            return Err(judgement::too_short(length, range.end).into());
        }
        let wanted = range.end.saturating_sub(range.start);
        let size = usize::try_from(wanted).map_err(|_| Fault::unexpected())?;
        let content = self.session.read(&file, (range.start, size)).await?;
        if content.len() != size {
            let there = range.start + content.len() as u64;
            return Err(judgement::too_short(there, range.end).into());
        }
        Ok(content.into())
    }

    /// What is known of an object; none where there is no such.
    pub(super) async fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, Fault> {
        if !self.has_directories(above(key.as_str())).await? {
            return Ok(None);
        }
        let path = self.place.path(key.as_str());
        let Some(found) = self.session.look(&path).await? else {
            return Ok(None);
        };
        match found.kind() {
            Some(FileKind::Directory) => return Ok(None),
            Some(FileKind::Other) => return Err(judgement::in_the_way(key.name()).into()),
            Some(FileKind::File) | None => {}
        }
        Ok(Some(ObjectFacts {
            bytes: found.bytes.ok_or_else(Fault::unexpected)?,
            sha256: None,
            modified: found.modified().unwrap_or_default(),
            version: None,
        }))
    }

    /// The objects below a key, sorted.
    pub(super) async fn list(&self, under: &Key) -> Result<Vec<Listed>, Fault> {
        let mut listed = Vec::new();
        if !self.has_directories(under.as_str()).await? {
            return Ok(listed);
        }
        let mut open = vec![under.clone()];
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < AT_ONCE
                && let Some(directory) = open.pop()
            {
                reading.push(self.entries(directory));
            }
            let Some(entries) = reading.next().await else {
                break;
            };
            for entry in entries? {
                match entry.kind {
                    FileKind::Directory => open.push(entry.key),
                    _ => listed.push(Listed {
                        bytes: entry.attributes.bytes.ok_or_else(Fault::unexpected)?,
                        modified: entry.attributes.modified().unwrap_or_default(),
                        key: entry.key,
                    }),
                }
            }
        }
        listed.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(listed)
    }

    /// The directories right below a key, sorted.
    pub(super) async fn folders(&self, under: &Key) -> Result<Vec<Key>, Fault> {
        if !self.has_directories(under.as_str()).await? {
            return Ok(Vec::new());
        }
        let entries = self.entries(under.clone()).await?.into_iter();
        let folders = entries.filter(|entry| entry.kind == FileKind::Directory);
        let mut keys: Vec<Key> = folders.map(|entry| entry.key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// Files and directories in a directory, under names that a key can have: `lost+found` and what else is none
    /// of ours is passed over, and so are links.
    async fn entries(&self, directory: Key) -> Result<Vec<Entry>, Fault> {
        let path = self.place.path(directory.as_str());
        let mut entries = Vec::new();
        for name in self.session.names(&path).await? {
            let text = std::str::from_utf8(&name.name).ok();
            let Some(Ok(key)) = text.map(|name| directory.below(name)) else {
                continue;
            };
            // A server need not say more than the name.
            let attributes = if name.attributes.kind().is_some() && name.attributes.bytes.is_some()
            {
                name.attributes
            } else {
                match self.session.look(&self.place.path(key.as_str())).await? {
                    Some(attributes) => attributes,
                    None => continue,
                }
            };
            let kind = attributes.kind().unwrap_or(FileKind::Other);
            if kind != FileKind::Other {
                entries.push(Entry {
                    key,
                    kind,
                    attributes,
                });
            }
        }
        Ok(entries)
    }
}
