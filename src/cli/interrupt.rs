//! Signals that end a command: it stops what it does, leaves nothing half, and says which signal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use tokio_util::sync::CancellationToken;

use crate::postgres::kill_all_children;

/// Whether, and by which signal, the command is asked to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    token: CancellationToken,
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// Listens for SIGINT, SIGTERM and SIGHUP (the terminal was closed). The second one ends the
    /// process at once; its children die with it, and the next run sweeps up.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let shared = interrupt.clone();
        tokio::spawn(async move {
            while let Some(signal) = signals.next().await {
                if shared.signal.swap(signal, Ordering::Relaxed) != 0 {
                    kill_all_children();
                    std::process::exit(128 + signal);
                }
                shared.token.cancel();
            }
        });
        Ok(interrupt)
    }

    /// Cancelled when the command is to end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
    }
}
