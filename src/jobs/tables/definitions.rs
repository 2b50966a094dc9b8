//! Loading the definitions of a backup into a scratch database, going on behind each that the server
//! refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroU8;
use std::sync::{Arc, Mutex, PoisonError};

use super::list;
use super::refused::Refused;
use super::scratch::{APPLICATION, Extraction, display_extensions};
use crate::config::Format;
use crate::jobs::JobError;
use crate::jobs::dump::{Overheard, blocking};
use crate::jobs::load::{Loaded, Loader, Refusal, loaded_from};
use crate::pipeline::{
    Definitions, Left, Phase, Progress, Refusable, StreamError, Text, take_parts,
};
use crate::postgres::{Confinement, ServerError, ServerFacts};

/// Goes before the definitions: nothing in a scratch database has to survive a crash.
const HEAD: &[u8] = b"SET synchronous_commit = off;\nSET client_min_messages = warning;\n";

impl Extraction<'_> {
    /// Loads the definitions without some extensions, going on behind each that the server refuses.
    pub(super) async fn load_definitions(
        &self,
        scratch: &str,
        server_facts: &ServerFacts,
        without: &BTreeSet<Vec<u8>>,
    ) -> Result<Made, JobError> {
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
        let only = (!server_facts.is_superuser).then_some(server_facts.user.as_str());
        let tap = || {
            Definitions::new(server_facts.roles.keys().map(String::as_str), only)
                .without(without.clone())
        };
        let (sent, passed) = self.pass(tap());
        let doing = format!("cannot read {}", self.source.path().display());
        let (outcome, errors) = if self.source.format == Format::Plain {
            let read = self.read_text(sent);
            loader.load_text_through(&doing, read).await?
        } else {
            self.load_archive_definitions(&loader, &doing, sent).await?
        };
        match outcome {
            Loaded::Wholly if errors.is_empty() => Ok(Made {
                left: take(&passed).map_or_else(Vec::new, |tap| tap.left().to_vec()),
                refused: Vec::new(),
            }),
            Loaded::Wholly => {
                let lines = errors.iter().filter_map(|(error, _)| error.line);
                let (again, found) =
                    self.pass(tap().looking_for(lines.map(in_definitions).collect()));
                self.read_again(&doing, again).await?;
                let mut tap = take(&found);
                let left = tap
                    .as_ref()
                    .map_or_else(Vec::new, |tap| tap.left().to_vec());
                Ok(Made {
                    left,
                    refused: refused(errors, tap.as_mut().map(|tap| tap.found().clone()))?,
                })
            }
            Loaded::Refused(refusal) => Err(not_loaded(refusal, without)),
        }
    }

    /// Two programs, with our thread between them.
    async fn load_archive_definitions(
        &self,
        loader: &Loader<'_>,
        doing: &str,
        pass: Pass,
    ) -> Result<(Loaded, Errors), JobError> {
        let overheard = Overheard::default();
        let (arguments, stdin) = self.entries(list::definitions).await?;
        let pg_restore = self.program(self.programs.pg_restore(), arguments, &overheard);
        let adaptation = self.source.adaptation.clone();
        let (mut reader, writer) = io::pipe().map_err(JobError::no_pipe)?;
        let extracting = pg_restore.stream_from(stdin, doing, move |source| {
            let text = Text::of_program(source).adapted(adaptation.as_ref());
            pass.all(text, writer)
        });
        let loading = loader.load_text_through(doing, move |mut sink| {
            io::copy(&mut reader, &mut sink)
                .map(drop)
                .map_err(StreamError::Write)
        });
        let (extraction, sent) = tokio::join!(extracting, loading);
        let (outcome, errors) = sent?;
        let outcome = loaded_from(async { extraction }, async { Ok(outcome) }).await?;
        Ok((outcome, errors))
    }
}

/// The failure for definitions at which psql itself has ended.
fn not_loaded(refusal: Refusal, without: &BTreeSet<Vec<u8>>) -> JobError {
    let lacking = if without.is_empty() {
        String::new()
    } else {
        let names = display_extensions(without);
        format!("extensions that our user cannot install there are {names}: ")
    };
    JobError::Failed {
        message: format!(
            "the definitions in the backup cannot all be made on this server: {}: {}; {lacking}make what \
             is missing there, or restore on a server that has it",
            refusal.how,
            refusal.in_short(),
        ),
        detail: Some(refusal.detail),
        may_pass: false,
    }
}

/// What the definitions of a backup have come to in a scratch database.
pub(super) struct Made {
    /// What was left out for lack of a role.
    pub(super) left: Vec<Left>,
    /// What the server has refused.
    pub(super) refused: Vec<Refused>,
}

/// What the server says of the statements that it refuses.
type Errors = Vec<(ServerError, String)>;

impl Extraction<'_> {
    /// What passes the definitions on, and where it goes when it has.
    fn pass(&self, tap: Definitions) -> (Pass, Passed) {
        let passed = Passed::default();
        let pass = Pass {
            tap,
            accepts_unexpected: self.order.accept_unexpected,
            progress: Arc::clone(&self.run.progress),
            passed: Arc::clone(&passed),
        };
        (pass, passed)
    }

    /// Passes the definitions of a text on.
    fn read_text<W: io::Write>(
        &self,
        pass: Pass,
    ) -> impl FnOnce(W) -> Result<(), StreamError> + use<W> {
        let (file, compression) = (self.source.file.clone(), self.source.compression);
        let adaptation = self.source.adaptation.clone();
        move |sink| {
            let text = Text::of_file(&file, compression)?;
            pass.all(text.adapted(adaptation.as_ref()), sink)
        }
    }

    /// Reads the definitions once more, for what is looked for in them.
    async fn read_again(&self, doing: &str, pass: Pass) -> Result<(), JobError> {
        if self.source.format == Format::Plain {
            let read = self.read_text(pass);
            return blocking(self.run, doing, move || read(io::sink())).await;
        }
        let overheard = Overheard::default();
        let (arguments, stdin) = self.entries(list::definitions).await?;
        let pg_restore = self.program(self.programs.pg_restore(), arguments, &overheard);
        let adaptation = self.source.adaptation.clone();
        let reading = pg_restore.stream_from(stdin, doing, move |source| {
            let text = Text::of_program(source).adapted(adaptation.as_ref());
            pass.all(text, io::sink())
        });
        reading.await
    }
}

/// The line of the definitions alone, of one that goes before them too.
fn in_definitions(line: u64) -> u64 {
    line.saturating_sub(memchr::memchr_iter(b'\n', HEAD).count() as u64)
}

/// The statements that the server has refused, each with what it says of it.
fn refused(
    errors: Errors,
    found: Option<BTreeMap<u64, Refusable>>,
) -> Result<Vec<Refused>, JobError> {
    let mut found = found.unwrap_or_default();
    let mut all = Vec::new();
    for (error, said) in errors {
        let line = error.line.map(in_definitions);
        let statement = line.and_then(|line| found.remove(&line));
        let class = error.sqlstate.get(..2).unwrap_or_default();
        // The server's trouble is no statement's.
        if ["08", "53", "57", "58", "XX"].contains(&class) || error.sqlstate == "55P03" {
            return Err(JobError::Failed {
                message: format!(
                    "the definitions in the backup could not be made: {}",
                    error.in_short()
                ),
                detail: Some(said),
                may_pass: class == "53" || class == "57",
            });
        }
        all.push(Refused {
            statement,
            error,
            said,
        });
    }
    Ok(all)
}

/// What has passed a tap, when all of it has.
type Passed = Arc<Mutex<Option<Definitions>>>;

fn take(passed: &Passed) -> Option<Definitions> {
    let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
    passed.take()
}

/// Passes on the definitions of a dump.
struct Pass {
    tap: Definitions,
    accepts_unexpected: bool,
    progress: Arc<Progress>,
    /// Gets the tap when all has passed.
    passed: Passed,
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
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = Some(tap);
        Ok(())
    }
}
