//! `pgbackupd alerts silence`: send nothing of an alert for some time.

use std::io::Write;
use std::time::Duration;

use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::Serialize;

use super::{no_such_alert, state_failure};
use crate::cli::env::CommandEnv;
use crate::cli::failure::Failure;
use crate::cli::length_of_time::length_of_time;
use crate::cli::report::{self, moment};
use crate::cli::session::Session;
use crate::emit;
use crate::jobs::alert_file;
use crate::policy::Silence;

/// Silence an alert for some time.
///
/// No channel is sent it, nor a reminder, until the time has passed or it becomes more urgent. It stays
/// in `pgbackupd status`. The silence and its reason are on record in the log and in `alerts list`.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Alert, as `alerts list` and the messages name it
    #[arg(value_name = "ID")]
    id: String,
    /// For how long, such as "8 hours" or "3 days"
    #[arg(long = "for", value_name = "TIME", value_parser = length_of_time)]
    time: Duration,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// What `alerts silence --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct SilenceResult {
    /// The alert's id.
    id: String,
    /// Until when it is silent.
    until: String,
    /// Why.
    reason: String,
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let now = session.context.now();
    let until = TimeDelta::from_std(args.time)
        .ok()
        .and_then(|time| now.checked_add_signed(time))
        .filter(|until| *until > now);
    let Some(until) = until else {
        return Err(Failure::usage(
            "invalid --for: the time is zero or too long\nhint: write for instance --for \"8 hours\"",
        ));
    };
    let requester = session.context.requester.to_string();
    let silenced = alert_file(session.plan()).change(|book| {
        let tracked = book.alerts.get(&args.id);
        let tracked = tracked.filter(|tracked| tracked.resolved.is_none())?;
        let silence = Silence {
            id: args.id.clone(),
            severity: tracked.alert.severity,
            at: now,
            until,
            reason: args.reason.clone(),
            requested_by: Some(requester.clone()),
        };
        book.silences.retain(|other| other.id != args.id);
        book.silences.push(silence);
        Some(())
    });
    let silenced = silenced.map_err(|error| state_failure(&session, &error))?;
    if silenced.is_none() {
        return Err(no_such_alert(&args.id));
    }
    emit!(
        AlertSilenced,
        { alert = args.id },
        "alert {} is silenced until {} by {requester}: {}",
        args.id,
        moment(until),
        args.reason
    );
    if env.json {
        let result = SilenceResult {
            id: args.id.clone(),
            until: until.to_rfc3339(),
            reason: args.reason.clone(),
        };
        return report::json(&result, out);
    }
    writeln!(out, "{}: silent until {}", args.id, moment(until))?;
    Ok(())
}
