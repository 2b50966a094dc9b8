//! Sending the volumes of a backup: read, sealed and hashed on a thread, a few in flight at a time, each on
//! record as soon as it is there.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::executor::block_on;
use futures::stream::{self, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Copying;
use super::seal::Sealing;
use super::source::{SourceError, SourceFile};
use crate::copies::{Object, Sha256Sum, VolumeName};
use crate::jobs::error::JobError;
use crate::pipeline::Digest;
use crate::repository::{CopyJournal, PutVolume};
use crate::threads;

/// So many volumes are sealed and put at the same time. With the one that is read, that is 48 MiB.
const IN_FLIGHT: usize = 2;

/// A volume that is ready to be put.
struct Ready {
    file: String,
    number: u32,
    bytes: Bytes,
    sha256: Sha256Sum,
    /// Its place among those that are in flight.
    place: OwnedSemaphorePermit,
}

/// What was sent.
pub(super) struct Sent {
    /// The files.
    pub(super) files: Vec<SourceFile>,
    /// The digests of the files as they were cut into volumes, in their order.
    pub(super) digests: Vec<Digest>,
}

impl Copying<'_> {
    /// Puts all volumes that the journal does not have. The inner error is the backup's own: a file is not
    /// what its manifest says.
    ///
    /// # Errors
    /// When the destination does not take a volume. What was put stays on record.
    pub(super) async fn send(
        &self,
        files: Vec<SourceFile>,
        sealing: &Sealing,
        journal: &mut CopyJournal,
    ) -> Result<Result<Sent, JobError>, JobError> {
        let there = journal.volumes().iter();
        let there = there.map(|volume| (volume.file.clone(), volume.number));
        let (ready, volumes) = mpsc::channel(1);
        let reader = Reader {
            files: files.clone(),
            names: files.iter().map(|file| self.file_name(file)).collect(),
            there: there.collect(),
            sealing: sealing.clone(),
            places: Arc::new(Semaphore::new(IN_FLIGHT)),
        };
        let reading = threads::start("copy", move || reader.read(&ready))?;
        let volumes = stream::unfold(volumes, async |mut volumes| {
            Some((volumes.recv().await?, volumes))
        });
        let putting = volumes.map(|volume| self.put(volume));
        let mut putting = std::pin::pin!(putting.buffer_unordered(IN_FLIGHT));
        let mut sent = 0;
        while let Some(put) = self.run.wait_for(putting.next()).await? {
            let volume = put?;
            sent += volume.bytes;
            self.run.progress.set_stored_bytes(sent);
            journal.add(volume)?;
        }
        let digests = reading.await?;
        Ok(digests.map(|digests| Sent { files, digests }))
    }

    async fn put(&self, volume: Ready) -> Result<PutVolume, JobError> {
        let Ready {
            file,
            number,
            bytes,
            sha256,
            place: _place,
        } = volume;
        let name = VolumeName::fresh(&file, number, self.is_encrypted());
        let key = self.place.object(&self.copy, &Object::Volume(name));
        let length = bytes.len() as u64;
        self.destination.pace.wait(length).await;
        let stored = self.destination.store.put_new(&key, bytes).await?;
        Ok(PutVolume {
            file,
            number,
            key: key.to_string(),
            bytes: length,
            sha256: sha256.to_string(),
            is_checked: stored.is_checked,
            version: stored.version,
        })
    }
}

/// What the thread needs that reads and seals.
struct Reader {
    files: Vec<SourceFile>,
    /// What the files are called in the copy.
    names: Vec<String>,
    /// The volumes that need not be sealed again.
    there: HashSet<(String, u32)>,
    sealing: Sealing,
    /// Those for volumes that are in flight.
    places: Arc<Semaphore>,
}

impl Reader {
    /// Reads all files to their ends, whatever of them is there already: a copy is of what the backup is now.
    fn read(self, ready: &mpsc::Sender<Ready>) -> Result<Vec<Digest>, JobError> {
        let mut digests = Vec::with_capacity(self.files.len());
        for (file, name) in self.files.iter().zip(&self.names) {
            let mut failure = None;
            let read = file.read(|number, volume| {
                if self.there.contains(&(name.clone(), number)) {
                    return ControlFlow::Continue(());
                }
                let places = Arc::clone(&self.places);
                // Nobody closes it.
                let Ok(place) = block_on(places.acquire_owned()) else {
                    return ControlFlow::Break(());
                };
                let bytes = match self.sealing.seal(volume) {
                    Ok(bytes) => Bytes::from(bytes),
                    Err(error) => {
                        failure = Some(error);
                        return ControlFlow::Break(());
                    }
                };
                let volume = Ready {
                    file: name.clone(),
                    number,
                    sha256: Sha256Sum::of(&bytes),
                    bytes,
                    place,
                };
                match ready.blocking_send(volume) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            match (read, failure) {
                (Ok(digest), _) => digests.push(digest),
                (Err(_), Some(failure)) => return Err(failure),
                (Err(error), None) => return Err(unreadable(error)),
            }
        }
        Ok(digests)
    }
}

/// What it means that a file of a backup is not all there.
fn unreadable(error: SourceError) -> JobError {
    match error {
        SourceError::Read(path, error) => {
            JobError::failed(format!("cannot read {}: {error}", path.display()))
        }
        SourceError::Damaged(path, what) => JobError::Damaged(damage(&path, &what)),
        SourceError::Ended => JobError::Internal("a copy's reader was left alone".to_owned()),
    }
}

fn damage(path: &Path, what: &str) -> String {
    format!(
        "{} is damaged: {what}; it is not copied\nhint: `pgbackupd verify` checks all backups of the database",
        path.display()
    )
}
