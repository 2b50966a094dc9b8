//! A destination that is a directory: another disk, or a file system of the network.
//!
//! Calls into a file system may hang for as long as its server is gone. Each runs on a thread of its own, which
//! is left behind when the time is up; what hangs keeps a limited number of them.

mod disk;
mod fault;
mod mount;
mod probe;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;

pub use self::mount::Mount;

use self::disk::Disk;
use self::fault::DiskFault;
use super::error::{DestinationError, DestinationErrorKind};
use super::key::Key;
use super::{Listed, ObjectFacts, Store, Stored};
use crate::display::{shell_word, span};
use crate::policy::protection::{Attempt, Probed, ProbedPlace};
use crate::threads;

/// So many calls are made at the same time at most; those that hang count.
const MOST_CALLS: usize = 8;

/// A store in a directory, `file:///path`.
pub struct DirectoryStore {
    disk: Arc<Disk>,
    timeout: Duration,
    /// A thread has its permit until its call has come back, whoever waits.
    calls: Arc<Semaphore>,
    /// The directory that was looked through last for what killed puts left: a copy's objects lie in one.
    swept: Mutex<Option<String>>,
}

impl fmt::Debug for DirectoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryStore")
            .field("disk", &self.disk)
            .finish_non_exhaustive()
    }
}

impl DirectoryStore {
    /// The store in a directory, which need not be there yet; with `mounted`, it is used only while
    /// something is mounted on it. No call takes longer than `timeout`.
    pub fn new(root: PathBuf, mounted: bool, timeout: Duration) -> Self {
        Self {
            disk: Arc::new(Disk { root, mounted }),
            timeout,
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
            swept: Mutex::new(None),
        }
    }

    /// Does something on a thread of its own.
    async fn call<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce(&Disk) -> Result<T, DiskFault> + Send + 'static,
    ) -> Result<T, DestinationError> {
        let answer = async {
            let calls = Arc::clone(&self.calls);
            // It is never closed.
            let permit = calls.acquire_owned().await.map_err(std::io::Error::other)?;
            let disk = Arc::clone(&self.disk);
            let thread = threads::start("destination", move || {
                let _permit = permit;
                work(&disk)
            });
            let thread = thread.map_err(|error| error.0)?;
            thread.await.map_err(std::io::Error::other)?
        };
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(fault.while_doing(doing)),
            Err(_) => Err(DestinationError {
                doing,
                kind: DestinationErrorKind::Unavailable,
                cause: format!(
                    "{} has not answered within {}\nhint: look at the mount: findmnt --target {}",
                    self.disk.root.display(),
                    span(self.timeout),
                    shell_word(&self.disk.root.to_string_lossy()),
                ),
            }),
        }
    }

    fn shown(&self, key: &Key) -> String {
        self.disk.root.join(key.as_str()).display().to_string()
    }

    /// Whether a key's directory has not been looked through since the last one.
    fn is_first_in(&self, key: &Key) -> bool {
        let above = key.as_str().rsplit_once('/').map_or("", |(above, _)| above);
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = swept.as_deref() != Some(above);
        if is_first {
            *swept = Some(above.to_owned());
        }
        is_first
    }
}

#[async_trait]
impl Store for DirectoryStore {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Stored, DestinationError> {
        let (doing, sweeps) = (format!("write {}", self.shown(key)), self.is_first_in(key));
        let key = key.clone();
        self.call(doing, move |disk| {
            if sweeps {
                disk.sweep(&key)?;
            }
            disk.put_new(&key, &body)
        })
        .await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DestinationError> {
        let (doing, key) = (format!("read {}", self.shown(key)), key.clone());
        self.call(doing, move |disk| disk.get(&key, range)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, DestinationError> {
        let (doing, key) = (
            format!("read the attributes of {}", self.shown(key)),
            key.clone(),
        );
        self.call(doing, move |disk| disk.head(&key)).await
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, DestinationError> {
        let (doing, under) = (format!("list {}", self.shown(under)), under.clone());
        self.call(doing, move |disk| disk.list(&under)).await
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, DestinationError> {
        let (doing, under) = (format!("list {}", self.shown(under)), under.clone());
        self.call(doing, move |disk| disk.folders(&under)).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), DestinationError> {
        // One call each, so that a long list does not use up one call's time.
        for key in keys {
            let (doing, key) = (format!("remove {}", self.shown(key)), key.clone());
            self.call(doing, move |disk| disk.delete(&key)).await?;
        }
        Ok(())
    }

    async fn probe(&self, folder: &Key) -> Result<Probed, DestinationError> {
        let probed = super::probe::probe(self, folder).await?;
        let doing = format!("look at {}", self.disk.root.display());
        let place = self.call(doing, Disk::probe).await?;
        Ok(Probed {
            // Whoever may write there may replace as well.
            replace: Attempt::Done,
            place: ProbedPlace::Directory(place),
            ..probed
        })
    }

    fn keeps_conditions(&self) -> Option<bool> {
        Some(true)
    }
}
