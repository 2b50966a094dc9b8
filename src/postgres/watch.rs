//! Whoever ends our programs when we are killed ourselves.
//!
//! The kernel's signal for the parent's death reaches the program that we have started, and not what
//! that one has started in its turn: a busy worker of `pg_dump --jobs` would go on until its table is
//! done, with its connection, its locks and its room on the disk. So this very executable is started
//! once more, under the name [`WATCHER`], and learns over a pipe which process groups there are. We
//! alone hold the other end of that pipe: when it closes, we have ended, however that came about, and
//! every group that is left is killed.
//!
//! In the service systemd does the same, by the control group.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, PipeWriter, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal};

/// The name that the watcher is called by, which nobody calls by hand.
pub const WATCHER: &str = "pgbackupd-watch";

/// Whether our executable understands that name; that of a test of the library does not.
static IS_UNDERSTOOD: AtomicBool = AtomicBool::new(false);

/// The watcher, started with the first program; none where it could not be, or has died: then it is
/// started with the next.
static OURS: Mutex<Option<Watcher>> = Mutex::new(None);

struct Watcher {
    process: Child,
    /// The end of its pipe that is ours.
    pipe: PipeWriter,
}

/// Watches, where the command line has the watcher's name: comes back when all is over. Gives
/// whether that was so; if not, the executable is one that can be started as the watcher.
pub fn watch(arguments: impl IntoIterator<Item = OsString>) -> bool {
    if arguments.into_iter().next().as_deref() != Some(OsStr::new(WATCHER)) {
        IS_UNDERSTOOD.store(true, Ordering::Relaxed);
        return false;
    }
    for (group, signal) in left_over(io::stdin().lock()) {
        // It fails only when nobody is left to be signalled.
        rustix::process::kill_process_group(group, signal).ok();
    }
    true
}

/// Lets the watcher end before us, who end in good order: nobody may be there to bury it later.
pub fn dismiss_watcher() {
    if !IS_UNDERSTOOD.swap(false, Ordering::Relaxed) {
        return;
    }
    // Nobody is started for that.
    if let Some(watcher) = ours().take() {
        watcher.end();
    }
}

/// A process group was started, the last of these; each is ended by SIGQUIT or by SIGKILL.
///
/// That there is no watcher is no reason to fail: the program that we have started ends with us all the
/// same.
pub(super) fn started(running: &[(Pid, Signal)]) {
    if !IS_UNDERSTOOD.load(Ordering::Relaxed) {
        return;
    }
    let mut ours = ours();
    let newest = running.last().map(|one| line(*one)).unwrap_or_default();
    if let Some(watcher) = ours.as_mut()
        && watcher.pipe.write_all(newest.as_bytes()).is_ok()
    {
        return;
    }
    if let Some(dead) = ours.take() {
        dead.end();
    }
    let all: String = running.iter().copied().map(line).collect();
    *ours = start()
        .and_then(|mut watcher| {
            watcher.pipe.write_all(all.as_bytes())?;
            Ok(watcher)
        })
        .ok();
}

fn line((group, signal): (Pid, Signal)) -> String {
    let signal = if signal == Signal::QUIT {
        "quit"
    } else {
        "kill"
    };
    format!("{signal} {}\n", group.as_raw_nonzero())
}

/// A process group has ended, and its number may belong to somebody else.
pub(super) fn ended(group: Pid) {
    if let Some(watcher) = ours().as_mut() {
        let line = format!("ended {}\n", group.as_raw_nonzero());
        // That it has died, the next start finds out.
        watcher.pipe.write_all(line.as_bytes()).ok();
    }
}

fn ours() -> MutexGuard<'static, Option<Watcher>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    fn end(self) {
        let Self { mut process, pipe } = self;
        drop(pipe);
        process.wait().ok();
    }
}

fn start() -> io::Result<Watcher> {
    let (reader, pipe) = io::pipe()?;
    let process = Command::new("/proc/self/exe")
        .arg0(WATCHER)
        .env_clear()
        .current_dir("/")
        .stdin(reader)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // What a terminal sends to us is not for it.
        .process_group(0)
        .spawn()?;
    Ok(Watcher { process, pipe })
}

/// The groups that were started and have not ended when there is nothing more to read.
fn left_over(orders: impl BufRead) -> HashMap<Pid, Signal> {
    let mut groups = HashMap::new();
    for line in orders.lines().map_while(Result::ok) {
        let Some((word, number)) = line.split_once(' ') else {
            continue;
        };
        // To kill(2), a group of 1 is everybody.
        let number = number.parse().ok().filter(|number| *number > 1);
        let Some(group) = number.and_then(Pid::from_raw) else {
            continue;
        };
        match word {
            "kill" => groups.insert(group, Signal::KILL),
            "quit" => groups.insert(group, Signal::QUIT),
            "ended" => groups.remove(&group),
            _ => None,
        };
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_and_has_not_ended_is_left_over() {
        let pid = |number| Pid::from_raw(number).unwrap();
        let table: [(&str, &[(i32, Signal)]); 5] = [
            ("", &[]),
            ("kill 12\n", &[(12, Signal::KILL)]),
            ("kill 12\nquit 13\nended 12\n", &[(13, Signal::QUIT)]),
            // A number that comes again.
            ("kill 12\nended 12\nquit 12\n", &[(12, Signal::QUIT)]),
            // What could mean everybody, or nobody.
            ("kill 1\nkill 0\nkill -1\nkill -12\nkill\nkill x\n", &[]),
        ];
        for (orders, expected) in table {
            let expected = expected
                .iter()
                .map(|(group, signal)| (pid(*group), *signal));
            assert_eq!(
                left_over(orders.as_bytes()),
                expected.collect(),
                "{orders:?}"
            );
        }
    }
}
