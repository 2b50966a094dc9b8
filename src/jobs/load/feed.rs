//! Giving a dump to several sessions: the first gets everything that has its place, and what makes
//! indexes goes to whichever has nothing to do. Where two of those wait for each other and the server ends
//! one session's statement, and psql with it, that statement is made again when nothing else is going on;
//! from there on there is one session only. If it was the first that ended, another takes its place.

use std::collections::VecDeque;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::Receiver;

use memchr::memchr_iter;
use tokio::sync::mpsc::UnboundedSender;

use super::AT_ONCE;
use super::marks::Marks;
use super::session_settings::InForce;
use crate::pipeline::{Segment, StreamError, is_known};

/// What the feeder learns while it waits.
#[derive(Debug)]
pub(super) enum Event<W> {
    /// A session has come to this mark.
    Reached { session: usize, mark: u64 },
    /// The session that was asked for is there. It is of use as soon as it comes to a mark.
    Started(W),
    /// The one that was asked for cannot be had.
    Lost,
    /// A session has ended because its statement and another one waited for each other.
    Deadlocked { session: usize },
    /// Nothing more is to be loaded.
    Over,
}

/// What all sessions of a load have in common.
pub(super) struct Terms {
    /// So many may be there.
    pub(super) most: usize,
    pub(super) marks: Marks,
    /// The server's major version.
    pub(super) server_major: u32,
}

/// The sessions that load a dump, the first of which is always there.
pub(super) struct Feed<W: Write> {
    sessions: Vec<Session<W>>,
    /// Which of them gets what has its place.
    first: usize,
    /// What was given to a session that has ended, and is still to be done.
    again: VecDeque<Given>,
    /// So many may be there.
    most: usize,
    /// Whether one was asked for that is not there yet.
    is_asked: bool,
    orders: UnboundedSender<()>,
    events: Receiver<Event<W>>,
    marks: Marks,
    settings: InForce,
    /// While indexes are made: the session that had the last definition.
    latest: Option<usize>,
    /// Lines of the dump so far.
    line: u64,
    /// The server's major version.
    server_major: u32,
}

struct Session<W: Write> {
    sink: BufWriter<W>,
    /// The marks that were put into its text, and the last one that it has come to.
    put: u64,
    reached: u64,
    /// It may not help before it has come to this one.
    ready_at: u64,
    /// So many settings it has seen.
    seen: u64,
    /// Lines of its text so far.
    lines: u64,
    offset: LineOffset,
    /// What it has not come to the end of, but for what has its place.
    given: VecDeque<Given>,
    has_ended: bool,
}

/// Something that was given to a session.
#[derive(Debug)]
struct Given {
    /// The mark behind it.
    mark: u64,
    /// Where it stands in the dump.
    line: u64,
    /// What was in force there.
    settings: Vec<u8>,
    text: Vec<u8>,
}

/// Where in the dump a session's text stands: the line `own` of it, counted from 0, is the line
/// `dumps` of the dump, and so on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LineOffset {
    own: u64,
    dumps: u64,
}

impl<W: Write> Feed<W> {
    /// For a first session; `orders` asks for a further one, up to `most` in all.
    pub(super) fn new(
        first: W,
        terms: Terms,
        orders: UnboundedSender<()>,
        events: Receiver<Event<W>>,
    ) -> Self {
        let Terms {
            most,
            marks,
            server_major,
        } = terms;
        Self {
            sessions: vec![Session::new(first, 0)],
            first: 0,
            again: VecDeque::new(),
            most,
            is_asked: false,
            orders,
            events,
            marks,
            settings: InForce::default(),
            latest: None,
            line: 0,
            server_major,
        }
    }

    /// Takes the next segment of the dump, and waits as long as it has to.
    ///
    /// # Errors
    /// When a session does not take it any more.
    pub(super) fn feed(&mut self, segment: Segment<'_>) -> Result<(), StreamError> {
        match segment {
            Segment::Ordered(text) => {
                self.settle()?;
                self.first().write(text)?;
            }
            // While indexes are made, it would only be in the way.
            Segment::Between(text) => {
                if self.latest.is_none() {
                    self.first().write(text)?;
                }
            }
            Segment::Setting { name, .. } if !is_known(name, self.server_major) => {}
            Segment::Setting { name, text } => {
                self.settings.set(name, text);
                if self.settings.is_too_much() {
                    self.settle()?;
                    self.most = 1;
                }
                if self.latest.is_none() {
                    let made = self.settings.made();
                    self.first().write(text)?;
                    self.first().seen = made;
                }
            }
            Segment::Definition(text) if self.most == 1 => {
                self.settle()?;
                self.first().write(text)?;
            }
            Segment::Definition(text) => {
                let session = self.next_session()?;
                if self.again.is_empty() {
                    self.latest = Some(session);
                    self.give(session, text)?;
                } else {
                    self.settle()?;
                    self.first().write(text)?;
                }
            }
            Segment::Remark(text) => match self.latest {
                Some(session) => self.give(session, text)?,
                None => self.first().write(text)?,
            },
        }
        self.line += lines(segment.text());
        Ok(())
    }

    /// Waits until everything that was given to any session is done but what the first has of the
    /// dump's end.
    ///
    /// # Errors
    /// When a session does not take it any more.
    pub(super) fn finish(&mut self) -> Result<(), StreamError> {
        self.settle()?;
        self.first().flush()
    }

    /// Lets the sessions come to their end, with nothing more to be written to them; gives where in the
    /// dump each one's text stands.
    pub(super) fn close(self) -> Vec<LineOffset> {
        let close = |session: Session<W>| {
            // After a failure, what it was still to get is not wanted any more.
            drop(session.sink.into_parts());
            session.offset
        };
        self.sessions.into_iter().map(close).collect()
    }

    /// Waits until all indexes are made, and goes on with the first session.
    fn settle(&mut self) -> Result<(), StreamError> {
        if self.latest.is_none() {
            return Ok(());
        }
        while !self.are_all_idle() {
            self.wait()?;
        }
        while let Some(one) = self.again.pop_front() {
            self.sessions[self.first].repeat(one, &self.marks)?;
            while !self.are_all_idle() {
                self.wait()?;
            }
        }
        self.latest = None;
        let (line, first) = (self.line, self.first);
        self.sessions[first].resume(line, &self.settings)
    }

    fn are_all_idle(&self) -> bool {
        let is_done = |session: &Session<W>| session.is_idle() || !session.is_ready();
        self.sessions[self.first].is_idle() && self.sessions.iter().all(is_done)
    }

    fn first(&mut self) -> &mut Session<W> {
        &mut self.sessions[self.first]
    }

    /// The session that makes the next index.
    fn next_session(&mut self) -> Result<usize, StreamError> {
        if self.latest.is_none() {
            // The others may begin when it has come to here.
            let first = &mut self.sessions[self.first];
            first.mark(&self.marks, "")?;
            first.ready_at = first.put;
            return Ok(self.first);
        }
        loop {
            while let Ok(event) = self.events.try_recv() {
                self.learn(event)?;
            }
            let is_free = |session: &Session<W>| {
                session.is_ready() && session.is_idle() && !session.has_ended
            };
            if self.sessions[self.first].is_ready()
                && let Some(free) = self.sessions.iter().position(is_free)
            {
                return Ok(free);
            }
            let is_coming = |session: &Session<W>| !session.is_ready();
            let is_one_coming = self.is_asked || self.sessions[1..].iter().any(is_coming);
            if !is_one_coming && self.sessions.len() < self.most {
                // Whoever takes orders has gone only when all is over, and will have said so.
                self.is_asked = self.orders.send(()).is_ok();
            }
            self.wait()?;
        }
    }

    fn give(&mut self, session: usize, text: &[u8]) -> Result<(), StreamError> {
        let session = &mut self.sessions[session];
        if session.is_idle() {
            session.resume(self.line, &self.settings)?;
        }
        let given = Given {
            mark: 0,
            line: self.line,
            settings: self.settings.text(),
            text: text.to_vec(),
        };
        session.give(given, &self.marks)
    }

    /// A further session, with all that it needs but settings. It tells when it is ready.
    fn welcome(&self, sink: W) -> Result<Session<W>, StreamError> {
        let mut session = Session::new(sink, 1);
        session.mark(&self.marks, "\n")?;
        session.flush()?;
        Ok(session)
    }

    fn wait(&mut self) -> Result<(), StreamError> {
        let event = self.events.recv().unwrap_or(Event::Over);
        self.learn(event)
    }

    fn learn(&mut self, event: Event<W>) -> Result<(), StreamError> {
        match event {
            Event::Reached { session, mark } => {
                if let Some(session) = self.sessions.get_mut(session) {
                    session.has_reached(mark);
                }
            }
            Event::Started(sink) => {
                self.is_asked = false;
                match self.welcome(sink) {
                    Ok(session) => self.sessions.push(session),
                    // It has ended already, which is reported in a moment.
                    Err(_) => self.most = self.sessions.len(),
                }
            }
            // Only the one that came last can be on its way.
            Event::Lost => {
                self.is_asked = false;
                if self.sessions.len() > 1 {
                    self.sessions.pop_if(|last| !last.is_ready());
                }
                self.most = self.sessions.len();
            }
            Event::Deadlocked { session } => self.do_without(session)?,
            Event::Over => return Err(over()),
        }
        Ok(())
    }

    /// Goes on without a session that was ended in a definition, if another one is left.
    fn do_without(&mut self, session: usize) -> Result<(), StreamError> {
        let Some(lost) = self.sessions.get_mut(session) else {
            return Err(over());
        };
        // Of what has its place nobody remembers the text, nor what of it was done.
        if !lost.is_ready() || lost.given.is_empty() {
            return Err(over());
        }
        lost.has_ended = true;
        lost.reached = lost.put;
        self.again.append(&mut lost.given);
        self.most = 1;
        if session == self.first {
            let is_left = |one: &Session<W>| one.is_ready() && !one.has_ended;
            self.first = self.sessions.iter().position(is_left).ok_or_else(over)?;
        }
        Ok(())
    }
}

/// Nobody takes anything any more.
fn over() -> StreamError {
    StreamError::Write(io::ErrorKind::BrokenPipe.into())
}

impl LineOffset {
    /// The line of the dump that is this line of the session's text, both counted from 1; none for
    /// what lies before the place.
    pub(super) fn in_the_dump(self, line: u64) -> Option<u64> {
        let behind = line.checked_sub(1)?.checked_sub(self.own)?;
        Some(self.dumps + behind + 1)
    }
}

impl<W: Write> Session<W> {
    fn new(sink: W, ready_at: u64) -> Self {
        Self {
            sink: BufWriter::with_capacity(AT_ONCE, sink),
            put: 0,
            reached: 0,
            ready_at,
            seen: 0,
            lines: 0,
            offset: LineOffset::default(),
            given: VecDeque::new(),
            has_ended: false,
        }
    }

    fn is_ready(&self) -> bool {
        self.reached >= self.ready_at
    }

    fn is_idle(&self) -> bool {
        self.reached == self.put
    }

    /// Goes on at a line of the dump, after it has been idle.
    fn resume(&mut self, line: u64, settings: &InForce) -> Result<(), StreamError> {
        for text in settings.since(self.seen) {
            self.write(text)?;
            self.write(b" ")?;
        }
        self.seen = settings.made();
        self.offset = LineOffset {
            own: self.lines,
            dumps: line,
        };
        Ok(())
    }

    fn has_reached(&mut self, mark: u64) {
        self.reached = self.reached.max(mark.min(self.put));
        while self
            .given
            .front()
            .is_some_and(|one| one.mark <= self.reached)
        {
            self.given.pop_front();
        }
    }

    /// Takes something that ends with a mark. A session that has ended keeps it: how it ended is about
    /// to be reported, and whether this is done by another one.
    fn give(&mut self, given: Given, marks: &Marks) -> Result<(), StreamError> {
        let mark = self.put + 1;
        let written = self
            .write(&given.text)
            .and_then(|()| self.mark(marks, "\n"))
            .and_then(|()| self.flush());
        self.put = mark;
        self.given.push_back(Given { mark, ..given });
        match written {
            Err(StreamError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// Does what another session did not come to the end of, as it was to be done there.
    fn repeat(&mut self, given: Given, marks: &Marks) -> Result<(), StreamError> {
        self.write(&given.settings)?;
        // What is in force now comes after it.
        self.seen = 0;
        self.offset = LineOffset {
            own: self.lines,
            dumps: given.line,
        };
        self.give(given, marks)
    }

    fn mark(&mut self, marks: &Marks, end: &str) -> Result<(), StreamError> {
        self.put += 1;
        let statement = format!(" {}{end}", marks.statement(self.put));
        self.write(statement.as_bytes())
    }

    fn write(&mut self, text: &[u8]) -> Result<(), StreamError> {
        self.lines += lines(text);
        self.sink.write_all(text).map_err(StreamError::Write)
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        self.sink.flush().map_err(StreamError::Write)
    }
}

fn lines(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests;
