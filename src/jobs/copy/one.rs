//! The copying of one backup, from its first record to its last.

use std::time::Instant;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::memory::{Memory, Present};
use super::seal::{CopyKey, fingerprints};
use super::source::{SourceFile, files_of};
use super::upload::Sent;
use super::{Copied, Copying, NOTHING_COPIED, clock_is_ahead};
use crate::config::JobKind;
use crate::copies::{
    CLOCK_TOLERANCE, COPY_FORMAT, CopiedFile, CopiedVolume, CopyManifest, Document, InvalidSha256,
    Object, Sha256Sum, Versions,
};
use crate::destination::{DestinationErrorKind, Key};
use crate::jobs::error::{JobError, JobErrorKind};
use crate::jobs::record::append;
use crate::repository::{
    CopyDetails, CopyJournal, CopyStart, Event, KnownCopy, KnownManifest, Manifest, Subject,
};

/// The files as they lie there, and the key that opens them.
struct SentFiles {
    files: Vec<CopiedFile>,
    key: CopyKey,
}

impl Copying<'_> {
    /// Copies the backup, with its own records in the ledger. The inner error is the backup's own.
    ///
    /// # Errors
    /// When the destination does not take it or gives other bytes back, the run is to end, or the state
    /// directory or the ledger cannot be written.
    pub(super) async fn carry_out(
        &self,
        memory: &mut Memory,
    ) -> Result<Result<Copied, JobError>, JobError> {
        let began = Instant::now();
        let ledger = self.request.backup_directory.repository.ledger();
        let database = &self.request.backup_directory.database;
        let mut details = CopyDetails {
            subject: Subject::from(&self.entry.stem),
            destination: Some(self.destination.name.clone()),
            ..CopyDetails::default()
        };
        let start = self
            .run
            .record_with_requester(Event::Started, database, details.clone());
        append(&ledger, &start, NOTHING_COPIED)?;

        let outcome = self.make(memory).await;
        let failure = match &outcome {
            Ok(Ok(copied)) => {
                details.bytes = Some(copied.bytes);
                details.copy = Some(copied.state);
                None
            }
            Ok(Err(error)) | Err(error) => Some(error),
        };
        let event = failure.map_or(Event::Succeeded, JobError::event);
        let mut end = self.run.record(event, database, details);
        end.seconds = Some(began.elapsed().as_secs_f64());
        end.message = failure.map(ToString::to_string);
        append(&ledger, &end, "the copy is done, but")?;
        outcome
    }

    #[expect(
        clippy::too_many_lines,
        reason = "the steps of one copy, in their order"
    )]
    async fn make(&self, memory: &mut Memory) -> Result<Result<Copied, JobError>, JobError> {
        let stem = &self.entry.stem;
        let repository = &self.request.backup_directory.repository;
        let manifest = match repository.manifest(stem) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(Err(error.into())),
        };
        let files = files_of(repository, stem, &manifest);
        let (mut journal, key) = self.begin_or_resume()?;
        self.run.step(&format!("sending {stem}"));
        let sent = match self.send(files, &key.sealing, &mut journal).await? {
            Ok(sent) => sent,
            Err(error) => {
                journal.end()?;
                return Ok(Err(error));
            }
        };
        self.run.step(&format!("reading {stem} back"));
        let state = match self.read_back(&sent, &key, &journal).await {
            Err(error) if error.kind() == JobErrorKind::Damaged || is_gone(&error) => {
                // None of it is gone on with: the next run sends all of it.
                journal.end()?;
                return Err(error);
            }
            state => state?,
        };
        let copied = self.copied_files(&sent, &journal)?;
        let sent = SentFiles { files: copied, key };
        let copy = self.manifest(&manifest, sent, memory);
        let published = self.publish(&copy, memory).await?;
        let now = Utc::now();
        let known = KnownCopy {
            backup: stem.to_string(),
            series: stem.series.clone(),
            started: self.entry.started.to_utc(),
            bytes: copy.bytes(),
            copied: now,
            state,
            proved: now,
            read: None,
            damage: None,
            replaced: None,
            manifest: Some(published),
        };
        let there = Present {
            stem: stem.clone(),
            started: known.started,
            is_complete: true,
            is_partial: copy.is_partial,
            was_pinned: copy.is_pinned,
            pinned_by_fact: None,
            is_contested: false,
            sequences: vec![copy.sequence],
        };
        memory.add(self.entry.run, known, there);
        journal.end()?;
        Ok(Ok(Copied {
            stem: stem.clone(),
            bytes: copy.bytes(),
            state,
        }))
    }

    /// The journal of the copy, and its key: what was begun is gone on with, unless it was begun for other
    /// recipients. A copy never mixes two keys.
    fn begin_or_resume(&self) -> Result<(CopyJournal, CopyKey), JobError> {
        let state = &self.run.context.state_directory;
        let (destination, run) = (&self.destination.name, self.entry.run);
        let recipients = fingerprints(self.request.recipients);
        let prefix = format!("{}/{}", self.place, self.copy);
        let address = self.request.destination.settings.full_address();
        if let Some(journal) = CopyJournal::resume(state, destination, run)?
            && journal.start().recipients == recipients
            && journal.start().prefix == prefix
            && journal.start().address == address
            && let Some(key) = CopyKey::of_start(journal.start())
        {
            return Ok((journal, key));
        }
        let key = CopyKey::fresh(self.request.recipients)?;
        let repository = &self.request.backup_directory.repository;
        let start = CopyStart {
            directory: repository.directory().to_owned(),
            backup: self.entry.stem.to_string(),
            run,
            address,
            prefix,
            began: self.run.context.now(),
            public: key.public(),
            sealed: key.sealed.clone(),
            recipients,
        };
        let journal = CopyJournal::begin(state, destination, start)?;
        Ok((journal, key))
    }

    /// The copy's manifest.
    fn manifest(&self, backup: &Manifest, sent: SentFiles, memory: &Memory) -> CopyManifest {
        CopyManifest {
            format: COPY_FORMAT,
            document: Document::Copy,
            host: self.place.host.clone(),
            server: self.place.server.clone(),
            database: self.place.database.clone(),
            copy: self.copy.clone(),
            attempt: Uuid::now_v7(),
            series: backup.series.clone(),
            started: backup.started,
            zone: backup.zone.clone(),
            verified: backup.verified,
            made: Utc::now(),
            next_due: self.next_due(backup),
            is_partial: backup.is_partial(),
            is_pinned: self.entry.state.is_pinned(),
            dump: backup.artifact.format,
            compression: backup.artifact.compression,
            versions: Versions {
                program: concat!("pgbackupd ", env!("CARGO_PKG_VERSION")).to_owned(),
                server: backup.server.version.clone(),
                pg_dump: backup.pg_dump.clone(),
            },
            signer: self.signer.fingerprint(),
            recipients: fingerprints(self.request.recipients),
            key: sent.key.sealed,
            sequence: memory.sequence + 1,
            previous: memory.previous,
            files: sent.files,
        }
    }

    /// The files with their volumes.
    fn copied_files(
        &self,
        sent: &Sent,
        journal: &CopyJournal,
    ) -> Result<Vec<CopiedFile>, JobError> {
        let mut files = Vec::with_capacity(sent.files.len());
        for (file, digest) in sent.files.iter().zip(&sent.digests) {
            let name = self.file_name(file);
            let mut volumes = Vec::new();
            for volume in journal.volumes_of(&name) {
                let sha256 = volume.sha256.parse();
                volumes.push(CopiedVolume {
                    key: volume.key.clone(),
                    bytes: volume.bytes,
                    sha256: sha256.map_err(|error: InvalidSha256| {
                        JobError::Internal(format!("the journal of the copy: {error}"))
                    })?,
                    version: volume.version.clone(),
                });
            }
            files.push(CopiedFile {
                role: file.role,
                name,
                bytes: digest.bytes,
                volumes,
            });
        }
        Ok(files)
    }

    /// When the next backup of the series was due, by the schedule of today.
    fn next_due(&self, backup: &Manifest) -> Option<DateTime<Utc>> {
        let jobs = self.request.jobs.iter();
        let own = jobs
            .filter(|job| matches!(&job.kind, JobKind::Backup(series) if *series == backup.series));
        let started = backup.started.to_utc();
        own.filter_map(|job| job.schedule.next_after(started))
            .map(|next| next.to_utc())
            .min()
    }

    /// Puts the signature and then the manifest: with that, the copy is one.
    async fn publish(
        &self,
        copy: &CopyManifest,
        memory: &mut Memory,
    ) -> Result<KnownManifest, JobError> {
        let internal = |error: serde_json::Error| JobError::Internal(error.to_string());
        let bytes = copy.to_bytes().map_err(internal)?;
        let signature = self.signer.sign(&bytes);
        let signature = signature.map_err(|error| JobError::Internal(error.to_string()))?;
        let sum = Sha256Sum::of(&bytes);
        let attempt = copy.attempt;
        for (object, content) in [
            (Object::Signature { attempt }, Bytes::from(signature)),
            (Object::Manifest { attempt }, Bytes::from(bytes)),
        ] {
            let key = self.place.object(&self.copy, &object);
            let putting = self.destination.store.put_new(&key, content);
            self.run.wait_for(putting).await??;
            if matches!(object, Object::Signature { .. }) {
                self.check_dates(copy, &key).await?;
            }
        }
        memory.sequence = copy.sequence;
        memory.previous = Some(sum);
        let manifest = self.place.object(&self.copy, &Object::Manifest { attempt });
        Ok(KnownManifest {
            key: manifest.to_string(),
            sha256: sum.to_string(),
            signer: copy.signer.clone(),
        })
    }

    /// Refuses to put a manifest that is dated after the store has it: it would count for nothing. Some stores
    /// tell their time only by what was put.
    async fn check_dates(&self, copy: &CopyManifest, put: &Key) -> Result<(), JobError> {
        let looking = self.destination.store.head(put);
        let Some(found) = self.run.wait_for(looking).await?? else {
            return Ok(());
        };
        let ahead = copy.latest_date() - found.modified;
        if ahead <= CLOCK_TOLERANCE {
            return Ok(());
        }
        Err(clock_is_ahead(self.destination, ahead))
    }

    /// What a file is called in the copy.
    pub(super) fn file_name(&self, file: &SourceFile) -> String {
        self.copy.file(&file.suffix)
    }

    /// Whether the copy is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.request.recipients.is_some()
    }
}

/// Whether something that was put is there no longer.
fn is_gone(error: &JobError) -> bool {
    matches!(error, JobError::Destination(error) if error.kind == DestinationErrorKind::Missing)
}
