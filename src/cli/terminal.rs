//! The terminal at which somebody can be asked although standard input or output lead elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, stderr, stdin};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{OFlags, fcntl_getfl};

/// The terminal of the session, for reading and writing. A process that root has started as the service's user has
/// none, and is asked by its standard input, or by its standard error.
pub(super) fn of_session() -> Option<File> {
    let of_session = OpenOptions::new().read(true).write(true).open("/dev/tty");
    if let Ok(terminal) = of_session {
        return Some(terminal);
    }
    let (stdin, stderr) = (stdin(), stderr());
    if !stderr.is_terminal() {
        return None;
    }
    let asked = if stdin.is_terminal() {
        stdin.as_fd()
    } else if can_be_read(stderr.as_fd()) {
        stderr.as_fd()
    } else {
        return None;
    };
    asked.try_clone_to_owned().ok().map(File::from)
}

/// Whether a file was opened for reading too, as a shell opens a terminal.
fn can_be_read(file: BorrowedFd<'_>) -> bool {
    fcntl_getfl(file).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}
