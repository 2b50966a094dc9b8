//! What a directory of objects does at an SFTP server: nothing in it is replaced, and no symbolic link below its
//! root is followed.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::fault::{FREE_SPACE, Fault};
use super::packet::{FileKind, Status};
use super::place::{Place, above, paths_to};
use super::session::Session;
use crate::destination::error::DestinationErrorKind;
use crate::destination::judgement;
use crate::destination::key::Key;

/// So many directories are read at the same time, and so many files removed.
pub(super) const AT_ONCE: usize = 16;

/// The directory of objects, over one session.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) session: Arc<Session>,
    pub(super) place: Arc<Place>,
}

impl Files {
    /// Removes objects, and the directories that are empty then.
    pub(super) async fn delete(&self, keys: &[Key]) -> Result<(), Fault> {
        let mut directories = BTreeSet::new();
        for directory in keys.iter().map(|key| above(key.as_str())) {
            directories.insert(directory);
        }
        let mut there = HashSet::new();
        for directory in directories {
            if self.has_directories(directory).await? {
                there.insert(directory);
            }
        }
        let mut removing = Vec::with_capacity(keys.len());
        for key in keys {
            if there.contains(above(key.as_str())) {
                removing.push(self.remove(key));
            }
        }
        let removing = stream::iter(removing).buffer_unordered(AT_ONCE);
        removing.try_collect::<()>().await?;
        // From the deepest directory up, for as long as they are empty; never the root.
        let mut empty: Vec<&str> = there.into_iter().collect();
        empty.sort_unstable_by_key(|directory| std::cmp::Reverse(directory.matches('/').count()));
        for directory in empty {
            self.remove_empty(directory).await?;
        }
        Ok(())
    }

    async fn remove(&self, key: &Key) -> Result<(), Fault> {
        match self.session.remove(&self.place.path(key.as_str())).await {
            Err(fault) if fault.is_missing() => Ok(()),
            Err(Fault::Refused(status)) => Err(self.explain(status, 0).await),
            removed => removed,
        }
    }

    async fn remove_empty(&self, mut directory: &str) -> Result<(), Fault> {
        while !directory.is_empty() {
            let removed = self
                .session
                .remove_directory(&self.place.path(directory))
                .await;
            match removed {
                Ok(()) => {
                    self.place.forget();
                }
                Err(fault) if fault.is_missing() => {}
                // There is more in it, another put has just made it its own, or the server does not allow it.
                Err(Fault::Refused(_)) => return Ok(()),
                Err(fault) => return Err(fault),
            }
            directory = above(directory);
        }
        Ok(())
    }

    /// Whether a directory and all above it are there, down from the root.
    pub(super) async fn has_directories(&self, directory: &str) -> Result<bool, Fault> {
        Ok(self.missing(directory).await?.is_none())
    }

    /// Makes a directory and all above it.
    pub(super) async fn make_directories(&self, directory: &str) -> Result<(), Fault> {
        let Some(first) = self.missing(directory).await? else {
            return Ok(());
        };
        for directory in paths_to(directory).skip_while(|one| *one != first) {
            let path = self.place.path(directory);
            let made = self.session.make_directory(&path).await;
            if let Err(Fault::Refused(status)) = &made {
                match self.session.look(&path).await?.map(|found| found.kind()) {
                    // Another put was faster.
                    Some(Some(FileKind::Directory) | None) => {}
                    Some(_) => return Err(judgement::in_the_way(directory).into()),
                    None if status.code == Status::MISSING => return Err(Fault::Vanished),
                    None => {
                        let fault = self.explain(status.clone(), 0).await;
                        let what = format!("the directory {directory} cannot be made");
                        return Err(fault.of(&what));
                    }
                }
            } else {
                made?;
            }
            self.session
                .sync_directory(&self.place.path_above(directory))
                .await?;
            self.place.known().insert(directory.to_owned());
        }
        Ok(())
    }

    /// The first directory on the way to one that is not there.
    async fn missing<'d>(&self, directory: &'d str) -> Result<Option<&'d str>, Fault> {
        let unknown: Vec<&str> = {
            let known = self.place.known();
            paths_to(directory)
                .filter(|one| !known.contains(*one))
                .collect()
        };
        let paths: Vec<String> = unknown.iter().map(|one| self.place.path(one)).collect();
        let looks = paths.iter().map(|path| self.session.look(path));
        for (directory, found) in unknown.into_iter().zip(try_join_all(looks).await?) {
            match found.map(|found| found.kind()) {
                None => return Ok(Some(directory)),
                Some(Some(FileKind::Directory)) => {
                    self.place.known().insert(directory.to_owned());
                }
                Some(_) => return Err(judgement::in_the_way(directory).into()),
            }
        }
        Ok(None)
    }

    /// Why the server refuses something that takes so many bytes: it often says no more than "Failure".
    pub(super) async fn explain(&self, status: Status, bytes: u64) -> Fault {
        use DestinationErrorKind::{Denied, Full};
        if status.code == Status::FAILURE
            && let Some(space) = self.session.space(self.place.root()).await
        {
            if space.is_read_only {
                let cause = "the server's file system is read-only\nhint: mount it for writing there, once the \
                             reason is fixed";
                return Fault::Judged(Denied, cause.to_owned());
            }
            if space.bytes < bytes.max(1) {
                let cause = format!("no room is left at the server{FREE_SPACE}");
                return Fault::Judged(Full, cause);
            }
            if space.files == 0 && space.most_files > 0 {
                let cause = "the server's file system has no inode left\nhint: keep fewer copies, or files, there";
                return Fault::Judged(Full, cause.to_owned());
            }
        }
        Fault::Refused(status)
    }
}
