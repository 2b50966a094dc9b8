//! Rows: in batches, with the way down to the single row that the server refuses.

use std::collections::BTreeSet;
use std::sync::Arc;

use memchr::{memchr, memchr_iter, memrchr};

use super::byte_names::Detour;
use super::conditions::{LeftOff, all_of, named_by, of_its_domains};
use super::fixes::fix_of;
use super::missing::{Missing, MissingState};
use super::sender::CopyRefusal;
use super::state::{Block, Load};
use crate::jobs::JobError;
use crate::pipeline::DumpRows;
use crate::pipeline::census::{TableName, printable};
use crate::postgres::StatementRefusal;

/// So many bytes of rows are sent at once, and held until the server has taken them. A longer row is a batch
/// by itself.
const BATCH: usize = 4 << 20;

/// After so many refused rows without one that is taken, refused rows go to the file in groups, of which one
/// is tried. A group is that part of the rows refused so far.
const REFUSED_IN_A_ROW: u64 = 1000;

/// What comes after a refusal.
enum Next {
    /// The same rows once more.
    Again,
    /// Fewer of them.
    Fewer,
    /// None of them can come.
    None,
}

impl Block {
    /// Why its rows are missing; none if they are all there.
    fn missing(&self) -> Option<Missing> {
        let refusal = self.barred.as_ref().or(self.why.as_ref())?;
        (self.refused > 0).then(|| Missing {
            rows: Some(self.refused),
            fix: fix_of(refusal),
            refusal: Some(StatementRefusal::clone(refusal)),
            ..Missing::new(
                self.order,
                format!("rows of {}", self.table),
                MissingState::Rows,
            )
        })
    }
}

impl Load<'_> {
    /// Rows follow.
    pub(super) async fn begin_block(&mut self, rows: &DumpRows) -> Result<(), JobError> {
        let order = self.next_order();
        let table = printable(&rows.table);
        let mut block = Block {
            order,
            table: table.clone(),
            name: None,
            copy: String::new(),
            detour: None,
            head: rows.head.text.clone(),
            held: Vec::new(),
            refused: 0,
            refused_in_a_row: 0,
            barred: None,
            why: None,
            has_tried_own_path: false,
            has_left_off_all: false,
            has_left_off_domains: false,
            left_off: BTreeSet::new(),
        };
        let bar = |message: String| {
            Box::new(StatementRefusal {
                message,
                ..StatementRefusal::default()
            })
        };
        if let Some(finding) = self.unsent(&rows.head) {
            block.barred = Some(bar(finding.to_string()));
        } else if self.sender.is_beyond_the_driver(&rows.head.text) {
            block.detour = Some(Detour::of(&rows.table, &rows.columns));
        } else {
            match self.sender.text(&rows.head.text).await? {
                Err(refusal) => block.barred = Some(refusal),
                Ok(head) => {
                    let encoding = &self.sender.encoding;
                    let head = head.trim_end_matches(';');
                    block.copy = format!("{head} WITH (ENCODING '{encoding}')");
                }
            }
        }
        if let Some(name) = TableName::parse(&rows.table) {
            let (schema, table) = (
                self.sender.name(&name.schema).await?,
                self.sender.name(&name.name).await?,
            );
            block.name = schema.zip(table).map(|(one, two)| [one, two]);
        }
        // The table may not be there yet.
        self.before_rows().await?;
        if let Some(detour) = &block.detour {
            block.barred = self.sender.execute(&detour.make).await?.err();
        }
        self.block = Some(block);
        Ok(())
    }

    /// The next bytes of the rows.
    pub(super) async fn rows(&mut self, bytes: &[u8]) -> Result<(), JobError> {
        let Some(mut block) = self.block.take() else {
            return Ok(());
        };
        if block.barred.is_some() {
            block.refused += memchr_iter(b'\n', bytes).count() as u64;
        } else {
            block.held.extend_from_slice(bytes);
            if block.held.len() >= BATCH
                && let Some(end) = memrchr(b'\n', &block.held)
            {
                let rest = block.held.split_off(end + 1);
                let rows = std::mem::replace(&mut block.held, rest);
                self.send(&mut block, &rows).await?;
            }
        }
        self.block = Some(block);
        Ok(())
    }

    /// The text has ended: rows that have not are broken off.
    pub(super) fn note_broken_off(&mut self) {
        let table = self.block.as_ref().map(|block| block.table.clone());
        self.broken_off.extend(table);
    }

    /// Rows of these tables are not in the file any more.
    pub(super) fn note_lost(&mut self, tables: impl Iterator<Item = String>) {
        self.broken_off.extend(tables);
    }

    /// The rows have ended, or the file breaks off: what is not a complete row then is left.
    pub(super) async fn end_block(&mut self) -> Result<(), JobError> {
        let Some(mut block) = self.block.take() else {
            return Ok(());
        };
        let mut rows = std::mem::take(&mut block.held);
        rows.truncate(memrchr(b'\n', &rows).map_or(0, |end| end + 1));
        if !rows.is_empty() {
            self.send(&mut block, &rows).await?;
        }
        if let Some(detour) = &block.detour {
            // It is gone with the session, at the latest.
            let _ = self.sender.execute(&detour.remove).await?;
        }
        self.sender.own_path(false).await?;
        self.files.end_rows()?;
        self.missing.extend(block.missing());
        Ok(())
    }

    /// Sends rows; those that are refused one by one go to the file.
    async fn send(&mut self, block: &mut Block, rows: &[u8]) -> Result<(), JobError> {
        let mut parts = vec![rows];
        while let Some(part) = parts.pop() {
            if block.barred.is_some() {
                block.refused += count(part);
                continue;
            }
            let sent = match &block.detour {
                Some(detour) => self.sender.copy_by(detour, Arc::from(part)).await?,
                None => self.sender.copy(&block.copy, Arc::from(part)).await?,
            };
            let refused = match sent {
                Ok(taken) => {
                    block.refused_in_a_row = 0;
                    self.rows_there += taken;
                    self.run.progress.loaded_rows(self.rows_there);
                    continue;
                }
                Err(refused) => refused,
            };
            match self.after(block, part, &refused).await? {
                Next::Again => parts.push(part),
                Next::None => {
                    block.barred = Some(refused.refusal);
                    block.refused += count(part);
                }
                Next::Fewer => match halves(part) {
                    Some([first, second]) if count(part) > group(block.refused_in_a_row) => {
                        parts.extend([second, first]);
                    }
                    Some(_) => {
                        let (before, last) = part.split_at(last_row(part));
                        self.keep(block, before, refused.refusal)?;
                        parts.push(last);
                    }
                    None => self.keep(block, part, refused.refusal)?,
                },
            }
        }
        Ok(())
    }

    /// What to do after a refusal.
    async fn after(
        &mut self,
        block: &mut Block,
        rows: &[u8],
        refused: &CopyRefusal,
    ) -> Result<Next, JobError> {
        let refusal = &refused.refusal;
        if refused.is_of_the_table {
            return Ok(Next::None);
        }
        let named = named_by(&self.catalog, refusal).await?;
        if self.leave_off(block, named).await? {
            return Ok(Next::Again);
        }
        if is_of_a_value(refusal) {
            return self.after_a_value(block, rows, refusal).await;
        }
        // Something that is computed of the row: a check, a domain's check, a column.
        if !block.has_tried_own_path {
            block.has_tried_own_path = true;
            if self.sender.own_path(true).await? {
                return Ok(Next::Again);
            }
        }
        if let Some([schema, table]) = block.name.as_ref().filter(|_| !block.has_left_off_all) {
            let all = all_of(&self.catalog, [schema, table], refusal).await?;
            block.has_left_off_all = true;
            if self.leave_off(block, all).await? {
                return Ok(Next::Again);
            }
        }
        Ok(Next::Fewer)
    }

    /// After one that is about a value. If it is the check of a domain that computes an error, the row that
    /// has the value comes without it.
    async fn after_a_value(
        &mut self,
        block: &mut Block,
        rows: &[u8],
        refusal: &StatementRefusal,
    ) -> Result<Next, JobError> {
        if count(rows) > 1 || block.has_left_off_domains || is_of_bytes(refusal) {
            return Ok(Next::Fewer);
        }
        let Some([schema, table]) = &block.name else {
            return Ok(Next::Fewer);
        };
        let checks = of_its_domains(&self.catalog, [schema, table], refusal).await?;
        block.has_left_off_domains = true;
        Ok(if self.leave_off(block, checks).await? {
            Next::Again
        } else {
            Next::Fewer
        })
    }

    /// Leaves conditions off; whether any was.
    async fn leave_off(
        &mut self,
        block: &mut Block,
        conditions: Vec<LeftOff>,
    ) -> Result<bool, JobError> {
        let mut is_any = false;
        for one in conditions {
            if !block.left_off.insert(one.drop.clone()) {
                continue;
            }
            if self.sender.execute(&one.drop).await?.is_ok() {
                self.left_off.push(one);
                is_any = true;
            }
        }
        Ok(is_any)
    }

    /// Keeps refused rows in the file.
    fn keep(
        &mut self,
        block: &mut Block,
        rows: &[u8],
        refusal: Box<StatementRefusal>,
    ) -> Result<(), JobError> {
        let count = count(rows);
        block.refused += count;
        block.refused_in_a_row += count;
        block.why.get_or_insert(refusal);
        self.files
            .refused_rows(&self.sender.encoding, &block.head, rows)
    }
}

/// Whether a refusal is about a value that is read: no condition that is left off would change that.
fn is_of_a_value(refusal: &StatementRefusal) -> bool {
    let context = refusal.context.as_deref().unwrap_or_default();
    // The server's words, of which the last ones name a column of the row.
    let first = context.lines().next().unwrap_or_default();
    let is_of_a_column = first.starts_with("COPY ") && first.matches(", ").count() >= 2;
    is_of_a_column || is_of_bytes(refusal)
}

/// Whether it is about bytes that are no text, or no row.
fn is_of_bytes(refusal: &StatementRefusal) -> bool {
    ["22021", "22P05", "22P04"].contains(&refusal.sqlstate.as_str())
}

/// So many refused rows go to the file together, after so many refused in a row.
fn group(refused_in_a_row: u64) -> u64 {
    1 + refused_in_a_row / REFUSED_IN_A_ROW
}

/// Where the last row begins.
fn last_row(rows: &[u8]) -> usize {
    let last = rows.len().saturating_sub(1);
    memrchr(b'\n', &rows[..last]).map_or(0, |end| end + 1)
}

fn count(rows: &[u8]) -> u64 {
    memchr_iter(b'\n', rows).count() as u64
}

/// Two parts of about the same length; none of a single row.
fn halves(rows: &[u8]) -> Option<[&[u8]; 2]> {
    let middle = rows.len() / 2;
    let last = rows.len() - 1;
    let before = memrchr(b'\n', &rows[..middle]);
    let after = || memchr(b'\n', &rows[middle..last]).map(|at| middle + at);
    let (first, second) = rows.split_at(before.or_else(after)? + 1);
    Some([first, second])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_halved_down_to_one() {
        for (rows, expected) in [
            ("1\n2\n3\n4\n", Some(["1\n2\n", "3\n4\n"])),
            (
                "1\nlonger than the other\n",
                Some(["1\n", "longer than the other\n"]),
            ),
            (
                "longer than the other\n2\n",
                Some(["longer than the other\n", "2\n"]),
            ),
            ("1\n", None),
            ("\n", None),
            ("\n\n", Some(["\n", "\n"])),
        ] {
            let found = halves(rows.as_bytes());
            let found = found.map(|parts| parts.map(|part| std::str::from_utf8(part).unwrap()));
            assert_eq!(found, expected, "{rows:?}");
        }
    }

    #[test]
    fn the_more_rows_were_refused_in_a_row_the_more_go_to_the_file_together() {
        for (refused, expected) in [(0, 1), (999, 1), (1000, 2), (1_000_000, 1001)] {
            assert_eq!(group(refused), expected);
        }
        for (rows, expected) in [("1\n2\n", 2), ("1\n", 0), ("\n\n", 1)] {
            assert_eq!(last_row(rows.as_bytes()), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_read_is_told_apart_from_what_is_computed() {
        for (sqlstate, context, expected) in [
            ("22P02", "COPY t, line 3, column i: \"x\"", true),
            ("22021", "COPY t, line 3", true),
            (
                "42883",
                "SQL function \"enc\" during inlining\nCOPY g, line 1: \"1\"",
                false,
            ),
            (
                "P0001",
                "PL/pgSQL function f(text) line 1 at RAISE\nCOPY t, line 1: \"a, b, c\"",
                false,
            ),
            ("23514", "COPY t, line 1: \"1\"", false),
        ] {
            let refusal = StatementRefusal {
                sqlstate: sqlstate.to_owned(),
                context: Some(context.to_owned()),
                ..StatementRefusal::default()
            };
            assert_eq!(is_of_a_value(&refusal), expected, "{context}");
        }
    }
}
