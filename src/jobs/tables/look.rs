//! The look into the scratch database: what belongs to the tables, what ties them to others, what they
//! need, and whether the database that they go into has that, and room for their names.

use std::collections::{BTreeMap, BTreeSet};

use super::choose::{Name, flat};
use super::judge::in_the_way;
use super::refused;
use super::scratch::{Extraction, display_extensions};
use super::{PlannedTable, TablesPlan};
use crate::display::counted;
use crate::jobs::JobError;
use crate::jobs::restore::preflight::PG_CRON;
use crate::pipeline::census::{Dependencies, TableName};
use crate::pipeline::{Left, StreamSummary};
use crate::postgres::{
    Client, Detached, ServerFacts, Shape, Table, dependencies, detach, drop_all_but, has,
    has_schema, move_into, partition_tree, shapes, taken,
};

/// What the look into the scratch database needs.
pub(super) struct Look<'a> {
    pub(super) extraction: Extraction<'a>,
    pub(super) server_facts: &'a ServerFacts,
    pub(super) stream_summary: &'a StreamSummary,
    pub(super) scratch: &'a str,
    pub(super) makes_database: bool,
    pub(super) schema: Option<&'a str>,
}

/// What it finds.
pub(super) struct Found {
    pub(super) tables: Vec<Table>,
    pub(super) planned: Vec<PlannedTable>,
    pub(super) originals_stand: Vec<bool>,
    pub(super) makes_schema: bool,
    pub(super) left_out: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Look<'_> {
    pub(super) async fn carry_out(&self, names: &[Name]) -> Result<Found, JobError> {
        let run = self.extraction.run;
        run.step(&format!(
            "loading the definitions into the scratch database {}",
            self.scratch
        ));
        let without = unavailable(&self.stream_summary.dependencies, self.server_facts);
        let made = self
            .extraction
            .load_definitions(self.scratch, self.server_facts, &without)
            .await?;
        let client = self.extraction.connect(self.scratch).await?;
        let tables = run.wait_for(partition_tree(&client, names)).await??;
        let missing = missing(names, &tables);
        let lacking = display_extensions(&without);
        let skipped = refused::judge(&made.refused, &tables, &missing, &lacking)?;
        all_are_there(&missing)?;
        let rows = self.rows_of(&tables)?;
        let detached = run.wait_for(detach(&client, &tables)).await??;
        let mut left_out = left_out(&detached, self.makes_database);
        if self.makes_database && !without.is_empty() {
            left_out.push(format!(
                "extensions that our user cannot install here, and nothing else in the backup \
                 needs: {}",
                display_extensions(&without)
            ));
        }
        if let Some(schema) = self.schema {
            no_two_alike(&tables)?;
            run.wait_for(move_into(&client, &tables, schema)).await??;
        }
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let (makes_schema, originals_stand) = if self.makes_database {
            for other in run.wait_for(drop_all_but(&client, &oids)).await?? {
                left_out.push(format!(
                    "the rows of {other}, which comes with them empty: a column has its type"
                ));
            }
            (self.schema.is_some(), vec![false; tables.len()])
        } else {
            self.against_target(&client, &tables, &oids).await?
        };
        let shapes = run.wait_for(shapes(&client, &oids)).await??;
        Ok(Found {
            warnings: roles_left_out(&made.left, &tables, self.server_facts)
                .into_iter()
                .chain(skipped)
                .collect(),
            planned: planned(&tables, rows, shapes),
            tables,
            originals_stand,
            makes_schema,
            left_out,
        })
    }

    /// What the restore is going to do, after what was found.
    pub(super) fn plan(&self, found: &Found, warnings: Vec<String>) -> TablesPlan {
        let Extraction {
            order,
            source,
            maintenance,
            ..
        } = self.extraction;
        TablesPlan {
            backup: source.label.clone(),
            started: source.started(),
            server: maintenance.server(),
            database: order.into.to_owned(),
            makes_database: self.makes_database,
            makes_schema: found.makes_schema,
            schema: self.schema.map(str::to_owned),
            tables: found.planned.clone(),
            user: self.server_facts.user.clone(),
            left_out: found.left_out.clone(),
            warnings,
        }
    }

    /// The rows of each table in the backup; none where they are its partitions'.
    fn rows_of(&self, tables: &[Table]) -> Result<Vec<Option<u64>>, JobError> {
        let counted: BTreeMap<TableName, u64> = self
            .stream_summary
            .census
            .tables()
            .map(|(name, counted)| (name, counted.rows))
            .collect();
        let of = |table: &Table| {
            let (schema, name) = table.raw.clone();
            counted.get(&TableName { schema, name }).copied()
        };
        let by_root = |table: &Table| {
            table.parents.iter().any(|parent| {
                let parent = tables.iter().find(|one| one.oid == *parent);
                parent.is_some_and(|parent| parent.is_partitioned)
            })
        };
        tables
            .iter()
            .map(|table| match of(table) {
                None if !table.is_partitioned && !by_root(table) => Err(JobError::failed(format!(
                    "the dump holds no rows of {} in COPY's form: it was made without data, or \
                     with INSERT statements\nhint: restore all of it into another database, with --into",
                    table.quoted
                ))),
                rows => Ok(rows),
            })
            .collect()
    }

    /// Whether the database has what the tables need, and room for their names. Gives whether the
    /// schema has to be made, and which of the tables stand there.
    async fn against_target(
        &self,
        scratch: &Client,
        tables: &[Table],
        oids: &[u32],
    ) -> Result<(bool, Vec<bool>), JobError> {
        let run = self.extraction.run;
        let into = self.extraction.order.into;
        let target = self.extraction.connect(into).await?;
        let schema = self.schema.unwrap_or_default();
        let standing = run
            .wait_for(taken(scratch, oids, &target, schema))
            .await??;
        if !standing.is_empty() {
            return Err(JobError::failed(in_the_way(into, &standing)));
        }
        let mut missing = BTreeSet::new();
        for dependency in run.wait_for(dependencies(scratch, oids)).await?? {
            if !run.wait_for(has(&target, &dependency)).await?? {
                missing.insert(match &dependency.extension {
                    Some(extension) => format!("{} (of extension {extension})", dependency.what),
                    None => dependency.what.clone(),
                });
            }
        }
        if !missing.is_empty() {
            let missing: Vec<String> = missing.into_iter().collect();
            return Err(JobError::failed(format!(
                "database {:?} lacks what the tables need: {}\nhint: make it there first, or restore \
                 into a new database, which gets all of it: --into NAME",
                into,
                missing.join(", ")
            )));
        }
        let makes_schema = !run.wait_for(has_schema(&target, schema)).await??;
        let names: Vec<_> = tables.iter().map(|table| table.raw.clone()).collect();
        let standing = run.wait_for(partition_tree(&target, &names)).await??;
        let stands = |table: &Table| standing.iter().any(|one| one.raw == table.raw);
        Ok((makes_schema, tables.iter().map(stands).collect()))
    }
}

/// The tables that were asked for and have not come into being.
fn missing(names: &[Name], tables: &[Table]) -> Vec<Name> {
    let is_there = |name: &&Name| {
        let mut all = tables.iter();
        all.any(|table| table.is_named && flat(&table.raw) == **name)
    };
    let missing = names.iter().filter(|name| !is_there(name));
    missing.cloned().collect()
}

/// Every table that was asked for has come into being.
fn all_are_there(missing: &[Name]) -> Result<(), JobError> {
    match missing.first() {
        None => Ok(()),
        Some((schema, name)) => Err(JobError::failed(format!(
            "the backup's table {}.{} was not created in the scratch database: \
             restore the whole backup into another database, with --into",
            String::from_utf8_lossy(schema),
            String::from_utf8_lossy(name)
        ))),
    }
}

/// The tables with their rows, and with what they become.
fn planned(tables: &[Table], rows: Vec<Option<u64>>, shapes: Vec<Shape>) -> Vec<PlannedTable> {
    let shapes = shapes.into_iter();
    let mut becomes: BTreeMap<u32, String> =
        shapes.map(|shape| (shape.oid, shape.quoted)).collect();
    let tables = tables.iter().zip(rows);
    tables
        .map(|(table, rows)| PlannedTable {
            table: table.quoted.clone(),
            becomes: becomes.remove(&table.oid).unwrap_or_default(),
            rows,
        })
        .collect()
}

/// The extensions that our user cannot install, or not in the scratch database. Nothing may need them: a
/// table whose column has a type of theirs does, and one next to `pg_stat_statements` does not.
fn unavailable(dependencies: &Dependencies, server_facts: &ServerFacts) -> BTreeSet<Vec<u8>> {
    let is_there = |name: &Vec<u8>| {
        let name = String::from_utf8_lossy(name).into_owned();
        let may = server_facts.is_superuser || !server_facts.untrusted.contains(&name);
        may && name != PG_CRON && server_facts.extensions.contains_key(&name)
    };
    let extensions = dependencies.extensions.iter();
    extensions.filter(|name| !is_there(name)).cloned().collect()
}

/// Tables of two schemas can have one name, which one schema cannot hold twice.
fn no_two_alike(tables: &[Table]) -> Result<(), JobError> {
    let mut seen = BTreeMap::new();
    for table in tables {
        if let Some(other) = seen.insert(&table.name, &table.quoted) {
            return Err(JobError::failed(format!(
                "{other} and {} have one name and cannot both go into one schema\nhint: name the \
                 schema too, such as --table {}, or restore into a new database, with --into",
                table.quoted,
                crate::display::shell_word(other)
            )));
        }
    }
    Ok(())
}

/// What does not come with the tables, a sentence each.
fn left_out(detached: &Detached, alone: bool) -> Vec<String> {
    let parents = detached.parents.iter().map(|parent| {
        format!(
            "the membership of {} in {}, which was not asked for: {}",
            parent.child, parent.of, parent.again
        )
    });
    let foreign = detached
        .foreign_tables
        .iter()
        .map(|table| format!("{table}, a foreign table, whose rows are on another server"));
    let keys = detached.foreign_keys.iter().map(|key| {
        let whose = if key.is_ours && alone {
            "which was not asked for"
        } else if key.is_ours {
            "which would tie the restored table to one that is in use"
        } else {
            "which belongs to a table that was not asked for"
        };
        format!(
            "the foreign key {} of {} to {}, {whose}: ALTER TABLE {} ADD CONSTRAINT {} {}",
            key.name, key.table, key.references, key.table, key.name, key.definition
        )
    });
    parents.chain(foreign).chain(keys).collect()
}

/// What of the tables names a role that the server lacks, or that we may not act for.
fn roles_left_out(left: &[Left], tables: &[Table], server_facts: &ServerFacts) -> Vec<String> {
    let mut roles: BTreeMap<&str, u64> = BTreeMap::new();
    for one in left {
        let about = |table: &Table| memchr::memmem::find(&one.statement, &table.written).is_some();
        if tables.iter().any(about) {
            *roles.entry(&one.role).or_default() += 1;
        }
    }
    let user = &server_facts.user;
    roles
        .into_iter()
        .map(|(role, statements)| {
            let why = if server_facts.roles.contains_key(role) {
                format!("user {user} is no superuser and cannot act for the role {role:?}")
            } else {
                format!("the server lacks the role {role:?}")
            };
            format!(
                "{why}: {} about it left out, and what it owned is {user}'s",
                counted(statements, "statement", "statements")
            )
        })
        .collect()
}
