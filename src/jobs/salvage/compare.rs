//! The new database compared with what the backup holds.

use std::collections::BTreeSet;

use super::load::Loaded;
use super::missing::{Missing, MissingState};
use crate::jobs::JobError;
use crate::jobs::examine::is_dump_changed;
use crate::jobs::proof::{Comparison, census_of};
use crate::jobs::readable::ReadableBackup;
use crate::jobs::restore::work::{Loading, Restore};
use crate::pipeline::census::{Census, Difference};
use crate::pipeline::{Phase, ReadSoFar, read_census};

/// What the comparison has shown.
pub(super) struct Compared {
    pub(super) rows: u64,
    pub(super) expected_rows: u64,
    /// Whether no census was recorded with the backup.
    pub(super) is_of_what_was_read: bool,
    pub(super) complete_tables: u64,
    pub(super) expected_tables: u64,
    /// What is missing and was not refused.
    pub(super) missing: Vec<Missing>,
}

impl Compared {
    /// Dumps the new database again, and compares.
    ///
    /// # Errors
    /// When it cannot be dumped, or the limit is reached.
    pub(super) async fn of(
        restore: &Restore<'_>,
        loading: &Loading,
        read: &ReadSoFar,
        loaded: &Loaded,
    ) -> Result<Self, JobError> {
        restore.run.progress.enter(Phase::Comparing);
        let conninfo = restore.to_database(restore.new_name());
        let copy = restore.loader(restore.run, loading, &conninfo);
        let mut found = census_of(&copy, read.encoding.as_deref()).await?;
        let recorded = recorded(restore);
        let expected = recorded.as_ref().unwrap_or(&read.census);
        if restore.prepared.source.manifest.is_none() {
            found = found.fit_to(expected);
        }
        let versions = [
            restore.prepared.server_facts.major,
            loading.own.version.major,
        ];
        let source = &restore.prepared.source;
        let level = source.comparison_level(versions, read.written_by);
        let verdict = Comparison::between(expected, &found).judge(level);
        let known: BTreeSet<&str> = loaded
            .missing
            .iter()
            .map(|one| one.object.as_str())
            .collect();
        let mut incomplete = verdict.lost.iter().filter(|one| is_of_rows(one)).count() as u64;
        let lost = verdict.lost.iter();
        let mut missing: Vec<Missing> = lost.filter_map(|one| unexplained(one, &known)).collect();
        for table in loaded.broken_off.iter().filter(|_| recorded.is_none()) {
            incomplete += 1;
            missing.push(Missing {
                why: Some(
                    "the backup breaks off in or before them; how many follow is not known"
                        .to_owned(),
                ),
                ..Missing::new(u64::MAX, format!("rows of {table}"), MissingState::Rows)
            });
        }
        let (all, there) = (expected.summary(), found.summary());
        Ok(Self {
            rows: there.rows,
            expected_rows: all.rows,
            is_of_what_was_read: recorded.is_none(),
            complete_tables: all.tables.saturating_sub(incomplete),
            expected_tables: all.tables,
            missing,
        })
    }
}

/// The census that was written with the backup, if it is as it was: that knows what a damaged dump has lost.
fn recorded(restore: &Restore<'_>) -> Option<Census> {
    let backup = backup(restore)?;
    let (census, digest) = read_census(&backup.census()).ok()?;
    (digest == backup.manifest.census.digest).then_some(census)
}

/// The backup that is salvaged; none where it is a file without a manifest.
fn backup<'a>(restore: &'a Restore<'_>) -> Option<ReadableBackup<'a>> {
    let source = restore.request.order.source;
    restore.prepared.source.backup(source)
}

/// Which parts of the backup are not as they were written, although all of them could be read.
pub(super) async fn changed_parts(
    restore: &Restore<'_>,
    read: &ReadSoFar,
    compared: &Compared,
) -> Result<Vec<Missing>, JobError> {
    let mut changed = Vec::new();
    if let Some(why) = &restore.prepared.source.lost_globals {
        changed.push(Missing::of_backup("roles of the backup", why.as_str()));
    }
    let Some(backup) = backup(restore) else {
        return Ok(changed);
    };
    if compared.is_of_what_was_read {
        changed.push(Missing::of_backup(
            "census of the backup",
            "it is damaged: the new database is compared with what the dump holds, and what the dump may \
             have lost is not known",
        ));
    }
    if read.damage.is_none() && is_dump_changed(restore.run, &backup).await? {
        changed.push(Missing::of_backup(
            "dump of the backup",
            "it is not the file that was written, although all of it could be loaded",
        ));
    }
    Ok(changed)
}

fn is_of_rows(difference: &Difference) -> bool {
    matches!(
        difference,
        Difference::Rows { .. } | Difference::Content { .. }
    )
}

/// What is missing, unless it was refused, which says more. Definitions that are written differently were taken
/// by the server as they are.
fn unexplained(difference: &Difference, known: &BTreeSet<&str>) -> Option<Missing> {
    // Behind all statements.
    let end = u64::MAX;
    let is_known = |object: &str| known.iter().any(|one| one.ends_with(object));
    match difference {
        Difference::Rows {
            table,
            expected: Some(expected),
            found,
        } => {
            let lost = expected.saturating_sub(found.unwrap_or_default());
            let object = format!("rows of {table}");
            (!known.contains(object.as_str())).then(|| Missing {
                rows: Some(lost),
                why: Some(difference.to_string()),
                ..Missing::new(end, object, MissingState::Rows)
            })
        }
        Difference::Content { table } => Some(Missing {
            why: Some(difference.to_string()),
            ..Missing::new(end, format!("rows of {table}"), MissingState::Differs)
        }),
        Difference::Missing(object) if !is_known(object) => {
            Some(Missing::new(end, object.as_str(), MissingState::NotThere))
        }
        Difference::Changed(object) | Difference::Owner(object) if !is_known(object) => {
            Some(Missing {
                why: Some(difference.to_string()),
                ..Missing::new(end, object.as_str(), MissingState::Differs)
            })
        }
        Difference::Rows { .. }
        | Difference::Missing(_)
        | Difference::Changed(_)
        | Difference::Owner(_)
        | Difference::Unexpected(_)
        | Difference::Definition(_) => None,
    }
}
