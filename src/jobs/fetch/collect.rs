//! The fetching of one copy by one of its manifests, from the first volume to the names of the backup.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::agreement::{self, file_of};
use super::unpack::unpack;
use super::{Download, FetchRequest, Fetched, Opening, space};
use crate::config::Format;
use crate::copies::{CopiedFile, CopyManifest, FileRole, SignedManifest};
use crate::display::{counted, size};
use crate::jobs::error::JobError;
use crate::jobs::run::Run;
use crate::pipeline::{Amount, Phase};
use crate::repository::{Arrival, Manifest, RepositoryError, Role, Stem};
use crate::threads;

/// The part in which the archive of a dump in directory format is collected.
const ARCHIVE: &str = "archive";

/// What a file is called while it is collected: as the repository calls its parts.
fn part_of(file: &CopiedFile, copy: &CopyManifest) -> &'static str {
    match file.role {
        FileRole::Artifact if copy.dump == Format::Directory => ARCHIVE,
        FileRole::Artifact => "artifact",
        FileRole::Census => "census",
        FileRole::Globals => "globals",
        FileRole::Manifest => "manifest",
    }
}

/// Fetches a copy by one of its manifests.
///
/// # Errors
/// As [`fetch`](super::fetch).
pub(super) async fn collect(
    run: &Run<'_>,
    request: &FetchRequest<'_>,
    signed: &SignedManifest,
    opening: Opening,
) -> Result<Fetched, JobError> {
    let copy = &signed.manifest;
    let holder = run.context.holder("fetch");
    request.to.create()?;
    let of = signed.sha256.to_string();
    let arrival = request.to.receive(copy.attempt, &of, &holder)?;
    let collecting = Collecting {
        download: Download::new(run, request.source, opening),
        request,
        signed,
        home: arrival.home().to_owned(),
        arrival: Arc::new(Mutex::new(arrival)),
    };
    let outcome = collecting.carry_out().await;
    let Collecting { home, arrival, .. } = collecting;
    match outcome {
        Ok(Collected::There(fetched)) => {
            discard(arrival)?;
            Ok(*fetched)
        }
        Ok(Collected::Whole(fetched, text)) => {
            publish(run, arrival, text).await?;
            Ok(*fetched)
        }
        Err(error) if super::is_damage(&error) => {
            discard(arrival)?;
            Err(error)
        }
        Err(error) => {
            tracing::warn!(
                "what was fetched is kept in {}; the same command goes on with it",
                home.display()
            );
            Err(error)
        }
    }
}

/// What has become of the parts.
enum Collected {
    /// The backup is in the directory already.
    There(Box<Fetched>),
    /// All parts are there, with the text of the manifest.
    Whole(Box<Fetched>, String),
}

/// The collecting of the parts of one copy.
struct Collecting<'a> {
    download: Download<'a>,
    request: &'a FetchRequest<'a>,
    signed: &'a SignedManifest,
    home: std::path::PathBuf,
    arrival: Arc<Mutex<Arrival>>,
}

impl Collecting<'_> {
    async fn carry_out(&self) -> Result<Collected, JobError> {
        let (run, copy) = (self.download.run, &self.signed.manifest);
        let before: u64 = self.kept_bytes();
        let manifest = file_of(copy, FileRole::Manifest);
        let manifest = manifest.ok_or_else(|| internal("a copy without the backup's manifest"))?;
        self.fetch_file(manifest).await?;
        let text = self.text_of("manifest")?;
        let (own, stem) = agreement::read(copy, &text).map_err(|why| {
            JobError::Damaged(format!(
                "the backup's own manifest in the copy {} cannot be used: {why}",
                copy.copy
            ))
        })?;
        let mut fetched = Box::new(Fetched {
            signer: self.signed.signature.fingerprint.clone(),
            read: 0,
            kept: before,
            was_there: false,
            took: Duration::ZERO,
            manifest: own,
            stem,
        });
        if self.is_there(&fetched.stem, &fetched.manifest)? {
            fetched.was_there = true;
            return Ok(Collected::There(fetched));
        }
        self.check_owner(&fetched.manifest.database)?;
        self.check_space()?;
        let bytes = copy.bytes();
        run.progress.enter(Phase::Fetching);
        run.progress.expect(Amount::Bytes(bytes));
        // What was kept counts as done.
        let kept = usize::try_from(before).unwrap_or(usize::MAX);
        run.progress.found(kept).map_err(|_| interrupted())?;
        run.step(&format!(
            "fetching {}: {} in {}",
            fetched.stem,
            size(bytes),
            counted(copy.volumes().count() as u64, "volume", "volumes")
        ));
        for file in copy
            .files
            .iter()
            .filter(|one| one.role != FileRole::Manifest)
        {
            self.fetch_file(file).await?;
        }
        if copy.dump == Format::Directory {
            self.unpack().await?;
        }
        fetched.read = bytes.saturating_sub(before);
        Ok(Collected::Whole(fetched, text))
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Arrival> {
        self.arrival.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes at the destination of the volumes that need not be fetched again.
    fn kept_bytes(&self) -> u64 {
        let copy = &self.signed.manifest;
        let arrival = self.locked();
        let kept = copy.files.iter().flat_map(|file| {
            let pieces = arrival.kept(part_of(file, copy)).pieces;
            file.volumes.iter().take(pieces)
        });
        kept.map(|volume| volume.bytes).sum()
    }

    async fn fetch_file(&self, file: &CopiedFile) -> Result<(), JobError> {
        let part = part_of(file, &self.signed.manifest);
        let kept = self.locked().kept(part).pieces;
        self.download
            .file(file, kept, async |content| {
                let arrival = Arc::clone(&self.arrival);
                let appending = threads::start("fetch", move || {
                    let mut arrival = arrival.lock().unwrap_or_else(PoisonError::into_inner);
                    arrival.append(part, &content)
                })?;
                Ok(appending.await??)
            })
            .await
    }

    /// The text of a part that is a small file.
    fn text_of(&self, part: &str) -> Result<String, JobError> {
        let path = self.locked().path(part);
        let read = crate::regular_file::read_to_string(&path);
        Ok(read.map_err(RepositoryError::io("read", &path))?)
    }

    /// Whether this very backup is in the directory already.
    fn is_there(&self, stem: &Stem, manifest: &Manifest) -> Result<bool, JobError> {
        let to = self.request.to;
        if !self.locked().is_taken(stem) {
            return Ok(false);
        }
        match to.manifest(stem) {
            Ok(there) if there.run == manifest.run => Ok(true),
            _ => Err(RepositoryError::Exists {
                path: to.path(stem, Role::Manifest),
            }
            .into()),
        }
    }

    /// Refuses a directory with backups of another database: whoever looks there takes all for one's.
    fn check_owner(&self, database: &str) -> Result<(), JobError> {
        let to = self.request.to;
        let there = to.catalogue()?.backups;
        match there.iter().find(|entry| entry.database != database) {
            None => Ok(()),
            Some(other) => {
                let error = RepositoryError::OtherDatabase {
                    directory: to.directory().to_owned(),
                    found: other.database.clone(),
                    wanted: database.to_owned(),
                };
                Err(JobError::NoSuchDatabase(error.to_string()))
            }
        }
    }

    /// Refuses to begin what does not fit.
    fn check_space(&self) -> Result<(), JobError> {
        let (copy, to) = (&self.signed.manifest, self.request.to);
        let left = copy.files.iter().map(|file| {
            let kept = self.locked().kept(part_of(file, copy)).bytes;
            let is_archive = part_of(file, copy) == ARCHIVE;
            // An archive is there until its files are.
            let unpacked = if is_archive { file.bytes } else { 0 };
            file.bytes.saturating_sub(kept).saturating_add(unpacked)
        });
        let left = left.fold(0, u64::saturating_add);
        space::check(left, to.free_space()?, to.directory())
    }

    /// Makes the directory of a dump out of its archive.
    async fn unpack(&self) -> Result<(), JobError> {
        let (archive, into) = (self.home.join(ARCHIVE), self.home.join("artifact"));
        self.download.run.step("unpacking the dump");
        let (from, to) = (archive.clone(), into.clone());
        let unpacking = threads::io("unpack", move || {
            // What a killed process has left of it.
            match std::fs::remove_dir_all(&to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => unpack(&from, &to),
            }
        });
        let unpacked = self.download.run.wait_for(unpacking).await?;
        unpacked.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                JobError::Damaged(format!(
                    "the archive of the dump in the copy {} is not usable: {error}",
                    self.signed.manifest.copy
                ))
            }
            _ => RepositoryError::io("write", &into)(error).into(),
        })
    }
}

/// Gives the parts the names of the backup, once each was read back and found to be what the manifest says.
async fn publish(
    run: &Run<'_>,
    arrival: Arc<Mutex<Arrival>>,
    text: String,
) -> Result<(), JobError> {
    run.step("reading it back, and comparing it with its manifest");
    run.progress.enter(Phase::Checking);
    let (arrival, holder) = (only(arrival)?, run.context.holder("fetch"));
    let home = arrival.home().to_owned();
    let progress = Arc::clone(&run.progress);
    let publishing = threads::start("publish", move || {
        arrival.publish(&text, &holder, &progress)
    })?;
    let published = run.wait_for(publishing).await??;
    match published {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = JobError::from(error);
            if super::is_damage(&error) {
                // Whatever is wrong with it, another attempt begins with nothing.
                let _ = std::fs::remove_dir_all(home);
            }
            Err(error)
        }
    }
}

fn discard(arrival: Arc<Mutex<Arrival>>) -> Result<(), JobError> {
    Ok(only(arrival)?.discard()?)
}

/// The arrival, when nothing else uses it any more.
fn only(arrival: Arc<Mutex<Arrival>>) -> Result<Arrival, JobError> {
    let arrival = Arc::into_inner(arrival).ok_or_else(|| internal("parts are still written"))?;
    Ok(arrival.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn internal(what: &str) -> JobError {
    JobError::Internal(what.to_owned())
}

fn interrupted() -> JobError {
    crate::jobs::limit::Stop::Interrupted.into()
}
