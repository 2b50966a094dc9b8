//! Large objects, which a dump writes in transactions: one that is refused takes no other with it.

use super::fixes::fix_of;
use super::missing::{Missing, MissingState};
use super::state::{LargeObject, Load};
use crate::jobs::JobError;
use crate::pipeline::{DumpStatement, StatementKind};
use crate::postgres::StatementRefusal;

const SAVE: &str = "SAVEPOINT pgbackupd";
const FORGET: &str = "RELEASE SAVEPOINT pgbackupd";
const BACK: &str = "ROLLBACK TO SAVEPOINT pgbackupd";

impl Load<'_> {
    /// Takes a statement about their contents.
    pub(super) async fn of_large_objects(
        &mut self,
        order: u64,
        statement: &DumpStatement,
    ) -> Result<(), JobError> {
        match statement.kind {
            StatementKind::Begin => {
                self.before_rows().await?;
                self.large_object.is_in_transaction = true;
                return self.ours("BEGIN").await;
            }
            StatementKind::Commit => return self.end_large_objects().await,
            StatementKind::OpenLargeObject(oid) => {
                self.large_object.open = Some(oid);
                self.large_object.is_refused = false;
                if self.large_object.is_in_transaction {
                    self.ours(SAVE).await?;
                }
            }
            _ if self.large_object.is_refused => return Ok(()),
            _ => {}
        }
        let sql = String::from_utf8_lossy(&statement.text).into_owned();
        let answer = self.sender.execute(&sql).await?;
        match answer {
            Ok(()) if statement.kind == StatementKind::CloseLargeObject => {
                self.large_object.open = None;
                if self.large_object.is_in_transaction {
                    self.ours(FORGET).await?;
                }
            }
            Ok(()) => {}
            Err(refusal) => self.refuse_large_object(order, *refusal).await?,
        }
        Ok(())
    }

    async fn refuse_large_object(
        &mut self,
        order: u64,
        refusal: StatementRefusal,
    ) -> Result<(), JobError> {
        self.large_object.is_refused = true;
        if self.large_object.is_in_transaction {
            self.ours(BACK).await?;
            self.ours(FORGET).await?;
        }
        let oid = self.large_object.open.take().unwrap_or_default();
        self.missing.push(Missing {
            fix: fix_of(&refusal),
            refusal: Some(refusal),
            ..Missing::new(
                order,
                format!("content of large object {oid}"),
                MissingState::NotThere,
            )
        });
        Ok(())
    }

    /// Ends the transaction, also where the file breaks off within it.
    pub(super) async fn end_large_objects(&mut self) -> Result<(), JobError> {
        if std::mem::take(&mut self.large_object.is_in_transaction) {
            self.ours("COMMIT").await?;
        }
        self.large_object = LargeObject::default();
        Ok(())
    }

    /// Executes a statement that no server refuses.
    async fn ours(&self, sql: &str) -> Result<(), JobError> {
        let answer = self.sender.execute(sql).await?;
        answer.map_err(|refusal| JobError::failed(refusal.in_short()))
    }
}
