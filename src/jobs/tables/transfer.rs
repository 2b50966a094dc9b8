//! Carrying a restore of tables out: their definitions out of the scratch database, their rows out of
//! the backup, and the comparison with it, in one transaction.

use std::collections::BTreeMap;
use std::time::Instant;

use super::scratch::{Extraction, STATEMENT, drop_side_database};
use super::session::{SESSION, to_run};
use super::{
    PlannedTable, PreparedTables, TablesReport, TablesRequest, next, prepare, restore_failed,
};
use crate::config::Format;
use crate::display::counted;
use crate::jobs::JobError;
use crate::jobs::dump::{Dumper, Overheard};
use crate::jobs::proof::without_statistics;
use crate::jobs::restore::RestoreOrder;
use crate::jobs::restore::side_names::SideName;
use crate::jobs::run::Run;
use crate::pipeline::{Amount, Phase};
use crate::postgres::{
    Client, NotRefreshed, Shape, analyze_tables, databases, definitions_arguments, drop_database,
    end_process, finish_database, knows_time_zone, process_of, quoted, session_statements, shapes,
    statistics,
};
use crate::repository::Content;

/// Carries a restore of tables out.
///
/// # Errors
/// Every database is then as it was, unless the error says that it is not known.
pub async fn restore_tables(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
    prepared: PreparedTables,
) -> Result<TablesReport, JobError> {
    let began = Instant::now();
    let (run, order) = (&run.renewed(), &request.order);
    if let Err(error) = order.record_start(run, None) {
        // The reason that is reported is the ledger's.
        let _ = drop_side_database(run, &prepared, &prepared.scratch).await;
        return Err(error);
    }
    let transfer = Transfer {
        run,
        order,
        prepared: &prepared,
    };
    let mut unfinished = None;
    let outcome = Box::pin(transfer.carry_out(&mut unfinished)).await;
    run.step_log.pause();
    let left = transfer
        .clean_up(unfinished.filter(|_| outcome.is_err()))
        .await;

    let took = began.elapsed();
    run.step_log.update(|facts| facts.left.clone_from(&left));
    let outcome = match outcome {
        Ok(mut report) => {
            report.took = took;
            report.plan.warnings.extend(left);
            Ok(report)
        }
        Err(error) => {
            let left = left.iter().flat_map(|one| ["\n", one]).collect();
            Err(restore_failed(error, left))
        }
    };
    let end = outcome.as_ref().map(TablesReport::display);
    order.record_end(run, took, end);
    outcome
}

impl TablesReport {
    fn display(&self) -> String {
        let tables = self.plan.tables.iter().map(PlannedTable::display);
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

/// A restore of tables that is carried out.
pub(super) struct Transfer<'a> {
    pub(super) run: &'a Run<'a>,
    order: &'a RestoreOrder<'a>,
    pub(super) prepared: &'a PreparedTables,
}

/// The tables in the scratch database, and what makes them elsewhere.
struct Script {
    shapes: BTreeMap<u32, Shape>,
    /// Statements that go before their rows.
    before: Vec<String>,
    /// Statements that come after them.
    after: Vec<String>,
}

impl Transfer<'_> {
    pub(super) fn extraction(&self) -> Extraction<'_> {
        Extraction {
            run: self.run,
            order: self.order,
            source: &self.prepared.source,
            programs: &self.prepared.programs,
            maintenance: &self.prepared.maintenance,
            like: self.prepared.like.as_ref(),
        }
    }

    /// Drops the scratch database, and a new one that has not got its name; gives what remains.
    async fn clean_up(&self, unfinished: Option<String>) -> Vec<String> {
        let mut left = Vec::new();
        for name in [&self.prepared.scratch].into_iter().chain(&unfinished) {
            if let Err(error) = drop_side_database(self.run, self.prepared, name).await {
                left.push(format!(
                    "the database {name} remains: the next restore of {} drops it, or {}; ({error})",
                    self.order.database,
                    drop_database(name)
                ));
            }
        }
        if left.is_empty() {
            self.order.repository.forget_scratch(self.run.id);
        }
        left
    }

    /// All steps; `unfinished` is the new database, as long as it has not got its name.
    async fn carry_out(&self, unfinished: &mut Option<String>) -> Result<TablesReport, JobError> {
        let plan = &self.prepared.plan;
        let script = self.script().await?;
        let database = if plan.makes_database {
            self.create_unfinished(unfinished).await?
        } else {
            plan.database.clone()
        };
        let client = self.extraction().connect(&database).await?;
        let process = self.run.wait_for(process_of(&client)).await??;
        let rows = match self.load(&client, &script).await {
            Ok(rows) => rows,
            Err(error) => {
                drop(client);
                self.end(process).await;
                return Err(error);
            }
        };
        let warnings = self.analyze(&client, &script.shapes).await;
        drop(client);
        if plan.makes_database {
            self.name_it(&database).await?;
        }
        let mut plan = plan.clone();
        plan.warnings.extend(warnings);
        Ok(TablesReport {
            next: self.next(&script.shapes),
            plan,
            rows,
            took: std::time::Duration::ZERO,
        })
    }

    /// Asks the scratch database for all that makes the tables elsewhere.
    async fn script(&self) -> Result<Script, JobError> {
        let oids: Vec<u32> = self.prepared.tables.iter().map(|table| table.oid).collect();
        let scratch = self.extraction().connect(&self.prepared.scratch).await?;
        let shapes = self.run.wait_for(shapes(&scratch, &oids)).await??;
        let shapes: BTreeMap<u32, Shape> =
            shapes.into_iter().map(|shape| (shape.oid, shape)).collect();
        let statistics = if self.prepared.plan.makes_database {
            // All of the scratch database is dumped, and they are in it.
            Vec::new()
        } else {
            self.run.wait_for(statistics(&scratch, &oids)).await??
        };
        drop(scratch);
        let before = self.definitions(true, &shapes).await?;
        let mut after = self.definitions(false, &shapes).await?;
        after.extend(statistics);
        Ok(Script {
            shapes,
            before,
            after,
        })
    }

    /// Makes the empty new database, under the next name where somebody else has taken this one; gives its
    /// name, and whether it may be there.
    async fn create_unfinished(&self, made: &mut Option<String>) -> Result<String, JobError> {
        let (extraction, prepared) = (self.extraction(), self.prepared);
        let client = extraction.connect(prepared.maintenance.database()).await?;
        let mut name = prepared.unfinished.clone();
        loop {
            let created = extraction.create(&client, &name).await;
            let all = match &created {
                Err(JobError::Query(error)) if error.is_taken_database_name() => {
                    self.run.wait_for(databases(&client)).await??
                }
                _ => {
                    *made = Some(name.clone());
                    return created.map(|()| name);
                }
            };
            if !all.contains_key(&name) {
                return created.map(|()| name);
            }
            name = SideName::Restoring.name(self.order.database, self.run.now(), &all);
            let repository = self.order.repository;
            repository.forget_scratch(self.run.id);
            repository.record_scratch(self.run.id, &[&prepared.scratch, &name])?;
        }
    }

    /// What `pg_dump` writes of the tables in the scratch database, a statement each.
    async fn definitions(
        &self,
        before_rows: bool,
        shapes: &BTreeMap<u32, Shape>,
    ) -> Result<Vec<String>, JobError> {
        let extraction = self.extraction();
        let conninfo = self
            .prepared
            .maintenance
            .to_database(&self.prepared.scratch);
        let names: Vec<String> = shapes.values().map(|shape| shape.quoted.clone()).collect();
        let like = self.prepared.like.as_ref();
        let arguments = definitions_arguments(
            &conninfo,
            before_rows,
            (!self.prepared.plan.makes_database).then_some(names.as_slice()),
            like.is_none_or(|like| like.encoding != "SQL_ASCII"),
            self.run.context.limits.lock_wait,
        );
        let overheard = Overheard::default();
        let pg_dump = Dumper {
            conninfo: &conninfo,
            ..extraction.program(self.prepared.programs.pg_dump(), arguments, &overheard)
        };
        let doing = "cannot read the definitions of the tables";
        let text = pg_dump.read_all(doing).await?;
        let text = String::from_utf8(text).map_err(|_| {
            JobError::failed(
                "a name or a default of the tables is no text in UTF-8\nhint: restore the whole backup into \
                 another database, with --into",
            )
        })?;
        Ok(to_run(&text))
    }

    /// Everything between BEGIN and COMMIT; gives the rows that were compared.
    async fn load(&self, client: &Client, script: &Script) -> Result<u64, JobError> {
        let (run, plan) = (self.run, &self.prepared.plan);
        self.set_session(client).await?;
        self.execute(client, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            .await?;
        run.step("making the tables");
        self.make_schema(client).await?;
        for statement in &script.before {
            self.execute(client, statement).await?;
        }
        run.progress.enter(Phase::Loading);
        if self.prepared.source.format == Format::Plain {
            let text = self.prepared.stream_summary.text_bytes;
            run.progress.expect(Amount::Bytes(text));
        }
        run.step("loading their rows");
        let loaded = self.load_rows(client, &script.shapes).await?;
        run.step("making their indexes, constraints and triggers");
        for statement in &script.after {
            self.execute(client, statement).await?;
        }
        run.progress.enter(Phase::Comparing);
        run.step("comparing them with the backup, row by row");
        // Moments are written as in the backup.
        self.execute(client, "SET TimeZone = 'UTC'").await?;
        let rows = self.compare(client, &loaded, &script.shapes).await?;
        run.step_log.update(|facts| {
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
                names(&script.shapes).join(", ")
            ))
        })?;
        Ok(rows)
    }

    /// Makes the session read and write values as the backup has them.
    async fn set_session(&self, client: &Client) -> Result<(), JobError> {
        self.give_settings(client).await?;
        self.execute(client, SESSION).await?;
        // A CHECK may ask for the day of a moment; where the zone is not known, the server's own will do.
        let manifest = self.prepared.source.manifest.as_ref();
        if let Some(zone) = manifest.and_then(|one| one.server.timezone.as_ref())
            && knows_time_zone(client, zone).await?
        {
            let zone = zone.replace('\'', "''");
            self.execute(client, &format!("SET TimeZone = '{zone}'"))
                .await?;
        }
        if client.server_major() >= 17 {
            self.execute(client, "SET transaction_timeout = 0").await?;
        }
        Ok(())
    }

    /// Makes the schema that the tables go into, where it is not there.
    async fn make_schema(&self, client: &Client) -> Result<(), JobError> {
        let plan = &self.prepared.plan;
        let makes_it = plan.makes_schema && !plan.makes_database;
        let Some(schema) = plan.schema.as_ref().filter(|_| makes_it) else {
            return Ok(());
        };
        self.execute(client, &format!("CREATE SCHEMA {}", quoted(schema)))
            .await?;
        let comment = format!(
            "tables of the backup {}{}, restored by pgbackupd",
            plan.backup,
            prepare::when(plan.started)
        );
        let comment = comment.replace('\\', "/").replace('\'', "''");
        let sql = format!("COMMENT ON SCHEMA {} IS '{comment}'", quoted(schema));
        self.execute(client, &sql).await
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
            match self.run.wait_for(setting).await? {
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
        let analyzing = analyze_tables(client, &names, self.run.context.limits.total);
        match self.run.wait_for(analyzing).await {
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

    async fn execute(&self, client: &Client, sql: &str) -> Result<(), JobError> {
        let within = self.run.context.limits.total;
        let running = client.execute("restore the tables", sql, within);
        self.run.wait_for(running).await?.map_err(|error| {
            let first = sql.lines().next().unwrap_or_default();
            JobError::failed(format!("{error}; in: {first}"))
        })
    }

    /// Ends the session whose transaction has failed: it may be in the middle of a long statement.
    async fn end(&self, process: i32) {
        let ending = async {
            let client =
                Client::connect(&self.prepared.maintenance, self.run.connect_limit()).await?;
            end_process(&client, process).await?;
            Ok::<_, JobError>(())
        };
        if let Err(error) = ending.await {
            tracing::debug!("the session of the restore was not ended: {error}");
        }
    }

    /// Gives the new database its name, and takes our mark off it, in one transaction.
    async fn name_it(&self, unfinished: &str) -> Result<(), JobError> {
        let client = self.run.connect(&self.prepared.maintenance).await?;
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
        // Rows of partitions and child tables come with those of the table that they belong to.
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
                // Rows without any column cannot be distinguished.
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
                    has_children: !table.is_partitioned
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
