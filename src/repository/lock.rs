//! One run at a time per database, whoever starts it: the daemon or a command.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use super::durable;
use super::requester::Requester;
use crate::display::operation_word;

/// The name of the lock's file in a database's directory.
pub(super) const LOCK_FILE: &str = ".lock";

/// Holds the lock on a database's directory until it is dropped. The kernel lets go of it when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who holds a lock, as the holder wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What is being done: `backup`, `prune`, ….
    pub operation: String,
    /// Since when.
    pub since: DateTime<FixedOffset>,
    /// By whom.
    pub requested_by: Requester,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it; who, if that could be read.
    #[error("{}", busy(.0.as_deref()))]
    Busy(Option<Box<Holder>>),
    /// The lock's file cannot be made or written.
    #[error("cannot lock it: {0}")]
    Io(#[from] io::Error),
}

fn busy(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "a {} by {} has been running since {}",
            operation_word(&holder.operation),
            holder.requested_by,
            holder.since.format("%Y-%m-%d %H:%M:%S %:z"),
        ),
        None => "another run is in progress".to_owned(),
    }
}

impl Lock {
    /// Takes the lock, or fails at once.
    pub(super) fn acquire(directory: &Path, holder: &Holder) -> Result<Self, LockError> {
        // Only the note is written, from its front on.
        let mut file = durable::open_to_append(&directory.join(LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                let holder = read.ok().and_then(|_| serde_json::from_str(&text).ok());
                return Err(LockError::Busy(holder.map(Box::new)));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // The note only serves whoever meets the lock; on a full disk the lock holds without it.
        let _ = write_holder(&mut file, holder);
        Ok(Self { _file: file })
    }
}

/// Keeps others from changing the states of the directory's backups until it is dropped: a pin
/// needs no [`Lock`], nor does a verification, and neither may undo what the other has noted.
///
/// Held for the blink of an eye, so it is waited for. It is on the directory itself: on a full disk
/// there is no room for another file. Where a directory cannot be locked (NFS), the blink is left
/// to chance.
pub(super) fn guard_states(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    let _ = directory.lock();
    Ok(directory)
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&serde_json::to_vec(holder)?)
}
