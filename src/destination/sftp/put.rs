//! Putting an object at a server.
//!
//! A file is made under its final name, by a request that fails where the name is taken, so that a server may
//! forbid to rename and to remove. What a killed put leaves is a file that is too short. It has a part of the bytes
//! that were to be put, and the put that made it goes on with it; so does another put of the same bytes, once
//! nobody can be writing it any more.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use chrono::{TimeDelta, Utc};

use super::fault::Fault;
use super::files::Files;
use super::packet::{Access, FileKind, Status};
use super::place::above;
use super::session::OpenHandle;
use crate::destination::Stored;
use crate::destination::judgement;
use crate::destination::key::Key;
use crate::destination::pauses::Passing;

/// A partial file that is older than this is nobody's who still writes.
const LEFT_BEHIND: TimeDelta = TimeDelta::hours(24);

/// A directory that somebody removes while a put makes it is made again so often.
const ATTEMPTS: u32 = 8;

impl Files {
    /// Puts an object under a key that has none. `is_ours` remembers from one attempt to the next that this put
    /// has made the file, or may have.
    pub(super) async fn put_new(
        &self,
        key: &Key,
        body: &Bytes,
        is_ours: &AtomicBool,
    ) -> Result<Stored, Fault> {
        let mut attempt = 1;
        loop {
            match self.put(key, body, is_ours).await {
                Err(Fault::Vanished) if attempt < ATTEMPTS => {
                    self.place.forget();
                    attempt += 1;
                }
                put => return put,
            }
        }
    }

    async fn put(&self, key: &Key, body: &Bytes, is_ours: &AtomicBool) -> Result<Stored, Fault> {
        self.make_directories(above(key.as_str())).await?;
        let path = self.place.path(key.as_str());
        // If no answer comes, the file may have been made all the same.
        let was_ours = is_ours.swap(true, Ordering::Relaxed);
        let file = match self.session.open_file(&path, Access::CreateNew).await {
            Ok(file) => file,
            Err(Fault::Refused(status)) => {
                is_ours.store(was_ours, Ordering::Relaxed);
                return self.settle(key, body, (status, was_ours)).await;
            }
            Err(fault) => return Err(fault),
        };
        // Also a server that does not know the condition replaces nothing here.
        if self.session.length(&file).await? > 0 {
            self.place.saw_condition(false);
            is_ours.store(was_ours, Ordering::Relaxed);
            drop(file);
            let status = Status {
                code: Status::EXISTS,
                message: String::new(),
            };
            return self.settle(key, body, (status, was_ours)).await;
        }
        self.fill(key, file, (body, 0)).await
    }

    /// Finds out what a name has that could not be made: an earlier attempt whose end was not seen, a part of
    /// one, or something else. Without anything there, the refusal had another reason.
    async fn settle(
        &self,
        key: &Key,
        body: &Bytes,
        (status, is_ours): (Status, bool),
    ) -> Result<Stored, Fault> {
        let path = self.place.path(key.as_str());
        let Some(found) = self.session.look(&path).await? else {
            if status.code == Status::MISSING {
                return Err(Fault::Vanished);
            }
            return Err(self.explain(status, body.len() as u64).await);
        };
        if found.kind().is_some_and(|kind| kind != FileKind::File) {
            return Err(judgement::in_the_way(key.name()).into());
        }
        if self.place.keeps_conditions().is_none() {
            self.place.saw_condition(true);
        }
        let there = found.bytes.unwrap_or(0);
        let Some(part) = usize::try_from(there)
            .ok()
            .filter(|part| *part <= body.len())
        else {
            return Err(judgement::taken().into());
        };
        let file = self.session.open_file(&path, Access::Read).await?;
        if self.session.read(&file, (0, part)).await? != body[..part] {
            return Err(judgement::taken().into());
        }
        if part == body.len() {
            // The attempt may have been killed before its syncs.
            self.session.sync(&file).await?;
            self.session.close(file).await?;
            return Ok(Stored {
                is_checked: true,
                version: None,
            });
        }
        let age = found.modified().map(|modified| Utc::now() - modified);
        if !is_ours && age.is_none_or(|age| age < LEFT_BEHIND) {
            return Err(Fault::partial(there, body.len()));
        }
        drop(file);
        let file = self.session.open_file(&path, Access::Write).await?;
        self.fill(key, file, (body, part)).await
    }

    /// Writes what a file lacks, and puts it on the disk. What cannot be completed is removed, where that is
    /// allowed.
    async fn fill(
        &self,
        key: &Key,
        file: OpenHandle,
        (body, from): (&Bytes, usize),
    ) -> Result<Stored, Fault> {
        let written = self.write(&file, (body, from)).await;
        let written = match written {
            Ok(()) => self.session.close(file).await,
            Err(fault) => {
                drop(file);
                Err(fault)
            }
        };
        let fault = match written {
            Ok(()) => {
                let directory = self.place.path_above(key.as_str());
                self.session.sync_directory(&directory).await?;
                return Ok(Stored {
                    is_checked: false,
                    version: None,
                });
            }
            // The next attempt goes on.
            Err(fault) if fault.passing() != Passing::Never => return Err(fault),
            // Before the room that it takes is free again.
            Err(Fault::Refused(status)) => self.explain(status, body.len() as u64).await,
            Err(fault) => fault,
        };
        let path = self.place.path(key.as_str());
        if let Err(Fault::Refused(status)) = self.session.remove(&path).await {
            tracing::debug!("a part of {key} is left: {}", status.words());
        }
        Err(fault)
    }

    async fn write(&self, file: &OpenHandle, (body, from): (&Bytes, usize)) -> Result<(), Fault> {
        self.session.write(file, body, from).await?;
        // Without this a power cut can leave the name and no content.
        self.session.sync(file).await?;
        let length = self.session.length(file).await?;
        if length != body.len() as u64 {
            return Err(judgement::other_length(length, body.len()).into());
        }
        Ok(())
    }

    /// Finds out whether the server refuses to make a file whose name is taken, by one that was just put.
    pub(super) async fn find_out_conditions(&self, key: &Key) {
        if self.place.keeps_conditions().is_some() {
            return;
        }
        let path = self.place.path(key.as_str());
        match self.session.open_file(&path, Access::CreateNew).await {
            Ok(_) => self.place.saw_condition(false),
            Err(Fault::Refused(_)) => self.place.saw_condition(true),
            // Another put finds it out.
            Err(_) => {}
        }
    }
}
