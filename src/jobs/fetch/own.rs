//! This host's name and key: what it has put at a destination itself is trusted.

use std::io;

use crate::config::Plan;
use crate::copies::{Signer, SignerError};
use crate::jobs::JobContext;
use crate::jobs::copy::SIGNER;
use crate::jobs::error::JobError;
use crate::repository::host_name;

/// The name of this host at destinations, and its signing key; none before its first copy.
///
/// # Errors
/// When one of them cannot be read.
pub fn own_signer(context: &JobContext, plan: &Plan) -> Result<(String, Option<Signer>), JobError> {
    let state = &context.state_directory;
    let host = match &plan.name {
        Some(name) => name.clone(),
        None if state.is_dir() => host_name(state)?,
        // Looking makes nothing.
        None => crate::identity::host_name(),
    };
    let path = state.join(SIGNER);
    match Signer::open(&path) {
        Ok(signer) => Ok((host, Some(signer))),
        Err(SignerError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok((host, None))
        }
        Err(source) => Err(JobError::Signer { path, source }),
    }
}
