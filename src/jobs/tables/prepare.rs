//! What has to be known and to be there before tables are restored: which they are, what ties them
//! to others, what they need, and that nothing stands where they go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, FixedOffset, TimeDelta};
use tokio_util::sync::CancellationToken;

use super::choose::choose;
use super::judge::{free, judge, room_for};
use super::look::Look;
use super::scratch::{STATEMENT, Tools, sweep};
use super::{PlannedTable, PreparedTables, TablesPlan, TablesRequest, Tell, told};
use crate::jobs::restore::account::Account;
use crate::jobs::restore::begin::missing_providers;
use crate::jobs::restore::begin::{Beginning, Depth};
use crate::jobs::restore::beside::Beside;
use crate::jobs::restore::cut_short::sentences;
use crate::jobs::restore::preflight::{Judgement, lacks_label_provider};
use crate::jobs::restore::sendable::{self, changed, stay_in};
use crate::jobs::restore::source::Source;
use crate::jobs::{JobContext, JobError, Limit};
use crate::pipeline::{Passage, Progress};
use crate::postgres::{
    Client, Conninfo, DatabaseProperties, Premises, Programs, Standing, database_properties,
    drop_database, has_schema,
};
use crate::repository::Content;

/// Takes the lock, reads the backup in full, makes a scratch database of its definitions, and looks
/// whether everything is there that the tables need. No database of anybody's is changed.
///
/// # Errors
/// When a pattern means no table, the backup is damaged, or something is missing or in the way: all
/// of it is named. That is in `restore.log` then.
pub async fn prepare_tables(
    context: &JobContext,
    request: &TablesRequest<'_>,
    tell: Tell<'_>,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<PreparedTables, JobError> {
    let limit = Limit::new(cancel.clone(), "total", context.limits.total);
    let prepared = request
        .asked()
        .on_record(context, tell, async |account, tell| {
            let job = Job {
                context,
                request,
                account,
                tell,
                progress,
                limit: &limit,
            };
            Box::pin(prepare(&job)).await
        })
        .await;
    prepared.map_err(|error| told(error, String::new()))
}

/// What every step of preparing has.
struct Job<'a> {
    context: &'a JobContext,
    request: &'a TablesRequest<'a>,
    account: &'a Arc<Account>,
    tell: Tell<'a>,
    progress: &'a Arc<Progress>,
    limit: &'a Limit,
}

async fn prepare(job: &Job<'_>) -> Result<PreparedTables, JobError> {
    let &Job {
        context,
        request,
        account,
        tell,
        progress,
        limit,
    } = job;
    let Beginning {
        lock,
        cut_short,
        source,
        client,
        maintenance,
        premises,
    } = request
        .asked()
        .begin(context, Depth::Work, account, limit, progress)
        .await?;
    let source_major = source.manifest.as_ref().map(|one| one.server.major());
    // What the server can never take needs no reading.
    refuse(&judge(&premises, source_major, None))?;

    let (passage, unexpected) = job.read(&source, premises.major).await?;
    let names = choose(&passage.census, request.patterns).map_err(JobError::NoSuchTable)?;
    let room = room_for(&names, &passage.census, passage.text_bytes);
    let room = free(&maintenance, &premises).map(|free| (room, free));
    let mut judgement = judge(&premises, source_major, room);
    let (needs, none) = (Some(&passage.needs), BTreeSet::new());
    let missing = missing_providers(context, &maintenance, needs, none, limit).await?;
    let missing = missing.iter().map(|one| lacks_label_provider(one));
    judgement.problems.extend(missing);
    refuse(&judgement)?;
    let programs = source.programs(context, premises.major).await?;
    let makes_database = !premises.databases.contains_key(request.into);
    let before = sentences(&cut_short, request.original, &premises.databases, None);
    let mut warnings = [request.passed_over, &before].concat();
    warnings.extend(unexpected);
    warnings.extend(judgement.warnings);
    warnings.extend(sweep(context, &client, request.repository, request.original).await?);
    let like = job.like(&source, &maintenance, makes_database).await?;
    let tools = job.tools(&source, &programs, &maintenance);
    let (scratch, unfinished) =
        create_scratch(&tools, &client, request, &premises, like.as_ref()).await?;
    let schema = job.free_schema(&maintenance, makes_database).await?;
    let looking = Look {
        tools,
        request,
        premises: &premises,
        passage: &passage,
        scratch: &scratch,
        makes_database,
        schema: schema.as_deref(),
        tell,
    };
    // What serves cannot be dropped while the definitions are loaded.
    let serving = [request.into, request.original];
    let staying = stay_in(context, &premises, &maintenance, &serving).await;
    let found = match Box::pin(looking.carry_out(&names)).await {
        Ok(found) => found,
        Err(error) => {
            if drop_after_failure(&client, &scratch).await {
                request.repository.forget_scratch(request.run);
            }
            return Err(changed(&source, error));
        }
    };
    drop(staying);
    warnings.extend(found.warnings);
    warnings.extend(about(&source));
    note_plan(account, &warnings, &found.planned);
    Ok(PreparedTables {
        plan: TablesPlan {
            backup: source.label.clone(),
            started: source.started(),
            server: maintenance.server(),
            database: request.into.to_owned(),
            makes_database,
            makes_schema: found.makes_schema,
            schema,
            tables: found.planned,
            user: premises.user.clone(),
            left_out: found.left_out,
            warnings,
        },
        _lock: lock,
        source,
        passage,
        programs,
        maintenance,
        scratch,
        unfinished,
        like,
        tables: found.tables,
        originals_stand: found.originals_stand,
        accepts_unexpected: request.accept_unexpected,
        account: Arc::clone(account),
    })
}

impl Job<'_> {
    /// The schema that the tables go into. One that we name is one that is not there: another restore of
    /// the same second has its own.
    async fn free_schema(
        &self,
        maintenance: &Conninfo,
        makes_database: bool,
    ) -> Result<Option<String>, JobError> {
        let request = self.request;
        let mut at = self.context.now();
        let mut schema = request.schema_for(makes_database, at);
        if makes_database || request.schema.is_some() {
            return Ok(schema);
        }
        let target = maintenance.to_database(request.into);
        let target = Client::connect(&target, self.context.limits.connect);
        let target = self.limit.wait_for(target).await??;
        while let Some(name) = &schema
            && self.limit.wait_for(has_schema(&target, name)).await??
        {
            at += TimeDelta::seconds(1);
            schema = request.schema_for(makes_database, at);
        }
        Ok(schema)
    }
}

impl<'a> Job<'a> {
    fn tools(
        &self,
        source: &'a Source,
        programs: &'a Programs,
        maintenance: &'a Conninfo,
    ) -> Tools<'a> {
        Tools {
            context: self.context,
            source,
            programs,
            maintenance,
            accepts_unexpected: self.request.accept_unexpected,
            limit: self.limit,
            progress: self.progress,
        }
    }

    /// Reads the backup in full; refuses what is not sent. Gives what the operator should know.
    async fn read(
        &self,
        source: &Source,
        major: u32,
    ) -> Result<(Passage, Option<String>), JobError> {
        let Self {
            context,
            request,
            limit,
            progress,
            ..
        } = self;
        (self.tell)(&format!("reading {} in full", source.label));
        let passage = source
            .read(context, request.source, major, limit, progress)
            .await?;
        let accepts = request.accept_unexpected;
        let warning = sendable::judge(source, &passage.findings, accepts)?;
        Ok((passage, warning))
    }

    /// What the scratch database is made like: what was recorded, else the database that stands.
    async fn like(
        &self,
        source: &Source,
        maintenance: &Conninfo,
        makes_database: bool,
    ) -> Result<Option<DatabaseProperties>, JobError> {
        if let Some(properties) = source.properties() {
            return Ok(Some(properties.clone()));
        }
        if makes_database {
            return Ok(None);
        }
        let conninfo = maintenance.to_database(self.request.into);
        let asked = async {
            let client = Client::connect(&conninfo, self.context.limits.connect).await?;
            Ok::<_, JobError>(database_properties(&client).await?)
        };
        Ok(Some(self.limit.wait_for(asked).await??))
    }
}

/// A restore that is not possible is not begun.
fn refuse(judgement: &Judgement) -> Result<(), JobError> {
    if judgement.problems.is_empty() {
        return Ok(());
    }
    Err(JobError::failed(judgement.problems.join("\n")))
}

/// For the incident report.
fn note_plan(account: &Account, warnings: &[String], tables: &[PlannedTable]) {
    account.note(|facts| {
        facts.warnings = warnings.to_vec();
        facts.restored_tables = tables.iter().map(PlannedTable::in_words).collect();
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
            "no manifest speaks for {}: the rows are compared with the file, and whether that \
             holds all that was in the table, nobody can say",
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
    let scratch = Beside::Restoring.name(original, now, &taken);
    taken.insert(scratch.clone(), Standing::default());
    let unfinished = Beside::Restoring.name(original, now, &taken);
    (scratch, unfinished)
}

/// Makes the scratch database, under a name that is noted before. Gives that, and the one that a new
/// database is to bear until it is complete.
///
/// Another restore, from elsewhere, may have taken the name in the same second: then it is the next one.
async fn create_scratch(
    tools: &Tools<'_>,
    client: &Client,
    request: &TablesRequest<'_>,
    premises: &Premises,
    like: Option<&DatabaseProperties>,
) -> Result<(String, String), JobError> {
    let (repository, run) = (request.repository, request.run);
    let mut taken = premises.databases.clone();
    loop {
        let (scratch, unfinished) = two_names(request.original, tools.context.now(), taken.clone());
        repository.note_scratch(run, &[&scratch, &unfinished])?;
        match tools.create(client, request.original, &scratch, like).await {
            Ok(()) => return Ok((scratch, unfinished)),
            Err(JobError::Query(error))
                if error.is_taken_database_name() && !taken.contains_key(&scratch) =>
            {
                // It is somebody else's, and neither dropped nor noted.
                repository.forget_scratch(run);
                taken.insert(scratch, Standing::default());
            }
            Err(error) => {
                if drop_after_failure(client, &scratch).await {
                    repository.forget_scratch(run);
                }
                return Err(error);
            }
        }
    }
}

/// The failure before is what is told; what remains bears our mark, or stands in our note. Gives whether
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
        format!(" of {}", crate::words::moment(started))
    })
}
