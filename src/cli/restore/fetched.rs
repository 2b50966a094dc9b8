//! Where the backup of a `restore --from` is while it is restored.

use std::path::{Path, PathBuf};

use super::super::session::Session;
use super::records::can_be_made;
use super::{Args, Consent};
use crate::jobs::ChosenCopy;

/// Where copies are fetched to below the state directory.
const FETCHED: &str = "fetched";

/// The same for a user who cannot write there, below that user's own directory for state.
const OF_USER: &str = "pgbackupd/fetched";

/// Where a backup is that was fetched for one restore.
pub(super) struct Fetched {
    /// The directory of all that is fetched.
    above: PathBuf,
    /// The directory of this backup: the same each time, so that an interrupted fetch goes on.
    pub(super) directory: PathBuf,
    /// Whether it is in the service's state directory, which has a place for records.
    is_in_state: bool,
    /// What was settled before it was fetched; none where nobody was asked.
    pub(super) consent: Option<Consent>,
}

impl Fetched {
    /// Where the copy of this run is fetched to.
    pub(super) fn of(args: &Args, session: &Session<'_>, chosen: &ChosenCopy) -> Self {
        let state = session.context.state_directory.join(FETCHED);
        let variable = |name: &str| {
            let value = session.env.source.environment.get(name);
            value
                .filter(|value| value.starts_with('/'))
                .map(PathBuf::from)
        };
        let of_user = || {
            let home = variable("HOME").map(|home| home.join(".local/state"));
            let above = variable("XDG_STATE_HOME").or(home)?.join(OF_USER);
            can_be_made(&above).then_some(above)
        };
        let (above, is_in_state) = match &args.via {
            Some(via) => (via.clone(), false),
            None if can_be_made(&state) => (state, true),
            None => of_user().map_or((state, true), |above| (above, false)),
        };
        Self {
            directory: above.join(format!("pgbackupd-{}", chosen.copy.name.run())),
            above,
            is_in_state,
            consent: None,
        }
    }

    /// The directory that the restore may be put on record in, if the database has none of its own: the backup's
    /// own is removed.
    pub(super) fn records(&self) -> Option<&Path> {
        (!self.is_in_state).then_some(&*self.above)
    }
}
