//! Reading backups back in full and checking them against their manifests (P8).

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::archive;
use super::blocked::Watch;
use super::dump::{Dumper, blocking, read_back};
use super::error::{JobError, census_damage};
use super::limit::{Limit, Stop};
use super::target::Place;
use super::{Context, JobErrorKind};
use crate::config::{Connection, Format};
use crate::pipeline::{Digest, Passage, Progress, StreamError, digest_file, read_census};
use crate::postgres::{Conninfo, Programs, archive_as_sql_arguments};
use crate::repository::{
    Check, Damage, Entry, Event, Manifest, Operation, Problem, Repository, Role, Stem,
};

/// Which backups of a place are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// The newest of each series.
    Latest,
    /// These.
    Named(Vec<Stem>),
}

/// What the check of one backup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The backup.
    pub stem: Stem,
    /// What is wrong with it; none when it is whole.
    pub damage: Option<String>,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// What the check of a database's backups found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// In the order of checking: newest first.
    pub findings: Vec<Finding>,
    /// Backups that could not be checked, and why; that says nothing about them.
    pub unchecked: Vec<(Stem, String)>,
    /// Files that look like part of a backup and are none.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// How many backups are damaged, those included of which not even the manifest can be used or
    /// the dump is gone.
    pub fn damaged(&self) -> usize {
        self.damages().count()
    }

    fn damages(&self) -> impl Iterator<Item = Damage> {
        let lost = self.problems.iter().filter(|problem| problem.is_loss);
        let lost = lost.map(|problem| Damage {
            backup: problem.file.clone(),
            what: problem.what.clone(),
        });
        let found = self.findings.iter().filter_map(|finding| {
            Some(Damage {
                backup: finding.stem.to_string(),
                what: finding.damage.clone()?,
            })
        });
        found.chain(lost)
    }
}

/// Checks backups of one database, newest first, and records what was found.
///
/// No lock is needed: a backup that retention removes meanwhile is passed over.
///
/// # Errors
/// When the directory cannot be read, the check was interrupted, or its outcome cannot be recorded.
/// A damaged backup is a finding, not an error.
pub async fn verify(
    context: &Context,
    place: &Place,
    selection: &Selection,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<VerifyReport, JobError> {
    let repository = &place.repository;
    let catalogue = repository.catalogue()?;
    let mut report = VerifyReport {
        problems: problems(catalogue.problems, selection),
        ..VerifyReport::default()
    };
    let chosen = choose(&catalogue.backups, selection);
    if chosen.is_empty() && report.damaged() == 0 {
        return Ok(report);
    }
    let run = Uuid::now_v7();
    let ledger = repository.ledger();
    let began = Instant::now();
    let unrecorded = |done: &str| {
        let done = done.to_owned();
        let ledger = ledger.path().display().to_string();
        move |source| JobError::Unrecorded {
            done,
            ledger,
            source,
        }
    };
    let mut record = context.record(run, Operation::Verify, Event::Started, &place.database);
    record.requested_by = Some(context.requester.clone());
    ledger
        .append(&record)
        .map_err(unrecorded("nothing was verified because"))?;

    let mut outcome = Ok(());
    for entry in chosen {
        let limit = Limit::new(cancel.clone(), "total", context.limits.total);
        match check(context, repository, run, entry, &limit, progress).await {
            Ok(Some(finding)) => report.findings.push(finding),
            Ok(None) => {}
            Err(JobError::Stop(Stop::Interrupted)) => {
                outcome = Err(JobError::Stop(Stop::Interrupted));
                break;
            }
            Err(error) => report
                .unchecked
                .push((entry.stem.clone(), error.to_string())),
        }
    }

    let mut record = context.record(run, Operation::Verify, Event::Succeeded, &place.database);
    record.seconds = Some(began.elapsed().as_secs_f64());
    record.bytes = Some(report.findings.iter().map(|finding| finding.bytes).sum());
    record.message = Some(format!(
        "{} checked, {} damaged, {} could not be checked",
        report.findings.len(),
        report.damaged(),
        report.unchecked.len()
    ));
    record.damaged = report.damages().collect();
    record.event = match &outcome {
        Err(_) => Event::Interrupted,
        Ok(()) if record.damaged.is_empty() && report.unchecked.is_empty() => Event::Succeeded,
        Ok(()) => Event::Failed,
    };
    ledger
        .append(&record)
        .map_err(unrecorded("the verification is done, but"))?;
    outcome.map(|()| report)
}

/// The problems that concern a selection: a lost backup concerns whoever named it, or named none.
fn problems(all: Vec<Problem>, selection: &Selection) -> Vec<Problem> {
    let Selection::Named(stems) = selection else {
        return all;
    };
    let manifests: Vec<String> = stems
        .iter()
        .map(|stem| format!("{stem}{}", Role::Manifest.suffix()))
        .collect();
    all.into_iter()
        .filter(|problem| manifests.contains(&problem.file))
        .collect()
}

/// The chosen backups, newest first.
fn choose<'a>(backups: &'a [Entry], selection: &Selection) -> Vec<&'a Entry> {
    let mut seen = Vec::new();
    let mut chosen: Vec<&Entry> = backups.iter().rev().collect();
    chosen.retain(|entry| match selection {
        Selection::All => true,
        Selection::Latest => {
            let is_first = !seen.contains(&&entry.stem.series);
            seen.push(&entry.stem.series);
            is_first
        }
        Selection::Named(stems) => stems.contains(&entry.stem),
    });
    chosen
}

/// Checks one backup and notes the outcome beside it; none if it is gone meanwhile.
async fn check(
    context: &Context,
    repository: &Repository,
    run: Uuid,
    entry: &Entry,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Option<Finding>, JobError> {
    let stem = &entry.stem;
    let damage = match repository.manifest(stem) {
        Ok(manifest) => find_damage(context, repository, stem, &manifest, limit, progress).await?,
        Err(error) => {
            let error = JobError::from(error);
            if error.kind() != JobErrorKind::Damaged {
                return Err(error);
            }
            Some(error.to_string())
        }
    };
    if !repository.path(stem, Role::Manifest).exists() {
        return Ok(None);
    }
    let mut state = repository.state(stem)?;
    state.checked = Some(Check {
        at: context.now(),
        damage: damage.clone(),
    });
    repository.set_state(run, stem, &state)?;
    Ok(Some(Finding {
        stem: stem.clone(),
        damage,
        rows: entry.rows,
        bytes: entry.bytes,
    }))
}

/// Reads every file of a backup and says what is wrong.
async fn find_damage(
    context: &Context,
    repository: &Repository,
    stem: &Stem,
    manifest: &Manifest,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Option<String>, JobError> {
    if let Some(globals) = &manifest.globals {
        let path = repository.path(stem, Role::Globals);
        if let Some(damage) = differs(&path, &globals.digest, limit, progress).await? {
            return Ok(Some(damage));
        }
    }
    let path = repository.path(stem, Role::Census);
    let expected = match File::open(&path).map_err(Into::into).and_then(read_census) {
        Ok((census, digest)) if digest == manifest.census.digest => census,
        Ok(_) => return Ok(Some("its census has been changed".to_owned())),
        Err(error) => return Ok(Some(census_damage(&error))),
    };
    let found = match read_artifact(context, repository, stem, manifest, limit, progress).await {
        Ok(passage) => passage,
        Err(JobError::Stream { source, .. }) => return Ok(Some(format!("its dump: {source}"))),
        Err(JobError::Failed(sentence)) => return Ok(Some(format!("its dump: {sentence}"))),
        Err(error) => return Err(error),
    };
    if found.digest != manifest.artifact.digest {
        return Ok(Some(format!(
            "its dump has been changed: {} expected, {} found",
            manifest.artifact.digest, found.digest
        )));
    }
    let difference = found.census.differences(&expected).into_iter().next();
    Ok(difference.map(|difference| format!("its dump and its census do not agree: {difference}")))
}

async fn differs(
    path: &Path,
    expected: &Digest,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Option<String>, JobError> {
    let name = path.file_name().unwrap_or_default().display().to_string();
    let (path, counted) = (path.to_owned(), Arc::clone(progress));
    let found = blocking(limit, progress, &name, move || {
        digest_file(File::open(path).map_err(StreamError::Read)?, &counted)
    })
    .await;
    match found {
        Ok(found) if found == *expected => Ok(None),
        Ok(_) => Ok(Some(format!("{name} has been changed"))),
        Err(JobError::Stream { source, .. }) => Ok(Some(format!("{name}: {source}"))),
        Err(error) => Err(error),
    }
}

/// Decodes the whole dump; an archive by the `pg_restore` that fits the server it came from.
async fn read_artifact(
    context: &Context,
    repository: &Repository,
    stem: &Stem,
    manifest: &Manifest,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Passage, JobError> {
    let artifact = &manifest.artifact;
    let path = repository.path(stem, Role::Artifact(artifact.format, artifact.compression));
    if artifact.format == Format::Plain {
        return read_back(path, artifact.compression, limit, progress).await;
    }
    let programs = Programs::locate(context.programs.as_deref(), manifest.server.major()).await?;
    // It reads a file and needs no server; only the clean environment is taken from here.
    let conninfo = Conninfo::resolve(
        &Connection::default(),
        &context.environment,
        Some("postgres"),
    )?;
    let restorer = Dumper {
        program: programs.pg_restore(),
        arguments: archive_as_sql_arguments(&path),
        application: "pgbackupd",
        conninfo: &conninfo,
        connect: context.limits.connect,
        watch: &Watch::default(),
    };
    archive::read_archive(&restorer, path.clone(), artifact.format, limit, progress).await
}

#[cfg(test)]
mod tests {
    use super::{Finding, Problem, Selection, VerifyReport, problems};

    fn problem(file: &str, is_loss: bool) -> Problem {
        Problem {
            file: file.to_owned(),
            what: "…".to_owned(),
            is_loss,
        }
    }

    #[test]
    fn a_lost_backup_counts_as_damaged_and_a_foreign_file_does_not() {
        let report = VerifyReport {
            findings: vec![Finding {
                stem: "backup_20250709_020000".parse().unwrap(),
                damage: Some("…".to_owned()),
                rows: 0,
                bytes: 0,
            }],
            problems: vec![
                problem("backup_20250710_020000.json", true),
                problem("backup_20250711_020000.sql.gz", false),
            ],
            ..VerifyReport::default()
        };
        assert_eq!(report.damaged(), 2);
    }

    #[test]
    fn whoever_names_backups_hears_of_those_alone() {
        let all = || {
            vec![
                problem("backup_20250710_020000.json", true),
                problem("backup_20250711_020000.json", true),
            ]
        };
        let named = Selection::Named(vec!["backup_20250711_020000".parse().unwrap()]);
        assert_eq!(problems(all(), &named), all()[1..]);
        assert_eq!(problems(all(), &Selection::Latest), all());
    }
}
