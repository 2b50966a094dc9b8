//! Definitions: sent once, and again while that gains anything.

use super::conditions::{BroughtBack, bring_back, validate};
use super::fixes::fix_of;
use super::missing::{Missing, MissingState};
use super::sender::{Tried, under_its_settings};
use super::state::{Load, Refused};
use crate::jobs::JobError;
use crate::pipeline::DumpStatement;
use crate::pipeline::sql::{LeftOut, Part, not_valid, reduced};
use crate::postgres::StatementRefusal;

/// What has become of a computed column that was left off while its table was loaded.
const MADE_AGAIN: &str = "it was made again, as a new column: a comment on it, its storage and its statistics \
    target are those of a new one";

impl Refused {
    pub(super) fn into_missing(self) -> Missing {
        let statements = match (self.state, self.sql) {
            (MissingState::NotValidated, Ok(sql)) => vec![validate(&sql)],
            (_, Ok(sql)) => under_its_settings(sql, &self.settings),
            (_, Err(_)) => Vec::new(),
        };
        Missing {
            fix: fix_of(&self.refusal),
            refusal: Some(self.refusal),
            statements,
            ..Missing::new(self.order, self.object, self.state)
        }
    }

    /// A computed column that has come back as a new one.
    fn made_again(&self) -> Missing {
        Missing {
            why: Some(MADE_AGAIN.to_owned()),
            ..Missing::new(self.order, self.object.clone(), MissingState::Differs)
        }
    }

    /// The same for those who only are to know of it.
    fn remark(&self, refusal: StatementRefusal) -> Missing {
        Missing {
            fix: fix_of(&refusal),
            refusal: Some(refusal),
            ..Missing::new(self.order, self.object.clone(), MissingState::Differs)
        }
    }
}

impl Load<'_> {
    /// Sends a definition.
    pub(super) async fn define(
        &mut self,
        order: u64,
        statement: DumpStatement,
    ) -> Result<(), JobError> {
        if let Some(before) = self.additions.before(&statement.text) {
            let before = String::from_utf8_lossy(&before).into_owned();
            // If the server does not make it so, it is made as written.
            let _ = self.sender.execute(before.trim()).await?;
        }
        let is_owner = statement.text.starts_with(b"ALTER ")
            && memchr::memmem::find(&statement.text, b" OWNER TO ").is_some();
        let (sql, refusal) = match self.sender.text(&statement.text).await? {
            Ok(sql) => match self.sender.execute(&sql).await? {
                Ok(()) => return self.hold_event_triggers(&statement.text).await,
                Err(refusal) => (Ok(sql), refusal),
            },
            Err(refusal) => (Err(statement.text), refusal),
        };
        let object = statement.object.to_string();
        self.refused.push(Refused {
            order,
            object: if is_owner {
                format!("owner of {object}")
            } else {
                object
            },
            is_column: false,
            sql,
            settings: self.sender.settings(),
            refusal: *refusal,
            state: MissingState::NotThere,
        });
        Ok(())
    }

    /// Sends what was refused again, until a round gains nothing.
    pub(super) async fn try_again(&mut self) -> Result<(), JobError> {
        let now = self.sender.settings();
        let mut has_gained = true;
        while has_gained && !self.refused.is_empty() {
            has_gained = false;
            for mut one in std::mem::take(&mut self.refused) {
                let Ok(sql) = &one.sql else {
                    self.refused.push(one);
                    continue;
                };
                self.sender.apply(&one.settings).await?;
                match self.sender.try_both_ways(sql).await? {
                    Tried::Refused(refusal) => {
                        one.refusal = *refusal;
                        self.refused.push(one);
                        continue;
                    }
                    Tried::AsWritten if one.is_column => self.missing.push(one.made_again()),
                    Tried::AsWritten => {}
                    Tried::ByOwnPath(refusal) => self.by_own_path.push(one.remark(*refusal)),
                }
                has_gained = true;
                let text = sql.clone().into_bytes();
                self.hold_event_triggers(&text).await?;
            }
        }
        self.sender.apply(&now).await
    }

    /// Makes tables that are refused without what they compute, so that their rows can come: checks, computed
    /// columns, defaults. What is left out is a refused definition itself.
    pub(super) async fn reduce_tables(&mut self) -> Result<(), JobError> {
        let now = self.sender.settings();
        for one in std::mem::take(&mut self.refused) {
            match self.reduce(&one).await? {
                Some(left_out) => self.refused.extend(left_out),
                None => self.refused.push(one),
            }
        }
        self.sender.apply(&now).await
    }

    /// Makes one table so; gives what was left out, if it is made.
    async fn reduce(&mut self, one: &Refused) -> Result<Option<Vec<Refused>>, JobError> {
        let ways = [
            [Part::Check].as_slice(),
            &[Part::Generated],
            &[Part::Default],
            &[Part::Generated, Part::Check, Part::Default],
        ];
        let Ok(sql) = &one.sql else { return Ok(None) };
        for parts in ways {
            let Some(found) = reduced(sql.as_bytes(), parts) else {
                continue;
            };
            let text = String::from_utf8_lossy(&found.text).into_owned();
            self.sender.apply(&one.settings).await?;
            if matches!(self.sender.try_both_ways(&text).await?, Tried::Refused(_)) {
                continue;
            }
            let left_out = found.left_out.into_iter();
            return Ok(Some(left_out.map(|part| one.without(part)).collect()));
        }
        Ok(None)
    }

    /// All rows are there: computed columns come back, before anything else stands on them. Later they would
    /// take that with them.
    pub(super) async fn end_of_rows(&mut self) -> Result<(), JobError> {
        if std::mem::replace(&mut self.is_past_rows, true) {
            return Ok(());
        }
        self.before_rows().await?;
        self.try_again().await?;
        let left_off = std::mem::take(&mut self.left_off);
        let (columns, others): (Vec<_>, Vec<_>) =
            left_off.into_iter().partition(|one| one.is_column);
        self.left_off = others;
        for one in columns {
            let (order, object) = (self.next_order(), one.object.clone());
            self.missing
                .push(match bring_back(&mut self.sender, one, order).await? {
                    BroughtBack::Not(missing) => missing,
                    BroughtBack::Valid | BroughtBack::ByOwnPath(_) => Missing {
                        why: Some(MADE_AGAIN.to_owned()),
                        ..Missing::new(order, object, MissingState::Differs)
                    },
                });
        }
        let refused = std::mem::take(&mut self.refused);
        let (columns, others): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|one| one.is_column);
        self.refused = others;
        self.missing
            .extend(columns.into_iter().map(Refused::into_missing));
        Ok(())
    }

    /// Adds constraints that rows break for rows that come later.
    pub(super) async fn without_validation(&mut self) -> Result<(), JobError> {
        let now = self.sender.settings();
        for mut one in std::mem::take(&mut self.refused) {
            let text = one
                .sql
                .as_ref()
                .ok()
                .and_then(|sql| not_valid(sql.as_bytes()));
            if let Some(text) = text {
                let text = String::from_utf8_lossy(&text).into_owned();
                self.sender.apply(&one.settings).await?;
                if !matches!(self.sender.try_both_ways(&text).await?, Tried::Refused(_)) {
                    one.state = MissingState::NotValidated;
                    self.missing.push(one.into_missing());
                    continue;
                }
            }
            self.refused.push(one);
        }
        self.sender.apply(&now).await
    }
}

impl Refused {
    /// A part of it that was left out.
    fn without(&self, part: LeftOut) -> Self {
        let name = String::from_utf8_lossy(&part.name).into_owned();
        let what = match part.part {
            Part::Generated => "computed column",
            Part::Check => "check constraint",
            Part::Default => "default of column",
        };
        Self {
            object: format!("{what} {name} of {}", self.object),
            is_column: part.part == Part::Generated,
            sql: String::from_utf8(part.statement).map_err(std::string::FromUtf8Error::into_bytes),
            ..self.clone()
        }
    }
}
