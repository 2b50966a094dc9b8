//! The rehearsal: a copy is opened where it lies with the identity that is kept offline, and compared with what was
//! dumped. That is the proof that the key works (P20). It is on record, and nothing of the copy is kept.

use std::time::Instant;

use chrono::Utc;

use super::JobContext;
use super::copy::fingerprints;
use super::copy_proof::CopyProven;
use super::error::{JobError, JobErrorKind};
use super::fetch::{CopySource, OpenedCopy, check_identities, open_copy};
use super::known_recipients::configured_encryption;
use super::record::{append, close_dead_runs};
use super::run::Run;
use super::target::BackupDirectory;
use crate::config::Plan;
use crate::copies::{Copy, Identities};
use crate::display::joined_lines;
use crate::policy::{ChangeOfRecipients, CopyState, Rehearsed};
use crate::recipient::Recipient;
use crate::repository::{
    CopyOpened, Details, Event, Operation, RehearsalDetails, RehearsalFile, RepositoryError,
    Subject,
};

/// What it means when the ledger cannot be used at the start.
const NOTHING_READ: &str = "no copy was opened because";

/// The destination of a copy that this host has made, and where that is on record.
#[derive(Clone, Copy, Debug)]
pub struct OwnCopy<'a> {
    /// The destination's name in the configuration.
    pub destination: &'a str,
    /// The directory of the database's backups.
    pub directory: &'a BackupDirectory,
    /// The recipients of new copies.
    pub configured: &'a [Recipient],
}

/// What is opened, and with what.
#[derive(Clone, Copy, Debug)]
pub struct RehearsalRequest<'a> {
    /// Where it lies.
    pub source: &'a CopySource,
    /// Which copy.
    pub copy: &'a Copy,
    /// What opens it, where anybody gave a key.
    pub identities: Option<&'a Identities>,
    /// Where it is put on record; nowhere for a copy of another host.
    pub own: Option<OwnCopy<'a>>,
}

/// A rehearsal that came through.
#[derive(Clone, Debug)]
pub struct RehearsalReport {
    /// The copy.
    pub opened: OpenedCopy,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Opens a copy where it lies, compares it, and records what was found: in `restore.log`, in what is known of the
/// copy, and, if an identity opened it, as the destination's newest rehearsal.
///
/// # Errors
/// When the copy is damaged or cannot be read, no identity opens it, the run is to end, or it cannot be recorded.
pub async fn rehearse(
    run: &Run<'_>,
    request: &RehearsalRequest<'_>,
) -> Result<RehearsalReport, JobError> {
    let Some(own) = request.own else {
        let opened = open_copy(run, request.source, request.copy, request.identities).await?;
        return Ok(RehearsalReport {
            opened,
            warnings: Vec::new(),
        });
    };
    if request.identities.is_none() {
        // A copy that needs one is not tried. That one does not open it is worth a record.
        check_identities(request.copy, None)?;
    }
    let ledger = own.directory.repository.restore_ledger();
    let database = &own.directory.database;
    let mut details = RehearsalDetails {
        subject: Subject::from(request.copy.name.stem()),
        bytes: None,
        of_copy: CopyOpened {
            destination: Some(own.destination.to_owned()),
            ..CopyOpened::default()
        },
    };
    close_dead_runs(run.context, &ledger, Operation::Rehearse, NOTHING_READ)?;
    let start = run.record_with_requester(Event::Started, database, details.clone());
    append(&ledger, &start, NOTHING_READ)?;
    let began = Instant::now();
    let outcome = open_copy(run, request.source, request.copy, request.identities).await;
    if let Ok(opened) = &outcome {
        details.subject = Subject {
            series: Some(opened.manifest.series.clone()),
            backup: Some(opened.manifest.name.clone()),
        };
        details.bytes = Some(opened.bytes);
        details.of_copy.copy = Some(CopyState::Opened);
        details.of_copy.recipients.clone_from(&opened.recipients);
    }
    let failure = outcome.as_ref().err();
    let event = failure.map_or(Event::Succeeded, JobError::event);
    let mut end = run.record(event, database, details);
    end.seconds = Some(began.elapsed().as_secs_f64());
    end.message = failure.map(ToString::to_string);
    append(&ledger, &end, "the rehearsal is done, but")?;
    let proof = Proof {
        run,
        own,
        copy: request.copy,
    };
    let opened = outcome.inspect_err(|error| proof.take_down_if_damage(error))?;
    let warnings = proof.take_down(CopyState::Opened, &opened.recipients);
    Ok(RehearsalReport { opened, warnings })
}

/// Accepts to whom new backups and copies are encrypted, by the operator's word: in the ledger of each of these directories, and
/// then for good. Gives what was not known before.
///
/// # Errors
/// When a ledger or the state directory cannot be written.
pub fn accept_recipients(
    context: &JobContext,
    plan: &Plan,
    directories: &[BackupDirectory],
) -> Result<ChangeOfRecipients, JobError> {
    let state = &context.state_directory;
    let file = RehearsalFile::at(state);
    let configured = configured_encryption(plan);
    let book = file.read().map_err(RepositoryError::io("read", state))?;
    let change = book.change(&configured);
    if change.is_none() {
        return Ok(change);
    }
    let run = Run::alone(context);
    for directory in directories {
        let details = Details::Accept {
            backup: None,
            accepted: None,
        };
        let mut record = run.record_with_requester(Event::Succeeded, &directory.database, details);
        record.message = Some(sentence(&change));
        directory.repository.create()?;
        append(
            &directory.repository.ledger(),
            &record,
            "nothing was accepted because",
        )?;
    }
    let accepted = file.change(|book| book.accept(&configured));
    Ok(accepted.map_err(RepositoryError::io("write", state))?)
}

/// What was accepted, for the ledger.
fn sentence(change: &ChangeOfRecipients) -> String {
    let mut parts = Vec::new();
    if !change.unknown.is_empty() {
        let unknown = change.unknown.join(" and ");
        parts.push(format!("new backups and copies are encrypted to {unknown}"));
    }
    if change.backups_not_encrypted {
        parts.push("new backups are not encrypted".to_owned());
    }
    if !change.not_encrypted.is_empty() {
        let destinations = change.not_encrypted.join(" and ");
        parts.push(format!("new copies at {destinations} are not encrypted"));
    }
    format!("accepted: {}", parts.join("; "))
}

/// That a copy of this host was proved, to be taken down in the state directory.
pub(super) struct Proof<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) own: OwnCopy<'a>,
    pub(super) copy: &'a Copy,
}

impl Proof<'_> {
    /// Takes it down; gives what could not be. `recipients` are those whose identities opened the copy.
    pub(super) fn take_down(&self, state: CopyState, recipients: &[String]) -> Vec<String> {
        let mut warnings = Vec::new();
        if !recipients.is_empty() {
            warnings.extend(self.take_down_rehearsal(recipients));
        }
        warnings.extend(self.record(Ok(state)));
        warnings
    }

    fn take_down_rehearsal(&self, recipients: &[String]) -> Option<String> {
        let directory = &self.run.context.state_directory;
        let configured = fingerprints(Some(self.own.configured));
        let done = Rehearsed {
            at: Utc::now(),
            recipients: recipients.to_owned(),
        };
        let file = RehearsalFile::at(directory);
        let changed =
            file.change(|book| book.take_in_rehearsal(self.own.destination, done, &configured));
        changed.err().map(|error| {
            format!(
                "the rehearsal could not be noted in {}, and is due as before: {error}",
                directory.display()
            )
        })
    }

    /// Takes down that the copy is damaged, if the error says so.
    pub(super) fn take_down_if_damage(&self, error: &JobError) {
        if error.kind() != JobErrorKind::Damaged {
            return;
        }
        if let Some(warning) = self.record(Err(joined_lines(&error.to_string()))) {
            tracing::warn!("{warning}");
        }
    }

    fn record(&self, result: Result<CopyState, String>) -> Option<String> {
        let state = &self.run.context.state_directory;
        let directory = self.own.directory.repository.directory();
        let proven = CopyProven::now(self.copy, result);
        let recorded = proven.record(state, (self.own.destination, directory));
        recorded.err().map(|error| {
            format!(
                "how far the copy is proved could not be noted in {}: {error}",
                state.display()
            )
        })
    }
}
