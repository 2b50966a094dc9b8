//! Diagnostics. A command's own output is not among them: that goes to stdout.
//!
//! A command writes them to the terminal; the daemon to the journal, to a terminal or pipe when the
//! journal is not there, and to a file of JSON if one is configured. Events of the daemon are reported
//! with [`emit!`](crate::emit), which gives each the level and the lasting id of its [`EventKind`].

mod event;
mod file;
mod filter;
mod journal;
mod json;
mod lines;

use std::io::{self, Write};
use std::path::PathBuf;

use anstream::{AutoStream, ColorChoice};
use chrono_tz::Tz;
use tracing::Metadata;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::threads::NoThread;

pub use crate::display::Printable;
use crate::display::with_hint_in_line;
pub use event::{EventKind, Severity};
pub use filter::{LOG_VARIABLE, Level, UnknownLevel};

use journal::Journal;
use json::JsonLines;
use lines::Lines;

/// A sentence as an event has it: on one line with its way out.
#[doc(hidden)]
pub fn in_line(sentence: std::fmt::Arguments<'_>) -> Printable<String> {
    Printable(with_hint_in_line(&sentence.to_string()))
}

/// What the daemon's diagnostics should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much is logged. The variable [`LOG_VARIABLE`] wins over it.
    pub level: Level,
    /// A file that gets everything as JSON, besides the journal or the terminal.
    pub file: Option<JsonFile>,
    /// The zone of the times on a terminal. The journal and the file have UTC.
    pub zone: Tz,
}

/// The daemon's log as JSON: one object a line, one file a day of UTC. The date goes before the
/// extension: `pgbackupd.json` becomes `pgbackupd.2026-11-22.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonFile {
    /// The file's name without the date. Its directory is made if it is missing.
    pub path: PathBuf,
    /// How many days' files are kept, today's among them. Today's is kept in any case.
    pub keep: usize,
}

/// Why the daemon cannot write its diagnostics.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The file cannot be opened, or its directory cannot be made.
    #[error(
        "cannot write the log file {}: {source}\nhint: give the service's user the directory, or choose \
         another logs.file", .path.display()
    )]
    File {
        /// The file as configured.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path has no file name that could get a date.
    #[error(
        "cannot write the log file {}: the path names no file, or not in UTF-8\nhint: choose another \
         logs.file", .path.display()
    )]
    FileName {
        /// The path as configured.
        path: PathBuf,
    },
    /// The thread that writes the file cannot be had.
    #[error(transparent)]
    NoThread(#[from] NoThread),
    /// Diagnostics are set up once in a process, and they were.
    #[error("diagnostics were already set up in this process")]
    Twice,
}

/// The target of what [`emit!`](crate::emit) emits, and of the spans whose fields it gets.
pub(crate) const EVENT_TARGET: &str = "pgbackupd::event";

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Keeps the daemon's diagnostics going. Dropped at the very end of the process, it waits until the
/// JSON file has every line, a second at most.
#[must_use = "lines of the JSON file are lost without it"]
pub struct Guard {
    filter: reload::Handle<EnvFilter, Layered<Layers, Registry>>,
    by_variable: bool,
    _file: Option<WorkerGuard>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("by_variable", &self.by_variable)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Changes how much is logged, as after a reload. [`LOG_VARIABLE`], if it decided at the start,
    /// still does.
    pub fn set_level(&self, level: Level) {
        if !self.by_variable {
            // It can fail only without a subscriber, and then nothing is logged anyway.
            let _ = self.filter.reload(filter::of_daemon(level));
        }
    }
}

/// Writes a command's diagnostics to stderr in readable lines: warnings, with `verbose` once also
/// what is done, twice also how; and its events to the journal, where there is one. The variable `PGBACKUPD_LOG` wins over it: a [`Level`], or
/// directives in tracing's own language.
pub fn to_terminal<W>(verbose: u8, stderr: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match verbose {
        0 => Level::Warning,
        1 => Level::Info,
        _ => Level::Debug,
    };
    let choice = filter::choose_filter(variable().as_deref(), filter::of(level));
    // What is an event is reported by the command itself to whoever sits there; the journal has it for
    // whoever watches, with the id that the daemon's has.
    let is_event = |metadata: &Metadata<'_>| metadata.target() == EVENT_TARGET;
    let lines = readable(Lines::Level, stderr);
    let mut layers: Layers = vec![lines.with_filter(filter_fn(move |m| !is_event(m))).boxed()];
    if let Ok(journal) = Journal::connect() {
        layers.push(journal.with_filter(filter_fn(is_event)).boxed());
    }
    let subscriber = tracing_subscriber::registry()
        .with(layers)
        .with(choice.filter);
    // A second call in one process, as in tests, changes nothing.
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        warn_refused(choice.refused);
    }
}

/// Sets up the daemon's diagnostics.
///
/// When stderr leads to the journal, events go to the journal itself with all their fields, and if
/// that cannot be reached, as lines with a priority to stderr. Else they are readable lines on
/// stderr, with colours on a terminal that wants them. A [`JsonFile`] gets them too.
///
/// # Errors
/// When the JSON file cannot be opened, or diagnostics are already set up.
pub fn for_daemon(settings: &Settings) -> Result<Guard, TelemetryError> {
    let default = filter::of_daemon(settings.level);
    let choice = filter::choose_filter(variable().as_deref(), default);
    let to_journal = journal::has_stderr();
    let mut layers: Layers = Vec::new();
    let mut unreachable = None;
    if to_journal {
        match Journal::connect() {
            Ok(journal) => layers.push(journal.boxed()),
            Err(error) => {
                layers.push(readable(Lines::Priority, io::stderr));
                unreachable = Some(error);
            }
        }
    } else {
        layers.push(readable(Lines::Time(settings.zone), io::stderr));
    }
    let mut worker = None;
    if let Some(file) = &settings.file {
        let (writer, guard) = file::open(file, complaint(to_journal))?;
        layers.push(json(writer));
        worker = Some(guard);
    }
    let (filter, handle) = reload::Layer::new(choice.filter);
    let subscriber = tracing_subscriber::registry().with(layers).with(filter);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)?;
    warn_refused(choice.refused);
    if let Some(error) = unreachable {
        tracing::warn!(
            "the journal cannot be reached: {error}; its entries have no fields until the next start"
        );
    }
    Ok(Guard {
        filter: handle,
        by_variable: choice.by_variable,
        _file: worker,
    })
}

/// What stands before each line on stderr that is not reported as an event: for the journal the sign of
/// an error (sd-daemon(3)), else nothing.
pub fn error_prefix() -> &'static str {
    if journal::has_stderr() { "<3>" } else { "" }
}

fn variable() -> Option<String> {
    std::env::var_os(LOG_VARIABLE).map(|value| value.to_string_lossy().into_owned())
}

fn warn_refused(refused: Option<String>) {
    if let Some(why) = refused {
        tracing::warn!("{why}");
    }
}

fn readable<W>(lines: Lines, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let colours = !matches!(lines, Lines::Priority)
        && AutoStream::choice(&io::stderr()) != ColorChoice::Never;
    fmt::layer()
        .event_format(lines)
        .with_ansi(colours)
        .with_writer(writer)
        .boxed()
}

/// The fields of an event and of its spans besides the time in UTC, the level and the module.
fn json<W>(writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt::layer()
        .fmt_fields(JsonFields::new())
        .event_format(JsonLines)
        .with_writer(writer)
        .boxed()
}

/// Tells what the log file cannot say itself. An event would come back to the same file.
fn complaint(to_journal: bool) -> impl FnMut(&str) + Send + 'static {
    move |text| {
        let priority = if to_journal { "<4>" } else { "" };
        let _ = writeln!(io::stderr(), "{priority}pgbackupd: {text}");
    }
}
