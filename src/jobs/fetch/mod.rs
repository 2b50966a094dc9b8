//! Copies brought back from a destination (P4, P20).
//!
//! Nothing that lies at a destination is trusted. The manifest of a copy counts by its signature, each volume by
//! its SHA-256 in that manifest, and the files that the volumes make by the backup's own sealed manifest, which is
//! one of them. Only what has passed all three gets the name of a backup.

mod age;
mod agreement;
mod choose;
mod collect;
mod download;
mod examine;
mod head;
mod open;
mod places;
#[cfg(test)]
pub(super) mod sample;
mod signers;
mod space;
mod unpack;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::SecondsFormat;

use super::error::JobError;
use super::run::Run;
use crate::copies::{
    Catalogue, Copy, Identities, Place, RunKeyError, SignedManifest, TrustedSigners, read_catalogue,
};
use crate::destination::Store;
use crate::display::shell_word;
use crate::recipient::Recipient;
use crate::repository::{Manifest, Repository, Stem};
use choose::{NoCopy, choose};
use download::{Download, Opening};

pub use age::NewestCopy;
pub use choose::WhichCopy;
pub(super) use examine::own_manifest;
pub use examine::verify_copy;
pub(super) use examine::verify_copy_at;
pub use head::fetch_head;
pub(super) use open::open_copy;
pub use open::{Compared, OpenedCopy};
pub use places::{WantedPlaces, find_places, only_place};
pub use signers::{SignerThere, signer_lines, signers_there, untrusted};

/// A destination that copies are read from.
#[derive(Clone, Debug)]
pub struct CopySource {
    /// How it is called: its name in the configuration, or its address.
    pub label: String,
    /// Where the bytes are.
    pub store: Arc<dyn Store>,
    /// Whose signatures count.
    pub trusted: TrustedSigners,
}

impl CopySource {
    /// How it is called in a sentence, with the earlier time whose state is read.
    pub fn shown(&self) -> String {
        match self.store.as_of() {
            Some(at) => format!("{} as of {}", self.label, at.format(TIME)),
            None => self.label.clone(),
        }
    }

    /// The options that name it on a command line.
    pub(super) fn options(&self) -> String {
        let from = format!("--from {}", shell_word(&self.label));
        match self.store.as_of() {
            Some(at) => {
                let at = at.to_rfc3339_opts(SecondsFormat::Secs, true);
                format!("{from} --as-of {at}")
            }
            None => from,
        }
    }
}

/// A time in a sentence.
const TIME: &str = "%Y-%m-%d %H:%M:%S UTC";

/// What lies at a place of a destination.
#[derive(Clone, Debug)]
pub struct CopiesThere {
    /// Whose copies they are.
    pub place: Place,
    /// The copies.
    pub catalogue: Catalogue,
}

/// A copy that was chosen.
#[derive(Clone, Debug)]
pub struct ChosenCopy {
    /// Whose it is.
    pub place: Place,
    /// The copy.
    pub copy: Copy,
    /// Newer ones that were passed over, one sentence each.
    pub passed_over: Vec<String>,
    /// How old the newest of all is.
    pub newest: NewestCopy,
}

/// What is fetched, and where to.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// Where it lies.
    pub source: &'a CopySource,
    /// Which copy.
    pub copy: &'a Copy,
    /// What opens it, where anybody gave a key.
    pub identities: Option<&'a Identities>,
    /// The directory that the backup is put into.
    pub to: &'a Repository,
}

/// A backup that was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its name in the directory.
    pub stem: Stem,
    /// Its manifest.
    pub manifest: Manifest,
    /// Who signed the copy.
    pub signer: String,
    /// Bytes that were read from the destination.
    pub read: u64,
    /// Bytes that an earlier attempt had read already.
    pub kept: u64,
    /// Whether it was in the directory before, so that nothing was fetched.
    pub was_there: bool,
    /// How long it took.
    pub took: Duration,
}

/// Reads what lies at a place.
///
/// # Errors
/// When the destination cannot be reached, or refuses.
pub async fn copies_there(
    run: &Run<'_>,
    source: &CopySource,
    place: &Place,
) -> Result<CopiesThere, JobError> {
    let reading = read_catalogue(&*source.store, place, &source.trusted, None);
    Ok(CopiesThere {
        place: place.clone(),
        catalogue: run.wait_for(reading).await??,
    })
}

/// Chooses a copy, and says how old the newest is.
///
/// # Errors
/// When there is none that fits and counts, or several have the name.
pub async fn choose_copy(
    run: &Run<'_>,
    source: &CopySource,
    place: &Place,
    which: &WhichCopy<'_>,
) -> Result<ChosenCopy, JobError> {
    let CopiesThere { place, catalogue } = copies_there(run, source, place).await?;
    let choice = match choose(&catalogue, which) {
        Ok(choice) => choice,
        Err(NoCopy::Several(names)) => {
            return Err(JobError::NoSuchBackup(format!(
                "several copies at {} have this name\nhint: give one of {}",
                source.label,
                names.join(" and ")
            )));
        }
        Err(NoCopy::None) => return Err(no_copy(run, source, &place, (&catalogue, which)).await),
    };
    let (copy, passed_over) = (choice.copy.clone(), choice.passed_over);
    let newest = catalogue.copies.last().map_or(&copy, |newest| newest);
    let newest = NewestCopy::of(&newest.manifest.manifest, source.store.as_of());
    Ok(ChosenCopy {
        place,
        copy,
        passed_over,
        newest,
    })
}

/// Why no copy is chosen: it may be there, signed by somebody who is not trusted.
async fn no_copy(
    run: &Run<'_>,
    source: &CopySource,
    place: &Place,
    (catalogue, which): (&Catalogue, &WhichCopy<'_>),
) -> JobError {
    let of_it = format!("of {} of host {}", places::label(place), place.host);
    if catalogue.copies.is_empty() {
        return match signers_there(run, source, std::slice::from_ref(place)).await {
            Err(error) => error,
            Ok(signers) if !signers.is_empty() => {
                let why = format!("no copy at {} is signed by a trusted key", source.shown());
                JobError::Damaged(untrusted(&why, &signers))
            }
            Ok(_) => match catalogue.unexpected.first() {
                None => JobError::failed(none_there(source, &of_it)),
                Some(first) => JobError::Damaged(format!(
                    "no copy {of_it} at {} can be trusted; of {}: {}",
                    source.shown(),
                    first.key,
                    first.reason
                )),
            },
        };
    }
    match which {
        WhichCopy::Named(name) => JobError::NoSuchBackup(format!(
            "there is no copy of {name} {of_it} at {}\nhint: `pgbackupd list {}` shows the copies",
            source.shown(),
            source.options()
        )),
        WhichCopy::Newest { .. } => JobError::failed(format!(
            "no copy {of_it} at {} is of that time and series, complete, and not partial\n\
             hint: `pgbackupd list {}` shows the copies",
            source.shown(),
            source.options()
        )),
    }
}

fn none_there(source: &CopySource, of_it: &str) -> String {
    let hint = match source.store.as_of() {
        Some(_) => {
            "\nhint: give another time by --as-of: after the copies were made, and before they were removed"
        }
        None => "",
    };
    format!("there are no copies {of_it} at {}{hint}", source.shown())
}

/// Brings a copy back as a backup in a directory. What an interrupted attempt has fetched is not fetched again.
///
/// # Errors
/// When the copy is damaged, no identity opens it, there is no room for it, the destination does not give it, or
/// the run is to end. Nothing then stands under the backup's name.
pub async fn fetch(run: &Run<'_>, request: &FetchRequest<'_>) -> Result<Fetched, JobError> {
    let began = Instant::now();
    let mut failure = None;
    for signed in manifests(request.copy) {
        let opening = opening(request.copy, signed, request.identities)?;
        match collect::collect(run, request, signed, opening).await {
            // Another manifest of the same backup may have other volumes.
            Err(error) if is_damage(&error) => {
                failure.get_or_insert(error);
            }
            outcome => {
                return outcome.map(|fetched| Fetched {
                    took: began.elapsed(),
                    ..fetched
                });
            }
        }
    }
    Err(failure.unwrap_or_else(|| JobError::Internal("a copy without a manifest".to_owned())))
}

fn is_damage(error: &JobError) -> bool {
    error.kind() == super::JobErrorKind::Damaged
}

/// The manifests of a copy, the one that serves first.
fn manifests(copy: &Copy) -> impl Iterator<Item = &SignedManifest> {
    std::iter::once(&copy.manifest).chain(copy.others.iter().rev())
}

/// Refuses identities that do not open a copy, before anything is done with it.
///
/// # Errors
/// When it is encrypted, and no identity opens it.
pub(super) fn check_identities(
    copy: &Copy,
    identities: Option<&Identities>,
) -> Result<(), JobError> {
    opening(copy, &copy.manifest, identities).map(drop)
}

/// What opens the volumes of a manifest.
///
/// # Errors
/// When they are encrypted, and no identity opens them.
fn opening(
    copy: &Copy,
    signed: &SignedManifest,
    identities: Option<&Identities>,
) -> Result<Opening, JobError> {
    let manifest = &signed.manifest;
    let Some(own) = &manifest.key else {
        return Ok(Opening::Plain);
    };
    let name = copy.name.stem();
    let Some(identities) = identities else {
        return Err(JobError::NoSuchBackup(format!(
            "the copy of {name} is encrypted to {}\n\
             hint: give the file with its identity by --identity FILE, or by --identity - on stdin",
            manifest.recipients.join(" and ")
        )));
    };
    let own = (own.as_str(), manifest.recipients.as_slice());
    let later = copy.keys();
    let later = later.iter().map(|key| (key.sealed, key.recipients));
    let (mut wanted, mut unreadable) = (BTreeSet::new(), None);
    for (sealed, recipients) in std::iter::once(own).chain(later) {
        match identities.open_run_key(sealed, recipients) {
            Ok(secret) => return Ok(Opening::Key(Arc::new(secret))),
            Err(RunKeyError::OtherKey { .. }) => wanted.extend(recipients),
            Err(error) => unreadable = Some(error),
        }
    }
    if let Some(error) = unreadable {
        return Err(JobError::Damaged(format!(
            "the copy of {name} cannot be opened: {error}"
        )));
    }
    let given = identities.recipients().map(Recipient::fingerprint);
    let given: Vec<&str> = given.collect();
    let wanted: Vec<&str> = wanted.into_iter().map(String::as_str).collect();
    let error = RunKeyError::OtherKey {
        wanted: wanted.join(" or "),
        given: given.join(" and "),
    };
    Err(JobError::NoSuchBackup(format!(
        "the copy of {name} cannot be opened: {error}"
    )))
}

/// The fingerprints of the recipients whose identities open a copy, each tried by itself.
pub(super) fn opened_by(copy: &Copy, identities: &Identities) -> Vec<String> {
    let sealed = copy.keys();
    let opened: BTreeSet<String> = sealed
        .iter()
        .flat_map(|key| identities.that_open(key.sealed))
        .collect();
    opened.into_iter().collect()
}
