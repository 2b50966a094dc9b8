//! What a salvage leaves for people: the statements that are still to be run, in their order, and the rows that
//! the server refused. Both are for their owner alone.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};

use super::missing::{Missing, MissingState};
use crate::jobs::JobError;
use crate::repository::{Repository, RepositoryError};

/// The files of one salvage.
pub(super) struct SalvageFiles {
    repository: Repository,
    at: DateTime<FixedOffset>,
    rows: Option<RowsFile>,
}

struct RowsFile {
    path: PathBuf,
    file: BufWriter<File>,
    /// In which encoding the rows are that come next.
    encoding: String,
    /// The head of the block that is open.
    open: Option<Vec<u8>>,
}

/// The files that were written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) todo: Option<PathBuf>,
    pub(super) rows: Option<PathBuf>,
}

impl SalvageFiles {
    /// None is made before there is something for it.
    pub(super) fn new(repository: Repository, at: DateTime<FixedOffset>) -> Self {
        Self {
            repository,
            at,
            rows: None,
        }
    }

    /// Keeps rows of a COPY block.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn refused_rows(
        &mut self,
        encoding: &str,
        head: &[u8],
        rows: &[u8],
    ) -> Result<(), JobError> {
        let file = self.rows_file()?;
        let path = file.path.clone();
        let written = file
            .begin(encoding, head)
            .and_then(|()| file.file.write_all(rows));
        written.map_err(unwritten(path))
    }

    /// Keeps an INSERT.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn refused_insert(
        &mut self,
        encoding: &str,
        backslash_escapes: bool,
        text: &[u8],
    ) -> Result<(), JobError> {
        let file = self.rows_file()?;
        let path = file.path.clone();
        let mut write = || {
            file.end()?;
            file.set_encoding(encoding)?;
            let (before, after): (&[u8], &[u8]) = if backslash_escapes {
                (
                    b"SET standard_conforming_strings = off;\n",
                    b"\nSET standard_conforming_strings = on;\n",
                )
            } else {
                (b"", b"\n")
            };
            file.file.write_all(&[before, text, after].concat())
        };
        write().map_err(unwritten(path))
    }

    /// The rows of a block have ended.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(super) fn end_rows(&mut self) -> Result<(), JobError> {
        let Some(file) = &mut self.rows else {
            return Ok(());
        };
        let path = file.path.clone();
        file.end().map_err(unwritten(path))
    }

    fn rows_file(&mut self) -> Result<&mut RowsFile, JobError> {
        if self.rows.is_none() {
            let (path, file) = self.repository.create_salvage_file(self.at, "rows.sql")?;
            let mut file = BufWriter::new(file);
            let head = "-- Rows that the server refused. Correct them, then run this file with psql -X -f.\n\
                SET standard_conforming_strings = on;\n\
                SELECT pg_catalog.set_config('search_path', '', false);\n";
            file.write_all(head.as_bytes())
                .map_err(unwritten(path.clone()))?;
            self.rows = Some(RowsFile {
                path,
                file,
                encoding: String::new(),
                open: None,
            });
        }
        self.rows
            .as_mut()
            .ok_or_else(|| JobError::Internal("no file for refused rows".to_owned()))
    }

    /// Writes what is left to be done, and syncs both files.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn finish(
        mut self,
        missing: &[Missing],
        database: &str,
    ) -> Result<Written, JobError> {
        self.end_rows()?;
        let mut written = Written::default();
        if let Some(RowsFile { path, file, .. }) = self.rows.take() {
            let file = file.into_inner().map_err(io::IntoInnerError::into_error);
            file.and_then(|file| file.sync_all())
                .map_err(unwritten(path.clone()))?;
            written.rows = Some(path);
        }
        let rows = written.rows.as_ref().and_then(|path| path.file_name());
        let rows = rows.map(|name| name.to_string_lossy().into_owned());
        if let Some(text) = todo(missing, database, rows.as_deref()) {
            let (path, mut file) = self.repository.create_salvage_file(self.at, "todo.sql")?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(unwritten(path.clone()))?;
            written.todo = Some(path);
        }
        Ok(written)
    }
}

impl RowsFile {
    fn begin(&mut self, encoding: &str, head: &[u8]) -> io::Result<()> {
        if self.open.as_deref() == Some(head) {
            return Ok(());
        }
        self.end()?;
        self.set_encoding(encoding)?;
        self.file.write_all(head)?;
        self.file.write_all(b"\n")?;
        self.open = Some(head.to_vec());
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.open.take().is_some() {
            self.file.write_all(b"\\.\n\n")?;
        }
        Ok(())
    }

    fn set_encoding(&mut self, encoding: &str) -> io::Result<()> {
        if self.encoding != encoding {
            encoding.clone_into(&mut self.encoding);
            writeln!(self.file, "SET client_encoding = '{encoding}';")?;
        }
        Ok(())
    }
}

fn unwritten(path: PathBuf) -> impl FnOnce(io::Error) -> JobError {
    move |error| RepositoryError::io("write", &path)(error).into()
}

/// The statements that are left, each below what it is for; none if there is nothing to run. Pure.
fn todo(missing: &[Missing], database: &str, rows: Option<&str>) -> Option<String> {
    let is_any = missing.iter().any(|one| !one.statements.is_empty());
    if !is_any && rows.is_none() {
        return None;
    }
    let mut lines = vec![
        format!(
            "-- What is missing in database {}, in the order in which to bring it back. Change what has",
            comment(database)
        ),
        "-- to be changed, then run it with psql -X -f, or statement by statement.".to_owned(),
        "SET client_encoding = 'UTF8';".to_owned(),
        "SET standard_conforming_strings = on;".to_owned(),
        "SELECT pg_catalog.set_config('search_path', '', false);".to_owned(),
        "SET check_function_bodies = false;".to_owned(),
    ];
    let mut rows = rows;
    for one in missing {
        lines.extend([
            String::new(),
            format!("-- {}: {}", comment(&one.object), one.state.display()),
        ]);
        lines.extend(
            one.reasons()
                .map(|(label, text)| format!("-- {label}: {}", comment(text))),
        );
        lines.extend(one.statements.iter().cloned());
        if one.state == MissingState::Rows {
            lines.extend(rows.take().map(|name| format!("\\ir {name}")));
        }
    }
    Some(lines.join("\n") + "\n")
}

/// A text in a comment: on lines that are comments all of them.
fn comment(text: &str) -> String {
    let shown: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect();
    shown.replace('\n', "\n--   ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::StatementRefusal;

    #[test]
    fn what_is_left_is_in_order_and_a_message_stays_a_comment() {
        let refusal = StatementRefusal {
            sqlstate: "23503".to_owned(),
            message: "no parent\nDROP TABLE t;\r\\! id".to_owned(),
            ..StatementRefusal::default()
        };
        let missing = [
            Missing {
                rows: Some(2),
                refusal: Some(refusal.clone()),
                ..Missing::new(1, "rows of public.t", MissingState::Rows)
            },
            Missing {
                rows: Some(2),
                ..Missing::new(2, "rows of public.u", MissingState::Rows)
            },
            Missing {
                statements: vec!["ALTER TABLE x;".to_owned()],
                fix: Some("do it".to_owned()),
                ..Missing::new(3, "x", MissingState::NotThere)
            },
        ];
        let text = todo(&missing, "a\nb", Some("rows.sql")).unwrap();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("--") && !line.is_empty())
            .collect();
        assert_eq!(lines[4..], ["\\ir rows.sql", "ALTER TABLE x;"], "{text}");
        assert!(
            text.contains("-- ERROR: no parent\n--   DROP TABLE t; \\! id\n"),
            "{text}"
        );
        assert_eq!(todo(&[], "a", None), None);
    }
}
