//! The scratch database: all definitions of a backup without any row, beside the databases that
//! serve. In it the server itself says what belongs to a table, and renames it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::list;
use crate::config::Format;
use crate::jobs::JobError;
use crate::jobs::dump::{Dumper, Overheard};
use crate::jobs::load::{Loaded, Loader, loaded_from};
use crate::jobs::restore::RestoreOrder;
use crate::jobs::restore::side_names::{SideName, mark};
use crate::jobs::restore::source::Source;
use crate::jobs::restore::swap::drop_made;
use crate::jobs::run::Run;
use crate::pipeline::{Definitions, Left, Phase, Progress, StreamError, Text, take_parts};
use crate::postgres::{
    ChildInput, Client, Confinement, Conninfo, DatabaseProperties, Programs, ServerFacts,
    archive_entries_arguments, archive_list_arguments, comment_on_database, create_database,
    create_throw_away, databases, drop_database, input_pipe, settings_for_loading,
};
use crate::threads;

/// For a statement that makes or drops a database.
pub(super) const STATEMENT: Duration = Duration::from_secs(300);

/// Completes the sentence "cannot …".
const PREPARE: &str = "prepare a scratch database";

/// As programs that we start are known to the server.
pub(super) const APPLICATION: &str = "pgbackupd restore";

/// Goes before the definitions: nothing in a scratch database has to survive a crash.
const HEAD: &[u8] = b"SET synchronous_commit = off;\nSET client_min_messages = warning;\n";

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
        let arguments = archive_list_arguments(&self.source.path);
        let pg_restore = self.program(self.programs.pg_restore(), arguments, &overheard);
        let doing = format!("cannot list {}", self.source.path.display());
        let list = pg_restore.read_all(&doing).await?;
        String::from_utf8(list).map_err(|_| {
            JobError::failed(format!(
                "the list of {} is not in UTF-8: restore the whole backup into another database, with --into",
                self.source.path.display()
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

    /// Loads the definitions without some extensions, which must be all that is missing then; gives what
    /// was left out for lack of a role.
    pub(super) async fn load_definitions(
        &self,
        scratch: &str,
        server_facts: &ServerFacts,
        without: &BTreeSet<Vec<u8>>,
    ) -> Result<Vec<Left>, JobError> {
        self.run.progress.enter(Phase::Loading);
        // Definitions alone: no row whose day could depend on a zone.
        let scratch = self.maintenance.to_database(scratch);
        let conninfo = scratch.for_loading(Some("UTC"), true);
        let loader = Loader {
            run: self.run,
            programs: self.programs,
            reader: self.programs,
            server_major: server_facts.major,
            conninfo: &conninfo,
            application: APPLICATION,
            jobs: NonZeroU8::MIN,
            confinement: Confinement::default(),
        };
        let left = Arc::new(Mutex::new(Vec::new()));
        let only = (!server_facts.is_superuser).then_some(server_facts.user.as_str());
        let tap = Definitions::new(server_facts.roles.keys().map(String::as_str), only);
        let pass = Pass {
            tap: tap.without(without.clone()),
            accepts_unexpected: self.order.accept_unexpected,
            progress: Arc::clone(&self.run.progress),
            left: Arc::clone(&left),
        };
        let doing = format!("cannot read {}", self.source.path.display());
        let outcome = if self.source.format == Format::Plain {
            let (path, compression) = (self.source.path.clone(), self.source.compression);
            loader
                .load_text(&doing, move |sink| {
                    let file = crate::regular_file::open(path).map_err(StreamError::Read)?;
                    pass.all(Text::of_file(file, compression)?, sink)
                })
                .await?
        } else {
            self.load_archive_definitions(&loader, &doing, pass).await?
        };
        match outcome {
            Loaded::Wholly => Ok(std::mem::take(
                &mut *left.lock().unwrap_or_else(PoisonError::into_inner),
            )),
            Loaded::Refused(refusal) => Err(JobError::Failed {
                message: format!(
                    "the definitions in the backup cannot all be made on this server: {}: {}; {}make what \
                     is missing there, or restore on a server that has it",
                    refusal.how,
                    refusal.in_short(),
                    if without.is_empty() {
                        String::new()
                    } else {
                        let names = display_extensions(without);
                        format!("extensions that our user cannot install there are {names}: ")
                    }
                ),
                said: Some(refusal.said),
                may_pass: false,
            }),
        }
    }

    /// Two programs, with our thread between them.
    async fn load_archive_definitions(
        &self,
        loader: &Loader<'_>,
        doing: &str,
        pass: Pass,
    ) -> Result<Loaded, JobError> {
        let entries = list::definitions(&self.archive_list().await?);
        let overheard = Overheard::default();
        let arguments = archive_entries_arguments(&self.source.path);
        let pg_restore = self.program(self.programs.pg_restore(), arguments, &overheard);
        let (mut reader, writer) = io::pipe().map_err(JobError::no_pipe)?;
        let extracting = pg_restore.stream_from(to_read(entries)?, doing, move |source| {
            pass.all(Text::Program(source), writer)
        });
        let loading = loader.load_text(doing, move |mut sink| {
            io::copy(&mut reader, &mut sink)
                .map(drop)
                .map_err(StreamError::Write)
        });
        loaded_from(extracting, loading).await
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

/// Passes on the definitions of a dump.
struct Pass {
    tap: Definitions,
    accepts_unexpected: bool,
    progress: Arc<Progress>,
    /// Gets what was left out for lack of a role.
    left: Arc<Mutex<Vec<Left>>>,
}

impl Pass {
    fn all<R: io::Read + Unpin>(
        self,
        text: Text<R>,
        mut sink: impl io::Write,
    ) -> Result<(), StreamError> {
        sink.write_all(HEAD).map_err(StreamError::Write)?;
        let accepts = self.accepts_unexpected;
        let tap = take_parts(text, self.tap, accepts, &self.progress, |tap| {
            if tap.databases() > 1 {
                let reason = "it holds several databases: take one out of it first";
                return Err(StreamError::Read(io::Error::other(reason)));
            }
            sink.write_all(&tap.take()).map_err(StreamError::Write)
        })?;
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = tap.left().to_vec();
        Ok(())
    }
}

/// A program's stdin with this text in it.
pub(super) fn to_read(text: String) -> Result<ChildInput, JobError> {
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
