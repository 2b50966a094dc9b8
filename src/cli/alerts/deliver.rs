//! `pgbackupd alerts deliver`: judge and send once, for machines where cron starts the commands.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::state_failure;
use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind, together};
use crate::cli::report::{self, counted, one_line};
use crate::cli::session::Session;
use crate::config::Runs;
use crate::jobs::{
    Attempt, ReportAttempt, collect_status, deliver, deliver_reports, take_in, take_in_reports,
};

/// Judge how things stand, and send every channel what it was not sent yet, reports included.
///
/// The service does this by itself. Where cron or a timer starts the commands instead, let it run this
/// one every five minutes. Exit code 69 if a channel did not take its message; the next run tries again.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {}

/// What `alerts deliver --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct DeliverReport {
    /// The channels that were owed a message.
    channels: Vec<Delivered>,
    /// The reports that were due or waited.
    reports: Vec<DeliveredReport>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Delivered {
    /// The channel's name.
    name: String,
    /// How many alerts the message was about.
    alerts: u64,
    /// Whether the channel took it.
    ok: bool,
    /// Why it did not, or null.
    error: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct DeliveredReport {
    /// The channel's name.
    channel: String,
    /// Which report.
    report: &'static str,
    /// Whether the channel took it.
    ok: bool,
    /// Why it did not, or null.
    error: Option<String>,
}

pub(super) async fn run(
    _: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load_to_run(Runs::Alerts)?);
    let (plan, settings) = (&session.loaded.plan, &session.loaded.settings);
    let status = collect_status(&session.context, (plan, settings), &[])
        .map_err(|error| session.failure(&error))?;
    let now = session.context.now();
    let attempts = match take_in(plan, &status, now) {
        Ok(_) => deliver(plan, &session.context).await,
        Err(error) => Err(error),
    };
    let attempts = attempts.map_err(|error| state_failure(&session, &error))?;
    let reports = match take_in_reports(&session.context, (plan, settings), &status) {
        Ok(()) => deliver_reports(plan, &session.context).await,
        Err(error) => Err(error),
    };
    let reports = reports.map_err(|error| state_failure(&session, &error))?;
    let failures: Vec<Failure> = attempts
        .iter()
        .filter_map(failure)
        .chain(reports.iter().filter_map(report_failure))
        .collect();
    if env.json {
        let channels = attempts.iter().map(delivered).collect();
        let reports = reports.iter().map(delivered_report).collect();
        report::json(&DeliverReport { channels, reports }, out)?;
    } else if attempts.is_empty() && reports.is_empty() {
        writeln!(out, "nothing to send")?;
    } else {
        for attempt in attempts.iter().filter(|attempt| attempt.outcome.is_ok()) {
            let many = attempt.notice.items.len() as u64;
            let alerts = counted(many, "alert", "alerts");
            writeln!(out, "{}: sent a message with {alerts}", attempt.channel)?;
        }
        for attempt in reports.iter().filter(|attempt| attempt.outcome.is_ok()) {
            let period = attempt.period.word();
            writeln!(out, "{}: sent the {period} report", attempt.channel)?;
        }
    }
    together(&failures)
}

fn failure(attempt: &Attempt) -> Option<Failure> {
    let error = attempt.outcome.as_ref().err()?;
    let message = format!("{}: {}", attempt.channel, one_line(&error.sentence));
    Some(Failure::new(FailureKind::Unavailable, message))
}

fn report_failure(attempt: &ReportAttempt) -> Option<Failure> {
    let error = attempt.outcome.as_ref().err()?;
    let message = format!("{}: {}", attempt.channel, one_line(&error.sentence));
    Some(Failure::new(FailureKind::Unavailable, message))
}

fn delivered_report(attempt: &ReportAttempt) -> DeliveredReport {
    let error = attempt.outcome.as_ref().err();
    DeliveredReport {
        channel: attempt.channel.clone(),
        report: attempt.period.word(),
        ok: error.is_none(),
        error: error.map(|error| error.sentence.clone()),
    }
}

fn delivered(attempt: &Attempt) -> Delivered {
    let error = attempt.outcome.as_ref().err();
    Delivered {
        name: attempt.channel.clone(),
        alerts: attempt.notice.items.len() as u64,
        ok: error.is_none(),
        error: error.map(|error| error.sentence.clone()),
    }
}
