//! Loading a dump in plain format over several sessions, each of which is a psql: what has its place in
//! the order of things goes to the first, and indexes are made side by side.

use std::io::PipeReader;
use std::sync::{Arc, mpsc};

use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::additions::Additions;
use super::feed::{Event, Feed, LineOffset, Terms};
use super::marks::Marks;
use super::refusal::is_deadlock;
use super::{GRACE, Invocation, Loaded, Loader, outcome_of, refused};
use crate::config::Compression;
use crate::jobs::error::JobError;
use crate::jobs::limit::Stop;
use crate::pipeline::{
    Adaptation, InputFile, Progress, Segment, StreamError, Text, hold_event_triggers,
    release_event_triggers, take_segments,
};
use crate::postgres::{
    ChildError, ChildInput, ChildOutput, Exit, ProgramInput, input_pipe,
    load_text_and_answer_arguments,
};
use crate::threads;

/// A dump in plain format.
#[derive(Debug)]
pub(in crate::jobs) struct Dump {
    /// How it is called.
    pub(in crate::jobs) name: String,
    /// Where its text comes from.
    pub(in crate::jobs) text: DumpText,
    /// How it is read, if there is no manifest for it.
    pub(in crate::jobs) adaptation: Option<Adaptation>,
    /// Whether statements of kinds that are not known are sent.
    pub(in crate::jobs) accepts_unexpected: bool,
    /// Its extensions, by their names, and the role that each is made as.
    pub(in crate::jobs) additions: Additions,
}

/// Where the text of a dump comes from.
#[derive(Debug)]
pub(in crate::jobs) enum DumpText {
    /// A file.
    File {
        /// Where it is, and what opens it.
        file: InputFile,
        /// How it is compressed.
        compression: Compression,
    },
    /// A program that writes it.
    Program(PipeReader),
}

/// What the feeder leaves behind. The sessions are not to end before that is known.
struct GivenOut {
    outcome: Result<(), StreamError>,
    feed: Feed<ProgramInput>,
}

/// How one of the programs has ended.
struct Ended {
    /// The number of its session.
    session: usize,
    exit: Result<Exit, ChildError>,
    /// Whether it has been of use.
    was_ready: bool,
}

/// The sessions of one load.
struct Sessions<'a> {
    loader: &'a Loader<'a>,
    marks: Marks,
    events: mpsc::Sender<Event<ProgramInput>>,
    running: JoinSet<Ended>,
    started: usize,
    /// Ends all of them.
    ending: CancellationToken,
}

/// What has become of the feeder and of the programs so far.
#[derive(Default)]
struct SoFar {
    /// How the feeder has ended, and where in the dump each session's text stands.
    given_out: Option<(Result<(), StreamError>, Vec<LineOffset>)>,
    stopped: Option<Stop>,
    /// The session that has failed first.
    broken: Option<(usize, Exit)>,
    /// The last one whose statement and another one waited for each other.
    deadlocked: Option<(usize, Exit)>,
}

/// Loads a dump over several sessions. The first error of any of them ends all.
pub(super) async fn load(loader: &Loader<'_>, dump: Dump) -> Result<Loaded, JobError> {
    let doing = format!("cannot read {}", dump.name);
    let marks = Marks::new();
    let (events, received) = mpsc::channel();
    let (orders, mut ordered) = unbounded_channel();
    let mut sessions = Sessions {
        loader,
        marks: marks.clone(),
        events,
        running: JoinSet::new(),
        started: 0,
        ending: CancellationToken::new(),
    };
    let first = sessions.start().await?;
    let terms = Terms {
        most: usize::from(loader.jobs.get()),
        marks,
        server_major: loader.server_major,
    };
    let feed = Feed::new(first, terms, orders, received);
    let (counted, major) = (Arc::clone(&loader.run.progress), loader.server_major);
    let mut feeder = threads::start("feed", move || feed_all(feed, dump, &counted, major))?;

    let mut so_far = SoFar::default();
    while so_far.given_out.is_none() || !sessions.running.is_empty() {
        tokio::select! {
            outcome = &mut feeder, if so_far.given_out.is_none() => {
                so_far.feeder_ended(outcome?, &sessions);
            }
            Some(()) = ordered.recv() => sessions.add().await,
            Some(ended) = sessions.running.join_next() => {
                so_far.session_ended(ended?, &sessions)?;
            }
            stop = loader.run.limit.stopped(), if so_far.stopped.is_none() => {
                so_far.stopped = Some(stop);
                loader.run.progress.cancel();
                sessions.end();
            }
        }
    }
    so_far.outcome(doing)
}

impl SoFar {
    fn feeder_ended(&mut self, given: GivenOut, sessions: &Sessions<'_>) {
        match &given.outcome {
            // A session that takes no more is about to say why, or has said it.
            Err(StreamError::Write(_)) => {
                if let Some(last) = self.deadlocked.take().filter(|_| self.broken.is_none()) {
                    sessions.end();
                    self.broken = Some(last);
                }
            }
            Err(_) => sessions.end(),
            Ok(()) => {}
        }
        self.given_out = Some((given.outcome, given.feed.close()));
    }

    fn session_ended(&mut self, ended: Ended, sessions: &Sessions<'_>) -> Result<(), JobError> {
        let exit = ended.exit?;
        let is_early = self.given_out.is_none() || !exit.success();
        if !ended.was_ready && !exit.success() && ended.session > 0 {
            // The server takes no more sessions, or not from us: those that are there do.
            tracing::debug!("psql {exit}; its output: {}", exit.stderr.trim());
            sessions.send(Event::Lost);
        } else if self.given_out.is_none() && self.broken.is_none() && is_deadlock(&exit) {
            tracing::info!(
                "the server ended one of two statements of the dump because of a deadlock: \
                 it is executed again, and the rest sequentially"
            );
            self.deadlocked = Some((ended.session, exit));
            sessions.send(Event::Deadlocked {
                session: ended.session,
            });
        } else if is_early && self.broken.is_none() {
            sessions.end();
            self.broken = Some((ended.session, exit));
        }
        Ok(())
    }

    /// How loading ended, once the feeder and all programs have.
    fn outcome(self, doing: String) -> Result<Loaded, JobError> {
        if let Some(stop) = self.stopped {
            return Err(stop.into());
        }
        let (outcome, offsets) = self.given_out.unwrap_or_else(|| (Ok(()), Vec::new()));
        let broken = self.broken.map(|(session, mut exit)| {
            let offset = offsets.get(session).copied().unwrap_or_default();
            exit.stderr = in_lines_of_the_dump(&exit.stderr, offset);
            exit
        });
        match (outcome, broken) {
            // For this the programs were ended.
            (Err(error @ StreamError::Refused(_)), _) => Err(JobError::stream(doing)(error)),
            // Whatever became of the feeder is the consequence.
            (_, Some(exit)) if !exit.success() => Ok(outcome_of("psql", &exit)),
            (Err(StreamError::Write(_)) | Ok(()), Some(exit)) => Ok(refused(&exit)),
            (Err(error), _) => Err(JobError::stream(doing)(error)),
            (Ok(()), None) => Ok(Loaded::Wholly),
        }
    }
}

fn feed_all(
    mut feed: Feed<ProgramInput>,
    dump: Dump,
    progress: &Progress,
    server_major: u32,
) -> GivenOut {
    let outcome = dump
        .take_segments(progress, server_major, |segment| feed.feed(segment))
        .and_then(|()| feed.finish());
    GivenOut { outcome, feed }
}

impl Dump {
    /// Hands out its text, all of it judged, with what keeps event triggers still on such a server and what
    /// makes extensions as their owners.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is refused; and what `each` gives.
    pub(super) fn take_segments(
        self,
        progress: &Progress,
        server_major: u32,
        mut each: impl FnMut(Segment<'_>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let (accepts_unexpected, adaptation) = (self.accepts_unexpected, self.adaptation);
        let owners = self.additions;
        let mut pass = |segment: Segment<'_>| {
            if let Segment::Ordered(text) = segment
                && let Some(before) = owners.before(text)
            {
                each(Segment::Ordered(&before))?;
            }
            match segment {
                Segment::Ordered(text) if let Some(other) = owners.instead_of(text) => {
                    each(Segment::Ordered(&other))?;
                }
                _ => each(segment)?,
            }
            let Segment::Ordered(text) = segment else {
                return Ok(());
            };
            let held = hold_event_triggers(text, server_major);
            held.map_or(Ok(()), |held| each(Segment::Ordered(held)))
        };
        match self.text {
            DumpText::File { file, compression } => {
                let text = Text::of_file(&file, compression)?.adapted(adaptation.as_ref());
                take_segments(text, accepts_unexpected, progress, &mut pass)
            }
            DumpText::Program(source) => take_segments(
                Text::of_program(source).adapted(adaptation.as_ref()),
                accepts_unexpected,
                progress,
                &mut pass,
            ),
        }?;
        let released = release_event_triggers(server_major);
        released.map_or(Ok(()), |released| each(Segment::Ordered(released)))
    }
}

impl Sessions<'_> {
    /// Starts a psql; gives where its text goes.
    async fn start(&mut self) -> Result<ProgramInput, JobError> {
        let (sink, stdin, mark) = input_pipe().map_err(JobError::no_pipe)?;
        let (answers, stdout) = std::io::pipe().map_err(JobError::no_pipe)?;
        let answers = Receiver::from_owned_fd(answers.into())
            .map_err(|error| JobError::Internal(format!("cannot read from a pipe: {error}")))?;
        let mut child = self
            .loader
            .spawn(Invocation {
                program: self.loader.programs.psql(),
                arguments: load_text_and_answer_arguments(self.loader.restrict_key().as_deref()),
                stdin: ChildInput::Pipe(stdin, mark),
                stdout: ChildOutput::Pipe(stdout, None),
                confinement: self.loader.confinement.clone(),
            })
            .await?;
        let (marks, events, session) = (self.marks.clone(), self.events.clone(), self.started);
        let reading = tokio::spawn(async move {
            let mut was_ready = false;
            let each = |mark| {
                was_ready = true;
                // Nobody listens any more when all has been given out.
                let _ = events.send(Event::Reached { session, mark });
            };
            marks.read(answers, each).await;
            was_ready
        });
        let ending = self.ending.clone();
        self.running.spawn(async move {
            let exit = tokio::select! {
                exit = child.wait() => exit,
                () = ending.cancelled() => child.terminate(GRACE).await,
            };
            Ended {
                session,
                exit,
                was_ready: at_its_end(reading).await,
            }
        });
        self.started += 1;
        Ok(sink)
    }

    /// Starts a further one. If there can be none, the load goes on without.
    async fn add(&mut self) {
        let event = match self.start().await {
            Ok(sink) => Event::Started(sink),
            Err(error) => {
                tracing::debug!("no further psql: {error}");
                Event::Lost
            }
        };
        self.send(event);
    }

    fn send(&self, event: Event<ProgramInput>) {
        // Nobody listens any more when all has been given out.
        let _ = self.events.send(event);
    }

    /// Ends all programs, and with them the feeder.
    fn end(&self) {
        self.ending.cancel();
        self.send(Event::Over);
    }
}

/// What the reader of a program that has ended has seen; somebody else may hold its pipe open.
async fn at_its_end(mut reading: JoinHandle<bool>) -> bool {
    let seen = timeout(GRACE, &mut reading).await;
    reading.abort();
    matches!(seen, Ok(Ok(true)) | Err(_))
}

/// What psql said, with the lines of the dump where it counts those of what it was given.
fn in_lines_of_the_dump(detail: &str, offset: LineOffset) -> String {
    const BEFORE: &str = "psql:<stdin>:";
    let mut lines: Vec<String> = Vec::new();
    for line in detail.lines() {
        let counted = line.strip_prefix(BEFORE).and_then(|rest| {
            let (number, rest) = rest.split_once(':')?;
            Some((number.parse().ok()?, rest))
        });
        lines.push(match counted {
            None => line.to_owned(),
            Some((number, rest)) => match offset.in_the_dump(number) {
                Some(number) => format!("{BEFORE}{number}:{rest}"),
                // A remark on an index that was made before.
                None => format!("psql:{rest}"),
            },
        });
    }
    lines.join("\n")
}
