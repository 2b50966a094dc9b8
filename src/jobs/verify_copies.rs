//! Reading copies where they lie, in a job: every volume is downloaded and compared with what was signed, as many
//! copies as the budget allows, and what was proved is recorded (P4).
//!
//! Nothing is written at the destination, and no lock is taken: copies and backups are made meanwhile.

use std::path::Path;
use std::time::Instant;

use chrono::Utc;

use super::CopySource;
use super::copy_listing::{Listing, clock_reading, settle_doubts, take_listing};
use super::copy_proof::{CopyProven, damage_unless_known};
use super::error::{JobError, JobErrorKind};
use super::fetch::verify_copy_at;
use super::limit::Stop;
use super::own_host::OwnHost;
use super::pace::Pace;
use super::record::{append, close_dead_runs};
use super::run::Run;
use super::target::BackupDirectory;
use crate::config::{Destination, Plan};
use crate::copies::{Catalogue, Copy, ManifestCache, Place, read_catalogue};
use crate::destination;
use crate::display::{counted, joined_lines, size};
use crate::policy::{CopyBudget, CopyState, ReadableCopy, copies_to_read};
use crate::repository::{
    AdoptedSigners, Damage, Event, KnownCopies, Operation, VerifyCopiesDetails, manifest_cache,
};

/// What it means when the ledger cannot be used at the start.
const NOTHING_DONE: &str = "no copy was verified because";

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct VerifyCopiesRequest<'a> {
    /// Whose copies.
    pub backup_directory: &'a BackupDirectory,
    /// Where they are.
    pub destination: &'a Destination,
    /// What the run may use.
    pub budget: CopyBudget,
}

impl<'a> VerifyCopiesRequest<'a> {
    /// By the plan, at the destination of this name.
    ///
    /// # Errors
    /// When the plan has no such destination.
    pub fn new(
        plan: &'a Plan,
        backup_directory: &'a BackupDirectory,
        (destination, budget): (&str, CopyBudget),
    ) -> Result<Self, JobError> {
        let mut destinations = plan.destinations.iter();
        let found = destinations.find(|one| one.name == destination);
        let destination = found.ok_or_else(|| {
            JobError::failed(format!("no destination {destination:?} is configured"))
        })?;
        Ok(Self {
            backup_directory,
            destination,
            budget,
        })
    }
}

/// What the reading of one copy has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFinding {
    /// The backup, without its reason if the copy is encrypted.
    pub backup: String,
    /// Bytes of its volumes.
    pub bytes: u64,
    /// How far it is proved, or what is wrong with it.
    pub result: Result<CopyState, String>,
}

/// What the reading of a database's copies at a destination has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyCopiesReport {
    /// The destination.
    pub destination: String,
    /// In the order of reading.
    pub findings: Vec<CopyFinding>,
    /// Copies that could not be read, and why; that says nothing about them.
    pub unread: Vec<(String, String)>,
    /// Copies that were due and did not fit into the budget.
    pub left: u64,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
}

impl VerifyCopiesReport {
    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.findings.iter().map(|finding| finding.bytes).sum()
    }

    /// The copies that are damaged, each with what is wrong.
    pub fn damaged(&self) -> impl Iterator<Item = (&str, &str)> {
        let findings = self.findings.iter();
        findings
            .filter_map(|finding| Some((&*finding.backup, finding.result.as_ref().err()?.as_str())))
    }

    /// What was done, in a sentence without its end.
    pub fn sentence(&self) -> String {
        let destination = &self.destination;
        if self.findings.is_empty() {
            return format!("{destination} has no copy to verify");
        }
        let intact = self.findings.len() - self.damaged().count();
        format!(
            "{} at {destination} read in full, {}, {intact} intact",
            counted(self.findings.len() as u64, "copy", "copies"),
            size(self.bytes())
        )
    }

    /// What is wrong, if anything is.
    pub fn failure(&self) -> Option<String> {
        let damaged = self
            .damaged()
            .map(|(backup, what)| format!("the copy of {backup} is damaged: {what}"));
        let unread = self.unread.iter();
        let unread =
            unread.map(|(backup, why)| format!("the copy of {backup} was not read: {why}"));
        let all: Vec<String> = damaged.chain(unread).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Reads copies of one database's backups at a destination: of each series the newest, and what may have been
/// replaced, as far as the budget allows. What it leaves comes first the next time.
///
/// # Errors
/// When the destination cannot be used or reached, no copy can be read, the run is to end, or its outcome cannot
/// be recorded. A damaged copy is a finding, not an error.
pub async fn verify_copies(
    run: &Run<'_>,
    request: VerifyCopiesRequest<'_>,
) -> Result<VerifyCopiesReport, JobError> {
    let mut report = VerifyCopiesReport {
        destination: request.destination.name.clone(),
        ..VerifyCopiesReport::default()
    };
    let state = &run.context.state_directory;
    let own = OwnHost::look(run.context)?;
    if own.has_signed_nothing() {
        return Ok(report);
    }
    let directory = request.backup_directory;
    let server = directory.server.as_deref().unwrap_or("main");
    let place = Place::new(&own.name, server, &directory.database)?;
    let adopted = AdoptedSigners::read(state, &request.destination.name)?;
    let reading = Reading {
        run,
        request,
        source: CopySource {
            label: request.destination.name.clone(),
            store: destination::open(&request.destination.settings, &run.context.environment)?,
            trusted: own.trusted().with_allowed(&adopted.lines()),
        },
        pace: Pace::new(request.destination.rate.map(|rate| rate.as_u64())),
    };
    let there = reading.look(&place, &mut report).await?;
    let known = KnownCopies::read(state, &report.destination, directory.repository.directory());
    let chosen = reading.choose(&there, &known);
    if chosen.is_empty() {
        return Ok(report);
    }
    let ledger = directory.repository.ledger();
    close_dead_runs(run.context, &ledger, Operation::VerifyCopies, NOTHING_DONE)?;
    let began = Instant::now();
    let mut details = VerifyCopiesDetails {
        destination: report.destination.clone(),
        ..VerifyCopiesDetails::default()
    };
    let start = run.record_with_requester(Event::Started, &directory.database, details.clone());
    append(&ledger, &start, NOTHING_DONE)?;

    let outcome = reading.read_all(&chosen, &mut report).await;

    details.bytes = Some(report.bytes());
    details.left = Some(report.left);
    details.damaged = damaged(&report);
    let event = match &outcome {
        Err(error) => error.event(),
        Ok(()) if report.failure().is_none() => Event::Succeeded,
        Ok(()) => Event::Failed,
    };
    let mut end = run.record(event, &directory.database, details);
    end.seconds = Some(began.elapsed().as_secs_f64());
    let why = outcome.as_ref().err().map(ToString::to_string);
    end.message = why.or_else(|| report.failure());
    append(&ledger, &end, "the verify run of copies is done, but")?;
    outcome.map(|()| report)
}

fn damaged(report: &VerifyCopiesReport) -> Vec<Damage> {
    let damaged = report.damaged().map(|(backup, what)| Damage {
        backup: backup.to_owned(),
        what: what.to_owned(),
        quarantine: None,
    });
    damaged.collect()
}

/// The reading of a database's copies.
struct Reading<'a> {
    run: &'a Run<'a>,
    request: VerifyCopiesRequest<'a>,
    source: CopySource,
    pace: Pace,
}

impl Reading<'_> {
    fn directory(&self) -> &Path {
        self.request.backup_directory.repository.directory()
    }

    /// Changes what is known of the copies.
    fn note(&self, report: &mut VerifyCopiesReport, change: impl FnOnce(&mut KnownCopies)) {
        let (state, name) = (&self.run.context.state_directory, &self.source.label);
        if let Err(error) = KnownCopies::update(state, name, self.directory(), change) {
            report.warnings.push(format!(
                "what was found out about the copies at {name} could not be written to {}: {error}",
                state.display()
            ));
        }
    }

    /// What is there, and what that says of the copies that were known.
    async fn look(
        &self,
        place: &Place,
        report: &mut VerifyCopiesReport,
    ) -> Result<Catalogue, JobError> {
        let (state, name) = (&self.run.context.state_directory, &self.source.label);
        let store = &*self.source.store;
        let offset = self.run.wait_for(store.clock_offset()).await??;
        let at = Utc::now();
        let cache = ManifestCache::new(&manifest_cache(state, name, self.directory()));
        let looking = read_catalogue(store, place, &self.source.trusted, Some(&cache));
        let there = self.run.wait_for(looking).await??;
        // The answers are waited for on a copy of what is known, next to whoever changes it.
        let mut known = KnownCopies::read(state, name, self.directory());
        let ledger = self.request.backup_directory.repository.ledger();
        let listing = Listing {
            url: &self.request.destination.settings.url(),
            place,
            there: &there,
            at,
            damaged: &damage_unless_known(&known, &ledger, name)?,
        };
        let doubts = take_listing(&mut known, &listing);
        self.run
            .wait_for(settle_doubts(store, &mut known, (doubts, at)))
            .await?;
        self.note(report, |now| {
            take_listing(now, &listing);
            for (run, absent) in &mut now.absent {
                if let Some(settled) = known.absent.get(run) {
                    (absent.since, absent.missing) = (settled.since, settled.missing);
                }
            }
            now.clock = clock_reading(offset, at);
        });
        Ok(there)
    }

    /// The copies to read, in the order of reading.
    fn choose<'c>(&self, there: &'c Catalogue, known: &KnownCopies) -> Vec<&'c Copy> {
        let takes = |copy: &&Copy| {
            let series = &copy.manifest.manifest.series;
            copy.is_complete() && self.request.destination.takes_series(series)
        };
        let copies: Vec<&Copy> = there.copies.iter().filter(takes).collect();
        let readable: Vec<ReadableCopy<'_>> = copies
            .iter()
            .map(|copy| {
                let manifest = &copy.manifest.manifest;
                let known = known.copies.get(&copy.name.run());
                ReadableCopy {
                    series: &manifest.series,
                    started: manifest.started.to_utc(),
                    bytes: manifest.bytes(),
                    // Of a damaged one it is known why.
                    is_suspicious: known
                        .is_some_and(|known| known.replaced.is_some() && known.damage.is_none()),
                }
            })
            .collect();
        let order = copies_to_read(&readable, &known.tried, Utc::now());
        order.into_iter().map(|index| copies[index]).collect()
    }

    /// Reads one copy after the other, as far as the budget allows.
    async fn read_all(
        &self,
        chosen: &[&Copy],
        report: &mut VerifyCopiesReport,
    ) -> Result<(), JobError> {
        let began = Instant::now();
        let (mut copies, mut read) = (0, 0_u64);
        let mut failure = None;
        for copy in chosen {
            let bytes = copy.manifest.manifest.bytes();
            if !self
                .request
                .budget
                .admits(bytes, (copies, began.elapsed(), read))
            {
                report.left += 1;
                continue;
            }
            self.run.progress.renew();
            let checked = self.read(copy, report).await;
            copies += 1;
            read = read.saturating_add(bytes);
            match checked {
                Ok(()) => {}
                Err(error @ JobError::Stop(Stop::Interrupted)) => return Err(error),
                Err(error) => {
                    let why = joined_lines(&error.to_string());
                    report.unread.push((copy.name.stem().to_string(), why));
                    failure = Some(error);
                }
            }
        }
        match failure {
            // Trying again may help.
            Some(error) if report.findings.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads one, and records what that shows.
    async fn read(&self, copy: &Copy, report: &mut VerifyCopiesReport) -> Result<(), JobError> {
        let stem = copy.name.stem().to_string();
        self.run.step(&format!("reading the copy of {stem}"));
        let source = (&self.source, Some(&self.pace));
        let verified = verify_copy_at(&self.run.renewed(), source, copy, None).await;
        let result = match verified {
            Ok(state) => Ok(Ok(state)),
            Err(error) if error.kind() == JobErrorKind::Damaged => {
                Ok(Err(joined_lines(&error.to_string())))
            }
            Err(error) => Err(error),
        };
        if matches!(result, Err(JobError::Stop(Stop::Interrupted))) {
            // It has had no turn.
            return result.map(|_: Result<CopyState, String>| ());
        }
        let series = copy.manifest.manifest.series.clone();
        let proof = result.as_ref().ok();
        let proof = proof.map(|result| CopyProven::now(copy, result.clone()));
        self.note(report, |known| {
            known.tried.insert(series, Utc::now());
            if let Some(proof) = proof {
                proof.note(known);
            }
        });
        let result = result?;
        report.findings.push(CopyFinding {
            backup: stem,
            bytes: copy.manifest.manifest.bytes(),
            result,
        });
        Ok(())
    }
}
