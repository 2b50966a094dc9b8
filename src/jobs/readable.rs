//! A backup whose files can be read: in the clear, or with an identity that opens them.
//!
//! This is the one place that decides whether a backup can be opened. Whoever reads a file of it takes it from
//! here, and has its content in the clear.

use std::path::Path;

use crate::copies::Identities;
use crate::jobs::JobContext;
use crate::jobs::error::JobError;
use crate::pipeline::{InputFile, Opener};
use crate::regular_file;
use crate::repository::{Manifest, Repository, Role, SealedContent, Stem};

/// The longest sealed part of a manifest, in bytes: a comment of a database can have megabytes.
const LONGEST_CONTENT: u64 = 64 << 20;

/// A backup, and what opens its files.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadableBackup<'a> {
    pub(super) repository: &'a Repository,
    pub(super) stem: &'a Stem,
    pub(super) manifest: &'a Manifest,
    /// None where they are in the clear.
    pub(super) opener: Option<&'a Opener>,
}

impl ReadableBackup<'_> {
    /// One of its files.
    pub(super) fn file(&self, role: Role) -> InputFile {
        InputFile::new(self.repository.path(self.stem, role), self.opener.cloned())
    }

    /// Its dump.
    pub(super) fn artifact(&self) -> InputFile {
        self.file(self.manifest.artifact_role())
    }

    /// Its roles and tablespaces.
    pub(super) fn globals(&self) -> InputFile {
        self.file(self.manifest.globals_role())
    }

    /// Its census.
    pub(super) fn census(&self) -> InputFile {
        self.file(self.manifest.census_role())
    }
}

impl JobContext {
    /// Opens a backup by the identity that was given, if it is encrypted: its manifest then has all that it was
    /// made with. Gives what opens its files.
    ///
    /// # Errors
    /// When no identity that opens it was given, or its manifest is damaged.
    pub(super) fn open(&self, manifest: &mut Manifest) -> Result<Option<Opener>, JobError> {
        open_with(manifest, self.opener.as_ref())
    }

    /// The same for a test restore, which may have an identity in the configuration.
    ///
    /// # Errors
    /// As there; and when that identity cannot be read.
    pub(super) fn open_to_drill(
        &self,
        manifest: &mut Manifest,
    ) -> Result<Option<Opener>, JobError> {
        if !manifest.is_encrypted() || self.opener.is_some() {
            return self.open(manifest);
        }
        let Some(source) = &self.drill.identity else {
            return Err(JobError::Encrypted(format!(
                "the backup {} is encrypted to {}\nhint: give the file with its identity by --identity FILE, or \
                 name one for all drills with drill.identity_file or drill.credential",
                manifest.name,
                manifest.encrypted_to.join(" and ")
            )));
        };
        let unusable = |why: String| {
            JobError::Encrypted(format!(
                "the identity for drills, set in [drill], cannot be used: {why}"
            ))
        };
        let text = crate::config::secret_bytes(source, &self.environment);
        let text = text.map_err(|error| unusable(error.to_string()))?;
        let identities = Identities::read_unattended(&text);
        let identities = identities.map_err(|error| unusable(error.to_string()))?;
        open_with(manifest, Some(&identities.opener()))
    }
}

/// Opens a backup with this; gives what opens its files, if they are encrypted.
///
/// # Errors
/// When it is encrypted to other keys, or its manifest is damaged.
pub(super) fn open_with(
    manifest: &mut Manifest,
    opener: Option<&Opener>,
) -> Result<Option<Opener>, JobError> {
    if !manifest.is_encrypted() {
        return Ok(None);
    }
    let opener = fitting(manifest, opener)?;
    if let Some(sealed) = &manifest.sealed {
        let damaged = |error: std::io::Error| {
            JobError::Damaged(format!(
                "the sealed part of the manifest of {} cannot be read: {error}",
                manifest.name
            ))
        };
        let text = opener.open_text(sealed, LONGEST_CONTENT).map_err(damaged)?;
        let content: SealedContent =
            serde_json::from_slice(&text).map_err(|error| damaged(error.into()))?;
        manifest.put_content(content);
    }
    Ok(Some(opener.clone()))
}

/// Refuses what does not open the files of an encrypted backup.
fn fitting<'a>(manifest: &Manifest, opener: Option<&'a Opener>) -> Result<&'a Opener, JobError> {
    let (name, wanted) = (&manifest.name, &manifest.encrypted_to);
    let Some(opener) = opener else {
        return Err(no_identity(&format!(
            "the backup {name} is encrypted to {}",
            wanted.join(" and ")
        )));
    };
    let given = opener.fingerprints();
    if given.iter().any(|one| wanted.contains(one)) {
        return Ok(opener);
    }
    Err(other_identity(&format!(
        "the backup {name} is encrypted to other keys: wanted is the identity of {}, given was {}",
        wanted.join(" or "),
        given.join(" and ")
    )))
}

/// What opens a dump file without a manifest that is encrypted with age.
///
/// # Errors
/// When no identity that opens it was given, or the file cannot be read, or is damaged at its beginning.
pub(super) fn opener_of_file<'a>(
    path: &Path,
    opener: Option<&'a Opener>,
) -> Result<&'a Opener, JobError> {
    let Some(opener) = opener else {
        return Err(no_identity(&format!(
            "{} is encrypted with age",
            path.display()
        )));
    };
    let opens = regular_file::open(path).and_then(|file| opener.opens(file));
    match opens {
        Ok(true) => Ok(opener),
        Ok(false) => Err(other_identity(&format!(
            "{} is encrypted to other keys: given was the identity of {}",
            path.display(),
            opener.fingerprints().join(" and ")
        ))),
        Err(error) if error.raw_os_error().is_some() => Err(JobError::failed(format!(
            "cannot read {}: {error}",
            path.display()
        ))),
        Err(error) => Err(JobError::Damaged(format!(
            "{} is damaged at its beginning, where the encryption has its keys: {error}",
            path.display()
        ))),
    }
}

fn no_identity(what: &str) -> JobError {
    JobError::Encrypted(format!(
        "{what}\nhint: give the file with its identity by --identity FILE, or by --identity - on stdin"
    ))
}

fn other_identity(what: &str) -> JobError {
    JobError::Encrypted(format!(
        "{what}\n\
         hint: `age-keygen -y FILE` prints the recipient of an identity, `ssh-keygen -lf FILE` a fingerprint"
    ))
}

#[cfg(test)]
mod tests;
