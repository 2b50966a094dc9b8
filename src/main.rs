//! Parses the command line, builds the runtime, and turns the outcome into an exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use pgbackupd::cli::{Cli, Failure, FailureKind, Interrupt};
use pgbackupd::telemetry;
use rustix::fs::Mode;

fn main() -> ExitCode {
    // Every file is for its owner alone (P19), also those that child processes make.
    rustix::process::umask(Mode::from_bits_truncate(0o077));
    // Under another name this is no command of pgbackupd's.
    if let Some(error) = pgbackupd::postgres::launch(std::env::args_os()) {
        let _ = writeln!(std::io::stderr(), "pgbackupd: {error}");
        return code(FailureKind::Internal);
    }
    if pgbackupd::postgres::watch(std::env::args_os()) {
        return ExitCode::SUCCESS;
    }
    // Before anything else is done, and before any thread is started.
    if let Err(error) = pgbackupd::identity::take_over() {
        let _ = writeln!(std::io::stderr(), "pgbackupd: {error}");
        return code(FailureKind::Internal);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are reported on stdout and are no errors.
            let text = error.to_string();
            let masked = pgbackupd::postgres::without_passwords(&text);
            if masked == text {
                let _ = error.print();
            } else {
                let _ = write!(anstream::stderr(), "{masked}");
            }
            return if error.use_stderr() {
                code(FailureKind::Usage)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let outcome = match cli.run_as_service_user() {
        // The other process has said what there is to say.
        Ok(Some(code)) => return ExitCode::from(code),
        Ok(None) => run(cli),
        Err(failure) => Err(failure),
    };
    pgbackupd::postgres::dismiss_watcher();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let is_reported = matches!(
                failure.kind,
                FailureKind::OutputClosed
                    | FailureKind::Attention
                    | FailureKind::Critical
                    | FailureKind::Unknown
            );
            if !is_reported {
                let prefix = telemetry::error_prefix();
                let sentence = pgbackupd::postgres::without_passwords_of_uris(&failure.message);
                let message = format!("pgbackupd: {}", telemetry::Printable(&sentence))
                    .replace('\n', &format!("\n{prefix}"));
                let _ = writeln!(anstream::stderr(), "{prefix}{message}");
            }
            code(failure.kind)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let internal = |error: std::io::Error| Failure::new(FailureKind::Internal, error.to_string());
    let runtime = pgbackupd::runtime().map_err(|error| {
        let message = format!(
            "cannot start its threads: {error}\nhint: check how many processes and threads the user and the \
             service may have (`ulimit -u`, TasksMax=), and what else runs here"
        );
        Failure::new(FailureKind::Unavailable, message)
    })?;
    let is_daemon = cli.is_daemon();
    let outcome = runtime.block_on(async {
        // The daemon takes SIGHUP for something else.
        let interrupt = if is_daemon {
            Interrupt::default()
        } else {
            Interrupt::listen().map_err(internal)?
        };
        cli.run(&interrupt, &mut anstream::stdout().lock()).await
    });
    if is_daemon {
        // It has waited for its runs. What still hangs in a call to the kernel is left behind.
        runtime.shutdown_background();
    }
    outcome
}

/// The exit code of a failure, as sysexits.h has them.
fn code(kind: FailureKind) -> ExitCode {
    ExitCode::from(match kind {
        FailureKind::OutputClosed => 0,
        FailureKind::Attention => 1,
        FailureKind::Critical => 2,
        FailureKind::Unknown => 3,
        FailureKind::Usage => 64,
        FailureKind::Damaged => 65,
        FailureKind::Unavailable => 69,
        FailureKind::Internal => 70,
        FailureKind::CannotCreate => 73,
        FailureKind::Busy => 75,
        FailureKind::Configuration => 78,
        FailureKind::Interrupted(signal) => {
            128_u8.saturating_add(u8::try_from(signal).unwrap_or(127))
        }
    })
}
