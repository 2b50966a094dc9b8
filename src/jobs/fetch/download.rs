//! Reads the volumes of a copy, two at a time: each is what the signed manifest says before anything else is done
//! with it, and only then opened.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use tokio::sync::Mutex;

use super::CopySource;
use crate::copies::{CopiedFile, CopiedVolume, RunSecret, Sha256Sum};
use crate::destination::{DestinationError, DestinationErrorKind, Expected, Key};
use crate::jobs::error::JobError;
use crate::jobs::pace::Pace;
use crate::jobs::run::Run;
use crate::threads;

/// So many volumes are being read at the same time. One is opened at a time, so that with the one that is
/// written it is four volumes in memory: 64 MiB.
const IN_FLIGHT: usize = 2;

/// So often a volume is read that is not what was signed: it may have been damaged on its way.
const ATTEMPTS: usize = 2;

/// What is done with volumes that are what was signed.
#[derive(Clone, Debug)]
pub(super) enum Opening {
    /// They are not encrypted.
    Plain,
    /// They are opened with the copy's own key.
    Key(Arc<RunSecret>),
    /// They stay as they are: nobody gave a key.
    Sealed,
}

/// The reading of one copy.
pub(super) struct Download<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) source: &'a CopySource,
    pub(super) opening: Opening,
    /// How fast it may be; none for as fast as can be.
    pace: Option<&'a Pace>,
    turn: Mutex<()>,
}

impl<'a> Download<'a> {
    pub(super) fn new(run: &'a Run<'a>, source: &'a CopySource, opening: Opening) -> Self {
        Self {
            run,
            source,
            opening,
            pace: None,
            turn: Mutex::new(()),
        }
    }

    /// The same, not faster than this.
    pub(super) fn paced(self, pace: Option<&'a Pace>) -> Self {
        Self { pace, ..self }
    }

    /// Reads the volumes of a file but for the first few, and hands over what is in each, in their order.
    ///
    /// # Errors
    /// When a volume cannot be read, is not what was signed or cannot be opened; those of `each`; or when the
    /// run is to end.
    pub(super) async fn file(
        &self,
        file: &CopiedFile,
        but_for: usize,
        mut each: impl AsyncFnMut(Vec<u8>) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let numbered = file.volumes.iter().zip(1_usize..).skip(but_for);
        let reading = stream::iter(numbered).map(|(volume, number)| async move {
            let read = self.volume(volume).await;
            read.map_err(|fault| fault.of(file, number, &self.source.label))
        });
        let mut reading = std::pin::pin!(reading.buffered(IN_FLIGHT));
        let mut next = self.run.wait_for(reading.next()).await?;
        while let Some(content) = next {
            // The next ones go on being read while this one is written.
            let (taken, following) =
                tokio::join!(each(content?), self.run.wait_for(reading.next()));
            taken?;
            next = following?;
        }
        Ok(())
    }

    async fn volume(&self, volume: &CopiedVolume) -> Result<Vec<u8>, Fault> {
        let mut attempt = 1;
        loop {
            match self.attempt(volume).await {
                Err(fault) if fault.is_other_bytes() && attempt < ATTEMPTS => attempt += 1,
                outcome => {
                    if outcome.is_ok() {
                        let bytes = usize::try_from(volume.bytes).unwrap_or(usize::MAX);
                        self.run.progress.found(bytes).map_err(|_| Fault::Ended)?;
                    }
                    return outcome;
                }
            }
        }
    }

    async fn attempt(&self, volume: &CopiedVolume) -> Result<Vec<u8>, Fault> {
        let key = Key::new(&volume.key).map_err(|error| Fault::Internal(error.to_string()))?;
        let sha256 = volume.sha256.to_string();
        let expected = Expected {
            bytes: volume.bytes,
            sha256: &sha256,
            version: volume.version.as_deref(),
        };
        if let Some(pace) = self.pace {
            pace.wait(volume.bytes).await;
        }
        let bytes = self
            .source
            .store
            .get_expected(&key, expected)
            .await
            .map_err(Fault::Store)?;
        let _turn = self.turn.lock().await;
        let (signed, opening) = (volume.sha256, self.opening.clone());
        let opened = threads::start("fetch", move || open(bytes, signed, &opening));
        let opened = opened.map_err(|error| Fault::Exhausted(error.into()))?;
        opened
            .await
            .map_err(|error| Fault::Internal(error.to_string()))?
    }
}

/// What is in a volume that is what was signed.
fn open(bytes: Bytes, signed: Sha256Sum, opening: &Opening) -> Result<Vec<u8>, Fault> {
    let found = Sha256Sum::of(&bytes);
    if found != signed {
        return Err(Fault::OtherBytes { found, signed });
    }
    match opening {
        Opening::Plain | Opening::Sealed => Ok(bytes.into()),
        Opening::Key(secret) => secret
            .open(&bytes)
            .map_err(|error| Fault::Unopened(error.to_string())),
    }
}

/// Why a volume is of no use.
enum Fault {
    /// The store does not give it.
    Store(DestinationError),
    /// It is not what was signed.
    OtherBytes {
        found: Sha256Sum,
        signed: Sha256Sum,
    },
    /// It is what was signed, and cannot be opened.
    Unopened(String),
    /// The run is to end.
    Ended,
    /// The machine refuses a thread.
    Exhausted(JobError),
    Internal(String),
}

impl Fault {
    fn is_other_bytes(&self) -> bool {
        match self {
            Self::OtherBytes { .. } => true,
            Self::Store(error) => error.kind == DestinationErrorKind::Damaged,
            _ => false,
        }
    }

    /// The fault of a volume of this number as the run's error.
    fn of(self, file: &CopiedFile, number: usize, label: &str) -> JobError {
        let volume = format!("volume {number} of {} of {}", file.volumes.len(), file.name);
        match self {
            Self::Store(mut error) => {
                error.cause = format!("{} ({volume} at {label})", error.cause);
                error.into()
            }
            Self::OtherBytes { found, signed } => JobError::Damaged(format!(
                "{volume} at {label} is damaged: its SHA-256 is {found}, and {signed} was signed"
            )),
            Self::Unopened(why) => JobError::Damaged(format!(
                "{volume} at {label} is what was signed, and cannot be decrypted: {why}"
            )),
            Self::Ended => crate::jobs::limit::Stop::Interrupted.into(),
            Self::Exhausted(error) => error,
            Self::Internal(what) => JobError::Internal(what),
        }
    }
}
