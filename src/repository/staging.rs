//! From temporary files to a published backup.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::durable;
use super::error::RepositoryError;
use super::lock::Lock;
use super::manifest::{LONGEST_MANIFEST, Manifest};
use super::names::{Role, Stem};
use super::{quarantine, temporary};
use crate::config::Format;
use crate::display::size;
use crate::pipeline::{ArchiveReceipt, ReadBack, StreamSummary, Written};

/// The temporary files of one run; removed when dropped, unless published.
#[derive(Debug)]
pub struct Staging<'a> {
    directory: &'a Path,
    run: Uuid,
    /// The run holds the directory's lock as long as its temporary files exist, or another run
    /// would sweep them away.
    _lock: &'a Lock,
}

/// The proof that a temporary file was read back from the disk and found to be what was written; a
/// backup is published with nothing less. It says which run's file, and which of its files. Only a
/// [`Staging`] gives one: from a comparison or from the receipt of an archive.
///
/// ```
/// use pgbackupd::pipeline::{ReadBack, Written};
/// use pgbackupd::repository::{AtRest, Checked, RepositoryError, Role, Staging};
///
/// fn check(
///     staging: &Staging<'_>,
///     written: &Written,
///     read: ReadBack,
/// ) -> Result<Checked, RepositoryError> {
///     staging.compare(Role::Globals(AtRest::Clear), written, read)
/// }
/// ```
///
/// Whoever has only written something has no `Checked`, and cannot make one:
///
/// ```compile_fail,E0308
/// use pgbackupd::pipeline::Written;
/// use pgbackupd::repository::{AtRest, Checked, RepositoryError, Role, Staging};
///
/// fn check(staging: &Staging<'_>, written: &Written) -> Result<Checked, RepositoryError> {
///     staging.compare(Role::Globals(AtRest::Clear), written, written.clone())
/// }
/// ```
///
/// ```compile_fail,E0451
/// use pgbackupd::pipeline::StreamSummary;
/// use pgbackupd::repository::{Checked, Role};
///
/// fn forge(run: uuid::Uuid, role: Role, stream_summary: StreamSummary) -> Checked {
///     Checked { run, role, stream_summary }
/// }
/// ```
///
/// ```compile_fail,E0423
/// use pgbackupd::pipeline::{StreamSummary, ReadBack};
///
/// fn forge(stream_summary: StreamSummary) -> ReadBack {
///     ReadBack(stream_summary)
/// }
/// ```
#[derive(Debug)]
pub struct Checked {
    run: Uuid,
    role: Role,
    stream_summary: StreamSummary,
}

impl Checked {
    /// Which file of the backup it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the file holds.
    pub fn stream_summary(&self) -> &StreamSummary {
        &self.stream_summary
    }

    /// A check that never was, for files of which a test needs no more than their names.
    #[cfg(test)]
    pub(super) fn assumed(run: Uuid, role: Role, stream_summary: StreamSummary) -> Self {
        Self {
            run,
            role,
            stream_summary,
        }
    }
}

impl<'a> Staging<'a> {
    pub(super) fn new(directory: &'a Path, run: Uuid, lock: &'a Lock) -> Self {
        Self {
            directory,
            run,
            _lock: lock,
        }
    }

    /// Where the temporary file of a role stands.
    pub fn path(&self, role: Role) -> PathBuf {
        temporary::path(self.directory, self.run, role.word())
    }

    /// Makes a temporary file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self, role: Role) -> Result<File, RepositoryError> {
        let path = self.path(role);
        durable::create_new(&path).map_err(RepositoryError::io("create", &path))
    }

    /// Makes what `pg_dump` is to write an archive into, empty. Made by itself it would be root's
    /// where root runs it, and what a crash leaves of a directory could then not be swept away by
    /// the service.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_archive(&self, role: Role) -> Result<(), RepositoryError> {
        let path = self.path(role);
        match role {
            Role::Artifact(Format::Directory, ..) => durable::create_directory(&path),
            _ => durable::create_new(&path).map(drop),
        }
        .map_err(RepositoryError::io("create", &path))
    }

    /// Removes the temporary file of a role, for another attempt.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, role: Role) -> Result<(), RepositoryError> {
        let path = self.path(role);
        durable::remove(&path).map_err(RepositoryError::io("remove", &path))
    }

    /// Compares what was written to a temporary file with what was read back from it.
    ///
    /// # Errors
    /// When they do not agree.
    pub fn compare(
        &self,
        role: Role,
        written: &Written,
        read: ReadBack,
    ) -> Result<Checked, RepositoryError> {
        let (written, read) = (written.stream_summary(), read.into_summary());
        let what = if written.digest != read.digest {
            format!("{} written, {} read", written.digest, read.digest)
        } else if written.text_bytes != read.text_bytes {
            format!(
                "{} bytes of text written, {} read",
                written.text_bytes, read.text_bytes
            )
        } else if let Some(difference) = read.census.differences(&written.census).first() {
            difference.to_string()
        } else {
            return Ok(self.checked(role, read));
        };
        Err(RepositoryError::ReadBack {
            path: self.path(role),
            what,
        })
    }

    /// Takes the receipt of an archive that `pg_dump` wrote by itself: its digest was taken from the
    /// disk, and its census from what `pg_restore` made of the whole of it.
    ///
    /// # Errors
    /// When the receipt is of another file.
    pub fn accept(&self, role: Role, receipt: ArchiveReceipt) -> Result<Checked, RepositoryError> {
        let path = self.path(role);
        if receipt.path() != path {
            let found = receipt.path().to_owned();
            return Err(RepositoryError::NotItsCheck { path, found });
        }
        Ok(self.checked(role, receipt.into_summary()))
    }

    /// Refuses the check of any file but this run's one of the role that is called so.
    fn require(&self, checked: &Checked, word: &str) -> Result<(), RepositoryError> {
        let path = temporary::path(self.directory, self.run, word);
        let found = temporary::path(self.directory, checked.run, checked.role.word());
        if found == path {
            return Ok(());
        }
        Err(RepositoryError::NotItsCheck { path, found })
    }

    fn checked(&self, role: Role, stream_summary: StreamSummary) -> Checked {
        Checked {
            run: self.run,
            role,
            stream_summary,
        }
    }

    /// Gives a backup its names: its artifact, its globals if it has any, its census, and the manifest
    /// that `describe` makes of a stem and of what was checked.
    ///
    /// # Errors
    /// When a check is not of this run's artifact or globals, or the disk refuses any step; no file of
    /// the backup then has its name.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a check is good for one publication"
    )]
    #[expect(clippy::too_many_arguments, reason = "all that a backup is made of")]
    pub fn publish(
        self,
        artifact: Checked,
        globals: Option<Checked>,
        mut stem: Stem,
        describe: impl Fn(&Stem, &Checked, Option<&Checked>) -> Manifest,
    ) -> Result<Manifest, RepositoryError> {
        self.require(&artifact, "artifact")?;
        if let Some(globals) = &globals {
            self.require(globals, "globals")?;
        }
        let mut roles = Vec::from_iter(globals.as_ref().map(Checked::role));
        roles.extend([Role::Census(artifact.role.at_rest()), artifact.role]);
        for role in &roles {
            // Those that this program wrote are on the disk already; that costs nothing again.
            self.sync(*role)?;
        }
        loop {
            // A name that is taken stays with whoever has it; the next count is tried.
            if is_taken(self.directory, &stem) {
                stem.count += 1;
                continue;
            }
            // The manifest goes to the disk under a temporary name before any file gets its own:
            // from here on, a run that is cut short is completed by the next one.
            let manifest = describe(&stem, &artifact, globals.as_ref());
            let text = manifest.to_text().map_err(io::Error::from);
            let path = self.path(Role::Manifest);
            self.write_manifest(&text.map_err(RepositoryError::io("write", &path))?)?;
            match self.give_names(&stem, &roles) {
                Ok(()) => {}
                Err(RepositoryError::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            }
            return Ok(manifest);
        }
    }

    /// Gives a backup that comes from elsewhere the names that its manifest has, whose text stays as it is.
    /// `parts` are its files, each of which was found to be what the manifest says.
    ///
    /// # Errors
    /// When a name is taken, or the disk refuses any step; no file of the backup then has its name.
    pub(super) fn publish_parts(
        self,
        stem: &Stem,
        text: &str,
        parts: &[(Role, PathBuf)],
    ) -> Result<(), RepositoryError> {
        if is_taken(self.directory, stem) {
            let path = stem.file(self.directory, Role::Manifest);
            return Err(RepositoryError::Exists { path });
        }
        self.write_manifest(text)?;
        for (role, part) in parts {
            durable::rename_new(part, &self.path(*role))
                .map_err(RepositoryError::io("rename", part))?;
        }
        let roles: Vec<Role> = parts.iter().map(|(role, _)| *role).collect();
        self.give_names(stem, &roles)
    }

    /// Gives the files their names, and then the manifest, which is on the disk under its temporary one.
    fn give_names(&self, stem: &Stem, roles: &[Role]) -> Result<(), RepositoryError> {
        let directory = self.directory;
        let syncing = || RepositoryError::io("sync the directory", directory);
        durable::sync_directory(directory).map_err(syncing())?;
        self.rename_all(stem, roles)?;
        // The files' names reach the disk before the manifest's, which vouches for them.
        durable::sync_directory(directory)
            .map_err(syncing())
            .and_then(|()| self.rename(Role::Manifest, stem))
            .inspect_err(|_| {
                self.take_back(stem, roles);
            })?;
        // Names that a power cut may undo are no success, and nothing that failed may stand.
        durable::sync_directory(directory).map_err(|source| {
            // A manifest that keeps its name keeps its files.
            if self.take_back(stem, &[Role::Manifest]) {
                self.take_back(stem, roles);
                return syncing()(source);
            }
            let stands = || format!("the backup {stem} exists and could not be removed again");
            RepositoryError::unsynced(directory, stands)(source)
        })
    }

    /// Closes a temporary file to others, whatever the umask of the program that wrote it, gives it
    /// to whom the directory belongs, whoever ran that program, and syncs it; a directory with all
    /// that is in it. Gives how many files a directory has.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self, role: Role) -> Result<Option<usize>, RepositoryError> {
        let path = self.path(role);
        let synced = match role {
            Role::Artifact(Format::Directory, ..) => {
                durable::sync_directory_and_files(&path).map(Some)
            }
            _ => durable::sync_file(&path).map(|()| None),
        };
        synced.map_err(RepositoryError::io("sync", &path))
    }

    fn write_manifest(&self, text: &str) -> Result<(), RepositoryError> {
        let path = self.path(Role::Manifest);
        check_length(text)
            .and_then(|()| durable::remove(&path))
            .and_then(|()| durable::create_new(&path))
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(RepositoryError::io("write", &path))
    }

    /// Gives every file its name, or none.
    fn rename_all(&self, stem: &Stem, roles: &[Role]) -> Result<(), RepositoryError> {
        for (done, role) in roles.iter().enumerate() {
            if let Err(error) = self.rename(*role, stem) {
                self.take_back(stem, &roles[..done]);
                return Err(error);
            }
        }
        Ok(())
    }

    fn rename(&self, role: Role, stem: &Stem) -> Result<(), RepositoryError> {
        let to = stem.file(self.directory, role);
        durable::rename_new(&self.path(role), &to).map_err(RepositoryError::io("publish", &to))
    }

    /// Takes names back that were given; gives whether all were. Where even that fails, and the manifest
    /// is missing, the next run puts things right.
    fn take_back(&self, stem: &Stem, roles: &[Role]) -> bool {
        let mut all = true;
        for role in roles {
            let from = stem.file(self.directory, *role);
            all &= durable::rename_new(&from, &self.path(*role)).is_ok();
        }
        all
    }
}

/// Refuses a manifest that nobody would read.
fn check_length(text: &str) -> io::Result<()> {
    if text.len() <= LONGEST_MANIFEST {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "it would have {}, and has {} at most: the comments and settings of the database are too long",
        size(text.len() as u64),
        size(LONGEST_MANIFEST as u64)
    )))
}

impl Drop for Staging<'_> {
    /// Removes what is still temporary: after a failure everything, after publishing nothing.
    fn drop(&mut self) {
        for word in ["artifact", "globals", "census", "manifest"] {
            let _ = durable::remove(&temporary::path(self.directory, self.run, word));
        }
    }
}

/// Whether any file under this stem's names is there, of ours or of anybody's, or a backup of that
/// name in quarantine, which may want its place back.
pub(super) fn is_taken(directory: &Path, stem: &Stem) -> bool {
    if quarantine::holds(directory, stem) {
        return true;
    }
    Role::all().any(|role| stem.file(directory, role).symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_nobody_would_read_is_not_written() {
        let mut text = " ".repeat(LONGEST_MANIFEST);
        check_length(&text).unwrap();
        text.push('x');
        let error = check_length(&text).unwrap_err().to_string();
        assert!(error.contains("64.0 MiB at most"), "{error}");
    }
}
