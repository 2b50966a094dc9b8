//! The scratch database: all definitions of a backup without any row, next to the databases that
//! serve. In it the server itself says what belongs to a table, and renames it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::jobs::JobError;
use crate::jobs::dump::{Dumper, Overheard};
use crate::jobs::restore::RestoreOrder;
use crate::jobs::restore::side_names::{SideName, mark};
use crate::jobs::restore::source::Source;
use crate::jobs::restore::swap::drop_made;
use crate::jobs::run::Run;
use crate::postgres::{
    ChildInput, Client, Confinement, Conninfo, DatabaseProperties, Programs,
    archive_as_sql_arguments, archive_entries_arguments, archive_list_arguments,
    comment_on_database, create_database, create_throw_away, databases, drop_database, input_pipe,
    settings_for_loading,
};
use crate::threads;

/// For a statement that makes or drops a database.
pub(super) const STATEMENT: Duration = Duration::from_secs(300);

/// Completes the sentence "cannot …".
const PREPARE: &str = "prepare a scratch database";

/// As programs that we start are known to the server.
pub(super) const APPLICATION: &str = "pgbackupd restore";

/// Tables on their way out of a backup: by which programs, and over which server.
#[derive(Clone, Copy)]
pub(super) struct Extraction<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) order: &'a RestoreOrder<'a>,
    pub(super) source: &'a Source,
    pub(super) programs: &'a Programs,
    /// To a database that has no part in it.
    pub(super) maintenance: &'a Conninfo,
    /// What databases are made like here, if anything is known.
    pub(super) like: Option<&'a DatabaseProperties>,
}

impl Extraction<'_> {
    pub(super) async fn connect(&self, database: &str) -> Result<Client, JobError> {
        self.run
            .connect(&self.maintenance.to_database(database))
            .await
    }

    /// One of `PostgreSQL`'s programs whose output is read.
    pub(super) fn program<'b>(
        &'b self,
        program: PathBuf,
        arguments: Vec<OsString>,
        overheard: &'b Overheard,
    ) -> Dumper<'b> {
        Dumper {
            run: self.run,
            program,
            arguments,
            application: APPLICATION,
            conninfo: self.maintenance,
            overheard,
            confinement: Confinement::default(),
        }
    }

    /// The list of an archive's entries.
    pub(super) async fn archive_list(&self) -> Result<String, JobError> {
        let overheard = Overheard::default();
        let archive = self.source.archive();
        let (arguments, stdin) = archive.input(archive_list_arguments(self.source.path()))?;
        let pg_restore = self.program(self.programs.pg_restore(), arguments, &overheard);
        let doing = format!("cannot list {}", self.source.path().display());
        let list = pg_restore.read_all_from(stdin, &doing).await?;
        String::from_utf8(list).map_err(|_| {
            JobError::failed(format!(
                "the list of {} is not in UTF-8\nhint: restore the whole backup into another database, with --into",
                self.source.path().display()
            ))
        })
    }

    /// Makes an empty database that bears our mark.
    pub(super) async fn create(&self, client: &Client, name: &str) -> Result<(), JobError> {
        let like = self.like;
        let sql = match like {
            Some(like) => create_throw_away(name, like, client.server_major()),
            None => create_database(name, None, client.server_major()),
        };
        let mark = mark(&self.run.context.requester.host, self.order.database);
        for sql in [sql, comment_on_database(name, Some(&mark))] {
            // Not given up midway: the server would go on, and leave a database without our mark.
            client
                .execute("create a scratch database", &sql, STATEMENT)
                .await?;
        }
        let manifest = self.source.manifest.as_ref();
        let server = manifest.map_or(&[][..], |one| &one.server.settings);
        for one in like.map_or_else(Vec::new, |like| settings_for_loading(name, server, like)) {
            // What the server does not take is missed by whoever asks for it, and named then.
            match client.execute(PREPARE, &one.sql, STATEMENT).await {
                Err(error) if error.sqlstate.is_none() => return Err(error.into()),
                Err(_) => tracing::debug!("the setting {} could not be applied", one.name),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// What a `pg_restore` is called with, and reads, that writes the entries which are chosen of an archive's
    /// list; all of them, where the list would take the place of an archive that is unpacked into it.
    pub(super) async fn entries(
        &self,
        choose: impl FnOnce(&str) -> String,
    ) -> Result<(Vec<OsString>, ChildInput), JobError> {
        let archive = self.source.archive();
        if archive.is_packed() {
            return archive.input(archive_as_sql_arguments(archive.path()));
        }
        let entries = choose(&self.archive_list().await?);
        Ok((archive_entries_arguments(archive.path()), to_read(entries)?))
    }
}

/// Names of extensions.
pub(super) fn display_extensions(extensions: &BTreeSet<Vec<u8>>) -> String {
    let names: Vec<String> = extensions
        .iter()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.join(", ")
}

/// A program's stdin with this text in it.
pub(in crate::jobs) fn to_read(text: String) -> Result<ChildInput, JobError> {
    let (mut writer, reader, mark) = input_pipe().map_err(JobError::no_pipe)?;
    // It ends with the program.
    drop(threads::start("list", move || {
        writer.write_all(text.as_bytes())
    })?);
    Ok(ChildInput::Pipe(reader, mark))
}

/// Drops what a restore of this database left that was killed; gives what could not be dropped.
///
/// It bears our mark; or no comment at all, and a note of such a restore names it.
pub(super) async fn sweep(
    run: &Run<'_>,
    client: &Client,
    order: &RestoreOrder<'_>,
) -> Result<Vec<String>, JobError> {
    let original = order.database;
    let mark = mark(&run.context.requester.host, original);
    let notes = order.repository.scratch_notes()?;
    let is_recorded = |name: &String| notes.iter().any(|note| note.names.contains(name));
    let mut all = databases(client).await?;
    let mut remaining = Vec::new();
    for (name, standing) in all.clone() {
        let is_left = match &standing.comment {
            Some(comment) => *comment == mark,
            // Whoever made it was killed before it was marked, or the server lost the mark.
            None => is_recorded(&name),
        };
        // A name without a time is somebody's, whatever its comment says.
        if !is_left || !SideName::Restoring.is(&name, original) {
            continue;
        }
        match drop_made(client, run.connect_limit(), &name).await {
            Ok(()) => drop(all.remove(&name)),
            Err(error) => remaining.push(format!(
                "{name}, which an earlier restore left, could not be dropped: {error}"
            )),
        }
    }
    for note in notes {
        // One that is not there may still be made.
        if note.is_old && !note.names.iter().any(|name| all.contains_key(name)) {
            let _ = note.remove();
        }
    }
    Ok(remaining)
}

pub(super) async fn drop_side_database(
    run: &Run<'_>,
    prepared: &super::PreparedTables,
    name: &str,
) -> Result<(), JobError> {
    let client = Client::connect(&prepared.maintenance, run.connect_limit()).await?;
    client
        .execute("drop a database", &drop_database(name), STATEMENT)
        .await?;
    Ok(())
}
