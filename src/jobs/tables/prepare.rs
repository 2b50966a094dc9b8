//! What has to be known and to be there before tables are restored: which they are, what ties them
//! to others, what they need, and that nothing stands where they go.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, FixedOffset, TimeDelta};

use super::choose::{Name, choose_tables};
use super::judge::{free, judge_tables, room_for};
use super::look::{Found, Look};
use super::scratch::{Extraction, STATEMENT, sweep};
use super::stored_census::stored_census;
use super::{PlannedTable, PreparedTables, TablesRequest, restore_failed};
use crate::jobs::JobError;
use crate::jobs::restore::begin::{Depth, RestoreStart, missing_providers};
use crate::jobs::restore::cut_short::sentences;
use crate::jobs::restore::preflight::{Judgement, lacks_label_provider};
use crate::jobs::restore::send_check::{changed, stay_in};
use crate::jobs::restore::side_names::SideName;
use crate::jobs::restore::source::Source;
use crate::jobs::run::Run;
use crate::jobs::step_log::StepLog;
use crate::pipeline::StreamSummary;
use crate::postgres::{Client, Conninfo, ServerFacts, Standing, drop_database, has_schema};
use crate::repository::{Content, Manifest};

/// Takes the lock, reads the backup in full, makes a scratch database of its definitions, and looks
/// whether everything is there that the tables need. No database of anybody's is changed.
///
/// # Errors
/// When a pattern means no table, the backup is damaged, or something is missing or in the way: all
/// of it is named. That is in `restore.log` then.
pub async fn prepare_tables(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
) -> Result<PreparedTables, JobError> {
    let run = &run.renewed();
    let preparing = Box::pin(prepare(run, request));
    let prepared = request.order.on_record(run, preparing).await;
    prepared.map_err(|error| restore_failed(error, String::new()))
}

async fn prepare(run: &Run<'_>, request: &TablesRequest<'_>) -> Result<PreparedTables, JobError> {
    let order = &request.order;
    let begun = order.begin(run, Depth::Work).await?;
    let Contents {
        stream_summary,
        names,
        mut warnings,
    } = read_and_judge(run, request, &begun).await?;
    let RestoreStart {
        lock,
        source,
        client,
        maintenance,
        server_facts,
        ..
    } = begun;
    let programs = source.programs(run.context, server_facts.major).await?;
    warnings.extend(sweep(run, &client, order).await?);
    let makes_database = !server_facts.databases.contains_key(order.into);
    let standing = (!makes_database).then(|| maintenance.to_database(order.into));
    let like = source.properties_or_of(run, standing.as_ref()).await?;
    let extraction = Extraction {
        run,
        order,
        source: &source,
        programs: &programs,
        maintenance: &maintenance,
        like: like.as_ref(),
    };
    let (scratch, unfinished) = create_scratch(&extraction, &client, &server_facts).await?;
    let schema = free_schema(run, request, standing.as_ref()).await?;
    let looking = Look {
        extraction,
        server_facts: &server_facts,
        stream_summary: &stream_summary,
        scratch: &scratch,
        makes_database,
        schema: schema.as_deref(),
    };
    let mut found = look(&looking, &client, &names).await?;
    warnings.append(&mut found.warnings);
    warnings.extend(about(&source));
    let manifest = source.manifest.as_ref();
    warnings.extend(manifest.map_or_else(Vec::new, Manifest::rows_not_in_the_backup));
    log_plan(&run.step_log, &warnings, &found.planned);
    Ok(PreparedTables {
        plan: looking.plan(&found, warnings),
        _lock: lock,
        source,
        stream_summary,
        programs,
        maintenance,
        scratch,
        unfinished,
        like,
        tables: found.tables,
        originals_stand: found.originals_stand,
    })
}

/// What is in a backup, and which tables of it are meant.
struct Contents {
    stream_summary: StreamSummary,
    names: Vec<Name>,
    /// What the operator should know.
    warnings: Vec<String>,
}

/// Reads the backup in full, and judges whether the server can take the tables.
async fn read_and_judge(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
    begun: &RestoreStart,
) -> Result<Contents, JobError> {
    let order = &request.order;
    let RestoreStart {
        cut_short,
        source,
        maintenance,
        server_facts,
        ..
    } = begun;
    let source_major = source.manifest.as_ref().map(|one| one.server.major());
    // What can never be restored needs no reading, which may take hours.
    refuse(&judge_tables(server_facts, source_major, None))?;
    if source.manifest.is_some() {
        let census = stored_census(order, source)?;
        choose_tables(&census, request.patterns).map_err(JobError::NoSuchTable)?;
    }

    let (stream_summary, unexpected) = order.read_in_full(run, source, server_facts.major).await?;
    let names =
        choose_tables(&stream_summary.census, request.patterns).map_err(JobError::NoSuchTable)?;
    let room = room_for(&names, &stream_summary.census, stream_summary.text_bytes);
    let room = free(maintenance, server_facts).map(|free| (room, free));
    let mut judgement = judge_tables(server_facts, source_major, room);
    let (dependencies, none) = (Some(&stream_summary.dependencies), BTreeSet::new());
    let missing = missing_providers(run, maintenance, dependencies, none).await?;
    let missing = missing.iter().map(|one| lacks_label_provider(one));
    judgement.problems.extend(missing);
    refuse(&judgement)?;
    let before = sentences(cut_short, order.database, &server_facts.databases, None);
    let mut warnings = [order.passed_over, &before].concat();
    warnings.extend(unexpected);
    warnings.extend(judgement.warnings);
    Ok(Contents {
        stream_summary,
        names,
        warnings,
    })
}

/// Looks into the scratch database, which goes where that fails.
async fn look(looking: &Look<'_>, client: &Client, names: &[Name]) -> Result<Found, JobError> {
    let Extraction {
        run,
        order,
        source,
        maintenance,
        ..
    } = looking.extraction;
    // What serves cannot be dropped while the definitions are loaded.
    let serving = [order.into, order.database];
    let staying = stay_in(run.context, looking.server_facts, maintenance, &serving).await;
    let found = Box::pin(looking.carry_out(names)).await;
    drop(staying);
    match found {
        Ok(found) => Ok(found),
        Err(error) => {
            if drop_after_failure(client, looking.scratch).await {
                order.repository.forget_scratch(run.id);
            }
            Err(changed(source, error))
        }
    }
}

/// The schema that the tables go into, of this database if it is there. One that we name is one that is not
/// there: another restore of the same second has its own.
async fn free_schema(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
    standing: Option<&Conninfo>,
) -> Result<Option<String>, JobError> {
    let mut at = run.now();
    let mut schema = request.schema_for(standing.is_none(), at);
    let Some(standing) = standing.filter(|_| request.schema.is_none()) else {
        return Ok(schema);
    };
    let target = run.connect(standing).await?;
    while let Some(name) = &schema
        && run.wait_for(has_schema(&target, name)).await??
    {
        at += TimeDelta::seconds(1);
        schema = request.schema_for(false, at);
    }
    Ok(schema)
}

/// A restore that is not possible is not begun.
fn refuse(judgement: &Judgement) -> Result<(), JobError> {
    if judgement.problems.is_empty() {
        return Ok(());
    }
    Err(JobError::failed(judgement.problems.join("\n")))
}

/// For the incident report.
fn log_plan(step_log: &StepLog, warnings: &[String], tables: &[PlannedTable]) {
    step_log.update(|facts| {
        facts.warnings = warnings.to_vec();
        facts.restored_tables = tables.iter().map(PlannedTable::display).collect();
        facts.expected = Some(Content {
            rows: tables.iter().filter_map(|table| table.rows).sum(),
            tables: tables.len() as u64,
        });
    });
}

/// What cannot be said of a dump without a manifest.
fn about(source: &Source) -> Option<String> {
    source.manifest.is_none().then(|| {
        format!(
            "there is no manifest for {}: the rows are compared with the file, which \
             may not hold all that was in the table",
            source.label
        )
    })
}

/// The names of the scratch database, and of a new one until it is complete.
pub(super) fn two_names(
    original: &str,
    now: DateTime<FixedOffset>,
    mut taken: BTreeMap<String, Standing>,
) -> (String, String) {
    let scratch = SideName::Restoring.name(original, now, &taken);
    taken.insert(scratch.clone(), Standing::default());
    let unfinished = SideName::Restoring.name(original, now, &taken);
    (scratch, unfinished)
}

/// Makes the scratch database, under a name that is noted before. Gives that, and the one that a new
/// database is to bear until it is complete.
///
/// Another restore, from elsewhere, may have taken the name in the same second: then it is the next one.
async fn create_scratch(
    extraction: &Extraction<'_>,
    client: &Client,
    server_facts: &ServerFacts,
) -> Result<(String, String), JobError> {
    let Extraction { run, order, .. } = *extraction;
    let repository = order.repository;
    let mut taken = server_facts.databases.clone();
    loop {
        let (scratch, unfinished) = two_names(order.database, run.now(), taken.clone());
        repository.record_scratch(run.id, &[&scratch, &unfinished])?;
        match extraction.create(client, &scratch).await {
            Ok(()) => return Ok((scratch, unfinished)),
            Err(JobError::Query(error))
                if error.is_taken_database_name() && !taken.contains_key(&scratch) =>
            {
                // It is somebody else's, and neither dropped nor noted.
                repository.forget_scratch(run.id);
                taken.insert(scratch, Standing::default());
            }
            Err(error) => {
                if drop_after_failure(client, &scratch).await {
                    repository.forget_scratch(run.id);
                }
                return Err(error);
            }
        }
    }
}

/// The failure before is what is reported; what remains bears our mark, or stands in our note. Gives whether
/// nothing remains.
async fn drop_after_failure(client: &Client, scratch: &str) -> bool {
    let sql = drop_database(scratch);
    let dropped = client.execute("drop a database", &sql, STATEMENT).await;
    if let Err(error) = &dropped {
        tracing::warn!("the scratch database {scratch} remains until the next restore: {error}");
    }
    dropped.is_ok()
}

/// When the backup began, for the comment on a schema.
pub(super) fn when(started: Option<DateTime<FixedOffset>>) -> String {
    started.map_or_else(String::new, |started| {
        format!(" of {}", crate::display::moment(started))
    })
}
