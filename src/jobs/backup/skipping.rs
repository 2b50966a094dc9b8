//! A dump without the rows of tables that cannot be read: one pass more for each of them. What is damaged
//! is never read over (`zero_damaged_pages`): a table is in the backup with all its rows, or with none.

use std::ffi::OsString;

use super::dumping::{DumpedDatabase, Dumping};
use crate::display::counted;
use crate::jobs::JobError;
use crate::postgres::{FoundTable, TableRead, find_table, is_of_the_rows, read_table};
use crate::repository::SkippedTable;

/// So many tables are left out at most. With more, the disk or the server fails, and no dump is the way out.
const MOST: usize = 5;

/// A table that is left out.
struct Skipped {
    table: FoundTable,
    recorded: SkippedTable,
}

impl Dumping<'_> {
    /// Dumps the database, and again without the rows of the table at which that failed, until all that is
    /// left can be read.
    ///
    /// # Errors
    /// As for a dump; when it fails for another reason than the rows of a table, or for too many tables.
    pub(super) async fn database_without_what_fails(
        &self,
    ) -> Result<(DumpedDatabase, Vec<SkippedTable>), JobError> {
        let mut skipped: Vec<Skipped> = Vec::new();
        loop {
            let without: Vec<OsString> = skipped
                .iter()
                .map(|one| one.table.without_its_rows())
                .collect();
            let error = match self.database_but_for(&without).await {
                Ok(dumped) => {
                    let recorded = skipped.into_iter().map(|one| one.recorded);
                    let mut recorded: Vec<SkippedTable> = recorded.collect();
                    recorded.sort_by(|one, other| one.table.cmp(&other.table));
                    return Ok((dumped, recorded));
                }
                Err(error) => error,
            };
            let one = Box::pin(self.what_fails(error, &skipped)).await?;
            self.staging.discard(self.backup.role())?;
            skipped.push(one);
        }
    }

    /// The table at which a dump has failed, once reading it by itself has failed too; else the error.
    async fn what_fails(&self, error: JobError, skipped: &[Skipped]) -> Result<Skipped, JobError> {
        let Some(failed) = self.overheard.take_failed_table() else {
            return Err(error);
        };
        let (run, origin) = (self.backup.run, self.origin);
        // With a session of its own, whose end is nobody else's.
        let client = run.connect(&origin.conninfo).await?;
        let found = run.wait_for(find_table(&client, &failed)).await??;
        let is_new = |found: &FoundTable| skipped.iter().all(|one| one.table != *found);
        let Some(table) = found.filter(is_new) else {
            return Err(error);
        };
        run.step(&format!("reading {} by itself", table.shown));
        let within = run.within("dump", run.context.limits.dump);
        let TableRead { rows, refused } = within.wait_for(read_table(&client, &table)).await?;
        let is_to_blame = |code: &Option<String>| code.as_deref().is_some_and(is_of_the_rows);
        let Some(refused) = refused.filter(|refused| is_to_blame(&refused.sqlstate)) else {
            return Err(error);
        };
        let reason = failed.message().unwrap_or(refused.reason()).to_owned();
        if skipped.len() == MOST {
            let names: Vec<&str> = skipped.iter().map(|one| &*one.table.shown).collect();
            return Err(JobError::failed(format!(
                "no more than {MOST} tables are left out, and there are more that cannot be read: {}, {}; {}; \
                 copy the data directory as it is before anything else",
                names.join(", "),
                table.shown,
                reason
            )));
        }
        tracing::warn!(
            "table {} cannot be read: {reason} (read before that: {}); dumping again without its rows",
            table.shown,
            counted(rows, "row", "rows")
        );
        Ok(Skipped {
            recorded: SkippedTable {
                table: table.shown.clone(),
                rows_read: rows,
                reason,
            },
            table,
        })
    }
}
