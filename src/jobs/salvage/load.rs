//! Loading a dump part by part, whatever the server refuses of it.

use super::conditions::{BroughtBack, bring_back};
use super::files::SalvageFiles;
use super::fixes::fix_of;
use super::missing::{Missing, MissingState};
use super::state::Load;
use crate::jobs::JobError;
use crate::pipeline::{
    DumpPart, DumpStatement, Finding, StatementKind, hold_event_triggers, is_known,
    release_event_triggers,
};

/// What came of it.
pub(super) struct Loaded {
    pub(super) missing: Vec<Missing>,
    /// Taken only under the database's own `search_path`.
    pub(super) by_own_path: Vec<Missing>,
    /// Tables in whose rows the dump breaks off.
    pub(super) broken_off: Vec<String>,
    pub(super) files: SalvageFiles,
}

impl Load<'_> {
    /// Reports a definition that is missing; several statements of one object are one.
    fn report_missing(&mut self, missing: Missing) {
        let is_same =
            |one: &&mut Missing| one.object == missing.object && one.state == missing.state;
        match self.missing.iter_mut().rev().find(is_same) {
            Some(same) => same.statements.extend(missing.statements),
            None => self.missing.push(missing),
        }
    }

    /// Takes the next part of the dump.
    ///
    /// # Errors
    /// When the session ends, the server as such fails, or refused rows cannot be written.
    pub(super) async fn part(&mut self, part: DumpPart) -> Result<(), JobError> {
        match part {
            DumpPart::Statement(statement) => self.statement(statement).await,
            DumpPart::Begin(rows) => self.begin_block(&rows).await,
            DumpPart::Rows(rows) => self.rows(&rows).await,
            DumpPart::End => self.end_block().await,
            DumpPart::Command(finding) => {
                let order = self.next_order();
                self.missing
                    .push(not_sent(order, "command of psql", &finding));
                Ok(())
            }
        }
    }

    async fn statement(&mut self, statement: DumpStatement) -> Result<(), JobError> {
        let order = self.next_order();
        let object = statement.object.to_string();
        if statement.is_too_long {
            self.missing.push(Missing {
                why: Some("the statement is longer than 256 MiB".to_owned()),
                ..Missing::new(order, object, MissingState::NotThere)
            });
            return Ok(());
        }
        if let Some(finding) = self.unsent(&statement) {
            let missing = not_sent(order, &object, finding);
            self.missing.push(missing);
            return Ok(());
        }
        let is_content = statement.object.is_content() || statement.object.is_none();
        if self.has_rows && !is_content && statement.kind == StatementKind::Other {
            self.end_of_rows().await?;
        }
        match &statement.kind {
            StatementKind::Encoding(encoding) => {
                self.sender.encoding.clone_from(encoding);
                Ok(())
            }
            StatementKind::Setting(name) if !is_known(name.as_bytes(), self.server_major) => Ok(()),
            StatementKind::Setting(name) => {
                let name = name.clone();
                let sql = String::from_utf8_lossy(&statement.text).into_owned();
                if let Err(refusal) = self.sender.set(&name, &sql).await? {
                    self.missing.push(Missing {
                        fix: fix_of(&refusal),
                        refusal: Some(*refusal),
                        ..Missing::new(order, format!("setting {name}"), MissingState::NotThere)
                    });
                }
                Ok(())
            }
            StatementKind::Statistics => Ok(()),
            StatementKind::EventTrigger => {
                self.event_triggers.push((order, statement));
                Ok(())
            }
            StatementKind::Begin
            | StatementKind::Commit
            | StatementKind::OpenLargeObject(_)
            | StatementKind::WriteLargeObject
            | StatementKind::CloseLargeObject => self.of_large_objects(order, &statement).await,
            StatementKind::Insert(table) => self.insert(order, table, &statement).await,
            StatementKind::Other => self.define(order, statement).await,
        }
    }

    /// Rows come next: definitions that were refused are tried again, for there may be tables among them.
    pub(super) async fn before_rows(&mut self) -> Result<(), JobError> {
        if self.has_rows {
            return Ok(());
        }
        self.has_rows = true;
        self.try_again().await?;
        self.reduce_tables().await?;
        self.try_again().await
    }

    async fn insert(
        &mut self,
        order: u64,
        table: &str,
        statement: &DumpStatement,
    ) -> Result<(), JobError> {
        self.before_rows().await?;
        let refusal = match self.sender.text(&statement.text).await? {
            Ok(sql) => match self.sender.execute(&sql).await? {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            },
            Err(refusal) => refusal,
        };
        let object = format!("rows of {table}");
        let encoding = &self.sender.encoding;
        let escapes = self.sender.backslash_escapes();
        self.files
            .refused_insert(encoding, escapes, &statement.text)?;
        match self.missing.last_mut() {
            Some(last) if last.object == object => last.rows = last.rows.map(|rows| rows + 1),
            _ => self.missing.push(Missing {
                rows: Some(1),
                fix: fix_of(&refusal),
                refusal: Some(*refusal),
                ..Missing::new(order, object, MissingState::Rows)
            }),
        }
        Ok(())
    }

    /// What an extension or an event trigger brings is kept still until the end.
    pub(super) async fn hold_event_triggers(&mut self, text: &[u8]) -> Result<(), JobError> {
        if let Some(held) = hold_event_triggers(text, self.server_major) {
            let held = String::from_utf8_lossy(held).into_owned();
            if let Err(refusal) = self.sender.execute(&held).await? {
                tracing::debug!("event triggers are not kept still: {}", refusal.in_short());
            }
            self.sender.note_held().await?;
        }
        Ok(())
    }

    /// Ends the load: what was refused is tried again, what was left off comes back, event triggers come.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn finish(mut self) -> Result<Loaded, JobError> {
        self.end_block().await?;
        self.end_large_objects().await?;
        self.end_of_rows().await?;
        self.try_again().await?;
        self.without_validation().await?;
        let before = self.order;
        self.order += self.left_off.len() as u64;
        // The last one may stand in the way of those before.
        while let Some(one) = self.left_off.pop() {
            let order = before + self.left_off.len() as u64 + 1;
            match bring_back(&mut self.sender, one, order).await? {
                BroughtBack::Valid => {}
                BroughtBack::ByOwnPath(one) => self.by_own_path.push(one),
                BroughtBack::Not(one) => self.missing.push(one),
            }
        }
        self.try_again().await?;
        for (order, statement) in std::mem::take(&mut self.event_triggers) {
            let text = statement.text.clone();
            self.define(order, statement).await?;
            self.hold_event_triggers(&text).await?;
        }
        self.try_again().await?;
        if let Some(released) = release_event_triggers(self.server_major) {
            let released = String::from_utf8_lossy(released).into_owned();
            if let Err(refusal) = self.sender.execute(released.trim()).await? {
                self.missing.push(Missing {
                    refusal: Some(*refusal),
                    ..Missing::new(
                        self.order,
                        "event triggers that are ENABLE ALWAYS or REPLICA",
                        MissingState::Differs,
                    )
                });
            }
        }
        for one in std::mem::take(&mut self.refused) {
            self.report_missing(one.into_missing());
        }
        self.missing.sort_by_key(|one| one.order);
        Ok(Loaded {
            missing: self.missing,
            by_own_path: self.by_own_path,
            broken_off: self.broken_off,
            files: self.files,
        })
    }
}

/// Something that a restore never sends.
fn not_sent(order: u64, object: &str, finding: &Finding) -> Missing {
    Missing {
        why: Some(finding.to_string()),
        ..Missing::new(order, object, MissingState::NotSent)
    }
}
