//! This host's keys: its name at the destinations, its signer, and the recipients of its copies.

use std::io;

use crate::cli::failure::{Failure, FailureKind};
use crate::cli::session::Session;
use crate::copies::{PublicSigner, SignerError};
use crate::jobs::{JobError, NoSigner, SignerPlace, public_signer, signer_place, signing_key};
use crate::recipient::Recipient;
use crate::repository::host_name;

/// What a host is known by at its destinations.
pub(super) struct HostKeys<'a> {
    /// Its name in keys.
    pub(super) host: String,
    /// Where the signing key is from.
    pub(super) signer_place: SignerPlace,
    /// The public half of the signing key, which was made if there was none.
    pub(super) signer: Result<PublicSigner, Failure>,
    /// To whom copies are encrypted.
    pub(super) recipients: &'a [Recipient],
}

impl<'a> HostKeys<'a> {
    /// Reads them. Name and signer are made at their first use, which this may be.
    ///
    /// # Errors
    /// When the host's name is neither configured nor can be kept.
    pub(super) fn read(session: &'a Session<'_>) -> Result<Self, Failure> {
        let context = &session.context;
        // It makes the state directory, too.
        let kept = host_name(&context.state_directory);
        let host = match &context.name {
            Some(name) => name.clone(),
            None => kept.map_err(|error| {
                let message = format!("the host's name is not known yet: {error}{}", as_service());
                Failure::new(FailureKind::CannotCreate, message)
            })?,
        };
        let signer = match signing_key(context) {
            Ok(signer) => Ok(signer.public().clone()),
            // A credential that is the service's alone.
            Err(error @ NoSigner::Configured(_)) => match public_signer(context) {
                Ok(Some(known)) => Ok(known),
                _ => Err(error),
            },
            Err(error) => Err(error),
        };
        Ok(Self {
            host,
            signer_place: signer_place(context),
            signer: signer.map_err(|error| signer_failure(session, error)),
            recipients: &session.plan().recipients,
        })
    }
}

fn signer_failure(session: &Session<'_>, error: NoSigner) -> Failure {
    let NoSigner::InState { source, .. } = &error else {
        return session.failure(&JobError::from(error));
    };
    let state = &session.context.state_directory;
    let hint = match source {
        // Packages leave it to systemd.
        SignerError::File { .. } if matches!(state.try_exists(), Ok(false)) => {
            "\nhint: the service makes this directory when it starts: `systemctl start pgbackupd`"
        }
        SignerError::File { source, .. }
            if matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound
            ) =>
        {
            as_service()
        }
        SignerError::File { .. } | SignerError::Exposed { .. } | SignerError::Sign(_) => "",
        SignerError::Unusable(_) => return session.failure(&JobError::from(error)),
    };
    Failure::new(FailureKind::CannotCreate, format!("{source}{hint}"))
}

/// The way out where it takes the service's user.
fn as_service() -> &'static str {
    "\nhint: run the command as root or as the service's user, without --as-me"
}
