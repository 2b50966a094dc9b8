//! Threads for what blocks or computes, where one that the machine refuses is an error like any other.
//!
//! tokio's own for this panic when the first cannot be had, and let the work wait for one that never
//! comes when a later one cannot.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tracing::Span;

/// Whether this error says that the machine, or this process's share of it, has no more threads, open
/// files or memory: nothing about what was asked for.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    exhausted
        .iter()
        .any(|one| error.raw_os_error() == Some(one.raw_os_error()))
}

/// The runtime's workers. They wait for signals, timers, sockets and child processes.
const WORKERS: usize = 2;

/// The runtime, with all of its workers.
///
/// tokio panics where it cannot have a worker, and where it has one already, waits for that for good while
/// it unwinds. So it is built on another thread, which is left behind then; and it can also go on without
/// the second worker, to hang later.
///
/// # Errors
/// The machine refuses a thread, or what a runtime needs besides.
pub fn runtime() -> io::Result<Runtime> {
    let before = threads()?;
    let (done, outcome) = mpsc::channel();
    let panics = done.clone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let reason = panic.payload().downcast_ref::<String>().cloned();
        let reason = reason.unwrap_or_else(|| "a panic".to_owned());
        // It waits.
        let _ = panics.send(Err(io::Error::other(reason)));
    }));
    let built = Builder::new().spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build();
        // It waits.
        let _ = done.send(runtime);
    });
    let outcome = built.map(|thread| (outcome.recv(), thread));
    std::panic::set_hook(hook);
    let (outcome, thread) = outcome?;
    let runtime = outcome.map_err(io::Error::other)??;
    // Only the workers are left then.
    let _ = thread.join();
    if threads()? < before + WORKERS {
        runtime.shutdown_background();
        return Err(rustix::io::Errno::AGAIN.into());
    }
    Ok(runtime)
}

/// Calls somebody else's code that panics where it cannot have a thread, and does nothing else that could
/// panic.
///
/// # Errors
/// It has panicked.
pub(crate) fn without_panic<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    done.map_err(|_| rustix::io::Errno::AGAIN.into())
}

/// How many threads this process has.
fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// The machine refuses a thread.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread: {0}")]
pub struct NoThread(#[from] pub io::Error);

/// The work of a thread has panicked.
#[derive(Debug, thiserror::Error)]
#[error("a thread has panicked")]
pub(crate) struct Panicked;

/// The outcome of work on a thread of its own. Dropping it leaves the thread alone.
#[derive(Debug)]
pub(crate) struct Thread<T>(oneshot::Receiver<T>);

/// Starts a thread that does this work, in the runtime and the span of this one.
///
/// # Errors
/// The machine refuses another thread.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Thread<T>, NoThread> {
    let (done, outcome) = oneshot::channel();
    let (runtime, span) = (Handle::try_current().ok(), Span::current());
    Builder::new().name(name.to_owned()).spawn(move || {
        let _entered = runtime.as_ref().map(Handle::enter);
        let _in_span = span.enter();
        if let Ok(outcome) = catch_unwind(AssertUnwindSafe(work)) {
            // Whoever wanted to know may have given up since.
            let _ = done.send(outcome);
        }
    })?;
    Ok(Thread(outcome))
}

/// Waits for what blocks on files, done on a thread of its own.
///
/// # Errors
/// Those of the work, and where the machine refuses a thread.
pub(crate) async fn io<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let thread = start(name, work).map_err(|error| error.0)?;
    thread.await.map_err(io::Error::other)?
}

impl<T> Future for Thread<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|outcome| outcome.map_err(|_| Panicked))
    }
}

/// A share of some work that is done on another thread, or where that is refused has been done on this
/// one.
pub(crate) enum Share<'s, T> {
    /// It is being done.
    Elsewhere(ScopedJoinHandle<'s, T>),
    /// It has been done.
    Here(T),
}

/// Does a share of some work on another thread of the scope, or here if there can be none.
pub(crate) fn share<'s, 'e, T: Send + 's>(
    scope: &'s Scope<'s, 'e>,
    work: impl Fn() -> T + Clone + Send + 's,
) -> Share<'s, T> {
    let (span, elsewhere) = (Span::current(), work.clone());
    match Builder::new().spawn_scoped(scope, move || span.in_scope(elsewhere)) {
        Ok(thread) => Share::Elsewhere(thread),
        Err(_) => Share::Here(work()),
    }
}

impl<T> Share<'_, T> {
    /// Waits for its end. A panic in it is passed on.
    pub(crate) fn join(self) -> T {
        match self {
            Self::Elsewhere(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Self::Here(outcome) => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_outcome_of_a_thread_is_waited_for_and_a_panic_is_no_outcome() {
        assert_eq!(start("adds", || 1 + 1).unwrap().await.unwrap(), 2);
        // This way, nothing is printed.
        let panics = start("panics", || resume_unwind(Box::new(())));
        let outcome: Result<(), Panicked> = panics.unwrap().await;
        outcome.unwrap_err();
    }

    #[test]
    fn a_share_of_work_is_done_wherever() {
        let numbers: Vec<u32> = (0..10).collect();
        let sum: u32 = std::thread::scope(|scope| {
            let shares: Vec<_> = numbers
                .chunks(3)
                .map(|part| share(scope, move || part.iter().sum::<u32>()))
                .collect();
            shares.into_iter().map(Share::join).sum()
        });
        assert_eq!(sum, 45);
    }
}
