//! Carrying a restore of tables out: their definitions out of the scratch database, their rows out of
//! the backup, and the comparison with it, in one transaction.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::scratch::{STATEMENT, Tools};
use super::{PlannedTable, PreparedTables, TablesReport, TablesRequest, Tell, next, prepare, told};
use crate::config::Format;
use crate::jobs::blocked::Watch;
use crate::jobs::dump::Remarks;
use crate::jobs::proof::without_statistics;
use crate::jobs::record::unrecorded;
use crate::jobs::restore::beside::Beside;
use crate::jobs::{JobContext, JobError, JobErrorKind, Limit};
use crate::pipeline::census::statements;
use crate::pipeline::{Amount, Phase, Progress, StreamError};
use crate::postgres::{
    Client, NotRefreshed, Shape, analyze_tables, databases, definitions_arguments, drop_database,
    end_process, finish_database, knows_time_zone, process_of, quoted, session_statements, shapes,
    statistics,
};
use crate::repository::{Content, Event};
use crate::words::{count, counted};

/// How values are read and written, as `pg_dump` has it; rows that a policy hides are an error.
const SESSION: &str = "SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; \
     SET extra_float_digits = 3; SET bytea_output = 'hex'; \
     SET standard_conforming_strings = on; SET array_nulls = on; SET transform_null_equals = off; \
     SET quote_all_identifiers = off; SET xmloption = 'content'; SET row_security = off; \
     SET check_function_bodies = false; SET client_min_messages = 'warning'";

async fn drop_beside(
    context: &JobContext,
    prepared: &PreparedTables,
    name: &str,
) -> Result<(), JobError> {
    let client = Client::connect(&prepared.maintenance, context.limits.connect).await?;
    client
        .execute("drop a database", &drop_database(name), STATEMENT)
        .await?;
    Ok(())
}

/// Carries a restore of tables out.
///
/// # Errors
/// Every database is then as it was, unless the error says that it is not known.
pub async fn restore_tables(
    context: &JobContext,
    request: &TablesRequest<'_>,
    prepared: PreparedTables,
    tell: Tell<'_>,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<TablesReport, JobError> {
    let began = Instant::now();
    let limit = Limit::new(cancel.clone(), "total", context.limits.total);
    let ledger = request.repository.restore_ledger();
    let account = &prepared.account;
    let mut start = request
        .asked()
        .record(context, Event::Started, account, None);
    start.requested_by = Some(context.requester.clone());
    if let Err(source) = ledger.append(&start) {
        // The reason that is told is the ledger's.
        let _ = drop_beside(context, &prepared, &prepared.scratch).await;
        return Err(unrecorded(&ledger, "nothing was restored because")(source));
    }
    let say = |step: &str| {
        account.begin(context.now(), step);
        tell(step);
    };
    let work = Work {
        context,
        prepared: &prepared,
        request,
        limit: &limit,
        progress,
        tell: &say,
    };
    let mut unfinished = None;
    let outcome = Box::pin(work.carry_out(&mut unfinished)).await;
    account.pause();
    let mut left = Vec::new();
    let mut names = vec![prepared.scratch.as_str()];
    if outcome.is_err() {
        names.extend(unfinished.as_deref());
    }
    for name in names {
        if let Err(error) = drop_beside(context, &prepared, name).await {
            left.push(format!(
                "the database {name} remains: the next restore of {} drops it, or {}; ({error})",
                request.original,
                drop_database(name)
            ));
        }
    }

    if left.is_empty() {
        request.repository.forget_scratch(request.run);
    }

    let took = began.elapsed();
    account.note(|facts| facts.left.clone_from(&left));
    let mut end = request
        .asked()
        .record(context, Event::Succeeded, account, None);
    end.seconds = Some(took.as_secs_f64());
    let outcome = match outcome {
        Ok(mut report) => {
            report.took = took;
            report.plan.warnings.extend(left);
            end.message = Some(report.in_words());
            Ok(report)
        }
        Err(error) => {
            end.event = match error.kind() {
                JobErrorKind::Interrupted => Event::Interrupted,
                _ => Event::Failed,
            };
            let error = told(error, left.iter().flat_map(|one| ["\n", one]).collect());
            end.message = Some(error.to_string());
            Err(error)
        }
    };
    if let Err(unwritten) = ledger.append(&end) {
        tracing::warn!(
            "the end of the restore could not be written to {}: {unwritten}",
            ledger.path().display()
        );
    }
    outcome
}

impl TablesReport {
    fn in_words(&self) -> String {
        let tables = self.plan.tables.iter().map(PlannedTable::in_words);
        let tables: Vec<String> = tables.collect();
        format!(
            "{} restored into database {:?} and compared: {}",
            counted(self.plan.tables.len() as u64, "table", "tables"),
            self.plan.database,
            tables.join(", ")
        )
    }
}

/// The tables, as SQL writes them.
fn names(shapes: &BTreeMap<u32, Shape>) -> Vec<&str> {
    shapes.values().map(|shape| shape.quoted.as_str()).collect()
}

pub(super) struct Work<'a> {
    pub(super) context: &'a JobContext,
    pub(super) prepared: &'a PreparedTables,
    pub(super) request: &'a TablesRequest<'a>,
    pub(super) limit: &'a Limit,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) tell: Tell<'a>,
}

impl Work<'_> {
    pub(super) fn tools(&self) -> Tools<'_> {
        Tools {
            context: self.context,
            source: &self.prepared.source,
            programs: &self.prepared.programs,
            maintenance: &self.prepared.maintenance,
            accepts_unexpected: self.prepared.accepts_unexpected,
            limit: self.limit,
            progress: self.progress,
        }
    }

    /// All steps; `unfinished` is the new database, as long as it has not got its name.
    async fn carry_out(&self, unfinished: &mut Option<String>) -> Result<TablesReport, JobError> {
        let plan = &self.prepared.plan;
        let tools = self.tools();
        let oids: Vec<u32> = self.prepared.tables.iter().map(|table| table.oid).collect();
        let scratch = tools.connect(&self.prepared.scratch).await?;
        let shapes = self.limit.wait_for(shapes(&scratch, &oids)).await??;
        let shapes: BTreeMap<u32, Shape> =
            shapes.into_iter().map(|shape| (shape.oid, shape)).collect();
        let statistics = if plan.makes_database {
            // All of the scratch database is dumped, and they are in it.
            Vec::new()
        } else {
            self.limit.wait_for(statistics(&scratch, &oids)).await??
        };
        drop(scratch);
        let before = self.definitions(true, &shapes).await?;
        let after = self.definitions(false, &shapes).await?;

        let database = if plan.makes_database {
            self.create_unfinished(unfinished).await?
        } else {
            plan.database.clone()
        };
        let client = tools.connect(&database).await?;
        let process = self.limit.wait_for(process_of(&client)).await??;
        let loaded = self
            .load(&client, &before, &after, &statistics, &shapes)
            .await;
        let rows = match loaded {
            Ok(rows) => rows,
            Err(error) => {
                drop(client);
                self.end(process).await;
                return Err(error);
            }
        };
        let warnings = self.analyze(&client, &shapes).await;
        drop(client);
        if plan.makes_database {
            self.name_it(&database).await?;
        }
        let mut plan = plan.clone();
        plan.warnings.extend(warnings);
        Ok(TablesReport {
            next: self.next(&shapes),
            plan,
            rows,
            took: std::time::Duration::ZERO,
        })
    }

    /// Makes the empty new database, under the next name where somebody else has taken this one; gives its
    /// name, and whether it may be there.
    async fn create_unfinished(&self, made: &mut Option<String>) -> Result<String, JobError> {
        let (tools, prepared) = (self.tools(), self.prepared);
        let client = tools.connect(prepared.maintenance.database()).await?;
        let mut name = prepared.unfinished.clone();
        loop {
            let like = prepared.like.as_ref();
            let created = tools
                .create(&client, self.request.original, &name, like)
                .await;
            let all = match &created {
                Err(JobError::Query(error)) if error.is_taken_database_name() => {
                    self.limit.wait_for(databases(&client)).await??
                }
                _ => {
                    *made = Some(name.clone());
                    return created.map(|()| name);
                }
            };
            if !all.contains_key(&name) {
                return created.map(|()| name);
            }
            name = Beside::Restoring.name(self.request.original, self.context.now(), &all);
            let (repository, run) = (self.request.repository, self.request.run);
            repository.forget_scratch(run);
            repository.note_scratch(run, &[&prepared.scratch, &name])?;
        }
    }

    /// What `pg_dump` writes of the tables in the scratch database, a statement each.
    async fn definitions(
        &self,
        before_rows: bool,
        shapes: &BTreeMap<u32, Shape>,
    ) -> Result<Vec<String>, JobError> {
        let tools = self.tools();
        let conninfo = self
            .prepared
            .maintenance
            .to_database(&self.prepared.scratch);
        let names: Vec<String> = shapes.values().map(|shape| shape.quoted.clone()).collect();
        let like = self.prepared.like.as_ref();
        let (watch, remarks) = (Watch::default(), Remarks::default());
        let pg_dump = tools.program(
            self.prepared.programs.pg_dump(),
            definitions_arguments(
                &conninfo,
                before_rows,
                (!self.prepared.plan.makes_database).then_some(names.as_slice()),
                like.is_none_or(|like| like.encoding != "SQL_ASCII"),
                self.context.limits.lock_wait,
            ),
            &conninfo,
            &watch,
            &remarks,
        );
        let doing = "cannot read the definitions of the tables";
        let text = pg_dump
            .stream(self.limit, self.progress, doing, |mut source| {
                let mut text = Vec::new();
                source.read_to_end(&mut text).map_err(StreamError::Read)?;
                Ok(text)
            })
            .await?;
        let text = String::from_utf8(text).map_err(|_| {
            JobError::failed(
                "a name or a default of the tables is no text in UTF-8: restore the whole backup \
                 beside, with --into",
            )
        })?;
        Ok(to_run(&text))
    }

    /// Everything between BEGIN and COMMIT; gives the rows that were compared.
    async fn load(
        &self,
        client: &Client,
        before: &[String],
        after: &[String],
        statistics: &[String],
        shapes: &BTreeMap<u32, Shape>,
    ) -> Result<u64, JobError> {
        let plan = &self.prepared.plan;
        self.give_settings(client).await?;
        self.run(client, SESSION).await?;
        // A CHECK may ask for the day of a moment; where the zone is not known, the server's own will do.
        let manifest = self.prepared.source.manifest.as_ref();
        if let Some(zone) = manifest.and_then(|one| one.server.timezone.as_ref())
            && knows_time_zone(client, zone).await?
        {
            let zone = zone.replace('\'', "''");
            self.run(client, &format!("SET TimeZone = '{zone}'"))
                .await?;
        }
        if client.server_major() >= 17 {
            self.run(client, "SET transaction_timeout = 0").await?;
        }
        self.run(client, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .await?;
        (self.tell)("making the tables");
        if plan.makes_schema
            && !plan.makes_database
            && let Some(schema) = &plan.schema
        {
            self.run(client, &format!("CREATE SCHEMA {}", quoted(schema)))
                .await?;
            let comment = format!(
                "tables of the backup {}{}, restored by pgbackupd",
                plan.backup,
                prepare::when(plan.started)
            );
            let comment = comment.replace('\\', "/").replace('\'', "''");
            let sql = format!("COMMENT ON SCHEMA {} IS '{comment}'", quoted(schema));
            self.run(client, &sql).await?;
        }
        for statement in before {
            self.run(client, statement).await?;
        }
        self.progress.enter(Phase::Loading);
        if self.prepared.source.format == Format::Plain {
            let text = self.prepared.passage.text_bytes;
            self.progress.expect(Amount::Bytes(text));
        }
        (self.tell)("loading their rows");
        let loaded = self.load_rows(client, shapes).await?;
        (self.tell)("making their indexes, constraints and triggers");
        for statement in after.iter().chain(statistics) {
            self.run(client, statement).await?;
        }
        self.progress.enter(Phase::Comparing);
        (self.tell)("comparing them with the backup, row by row");
        // Moments are written as in the backup.
        self.run(client, "SET TimeZone = 'UTC'").await?;
        let rows = self.compare(client, &loaded, shapes).await?;
        self.prepared.account.note(|facts| {
            facts.found = Some(Content {
                rows,
                tables: plan.tables.len() as u64,
            });
        });
        let committed = client.execute("commit", "COMMIT", STATEMENT).await;
        committed.map_err(|error| {
            if error.sqlstate.is_some() {
                return error.into();
            }
            JobError::failed(format!(
                "the answer to COMMIT was lost, so whether the tables are there is not known: \
                 look for {}; {error}",
                names(shapes).join(", ")
            ))
        })?;
        Ok(rows)
    }

    /// Gives the session what functions and conditions of the tables found in theirs, as far as the
    /// server takes it.
    async fn give_settings(&self, client: &Client) -> Result<(), JobError> {
        const WHAT: &str = "set what the tables were made with";
        let manifest = self.prepared.source.manifest.as_ref();
        let server = manifest.map_or(&[][..], |one| &one.server.settings);
        let own = self.prepared.like.as_ref();
        let own = own.map_or(&[][..], |like| &like.settings);
        for sql in session_statements(server, own) {
            let setting = client.execute(WHAT, &sql, STATEMENT);
            match self.limit.wait_for(setting).await? {
                Err(error) if error.sqlstate.is_none() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the statistics of what is there for good, as far as they can be had; gives what to say of the
    /// others.
    async fn analyze(&self, client: &Client, shapes: &BTreeMap<u32, Shape>) -> Vec<String> {
        let names = names(shapes);
        let analyzing = analyze_tables(client, &names, self.context.limits.total);
        match self.limit.wait_for(analyzing).await {
            Ok(Ok(others)) => without_statistics(&others),
            Ok(Err(error)) => vec![error.to_string()],
            Err(stop) => {
                let missing = names.into_iter().map(|table| NotRefreshed {
                    table: table.to_owned(),
                    reason: Some(JobError::from(stop).to_string()),
                });
                without_statistics(&missing.collect::<Vec<_>>())
            }
        }
    }

    async fn run(&self, client: &Client, sql: &str) -> Result<(), JobError> {
        let within = self.context.limits.total;
        let running = client.execute("restore the tables", sql, within);
        self.limit.wait_for(running).await?.map_err(|error| {
            let first = sql.lines().next().unwrap_or_default();
            JobError::failed(format!("{error}; in: {first}"))
        })
    }

    /// Ends the session whose transaction has failed: it may be in the middle of a long statement.
    async fn end(&self, process: i32) {
        let ending = async {
            let client =
                Client::connect(&self.prepared.maintenance, self.context.limits.connect).await?;
            end_process(&client, process).await?;
            Ok::<_, JobError>(())
        };
        if let Err(error) = ending.await {
            tracing::debug!("the session of the restore was not ended: {error}");
        }
    }

    /// Gives the new database its name, and takes our mark off it, in one transaction.
    async fn name_it(&self, unfinished: &str) -> Result<(), JobError> {
        let client = Client::connect(&self.prepared.maintenance, self.context.limits.connect);
        let client = self.limit.wait_for(client).await??;
        let sql = finish_database(unfinished, &self.prepared.plan.database);
        client
            .execute("give the database its name", &sql, STATEMENT)
            .await?;
        Ok(())
    }

    fn next(&self, shapes: &BTreeMap<u32, Shape>) -> Vec<String> {
        let plan = &self.prepared.plan;
        if plan.makes_database {
            let database = format!("DATABASE {}", quoted(&plan.database));
            return vec![next::once_not_needed(&database)];
        }
        let tables = &self.prepared.tables;
        // Rows of partitions and heirs come with those of the table that they belong to.
        let is_part = |parents: &[u32]| {
            let mut among = tables.iter().filter(|table| parents.contains(&table.oid));
            among.any(|parent| parent.is_partitioned)
        };
        let back: Vec<next::Back<'_>> = tables
            .iter()
            .zip(&self.prepared.originals_stand)
            .filter(|(table, stands)| !**stands || !is_part(&table.parents))
            .filter_map(|(table, stands)| {
                let shape = shapes.get(&table.oid)?;
                // Rows without any column cannot be told apart.
                let tells = !stands || !shape.columns.is_empty();
                tells.then_some(next::Back {
                    oid: table.oid,
                    references: &shape.references,
                    original: &table.quoted,
                    restored: &shape.quoted,
                    columns: &shape.columns,
                    comparable: &shape.comparable,
                    has_key: shape.has_key,
                    has_identity_always: shape.has_identity_always,
                    has_heirs: !table.is_partitioned
                        && tables.iter().any(|one| one.parents.contains(&table.oid)),
                    original_stands: *stands,
                    schema: &table.schema,
                })
            })
            .collect();
        let made = plan.schema.as_deref().filter(|_| plan.makes_schema);
        next::statements(&back, made)
    }
}

/// The statements of a text by `pg_dump` that are run in our transaction: settings of its session are
/// ours, but for those that say where and how a table stands.
fn to_run(text: &str) -> Vec<String> {
    const KEPT: [&str; 2] = [
        "SET default_tablespace ",
        "SET default_table_access_method ",
    ];
    statements(text.as_bytes())
        .into_iter()
        .map(|range| &text[range])
        .filter(|statement| {
            let setting = statement.starts_with("SET ")
                && !statement.starts_with("SET SESSION AUTHORIZATION ")
                && !KEPT.iter().any(|kept| statement.starts_with(kept));
            !setting && !statement.starts_with("COPY ")
        })
        .map(str::to_owned)
        .collect()
}

/// Rows of a table, for people.
pub(super) fn rows_in_words(table: &str, rows: u64) -> String {
    format!("{table}: {} rows", count(rows))
}

#[cfg(test)]
mod tests {
    use super::to_run;

    #[test]
    fn statements_are_run_and_settings_of_the_session_are_ours() {
        let text = "--\n\\restrict x\nSET statement_timeout = 0;\nSET transaction_timeout = 0;\n\
            SELECT pg_catalog.set_config('search_path', '', false);\n\
            SET default_tablespace = fast;\nCREATE TABLE a.b (c text DEFAULT ';');\n\
            COPY a.b (c) FROM stdin;\n\\.\nSELECT pg_catalog.setval('a.b_seq', 7, true);\n\
            SET SESSION AUTHORIZATION bob;\nGRANT SELECT ON TABLE a.b TO c;\n\\unrestrict x\n";
        assert_eq!(
            to_run(text),
            [
                "SELECT pg_catalog.set_config('search_path', '', false);",
                "SET default_tablespace = fast;",
                "CREATE TABLE a.b (c text DEFAULT ';');",
                "SELECT pg_catalog.setval('a.b_seq', 7, true);",
                "SET SESSION AUTHORIZATION bob;",
                "GRANT SELECT ON TABLE a.b TO c;",
            ]
        );
    }
}
