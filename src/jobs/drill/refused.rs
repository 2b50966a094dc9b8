//! All that the server said when it refused a backup, kept for whoever may see rows: a test restore of the
//! service's has no terminal.

use super::DrillOutcome;
use crate::jobs::Run;
use crate::repository::{Repository, forget_refused, keep_refused};
use crate::responsiveness::{self, PATIENCE};

/// Keeps it in the state directory, if there is one, and gives a remark that names the file. A backup that
/// the server takes ends what was kept of those before it. Nothing is kept of an encrypted one: rows would be
/// readable.
pub(super) fn keep(
    run: &Run<'_>,
    backups: &Repository,
    (outcome, is_encrypted): (&DrillOutcome, bool),
) -> Option<String> {
    let state = run.context.state_directory.as_path();
    let directory = backups.directory().to_owned();
    match outcome {
        DrillOutcome::Proven => {
            let forgotten = responsiveness::ask(state, PATIENCE, move |state| {
                forget_refused(state, &directory)
            });
            if let Err(error) = forgotten.flatten() {
                // Somebody else's test restore, who may not look there, is none the worse for it.
                tracing::debug!("the earlier output cannot be removed: {error}");
            }
            None
        }
        DrillOutcome::Refused { .. } if is_encrypted => Some(
            "the server's full output may show rows, and is not kept, for the backup is encrypted; a drill by hand \
             prints it"
                .to_owned(),
        ),
        DrillOutcome::Refused { detail, .. } => {
            let detail = detail.clone();
            let kept = responsiveness::ask(state, PATIENCE, move |state| {
                let is_there = state.is_dir();
                is_there
                    .then(|| keep_refused(state, &directory, &detail))
                    .transpose()
            });
            Some(match kept.flatten() {
                Ok(path) => format!(
                    "the server's full output, which may show rows, is in {}",
                    path?.display()
                ),
                Err(error) => format!(
                    "the server's full output cannot be kept in {}: {error}",
                    state.display()
                ),
            })
        }
        DrillOutcome::Damaged(_) | DrillOutcome::Differs(_) | DrillOutcome::Impossible(_) => None,
    }
}
