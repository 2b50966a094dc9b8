//! This host's keys: its name at the destinations, its signer, and the recipients of its copies.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::cli::failure::{Failure, FailureKind};
use crate::cli::session::Session;
use crate::copies::{Signer, SignerError};
use crate::identity;
use crate::jobs::SIGNER;
use crate::recipient::Recipient;
use crate::repository::host_name;

/// What a host is known by at its destinations.
pub(super) struct HostKeys<'a> {
    /// Its name in keys.
    pub(super) host: String,
    /// The file of the signing key.
    pub(super) signer_file: PathBuf,
    /// The signing key, made if there was none.
    pub(super) signer: Result<Signer, Failure>,
    /// To whom copies are encrypted.
    pub(super) recipients: &'a [Recipient],
}

impl<'a> HostKeys<'a> {
    /// Reads them. Name and signer are made at their first use, which this may be.
    ///
    /// # Errors
    /// When the host's name is neither configured nor can be kept.
    pub(super) fn read(session: &'a Session<'_>) -> Result<Self, Failure> {
        let plan = session.plan();
        let state = &plan.daemon.state_directory;
        // It makes the state directory, too.
        let kept = host_name(state);
        let host = match &plan.name {
            Some(name) => name.clone(),
            None => kept.map_err(|error| {
                let message = format!("the host's name is not known yet: {error}{}", as_service());
                Failure::new(FailureKind::CannotCreate, message)
            })?,
        };
        let signer_file = state.join(SIGNER);
        let signer = if is_ours(state) {
            Signer::open_or_create(&signer_file)
        } else {
            // The service could not read what root has made.
            Signer::open(&signer_file)
        };
        Ok(Self {
            host,
            signer: signer.map_err(|error| signer_failure(&error, state)),
            signer_file,
            recipients: &plan.recipients,
        })
    }
}

impl<'a> HostKeys<'a> {
    /// The same for a command that only reads: nothing is made.
    ///
    /// # Errors
    /// When the host's name cannot be read.
    pub(super) fn look(session: &'a Session<'_>) -> Result<Self, Failure> {
        let plan = session.plan();
        let state = &plan.daemon.state_directory;
        let host = match &plan.name {
            Some(name) => name.clone(),
            None if state.is_dir() => host_name(state).map_err(|error| {
                let message = format!("the host's name is not known yet: {error}{}", as_service());
                Failure::new(FailureKind::Unavailable, message)
            })?,
            None => identity::host_name(),
        };
        let signer_file = state.join(SIGNER);
        Ok(Self {
            host,
            signer: Signer::open(&signer_file).map_err(|error| signer_failure(&error, state)),
            signer_file,
            recipients: &plan.recipients,
        })
    }
}

/// Whether what this process makes in a directory is for the directory's owner.
fn is_ours(directory: &Path) -> bool {
    let me = rustix::process::geteuid();
    !me.is_root() || fs::metadata(directory).is_ok_and(|metadata| metadata.uid() == 0)
}

fn signer_failure(error: &SignerError, state: &Path) -> Failure {
    let hint = match error {
        // Packages leave it to systemd.
        SignerError::File { .. } if matches!(state.try_exists(), Ok(false)) => {
            "\nhint: the service makes this directory when it starts: `systemctl start pgbackupd`"
        }
        SignerError::File { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => as_service(),
            _ => "",
        },
        SignerError::Unusable(_) => {
            "\nhint: move the file away, and a new key is made; copies by the old one are then trusted by \
             trusted_signers only"
        }
        _ => "",
    };
    Failure::new(FailureKind::CannotCreate, format!("{error}{hint}"))
}

/// The way out where it takes the service's user.
fn as_service() -> &'static str {
    "\nhint: run the command as root or as the service's user, without --as-me"
}
