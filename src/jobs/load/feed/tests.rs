use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::mpsc::unbounded_channel;

use super::{Event, Feed, LineOffset, Terms};
use crate::jobs::load::marks::Marks;
use crate::pipeline::{Segment, StreamError};

/// What a part of a script is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ordered,
    Definition,
    Remark,
    Setting,
    Between,
}

/// What some session did, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Done {
    session: usize,
    statement: String,
    begins: bool,
}

/// Sessions that carry out statements, slowly, and note what they do.
struct Stage {
    events: Sender<Event<PipeWriter>>,
    done: Arc<Mutex<Vec<Done>>>,
    sessions: Vec<JoinHandle<()>>,
}

impl Stage {
    fn start(&mut self) -> PipeWriter {
        let (reader, writer) = std::io::pipe().unwrap();
        let (events, done) = (self.events.clone(), Arc::clone(&self.done));
        let session = self.sessions.len();
        self.sessions.push(thread::spawn(move || {
            play(session, reader, &events, &done);
        }));
        writer
    }
}

fn play(
    session: usize,
    reader: PipeReader,
    events: &Sender<Event<PipeWriter>>,
    done: &Mutex<Vec<Done>>,
) {
    for line in BufReader::new(reader).lines() {
        for statement in line.unwrap().split(';') {
            let statement = statement.trim();
            if let Some(mark) = statement.strip_prefix("SELECT '") {
                let number = mark.trim_end_matches('\'').rsplit_once('-').unwrap().1;
                let mark = number.parse().unwrap();
                let _ = events.send(Event::Reached { session, mark });
            } else if !statement.is_empty() {
                for begins in [true, false] {
                    let statement = statement.to_owned();
                    done.lock().unwrap().push(Done {
                        session,
                        statement,
                        begins,
                    });
                    if begins {
                        thread::sleep(Duration::from_micros(200));
                    }
                }
            }
        }
    }
}

/// Feeds a script to up to `most` sessions, of which only `granted` can be had; gives what they did,
/// and where their texts stand.
fn feed(parts: &[Part], most: usize, granted: usize) -> (Vec<Done>, Vec<LineOffset>) {
    let (events, received) = mpsc::channel();
    let (orders, mut ordered) = unbounded_channel();
    let mut stage = Stage {
        events: events.clone(),
        done: Arc::default(),
        sessions: Vec::new(),
    };
    let first = stage.start();
    let parts = parts.to_vec();
    let feeder = thread::spawn(move || {
        let mut feed = Feed::new(first, terms(most), orders, received);
        for (number, part) in parts.iter().enumerate() {
            let text = format!("{part:?} {number};");
            let text = text.as_bytes();
            feed.feed(match part {
                Part::Ordered => Segment::Ordered(text),
                Part::Definition => Segment::Definition(text),
                Part::Remark => Segment::Remark(text),
                Part::Setting => Segment::Setting {
                    name: [b"even".as_slice(), b"odd"][number % 2],
                    text,
                },
                Part::Between => Segment::Between(b"\n\n"),
            })?;
            feed.feed(Segment::Between(b"\n"))?;
        }
        feed.finish()?;
        Ok::<_, StreamError>(feed.close())
    });
    while let Some(()) = ordered.blocking_recv() {
        let event = if stage.sessions.len() < granted {
            Event::Started(stage.start())
        } else {
            Event::Lost
        };
        // It may all be over by then.
        let _ = events.send(event);
    }
    let offsets = feeder.join().unwrap().unwrap();
    for session in stage.sessions {
        session.join().unwrap();
    }
    (
        Arc::into_inner(stage.done).unwrap().into_inner().unwrap(),
        offsets,
    )
}

/// Where a statement begins or ends, among all that was done.
fn at(done: &[Done], statement: &str, begins: bool) -> usize {
    let is_it = |one: &Done| one.statement == statement && one.begins == begins;
    let mut found = done.iter().enumerate().filter(|(_, one)| is_it(one));
    let (at, _) = found
        .next()
        .unwrap_or_else(|| panic!("{statement}: {done:?}"));
    at
}

/// A definition that is followed by a remark now and then, and what else a script has.
fn script() -> impl Strategy<Value = Vec<Part>> {
    let part = prop_oneof![
        2 => Just(vec![Part::Ordered]),
        5 => Just(vec![Part::Definition]),
        1 => Just(vec![Part::Definition, Part::Remark]),
        2 => Just(vec![Part::Setting]),
        1 => Just(vec![Part::Between]),
    ];
    proptest::collection::vec(part, 0..25).prop_map(|parts| parts.concat())
}

fn terms(most: usize) -> Terms {
    Terms {
        most,
        marks: Marks::new(),
        server_major: 15,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn everything_is_done_once_and_what_has_its_place_keeps_it(
        script in script(),
        most in 1..4_usize,
        granted in 1..4_usize,
    ) {
        let (done, _) = feed(&script, most, granted);
        let names: Vec<String> = script
            .iter()
            .enumerate()
            .map(|(number, part)| format!("{part:?} {number}"))
            .collect();
        for (number, part) in script.iter().enumerate() {
            let once = done.iter().filter(|one| one.statement == names[number] && one.begins);
            match part {
                // A setting goes to every session that needs it, unless a later one overtakes it.
                Part::Between | Part::Setting => continue,
                _ => prop_assert_eq!(once.count(), 1, "{}", names[number]),
            }
            let begins = at(&done, &names[number], true);
            for earlier in 0..number {
                let has_place = |part: Part| matches!(part, Part::Ordered);
                if has_place(*part) && script[earlier] != Part::Between && script[earlier] != Part::Setting
                    || has_place(script[earlier])
                {
                    prop_assert!(at(&done, &names[earlier], false) < begins, "{done:?}");
                }
            }
            if *part == Part::Remark {
                let of = at(&done, &names[number - 1], false);
                prop_assert!(of < begins);
                prop_assert_eq!(done[of].session, done[begins].session);
            }
            // The last setting of each name before it holds, and in the order in which they were
            // made: no session sees an older one later.
            let session = done[begins].session;
            let seen: Vec<usize> = done[..begins]
                .iter()
                .filter(|one| one.session == session && one.begins)
                .filter_map(|one| one.statement.strip_prefix("Setting "))
                .map(|number| number.parse().unwrap())
                .collect();
            prop_assert!(seen.is_sorted(), "{done:?}");
            for parity in 0..2 {
                let wanted = (0..number).rev().find(|at| script[*at] == Part::Setting && at % 2 == parity);
                let holds = seen.iter().rev().find(|at| *at % 2 == parity);
                prop_assert_eq!(wanted.as_ref(), holds, "before {}", names[number]);
            }
        }
    }
}

#[test]
fn definitions_are_made_side_by_side_and_nothing_else_is() {
    let mut script = vec![Part::Ordered];
    // So many that the other sessions have begun before the first has made all, however late they come.
    script.extend([Part::Definition; 2_000]);
    script.push(Part::Ordered);
    let (done, _) = feed(&script, 3, 3);
    let mut sessions: Vec<usize> = done.iter().map(|one| one.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    assert_eq!(sessions, [0, 1, 2]);
    let (mut open, mut most) = (0_usize, 0);
    for one in &done {
        open = if one.begins { open + 1 } else { open - 1 };
        most = most.max(open);
    }
    assert!(most >= 2, "{done:?}");
    let (done, offsets) = feed(&script, 1, 3);
    assert!(done.iter().all(|one| one.session == 0));
    assert_eq!(offsets, [LineOffset::default()]);
}

#[test]
fn a_line_of_a_session_is_found_in_the_dump() {
    let (events, received) = mpsc::channel();
    let (orders, _ordered) = unbounded_channel();
    let mut feed = Feed::new(Vec::new(), terms(2), orders, received);
    let reached = |session, mark| events.send(Event::Reached { session, mark }).unwrap();
    for _ in 0..10 {
        feed.feed(Segment::Ordered(b"o;\n")).unwrap();
    }
    // The first is at the first index until the second has made two.
    feed.feed(Segment::Definition(b"a;\n")).unwrap();
    reached(0, 1);
    events.send(Event::Started(Vec::new())).unwrap();
    reached(1, 1);
    feed.feed(Segment::Definition(b"b;\n")).unwrap();
    reached(1, 2);
    feed.feed(Segment::Definition(b"c;\n")).unwrap();
    reached(1, 3);
    reached(0, 2);
    feed.feed(Segment::Ordered(b"o;\n")).unwrap();

    // Each definition is followed by a line of ours, and a further session begins with one.
    let offsets = feed.close();
    let lines = |session: usize, of: [u64; 3]| of.map(|line| offsets[session].in_the_dump(line));
    assert_eq!(lines(0, [12, 13, 14]), [None, Some(14), Some(15)]);
    assert_eq!(lines(1, [3, 4, 5]), [None, Some(13), Some(14)]);
}

#[test]
fn nothing_is_waited_for_when_all_is_over() {
    let (events, received) = mpsc::channel();
    let (orders, _ordered) = unbounded_channel();
    let mut feed = Feed::new(Vec::new(), terms(2), orders, received);
    feed.feed(Segment::Definition(b"a;")).unwrap();
    events.send(Event::Over).unwrap();
    let error = feed.feed(Segment::Definition(b"b;")).unwrap_err();
    assert!(matches!(error, StreamError::Write(_)), "{error}");
}

#[test]
fn a_session_that_cannot_be_had_is_done_without() {
    let (events, received) = mpsc::channel();
    let (orders, mut ordered) = unbounded_channel();
    let mut feed = Feed::new(Vec::new(), terms(3), orders, received);
    feed.feed(Segment::Definition(b"a;")).unwrap();
    // It is started, and ends before it is of use.
    let reached = |mark| Event::Reached { session: 0, mark };
    events.send(Event::Started(Vec::new())).unwrap();
    events.send(Event::Lost).unwrap();
    events.send(reached(2)).unwrap();
    feed.feed(Segment::Definition(b"b;")).unwrap();
    assert!(ordered.try_recv().is_err());
    events.send(reached(3)).unwrap();
    feed.finish().unwrap();
    assert_eq!(feed.close().len(), 1);
}

/// What a session was given, without our marks.
fn given(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).into_owned();
    let statements = text.split_inclusive(';');
    let is_ours = |statement: &&str| statement.trim_start().starts_with("SELECT '");
    let dumps: Vec<&str> = statements.filter(|one| !is_ours(one)).collect();
    dumps
        .concat()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// A text that a test can look at while a feed writes to it.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Two sessions at work on a definition each, `a` of the first with a remark and `b` of the second.
fn two_at_work() -> (Feed<Sink>, Sender<Event<Sink>>, [Sink; 2]) {
    let (events, received) = mpsc::channel();
    let (orders, _ordered) = unbounded_channel();
    let sinks = [Sink::default(), Sink::default()];
    let mut feed = Feed::new(sinks[0].clone(), terms(2), orders, received);
    let setting = |text| Segment::Setting { name: b"s", text };
    feed.feed(setting(b"SET s = 1;")).unwrap();
    feed.feed(Segment::Definition(b"a;")).unwrap();
    feed.feed(Segment::Remark(b"on a;")).unwrap();
    feed.feed(setting(b"SET s = 2;")).unwrap();
    events.send(Event::Started(sinks[1].clone())).unwrap();
    events
        .send(Event::Reached {
            session: 0,
            mark: 1,
        })
        .unwrap();
    events
        .send(Event::Reached {
            session: 1,
            mark: 1,
        })
        .unwrap();
    feed.feed(Segment::Definition(b"b;")).unwrap();
    feed.feed(setting(b"SET s = 3;")).unwrap();
    (feed, events, sinks)
}

/// Everything that a session is given from now on is done soon.
fn goes_on(events: &Sender<Event<Sink>>, session: usize) {
    let events = events.clone();
    thread::spawn(move || {
        // It ends with the feed.
        while events.send(Event::Reached { session, mark: 99 }).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_definition_that_waited_in_a_circle_is_made_again_when_nothing_else_is() {
    let (mut feed, events, sinks) = two_at_work();
    events.send(Event::Deadlocked { session: 1 }).unwrap();
    goes_on(&events, 0);
    feed.feed(Segment::Definition(b"c;")).unwrap();
    feed.feed(Segment::Ordered(b"d;")).unwrap();
    feed.finish().unwrap();
    let texts = sinks.map(|sink| given(&sink.0.lock().unwrap()));
    assert_eq!(texts[0], "SET s = 1;a; on a; SET s = 2; b; SET s = 3; c;d;");
}

#[test]
fn another_session_takes_the_place_of_the_first_one() {
    let (mut feed, events, sinks) = two_at_work();
    events.send(Event::Deadlocked { session: 0 }).unwrap();
    goes_on(&events, 1);
    feed.feed(Segment::Ordered(b"d;")).unwrap();
    feed.finish().unwrap();
    let text = given(&sinks[1].0.lock().unwrap());
    let (_, rest) = text.split_once("SET s = 2; b;").unwrap();
    assert_eq!(rest, " SET s = 1; a; SET s = 1; on a; SET s = 3; d;");
    // What it says of the definition counts the lines of the dump.
    assert_eq!(feed.close().len(), 2);
}

#[test]
fn what_nobody_else_can_do_ends_the_load() {
    // Nobody is left.
    let (mut feed, events, _) = two_at_work();
    events.send(Event::Deadlocked { session: 1 }).unwrap();
    events.send(Event::Deadlocked { session: 0 }).unwrap();
    feed.feed(Segment::Ordered(b"d;")).unwrap_err();
    // What has its place is not kept.
    let (mut feed, events, _) = two_at_work();
    goes_on(&events, 0);
    goes_on(&events, 1);
    feed.feed(Segment::Ordered(b"d;")).unwrap();
    events.send(Event::Deadlocked { session: 0 }).unwrap();
    feed.feed(Segment::Definition(b"e;")).unwrap();
    feed.feed(Segment::Definition(b"f;")).unwrap_err();
}
