//! Sending statements of a dump, under the settings that the dump made before them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::byte_names::{Detour, in_hexadecimal};
use crate::jobs::JobError;
use crate::jobs::run::Run;
use crate::postgres::{LoadError, LoadSession, QueryError, StatementRefusal, text_from};

/// The settings that are in force, each with the statement that made it.
pub(super) type Settings = Arc<BTreeMap<String, String>>;

/// Those that decide what a later statement makes, or whether the server takes it.
const KEPT: [&str; 6] = [
    "check_function_bodies",
    "default_table_access_method",
    "default_tablespace",
    "search_path",
    "session_authorization",
    "standard_conforming_strings",
];

/// A statement as a script needs it: with the settings under which the dump has it, where they differ from
/// those that the script begins with. How strings are read is one of them: psql would find commands of its
/// own in what was a string.
pub(super) fn under_its_settings(statement: String, settings: &Settings) -> Vec<String> {
    let usual = |name: &str, sql: &str| match name {
        "search_path" => sql.ends_with("'search_path', '', false);"),
        "default_tablespace" => sql.ends_with("= '';"),
        "default_table_access_method" => sql.ends_with("= heap;"),
        "standard_conforming_strings" => sql.ends_with("= on;"),
        "check_function_bodies" => true,
        _ => false,
    };
    let special: Vec<(&String, &String)> = settings
        .iter()
        .filter(|(name, sql)| !usual(name, sql))
        .collect();
    let back = special.iter().rev().map(|(name, _)| match name.as_str() {
        "search_path" => "SELECT pg_catalog.set_config('search_path', '', false);".to_owned(),
        "session_authorization" => "RESET SESSION AUTHORIZATION;".to_owned(),
        "standard_conforming_strings" => "SET standard_conforming_strings = on;".to_owned(),
        name => format!("RESET {name};"),
    });
    let before = special.iter().map(|(_, sql)| (*sql).clone());
    before.chain([statement]).chain(back).collect()
}

/// What the server says of one statement: nothing, or why it refuses it.
pub(super) type Answer = Result<(), Box<StatementRefusal>>;

/// Sends statements, one by one.
pub(super) struct Sender<'a> {
    run: &'a Run<'a>,
    session: LoadSession,
    /// Every setting that the dump has made, for another session.
    made: BTreeMap<String, String>,
    /// What says which event triggers are kept still.
    held: Option<String>,
    /// Of the dump's text, by the server's name for it.
    pub(super) encoding: String,
    settings: Settings,
    /// The database's own `search_path`.
    own_path: String,
    /// Whether that is in force.
    is_own_path: bool,
}

impl<'a> Sender<'a> {
    pub(super) fn new(run: &'a Run<'a>, session: LoadSession, own_path: String) -> Self {
        Self {
            run,
            session,
            made: BTreeMap::new(),
            held: None,
            encoding: "UTF8".to_owned(),
            settings: Settings::default(),
            own_path,
            is_own_path: false,
        }
    }

    /// Whether a backslash escapes in plain strings.
    pub(super) fn backslash_escapes(&self) -> bool {
        let setting = self.settings.get("standard_conforming_strings");
        setting.is_some_and(|sql| sql.ends_with("= off;"))
    }

    /// The settings that are in force.
    pub(super) fn settings(&self) -> Settings {
        Arc::clone(&self.settings)
    }

    /// Begins as psql does: with the database's own `search_path`.
    pub(super) async fn begin(&mut self) -> Result<(), JobError> {
        // Ours is that of a session that asks questions.
        for sql in ["SET statement_timeout = 0", "SET lock_timeout = 0"] {
            refuse(self.execute(sql).await?)?;
        }
        refuse(self.execute(&path_to(&self.own_path)).await?)
    }

    /// A statement's text as SQL that can be sent.
    ///
    /// # Errors
    /// When the session ends; inside, when the bytes are no text in the dump's encoding.
    pub(super) async fn text(
        &self,
        bytes: &[u8],
    ) -> Result<Result<String, Box<StatementRefusal>>, JobError> {
        if self.is_beyond_the_driver(bytes) {
            return Ok(Ok(in_hexadecimal(bytes)));
        }
        let converting = text_from(self.session.client(), bytes, &self.encoding);
        Ok(match self.run.wait_for(converting).await? {
            Ok(text) => Ok(text),
            Err(error) => Err(no_text(error)?),
        })
    }

    /// Whether a server takes bytes of the dump that the driver cannot send, since they are no UTF-8.
    pub(super) fn is_beyond_the_driver(&self, bytes: &[u8]) -> bool {
        self.encoding == "SQL_ASCII" && std::str::from_utf8(bytes).is_err()
    }

    /// A name as text; none if it is no text in the dump's encoding.
    ///
    /// # Errors
    /// When the session ends.
    pub(super) async fn name(&self, bytes: &[u8]) -> Result<Option<String>, JobError> {
        if self.is_beyond_the_driver(bytes) {
            return Ok(None);
        }
        Ok(self.text(bytes).await?.ok())
    }

    /// Executes a statement.
    ///
    /// # Errors
    /// When the session ends, or the server as such fails.
    pub(super) async fn execute(&self, sql: &str) -> Result<Answer, JobError> {
        answer(self.run.wait_for(self.session.execute(sql)).await?)
    }

    /// Executes a setting of the dump, and takes note of it.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn set(&mut self, name: &str, sql: &str) -> Result<Answer, JobError> {
        let answer = self.execute(sql).await?;
        if answer.is_ok() && name != "session_authorization" {
            self.made.insert(name.to_owned(), sql.to_owned());
        }
        if answer.is_ok() && KEPT.contains(&name) {
            let settings = Arc::make_mut(&mut self.settings);
            if sql.starts_with("RESET ") {
                settings.remove(name);
            } else {
                settings.insert(name.to_owned(), sql.to_owned());
            }
        }
        Ok(answer)
    }

    /// Makes these settings those in force.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn apply(&mut self, wanted: &Settings) -> Result<(), JobError> {
        if Arc::ptr_eq(&self.settings, wanted) || self.settings == *wanted {
            return Ok(());
        }
        // Whoever another role is may not set the rest.
        if self.settings.contains_key("session_authorization") {
            refuse(self.execute("RESET SESSION AUTHORIZATION").await?)?;
        }
        for name in self
            .settings
            .keys()
            .filter(|name| !wanted.contains_key(*name))
        {
            if name != "session_authorization" {
                // What the dump could set can be reset.
                let _ = self.execute(&format!("RESET {name}")).await?;
            }
        }
        for (_, sql) in wanted.iter() {
            // It was refused before, or is taken again.
            let _ = self.execute(sql).await?;
        }
        self.settings = Arc::clone(wanted);
        Ok(())
    }

    /// Executes a statement as the dump has it, and if it is refused under the database's own `search_path`;
    /// the refusal is the first one.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn try_both_ways(&mut self, sql: &str) -> Result<Tried, JobError> {
        let Err(refusal) = self.execute(sql).await? else {
            return Ok(Tried::AsWritten);
        };
        if !self.own_path(true).await? {
            return Ok(Tried::Refused(refusal));
        }
        let answer = self.execute(sql).await?;
        self.own_path(false).await?;
        Ok(match answer {
            Ok(()) => Tried::ByOwnPath(refusal),
            Err(_) => Tried::Refused(refusal),
        })
    }

    /// Puts the database's own `search_path` in force, or the dump's again; whether the two differ.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn own_path(&mut self, is_wanted: bool) -> Result<bool, JobError> {
        let own = path_to(&self.own_path);
        let dumps = self.settings.get("search_path").cloned();
        if dumps.as_ref().is_none_or(|dumps| *dumps == own) {
            return Ok(false);
        }
        if self.is_own_path != is_wanted {
            let sql = if is_wanted { Some(own) } else { dumps };
            if let Some(sql) = sql {
                refuse(self.execute(&sql).await?)?;
            }
            self.is_own_path = is_wanted;
        }
        Ok(true)
    }

    /// Sends rows by a COPY, all or none; gives how many there are.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn copy(
        &mut self,
        sql: &str,
        rows: Arc<[u8]>,
    ) -> Result<Result<u64, CopyRefusal>, JobError> {
        let begun = self.run.wait_for(self.session.begin_copy(sql)).await?;
        let refusal = match begun {
            Ok(copy) => {
                let taken = answer(self.run.wait_for(copy.finish_with(rows)).await?)?;
                return Ok(taken.map_err(|refusal| CopyRefusal {
                    refusal,
                    is_of_the_table: false,
                }));
            }
            Err(error) => match answer::<()>(Err(error))? {
                Ok(()) => return Ok(Ok(0)),
                Err(refusal) => refusal,
            },
        };
        self.connect_again().await?;
        Ok(Err(CopyRefusal {
            refusal,
            is_of_the_table: true,
        }))
    }

    /// Sends rows by way of a temporary table, all or none; gives how many there are.
    ///
    /// # Errors
    /// As above.
    pub(super) async fn copy_by(
        &mut self,
        detour: &Detour,
        rows: Arc<[u8]>,
    ) -> Result<Result<u64, CopyRefusal>, JobError> {
        let copied = self.copy(&Detour::copy(&self.encoding), rows).await?;
        let Ok(taken) = copied else {
            return Ok(copied);
        };
        let passed_on = self.execute(&detour.pass_on).await?;
        refuse(self.execute(&detour.empty).await?)?;
        Ok(passed_on.map(|()| taken).map_err(|refusal| CopyRefusal {
            refusal,
            is_of_the_table: false,
        }))
    }

    /// Takes note of which event triggers are kept still.
    pub(super) async fn note_held(&mut self) -> Result<(), JobError> {
        let asking = self.session.setting("pgbackupd.held");
        self.held = self.run.wait_for(asking).await??;
        Ok(())
    }

    /// Goes on in another session: the driver is out of step with the server in one that has refused to begin
    /// a COPY.
    async fn connect_again(&mut self) -> Result<(), JobError> {
        let conninfo = self.session.client().conninfo().clone();
        self.session = LoadSession::new(self.run.connect(&conninfo).await?);
        let is_own_path = std::mem::take(&mut self.is_own_path);
        self.begin().await?;
        if let Some(held) = &self.held {
            let held = held.replace('\\', "\\\\").replace('\'', "''");
            let sql = format!("SELECT pg_catalog.set_config('pgbackupd.held', E'{held}', false)");
            refuse(self.execute(&sql).await?)?;
        }
        for sql in self.made.values() {
            // The server has taken it before.
            let _ = self.execute(sql).await?;
        }
        for sql in self.settings.values() {
            let _ = self.execute(sql).await?;
        }
        if is_own_path {
            self.own_path(true).await?;
        }
        Ok(())
    }
}

/// A refusal of rows, or of the table that they are to go into.
pub(super) struct CopyRefusal {
    pub(super) refusal: Box<StatementRefusal>,
    pub(super) is_of_the_table: bool,
}

/// How a statement was taken that had been refused.
pub(super) enum Tried {
    AsWritten,
    /// Only under the database's own `search_path`; otherwise it is refused so.
    ByOwnPath(Box<StatementRefusal>),
    Refused(Box<StatementRefusal>),
}

/// What the server says of a statement, unless it or the session is at its end.
fn answer<T>(outcome: Result<T, LoadError>) -> Result<Result<T, Box<StatementRefusal>>, JobError> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(LoadError::Lost(error)) => Err(error.into()),
        Err(LoadError::Refused(refusal)) if refusal.is_of_the_server() => Err(JobError::Failed {
            message: format!("the server cannot go on: {}", refusal.in_short()),
            detail: None,
            may_pass: false,
        }),
        Err(LoadError::Refused(refusal)) => Ok(Err(refusal)),
    }
}

/// Of a statement of ours that no server refuses.
fn refuse(answer: Answer) -> Result<(), JobError> {
    answer.map_err(|refusal| JobError::failed(refusal.in_short()))
}

/// Of bytes that are no text.
fn no_text(error: QueryError) -> Result<Box<StatementRefusal>, JobError> {
    let Some(sqlstate) = error.sqlstate.clone() else {
        return Err(error.into());
    };
    Ok(Box::new(StatementRefusal {
        sqlstate,
        message: "the statement's bytes are no text in the dump's encoding".to_owned(),
        ..StatementRefusal::default()
    }))
}

fn path_to(path: &str) -> String {
    let path = path.replace('\'', "''");
    format!(
        "SELECT pg_catalog.set_config('search_path', E'{}', false);",
        path.replace('\\', "\\\\")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_in_a_script_has_the_settings_that_it_needs_and_no_other() {
        let settings = |all: &[(&str, &str)]| -> Settings {
            let all = all.iter();
            Arc::new(
                all.map(|(name, sql)| ((*name).to_owned(), (*sql).to_owned()))
                    .collect(),
            )
        };
        let usual = [
            (
                "search_path",
                "SELECT pg_catalog.set_config('search_path', '', false);",
            ),
            ("default_tablespace", "SET default_tablespace = '';"),
            (
                "standard_conforming_strings",
                "SET standard_conforming_strings = on;",
            ),
        ];
        let statement = || "CREATE VIEW v AS SELECT 1;".to_owned();
        assert_eq!(
            under_its_settings(statement(), &settings(&usual)),
            [statement()]
        );
        let special = [
            ("search_path", "SET search_path = s, pg_catalog;"),
            (
                "standard_conforming_strings",
                "SET standard_conforming_strings = off;",
            ),
        ];
        assert_eq!(
            under_its_settings(statement(), &settings(&special)),
            [
                "SET search_path = s, pg_catalog;",
                "SET standard_conforming_strings = off;",
                "CREATE VIEW v AS SELECT 1;",
                "SET standard_conforming_strings = on;",
                "SELECT pg_catalog.set_config('search_path', '', false);",
            ]
        );
    }
}
