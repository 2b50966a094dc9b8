//! `pgbackupd alerts test`: does a message get through?

use std::io::Write;

use chrono::Utc;
use futures::future::join_all;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::cli::env::CommandEnv;
use crate::cli::failure::{Failure, FailureKind, together};
use crate::cli::report;
use crate::config::{AlertChannel, Plan, Runs, nearest};
use crate::display::one_line;
use crate::identity;
use crate::jobs::{JobError, Stop};
use crate::notify::{self, Answer, SendError};
use crate::policy::{Notice, OpenCounts};

/// Send a test message to every channel, and print what each answered.
///
/// The message is marked as a test. A ping of healthchecks.io is only logged there; other services
/// hear that all is well. Exit code 69 if a channel did not take it.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Channels, as [alerts.NAME] names them; by default all
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
}

/// What `alerts test --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct TestReport {
    /// What each channel answered, in the order of their names.
    channels: Vec<Tested>,
}

/// What a channel answered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Tested {
    /// Its name in the configuration.
    name: String,
    /// `email`, `webhook`, `command` or `ping`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Whether it took the message.
    ok: bool,
    /// Its answer; null if it did not take the message.
    answer: Option<String>,
    /// What it did not do although it took the message, such as recipients that were refused.
    complaint: Option<String>,
    /// Why it did not take it.
    error: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = env.load_to_run(Runs::Alerts)?;
    let channels = chosen(&loaded.plan, &args.channels)?;
    let notice = notice(&loaded.plan);
    let environment = &env.source.environment;
    let sending = channels
        .iter()
        .map(|channel| notify::send(channel, &notice, environment));
    let cancel = env.interrupt.token();
    let Some(outcomes) = cancel.run_until_cancelled(join_all(sending)).await else {
        let stopped = JobError::from(Stop::Interrupted);
        return Err(report::failure(&stopped, env.interrupt));
    };
    let tested: Vec<Tested> = channels
        .iter()
        .zip(outcomes)
        .map(|(channel, outcome)| tested(channel, outcome))
        .collect();
    let failures: Vec<Failure> = tested
        .iter()
        .filter_map(|one| Some((&one.name, one.error.as_ref()?)))
        .map(|(name, error)| Failure::new(FailureKind::Unavailable, format!("{name}: {error}")))
        .collect();
    if env.json {
        report::json(&TestReport { channels: tested }, out)?;
    } else {
        for one in &tested {
            print(one, out)?;
        }
    }
    together(&failures)
}

/// The channels of these names, or all.
fn chosen<'p>(plan: &'p Plan, names: &[String]) -> Result<Vec<&'p AlertChannel>, Failure> {
    if plan.alerts.is_empty() {
        return Err(Failure::new(
            FailureKind::Configuration,
            "no channel is configured, so nobody would hear of an alert\nhint: add [alerts.NAME] to \
             the configuration; /usr/share/doc/pgbackupd/alerts.md shows how",
        ));
    }
    let known = || plan.alerts.iter().map(|channel| channel.name.as_str());
    for name in names {
        if !known().any(|one| one == name) {
            let hint = match nearest(name, known()) {
                Some(right) => format!("did you mean {right}?"),
                None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("there is no channel {}\nhint: {hint}", one_line(name));
            return Err(Failure::new(FailureKind::Usage, message));
        }
    }
    let is_chosen = |channel: &&AlertChannel| names.is_empty() || names.contains(&channel.name);
    Ok(plan.alerts.iter().filter(is_chosen).collect())
}

/// The message that is sent.
fn notice(plan: &Plan) -> Notice {
    Notice {
        id: Uuid::now_v7(),
        host: identity::host_name(),
        at: Utc::now().with_timezone(&plan.zone).fixed_offset(),
        is_test: true,
        items: Vec::new(),
        open: OpenCounts::default(),
        dropped: 0,
    }
}

fn tested(channel: &AlertChannel, outcome: Result<Answer, SendError>) -> Tested {
    let (answer, complaint, error) = match outcome {
        Ok(answer) => (Some(answer.said), answer.complaint, None),
        Err(error) => (None, None, Some(error.sentence)),
    };
    Tested {
        name: channel.name.clone(),
        kind: channel.type_word(),
        ok: error.is_none(),
        answer,
        complaint,
        error,
    }
}

fn print(tested: &Tested, out: &mut dyn Write) -> Result<(), Failure> {
    let Tested { name, kind, .. } = tested;
    match &tested.answer {
        Some(answer) => {
            let complaint = tested.complaint.as_ref();
            let complaint = complaint.map_or_else(String::new, |what| format!("; but {what}"));
            writeln!(out, "{name} ({kind}): sent: {answer}{complaint}")?;
        }
        None => writeln!(out, "{name} ({kind}): NOT SENT")?,
    }
    Ok(())
}
