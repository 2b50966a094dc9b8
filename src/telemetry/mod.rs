//! Diagnostics. A command's own output is not among them: that goes to stdout.

mod event;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use event::EventKind;

/// Writes diagnostics to stderr in readable lines: warnings, with `verbose` once also what is done,
/// twice also how. The variable `PGBACKUPD_LOG` says it in tracing's own language instead.
pub fn to_terminal(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "pgbackupd=info,warn",
        _ => "pgbackupd=debug,info",
    };
    let filter = EnvFilter::try_from_env("PGBACKUPD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .finish();
    // A second call in one process, as in tests, changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
