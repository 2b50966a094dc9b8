//! A destination at an SFTP server, reached by the operator's own ssh.
//!
//! One ssh carries all requests of a store. It is started at the first one, and again when it has ended; what was
//! being done then is tried again.

mod fault;
mod files;
mod packet;
mod place;
mod put;
mod read;
mod session;
mod ssh;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};

use self::fault::Fault;
use self::files::Files;
use self::place::Place;
use self::session::Session;
use self::ssh::SshCommand;
use super::error::{DestinationError, DestinationErrorKind};
use super::key::Key;
use super::pauses::Pauses;
use super::{Listed, ObjectFacts, Store, Stored};
use crate::config::SftpSettings;
use crate::display::{shell_word, span};

/// So many operations go on at the same time at most: each has buffers.
const MOST_OPERATIONS: usize = 8;

/// A connection is made, and the root seen, within so long, or not at all.
const CONNECT: Duration = Duration::from_secs(30);

/// A store at an SFTP server.
pub struct SftpStore {
    ssh: SshCommand,
    place: Arc<Place>,
    /// As it is shown.
    url: String,
    timeout: Duration,
    /// None before the first request; one that has ended is replaced.
    session: Mutex<Option<Arc<Session>>>,
    operations: Semaphore,
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SftpStore")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl SftpStore {
    /// The store of these settings, shown as `url`. Nothing takes longer than `timeout`, of 16 MiB or of one
    /// listing, and all attempts at it no longer than twice that. Nothing is asked yet; a secret key is read now.
    ///
    /// # Errors
    /// In words: a key or another file cannot be used.
    pub fn new(
        settings: &SftpSettings,
        (url, timeout): (String, Duration),
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        Ok(Self {
            ssh: SshCommand::new(settings, environment)?,
            place: Arc::new(Place::new(settings.path.clone())),
            url,
            timeout,
            session: Mutex::new(None),
            operations: Semaphore::new(MOST_OPERATIONS),
        })
    }

    /// The session, opened where there is none.
    async fn session(&self) -> Result<Arc<Session>, Fault> {
        let mut current = self.session.lock().await;
        if let Some(session) = current.as_ref().filter(|session| !session.has_ended()) {
            return Ok(Arc::clone(session));
        }
        *current = None;
        let opening = async {
            let session = Session::open(&self.ssh).await?;
            self.check_root(&session).await?;
            Ok(session)
        };
        let limit = CONNECT.min(self.timeout);
        let opened = tokio::time::timeout(limit, opening).await;
        let session = opened.unwrap_or_else(|_| {
            let limit = span(limit);
            let command = self.ssh.by_hand("-v -b -");
            Err(Fault::Silent(format!(
                "the server has not answered within {limit}, by SFTP\nhint: the last lines of this show what it \
                 waits for: timeout 60 {command} </dev/null"
            )))
        })?;
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Refuses a root that is not there: it may be misspelt, or lie on a disk that is not mounted.
    async fn check_root(&self, session: &Session) -> Result<(), Fault> {
        let root = self.place.root();
        let found = session.is_directory(root).await;
        let refused = |fault: Fault| fault.of(&format!("the directory {root} cannot be looked at"));
        match found.map_err(refused)? {
            Some(true) => Ok(()),
            Some(false) => Err(Fault::Judged(
                DestinationErrorKind::Settings,
                format!("{root} is not a directory\nhint: set url to a directory"),
            )),
            None => Err(Fault::Judged(
                DestinationErrorKind::Missing,
                format!(
                    "there is no directory {root} at the server\nhint: make it: echo {} | {}",
                    shell_word(&format!("mkdir \"{root}\"")),
                    self.ssh.by_hand("-b -")
                ),
            )),
        }
    }

    /// Does something, again after growing pauses where the connection was lost.
    async fn patiently<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        work: impl Fn(Files) -> F,
    ) -> Result<T, Fault> {
        // It is never closed.
        let permit = self.operations.acquire().await;
        let _permit = permit.map_err(|error| Fault::Lost(error.to_string()))?;
        let mut pauses = Pauses::new(self.timeout);
        loop {
            match self.once(&work, pauses.limit()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => {
                    let passing = fault.passing();
                    pauses.wait((fault, passing)).await?;
                }
            }
        }
    }

    async fn once<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        work: &impl Fn(Files) -> F,
        limit: Duration,
    ) -> Result<T, Fault> {
        let silence = |_| {
            let limit = span(self.timeout);
            Fault::Silent(format!("the server has not answered within {limit}"))
        };
        let until = Instant::now() + limit;
        let session = timeout_at(until, self.session()).await;
        let session = session.map_err(silence)??;
        let files = Files {
            session: Arc::clone(&session),
            place: Arc::clone(&self.place),
        };
        let limited = timeout_at(until, work(files)).await;
        limited.unwrap_or_else(|elapsed| {
            // What it was doing is not known any more.
            session.kill();
            Err(silence(elapsed))
        })
    }

    fn shown(&self, key: &Key) -> String {
        format!("{}/{key}", self.url.trim_end_matches('/'))
    }
}

#[async_trait]
impl Store for SftpStore {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Stored, DestinationError> {
        let is_ours = AtomicBool::new(false);
        let (body, is_ours) = (&body, &is_ours);
        let put = self.patiently(|files| async move {
            let stored = files.put_new(key, body, is_ours).await?;
            files.find_out_conditions(key).await;
            Ok(stored)
        });
        let doing = || format!("write {}", self.shown(key));
        put.await.map_err(|fault| fault.while_doing(doing()))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DestinationError> {
        let range = &range;
        let read = self.patiently(|files| async move { files.get(key, range.clone()).await });
        let doing = || format!("read {}", self.shown(key));
        read.await.map_err(|fault| fault.while_doing(doing()))
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, DestinationError> {
        let found = self.patiently(|files| async move { files.head(key).await });
        let doing = || format!("read the attributes of {}", self.shown(key));
        found.await.map_err(|fault| fault.while_doing(doing()))
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, DestinationError> {
        let listed = self.patiently(|files| async move { files.list(under).await });
        let doing = || format!("list {}", self.shown(under));
        listed.await.map_err(|fault| fault.while_doing(doing()))
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, DestinationError> {
        let folders = self.patiently(|files| async move { files.folders(under).await });
        let doing = || format!("list {}", self.shown(under));
        folders.await.map_err(|fault| fault.while_doing(doing()))
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), DestinationError> {
        let Some(first) = keys.first() else {
            return Ok(());
        };
        let removed = self.patiently(|files| async move { files.delete(keys).await });
        removed.await.map_err(|fault| {
            let more = match keys.len() {
                1 => String::new(),
                many => format!(" and {} more", many - 1),
            };
            fault.while_doing(format!("remove {}{more}", self.shown(first)))
        })
    }

    fn keeps_conditions(&self) -> Option<bool> {
        self.place.keeps_conditions()
    }
}
