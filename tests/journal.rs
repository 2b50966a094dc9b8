//! What the daemon's diagnostics are where they arrive: at the journal's socket, on a stderr that is
//! the journal's, on any other stderr, and in the JSON file.
//!
//! Diagnostics are set up once in a process, so each case runs this file's program again. Where the
//! journal's socket matters, that is done in a mount namespace with a `/run` of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Seek};
use std::mem::MaybeUninit;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use chrono_tz::Tz;
use pgbackupd::emit;
use pgbackupd::telemetry::{EventKind, JsonFile, Level, Settings, for_daemon};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

const CASE: &str = "PGBACKUPD_TEST_CASE";
const SOCKET: &str = "/run/systemd/journal/socket";

/// A database's name as an attacker would choose it.
const HOSTILE: &str = "app\nPRIORITY=0\nMESSAGE_ID=0\n_UID=0\n<0>\x1b[2J";

#[test]
fn the_journal_gets_every_field_whole_and_nothing_forged() {
    if let Some(stderr) = in_a_namespace("journal") {
        assert_eq!(stderr, "");
    }
}

#[test]
fn without_a_journal_to_connect_to_lines_carry_their_priority() {
    if let Some(stderr) = in_a_namespace("no journal") {
        let expected = "<4>the journal cannot be reached: No such file or directory (os error 2); \
            its entries have no fields until the next start\n\
            <6>database app: done\n\
            <3>database app\n\
            <3>    PRIORITY=0\n\
            <3>    MESSAGE_ID=0\n\
            <3>    _UID=0\n\
            <3>    <0>\\u{1b}[2J: not done\n";
        assert_eq!(stderr, expected);
    }
}

#[test]
fn elsewhere_lines_are_for_people_and_the_file_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let stderr = run(
        program("lines").env("JSON_FILE", directory.path().join("log/p.json")),
        false,
    );
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 7 + MANY);
    let after_time = |line: &str| {
        let (time, rest) = line.split_at("2026-11-22 12:34:25 +03:00 ".len());
        chrono::DateTime::parse_from_str(time.trim_end(), "%Y-%m-%d %H:%M:%S %:z").unwrap();
        assert!(time.ends_with(" +03:00 "), "{line}");
        rest.to_owned()
    };
    assert_eq!(after_time(lines[0]), " INFO database app: done");
    assert_eq!(after_time(lines[1]), "ERROR database app");
    assert_eq!(
        lines[2..5],
        ["    PRIORITY=0", "    MESSAGE_ID=0", "    _UID=0"]
    );
    assert_eq!(lines[5], "    <0>\\u{1b}[2J: not done");
    assert_eq!(after_time(lines[6]), "DEBUG after the change of level");

    let file = fs::read_dir(directory.path().join("log"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    let entries: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The many lines, and before them two events and the one after the change of level.
    assert_eq!(entries.len(), 3 + MANY, "a line was lost");
    assert_eq!(entries[0]["message"], "database app: done");
    assert_eq!(entries[0]["message_id"], EventKind::RunSucceeded.id());
    assert_eq!(entries[0]["bytes"], 4711);
    assert_eq!(entries[0]["seconds"], 2.5);
    assert_eq!(entries[0]["level"], "INFO");
    assert!(entries[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(entries[1]["database"], HOSTILE);
    assert_eq!(entries.last().unwrap()["number"], MANY - 1);
}

/// More than may wait for the disk at one time.
const MANY: usize = 5000;

#[test]
#[ignore = "the other tests run it, each with its case"]
fn case() {
    match std::env::var(CASE).as_deref() {
        Ok("journal") => journal(),
        Ok("no journal") => {
            let _guard = for_daemon(&settings(None)).unwrap();
            emit_two();
        }
        Ok("lines") => {
            let file = JsonFile {
                path: std::env::var_os("JSON_FILE").unwrap().into(),
                keep: 3,
            };
            let guard = for_daemon(&settings(Some(file))).unwrap();
            emit_two();
            tracing::debug!(target: "pgbackupd", "not at level info");
            tracing::info!(target: "tokio_cron_scheduler", "a library at work");
            guard.set_level(Level::Debug);
            tracing::debug!(target: "pgbackupd", "after the change of level");
            for number in 0..MANY {
                tracing::info!(target: "pgbackupd::many", number, "one of many");
            }
            assert!(for_daemon(&settings(None)).is_err(), "twice in one process");
        }
        _ => {}
    }
}

fn settings(file: Option<JsonFile>) -> Settings {
    Settings {
        level: Level::Info,
        file,
        zone: Tz::Asia__Riyadh,
    }
}

fn emit_two() {
    emit!(
        RunSucceeded,
        {
            job = "daily", database = "app", server = "local", run_id = "r1",
            outcome = "succeeded", bytes = 4711_u64, seconds = 2.5
        },
        "database {}: done",
        "app"
    );
    let database = HOSTILE;
    emit!(
        RunFailed,
        { job = "daily", database, server = "local", outcome = "failed" },
        "database {database}: not done"
    );
}

/// Runs in the namespace: the journal is this test.
#[expect(
    clippy::too_many_lines,
    reason = "one socket, and one entry after the other"
)]
fn journal() {
    fs::create_dir_all(Path::new(SOCKET).parent().unwrap()).unwrap();
    let socket = UnixDatagram::bind(SOCKET).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let (sender, entries) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let (entry, by_file) = receive(&socket);
            // The layer asks with an empty datagram whether anybody listens.
            if (!entry.is_empty() || by_file) && sender.send((fields(&entry), by_file)).is_err() {
                return;
            }
        }
    });
    let next = || entries.recv_timeout(Duration::from_secs(20)).unwrap();

    let _guard = for_daemon(&settings(None)).unwrap();
    emit_two();
    let (entry, _) = next();
    let has = |entry: &Fields, name: &str, value: &str| {
        assert_eq!(entry[name], [value.as_bytes()], "{name}");
    };
    has(&entry, "MESSAGE", "database app: done");
    has(&entry, "MESSAGE_ID", EventKind::RunSucceeded.id());
    has(&entry, "PRIORITY", "5");
    has(&entry, "SYSLOG_IDENTIFIER", "pgbackupd");
    has(&entry, "JOB", "daily");
    has(&entry, "DATABASE", "app");
    has(&entry, "SERVER", "local");
    has(&entry, "RUN_ID", "r1");
    has(&entry, "OUTCOME", "succeeded");
    has(&entry, "BYTES", "4711");
    has(&entry, "SECONDS", "2.5");

    let (entry, _) = next();
    has(&entry, "DATABASE", HOSTILE);
    has(&entry, "PRIORITY", "3");
    has(&entry, "MESSAGE_ID", EventKind::RunFailed.id());
    has(
        &entry,
        "MESSAGE",
        "database app\nPRIORITY=0\nMESSAGE_ID=0\n_UID=0\n<0>\\u{1b}[2J: not done",
    );
    assert!(!entry.keys().any(|name| name.starts_with('_')), "{entry:?}");

    // A field cannot pass for one of the journal's own, and inside a span nothing panics.
    let _span = tracing::info_span!(target: "pgbackupd::daemon", "tick", slot = "s1").entered();
    tracing::warn!(target: "pgbackupd", _uid = 0, __cursor = "c", "a field with a trusted name");
    let (entry, _) = next();
    has(&entry, "PRIORITY", "4");
    has(&entry, "UID", "0");
    has(&entry, "SLOT", "s1");
    assert!(!entry.keys().any(|name| name.starts_with('_')), "{entry:?}");
    emit!(StateSnapshot, {}, "in a span");
    let (entry, _) = next();
    has(&entry, "PRIORITY", "5");
    has(&entry, "SLOT", "s1");
    emit!(DaemonStarting, {}, "starting");
    has(&next().0, "PRIORITY", "6");

    for (size, by_file) in [(64 * 1024, false), (3 * 1024 * 1024, true)] {
        let detail = format!("{}\n{}", "x".repeat(size), "end");
        emit!(RunWarning, { job = "daily", database = "app", detail }, "large");
        let (entry, was_by_file) = next();
        has(&entry, "DETAIL", &detail);
        has(&entry, "MESSAGE_ID", EventKind::RunWarning.id());
        assert_eq!(was_by_file, by_file, "{size}");
    }
}

/// One datagram, or the file that came instead of it, and whether it was one.
fn receive(socket: &UnixDatagram) -> (Vec<u8>, bool) {
    let mut bytes = vec![0; 1024 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .unwrap();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut files) = message {
            let mut file = File::from(files.next().unwrap());
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            return (bytes, true);
        }
    }
    bytes.truncate(received.bytes);
    (bytes, false)
}

type Fields = BTreeMap<String, Vec<Vec<u8>>>;

/// The fields of an entry, as <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/> has them.
fn fields(mut entry: &[u8]) -> Fields {
    let mut found = Fields::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|&byte| byte == b'\n').unwrap();
        let line = std::str::from_utf8(&entry[..end]).unwrap();
        entry = &entry[end + 1..];
        let (name, value) = if let Some((name, value)) = line.split_once('=') {
            (name, value.as_bytes().to_vec())
        } else {
            let (length, rest) = entry.split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap());
            let (value, rest) = rest.split_at(usize::try_from(length).unwrap());
            assert_eq!(rest[0], b'\n');
            entry = &rest[1..];
            (line, value.to_vec())
        };
        found.entry(name.to_owned()).or_default().push(value);
    }
    found
}

fn program(case: &str) -> Command {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program
        .args(["--exact", "journal::case", "--ignored", "--nocapture"])
        .env(CASE, case);
    program
}

/// Runs a case with an empty `/run`, its stderr being the journal's by name. Nothing, with a word,
/// where the kernel forbids namespaces.
fn in_a_namespace(case: &str) -> Option<String> {
    let namespace = |arguments: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private"]);
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        unshare.args(["sh", "-c", "mount -t tmpfs tmpfs /run && exec \"$@\"", "sh"]);
        unshare.args(arguments);
        unshare
    };
    if !namespace(&["true"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: no mount namespace can be made");
        return None;
    }
    let inside = program(case);
    let mut arguments = vec![inside.get_program().to_str().unwrap()];
    arguments.extend(inside.get_args().map(|argument| argument.to_str().unwrap()));
    Some(run(namespace(&arguments).env(CASE, case), true))
}

/// Runs a case and has its stderr.
fn run(program: &mut Command, stderr_is_the_journals: bool) -> String {
    let mut stderr = tempfile::tempfile().unwrap();
    let file = stderr.metadata().unwrap();
    program
        .env_remove("PGBACKUPD_LOG")
        .env_remove("JOURNAL_STREAM")
        .stderr(stderr.try_clone().unwrap());
    if stderr_is_the_journals {
        program.env("JOURNAL_STREAM", format!("{}:{}", file.dev(), file.ino()));
    }
    let output = program.output().unwrap();
    let mut text = String::new();
    stderr.rewind().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{text}");
    assert!(stdout.contains("1 passed"), "{stdout}");
    text
}
