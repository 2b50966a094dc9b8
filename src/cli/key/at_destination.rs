//! This host's copies at its destinations, as far as they are trusted.

use crate::cli::failure::{Failure, FailureKind};
use crate::cli::session::Session;
use crate::config::Destination;
use crate::copies::{
    Catalogue, Copy, Identities, Place, RunKeyError, RunSecret, TrustedSigners, places,
    read_catalogue,
};
use crate::destination::{self, DestinationError, Store};
use crate::jobs::{JobError, OwnHost, Stop};
use crate::repository::AdoptedSigners;

/// Why an identity does not open a copy.
#[derive(Clone, Debug)]
pub(super) struct NotOpened {
    /// In a sentence, for people.
    pub(super) reason: String,
}

/// The destination of this name, or all.
pub(super) fn destinations<'a>(
    session: &'a Session<'_>,
    name: Option<&str>,
) -> Result<Vec<&'a Destination>, Failure> {
    let all = &session.plan().destinations;
    let Some(name) = name else {
        if all.is_empty() {
            let message = "no destination is configured, so there is no copy\nhint: describe one in the \
                           configuration, as [destinations.NAME]";
            return Err(Failure::new(FailureKind::Configuration, message));
        }
        return Ok(all.iter().collect());
    };
    let found: Vec<&Destination> = all.iter().filter(|one| one.name == name).collect();
    if found.is_empty() {
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        return Err(Failure::usage(format!(
            "no destination {name:?} is configured\nhint: configured are {}",
            names.join(", ")
        )));
    }
    Ok(found)
}

/// The store of a destination.
pub(super) fn open(
    session: &Session<'_>,
    destination: &Destination,
) -> Result<std::sync::Arc<dyn Store>, Failure> {
    let environment = &session.env.source.environment;
    destination::open(&destination.settings, environment)
        .map_err(|error| failure(session, destination, error))
}

/// The catalogues of this host's databases at a destination.
pub(super) async fn catalogues(
    session: &Session<'_>,
    destination: &Destination,
    store: &dyn Store,
    own: &OwnHost,
) -> Result<Vec<(Place, Catalogue)>, Failure> {
    let trusted = trusted(session, destination, own);
    let read = async {
        let mut found = Vec::new();
        for place in places(store, &own.name).await? {
            let catalogue = read_catalogue(store, &place, &trusted, None).await?;
            found.push((place, catalogue));
        }
        Ok::<_, DestinationError>(found)
    };
    let cancel = session.env.interrupt.token();
    match cancel.run_until_cancelled(read).await {
        Some(read) => read.map_err(|error| failure(session, destination, error)),
        None => Err(session.failure(&JobError::from(Stop::Interrupted))),
    }
}

/// Whose copies count: this host's own, those of keys that it has adopted, and those of the configuration's
/// signers.
fn trusted(session: &Session<'_>, destination: &Destination, own: &OwnHost) -> TrustedSigners {
    let mut trusted = own.trusted();
    match AdoptedSigners::read(&session.context.state_directory, &destination.name) {
        Ok(adopted) => trusted = trusted.with_allowed(&adopted.lines()),
        Err(error) => tracing::warn!("copies by adopted keys do not count: {error}"),
    }
    trusted.with_allowed(&session.plan().trusted_signers)
}

/// Opens the key of an encrypted copy, by the manifest's own or by a later fact's.
pub(super) fn open_key(copy: &Copy, identities: &Identities) -> Result<RunSecret, NotOpened> {
    let mut wanted: Vec<String> = Vec::new();
    let mut damaged = None;
    for key in copy.keys() {
        match identities.open_run_key(key.sealed, key.recipients) {
            Ok(secret) => return Ok(secret),
            Err(RunKeyError::OtherKey { .. }) => wanted.extend_from_slice(key.recipients),
            Err(error) => damaged = Some(error.to_string()),
        }
    }
    wanted.sort();
    wanted.dedup();
    let reason = damaged.unwrap_or_else(|| format!("encrypted to {}", wanted.join(", ")));
    Err(NotOpened { reason })
}

/// An error of a destination as the command's failure.
pub(super) fn failure(
    session: &Session<'_>,
    destination: &Destination,
    error: DestinationError,
) -> Failure {
    let mut failure = session.failure(&JobError::from(error));
    failure.message = format!("{}: {}", destination.name, failure.message);
    failure
}
