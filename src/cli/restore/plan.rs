//! What `restore --plan` prints: every step with this machine's names, and how long it took in the
//! last test restore.

use std::io::Write;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::failure::{Failure, FailureKind};
use super::super::report;
use super::RestoreCommand;
use super::destination::Chosen;
use crate::cli::wrap::wrapped;
use crate::display;
use crate::display::{joined_lines, rough_span};
use crate::jobs::{LastDrill, Preview};
use crate::policy::age;

/// What `restore --plan --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct RestoreSteps {
    /// The server's name in the configuration.
    pub server_name: String,
    /// The database.
    pub database: String,
    /// The backup's name, or the file's path.
    pub backup: String,
    /// Bytes of all its files but the manifest; null where there is no manifest for it.
    pub bytes: Option<u64>,
    /// Every step.
    pub steps: Vec<Step>,
    /// The newest test restore of the database that succeeded; null if there was none.
    pub last_drill: Option<Measured>,
    /// How long a restore may take, in seconds.
    pub target_seconds: f64,
    /// What keeps it from being restored now.
    pub problems: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Step {
    /// What is done, in words.
    pub what: String,
    /// How long that took in the last test restore, in seconds; null if it does nothing like it.
    pub drill_seconds: Option<f64>,
}

/// A test restore by which the steps are measured.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Measured {
    /// The backup that was restored.
    pub backup: String,
    /// When it ended, RFC 3339.
    pub at: String,
    /// Bytes of that backup's files but the manifest.
    pub bytes: Option<u64>,
    /// How long it took until the data was back, in seconds.
    pub recovery_seconds: f64,
}

/// Prints it.
///
/// # Errors
/// When the restore would not be possible, or the output cannot be written.
pub(super) fn print(
    command: &RestoreCommand<'_>,
    chosen: &Chosen<'_>,
    plan: Preview,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let drill = plan.last_drill.as_ref();
    let took: Vec<Option<Duration>> = plan.steps.iter().map(|step| step.took(drill?)).collect();
    if command.session.env.json {
        let document = RestoreSteps {
            server_name: chosen.server.name.clone(),
            last_drill: drill.map(measured),
            steps: plan
                .steps
                .into_iter()
                .zip(took)
                .map(|(step, took)| Step {
                    what: step.what,
                    drill_seconds: took.map(|took| took.as_secs_f64()),
                })
                .collect(),
            database: plan.database,
            backup: plan.backup,
            bytes: plan.bytes,
            target_seconds: command.plan().objectives.recovery_time.as_secs_f64(),
            problems: plan.problems,
            warnings: plan.warnings,
        };
        return report::json(&document, out);
    }
    let as_or_into = if command.args.tables.is_empty() {
        "as"
    } else {
        "into"
    };
    let head = format!(
        "restore {} {as_or_into} database {} at {}:",
        report::one_line(&plan.backup),
        report::one_line(&chosen.label),
        plan.server
    );
    wrapped(out, "", &head)?;
    for (index, (step, took)) in plan.steps.iter().zip(took).enumerate() {
        let took = took.map_or_else(String::new, |took| format!(" [{}]", report::duration(took)));
        let number = format!("{:>3}. ", index + 1);
        let what = report::one_line(&step.what);
        wrapped(out, &number, &format!("{what}{took}"))?;
    }
    wrapped(out, "", &measure(command, chosen, &plan))?;
    for warning in &plan.warnings {
        wrapped(out, "note: ", &joined_lines(warning))?;
    }
    out.flush()?;
    if plan.problems.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Unavailable,
        format!("it cannot be restored now:\n{}", plan.problems.join("\n")),
    ))
}

/// Where the times come from, and what they say of this restore.
fn measure(command: &RestoreCommand<'_>, chosen: &Chosen<'_>, plan: &Preview) -> String {
    let allowed = report::span(command.plan().objectives.recovery_time);
    let Some(drill) = &plan.last_drill else {
        let label = command.plan().label(&chosen.server.name, &chosen.original);
        let wants_identity =
            chosen.picked.source.is_encrypted() && command.session.context.drill.identity.is_none();
        return format!(
            "times: none, because no drill of the database is on record; `{}` makes \
             one and measures it (objectives.recovery_time is {allowed})",
            display::with_identity(display::command("drill", &label, ""), wants_identity)
        );
    };
    let sizes = match (drill.bytes, plan.bytes) {
        (Some(then), Some(now)) => format!(
            ", with {} of backup; this one has {}",
            report::size(then),
            report::size(now)
        ),
        _ => String::new(),
    };
    format!(
        "times: as in the drill of {} at {}, {} ago{sizes}; there the data was back in {} \
         (objectives.recovery_time is {allowed})",
        drill.backup,
        report::moment(drill.at),
        rough_span(age(drill.at, command.session.context.now())),
        report::duration(drill.recovery_time()),
    )
}

fn measured(drill: &LastDrill) -> Measured {
    Measured {
        backup: drill.backup.clone(),
        at: drill.at.to_rfc3339(),
        bytes: drill.bytes,
        recovery_seconds: drill.recovery_time().as_secs_f64(),
    }
}
