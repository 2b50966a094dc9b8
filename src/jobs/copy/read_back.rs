//! Reading a copy back: each object is downloaded as a whole and is what was sent, and what this run can open
//! is the backup byte for byte.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Copying;
use super::seal::{CopyKey, Sealing};
use super::upload::Sent;
use crate::copies::{RunSecret, Sha256Sum};
use crate::destination::{DestinationError, DestinationErrorKind, Key};
use crate::jobs::error::JobError;
use crate::pipeline::{Digest, Digesting};
use crate::policy::CopyState;
use crate::repository::{CopyJournal, PutVolume};
use crate::threads;

/// So many volumes are being downloaded at the same time.
const IN_FLIGHT: usize = 2;

/// So many volumes are in memory at the same time: those that are being downloaded, and one that is opened. That is
/// 48 MiB.
const IN_MEMORY: usize = IN_FLIGHT + 1;

/// A volume that was downloaded, and is what was put.
struct Downloaded {
    bytes: Bytes,
    /// Its place in memory.
    _place: OwnedSemaphorePermit,
}

impl Copying<'_> {
    /// Downloads all volumes and compares; gives how far the copy is proved with that.
    ///
    /// # Errors
    /// When a volume cannot be read, or is not what was sent.
    pub(super) async fn read_back(
        &self,
        sent: &Sent,
        key: &CopyKey,
        journal: &CopyJournal,
    ) -> Result<CopyState, JobError> {
        let opens = matches!(key.sealing, Sealing::Plain) || key.secret.is_some();
        let mut checked = 0;
        let places = Arc::new(Semaphore::new(IN_MEMORY));
        for (file, digest) in sent.files.iter().zip(&sent.digests) {
            let name = self.file_name(file);
            let volumes = journal.volumes_of(&name);
            let downloads = stream::iter(volumes).map(|volume| self.download(volume, &places));
            let mut downloads = std::pin::pin!(downloads.buffered(IN_FLIGHT));
            let (to_open, volumes) = mpsc::channel(1);
            let secret = key.secret.clone();
            let opening = threads::start("open", move || open(secret.as_ref(), volumes))?;
            while let Some(download) = self.run.wait_for(downloads.next()).await? {
                let volume = download?;
                checked += volume.bytes.len() as u64;
                self.run.progress.set_stored_bytes(checked);
                // It has ended where a volume cannot be opened.
                if opens && to_open.send(volume).await.is_err() {
                    break;
                }
            }
            drop(to_open);
            let found = opening.await??;
            if opens && found != *digest {
                return Err(JobError::Damaged(format!(
                    "the copy of {name} at {} is not the backup's: it has {found}, and should have {digest}",
                    self.destination.name
                )));
            }
        }
        Ok(if opens {
            CopyState::Opened
        } else {
            CopyState::ReadBack
        })
    }

    async fn download(
        &self,
        volume: &PutVolume,
        places: &Arc<Semaphore>,
    ) -> Result<Downloaded, JobError> {
        let internal = |error: &dyn Error| JobError::Internal(error.to_string());
        let key = Key::new(&volume.key).map_err(|error| internal(&error))?;
        let place = Arc::clone(places).acquire_owned().await;
        let place = place.map_err(|error| internal(&error))?;
        self.destination.pace.wait(volume.bytes).await;
        let bytes = self.destination.store.get(&key, None).await?;
        if Sha256Sum::of(&bytes).to_string() == volume.sha256 {
            return Ok(Downloaded {
                bytes,
                _place: place,
            });
        }
        let error = DestinationError {
            doing: format!("read {key} back from {}", self.destination.name),
            kind: DestinationErrorKind::Damaged,
            cause: format!(
                "it has {} bytes that are not the {} that were put",
                bytes.len(),
                volume.bytes
            ),
        };
        Err(error.into())
    }
}

/// The digest of what these volumes hold, with the key that opens them; of what they are, without one.
fn open(
    secret: Option<&RunSecret>,
    mut volumes: mpsc::Receiver<Downloaded>,
) -> Result<Digest, JobError> {
    let mut content = Digesting::new(io::sink());
    while let Some(volume) = volumes.blocking_recv() {
        let opened = match secret {
            None => content
                .write_all(&volume.bytes)
                .map_err(|error| error.to_string()),
            Some(secret) => secret
                .open_into(&volume.bytes, &mut content)
                .map_err(|error| error.to_string()),
        };
        opened.map_err(|error| JobError::Damaged(format!("a volume of the copy: {error}")))?;
    }
    Ok(content.finish().0)
}
