//! The sealed files of the state directory that are one value each: read, changed under a lock, replaced as a whole.

use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::seal::{self, Names};

/// What such a file has. Nothing of it is known where there is no file.
pub trait StateContent: Clone + Default + PartialEq + Serialize + DeserializeOwned {
    /// What the file is called.
    const NAMES: Names<'static>;
}

/// One of these files.
#[derive(Clone, Debug)]
pub struct StateFile<T> {
    pub(super) state: PathBuf,
    content: PhantomData<T>,
}

impl<T: StateContent> StateFile<T> {
    /// That of this state directory.
    pub fn at(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
            content: PhantomData,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn read(&self) -> io::Result<T> {
        seal::read(&self.state, &T::NAMES)
    }

    /// Changes it, and waits until that is on the disk. A file that is spoilt is replaced by a new one.
    ///
    /// # Errors
    /// When it cannot be read or written; the old one then stays.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> io::Result<R> {
        seal::change(&self.state, &T::NAMES, change)
    }
}
