//! To whom backups on this host are encrypted, as the state directory remembers it: by that, a change of recipients is
//! seen.

use std::path::Path;

use super::JobContext;
use super::copy::fingerprints;
use crate::config::Plan;
use crate::pipeline::Opener;
use crate::policy::{ConfiguredEncryption, RehearsalBook};
use crate::repository::{Manifest, RehearsalFile, Repository};
use crate::responsiveness::{self, PATIENCE};

/// What is encrypted, and to whom.
pub(super) fn configured_encryption(plan: &Plan) -> ConfiguredEncryption {
    let named = |is_plain: bool| {
        let destinations = plan.destinations.iter();
        let meant = destinations.filter(move |one| one.plain == is_plain);
        meant.map(|one| one.name.clone()).collect()
    };
    ConfiguredEncryption {
        backups: plan.encrypts_backups(),
        encrypted: named(false),
        plain: named(true),
        recipients: fingerprints(Some(&plan.recipients)),
    }
}

/// Notes to whom a backup is encrypted that was just made, if it is; gives what keeps it from that.
pub(super) fn note_backup(
    context: &JobContext,
    repository: &Repository,
    made: &Manifest,
) -> Option<String> {
    let configured = fingerprints(Some(context.recipients.as_deref()?));
    let earlier = repository
        .catalogue()
        .map_or_else(|_| Vec::new(), |catalogue| catalogue.backups);
    let mut newest_first = earlier.into_iter().rev();
    let before =
        newest_first.find(|one| !one.encrypted_to.is_empty() && one.stem.to_string() != made.name);
    let before = before.map_or_else(Vec::new, |one| one.encrypted_to);
    note(&context.state_directory, move |book| {
        book.take_in_backup(&before, &configured);
    })
}

/// Notes that an identity which the operator gave has opened a backup; gives what keeps it from that. One that is
/// named in the configuration proves nothing: whoever changed the recipients could have named it, too.
pub(super) fn note_opened(context: &JobContext, manifest: &Manifest) -> Option<String> {
    let given = context.opener.as_ref().map(Opener::fingerprints)?;
    let recipients = manifest.encrypted_to.iter();
    let opened: Vec<String> = recipients
        .filter(|one| given.contains(one))
        .cloned()
        .collect();
    if opened.is_empty() {
        return None;
    }
    let configured = fingerprints(context.recipients.as_deref());
    note(&context.state_directory, move |book| {
        book.take_in_opened(&opened, &configured);
    })
}

/// Changes what is remembered.
fn note(state: &Path, change: impl FnOnce(&mut RehearsalBook) + Send + 'static) -> Option<String> {
    let noted = responsiveness::ask(state, PATIENCE, move |state| {
        RehearsalFile::at(state).change(change)
    });
    noted.flatten().err().map(|error| {
        format!(
            "to whom backups are encrypted could not be noted in {}: {error}",
            state.display()
        )
    })
}
