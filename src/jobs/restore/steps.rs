//! The steps of a restore in words, with the names of this machine, and how long each took in the last
//! test restore.

use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};

use super::application::shown;
use super::begin::RestoreOrder;
use super::send_check::about_functions;
use super::source::Source;
use super::{RestorePlan, RestoreRequest, RestoreSource, roles};
use crate::display::{counted, size};
use crate::jobs::{DrillPhase, JobError};
use crate::postgres::ServerFacts;
use crate::repository::{Details, Event, Record};

/// What a restore would do.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The backup's name, or the file's path.
    pub backup: String,
    /// The database that is restored, or restored into.
    pub database: String,
    /// The server, as host and port.
    pub server: String,
    /// Bytes of the backup's files, if a manifest speaks for it.
    pub bytes: Option<u64>,
    /// Every step.
    pub steps: Vec<PlannedStep>,
    /// The newest test restore of the database that succeeded, by which the steps are measured.
    pub last_drill: Option<LastDrill>,
    /// What keeps it from being restored.
    pub problems: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// A step of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// What is done, in words.
    pub what: String,
    /// The parts of a test restore that do the same; none where it does nothing like it.
    like: &'static [DrillPhase],
}

impl PlannedStep {
    pub(in crate::jobs) fn new(what: impl Into<String>, like: &'static [DrillPhase]) -> Self {
        Self {
            what: what.into(),
            like,
        }
    }

    /// How long it took in a test restore, if that has done it.
    pub fn took(&self, drill: &LastDrill) -> Option<Duration> {
        let of_this = |part: &&(String, Duration)| self.like.iter().any(|one| one.word() == part.0);
        let took: Vec<Duration> = drill
            .phases
            .iter()
            .filter(of_this)
            .map(|part| part.1)
            .collect();
        (!took.is_empty()).then(|| took.iter().sum())
    }
}

/// A test restore that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastDrill {
    /// The backup that was restored.
    pub backup: String,
    /// When it ended, on the wall clock of the schedule's zone.
    pub at: DateTime<FixedOffset>,
    /// Bytes of the files of that backup.
    pub bytes: Option<u64>,
    /// How long its parts took, in their order.
    phases: Vec<(String, Duration)>,
}

impl LastDrill {
    /// What a record of the ledger says of a test restore; none if it is of none that succeeded.
    pub(in crate::jobs) fn of(record: Record) -> Option<Self> {
        let Details::Drill(details) = record.details else {
            return None;
        };
        if record.event != Event::Succeeded || details.phases.is_empty() || details.partial {
            return None;
        }
        let phases = details.phases.into_iter();
        Some(Self {
            backup: details.subject.backup?,
            at: record.at,
            bytes: details.bytes,
            phases: phases
                .map(|part| {
                    let took = Duration::try_from_secs_f64(part.seconds).unwrap_or_default();
                    (part.phase, took)
                })
                .collect(),
        })
    }

    /// The newest one of the database, by the ledger next to the backup; none if there was none.
    pub(in crate::jobs) fn newest(order: &RestoreOrder<'_>) -> Result<Option<Self>, JobError> {
        let repository = match order.source {
            RestoreSource::Backup(backup_directory, _) => &backup_directory.repository,
            RestoreSource::DumpFile { .. } => order.repository,
        };
        let ledger = repository.restore_ledger();
        let mut found = None;
        let read = ledger.read_backwards(|record| {
            found = Self::of(record);
            if found.is_some() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        read.map_err(|error| {
            JobError::failed(format!("cannot read {}: {error}", ledger.path().display()))
        })?;
        Ok(found)
    }

    /// How long it took until the data was back, as `pgbackupd drill` measures it.
    pub fn recovery_time(&self) -> Duration {
        let after = [DrillPhase::Dump.word(), DrillPhase::Compare.word()];
        self.phases
            .iter()
            .filter(|(phase, _)| !after.contains(&phase.as_str()))
            .map(|(_, took)| *took)
            .sum()
    }
}

/// Every step of a restore, or of a salvage.
pub(in crate::jobs) fn plan(
    request: &RestoreRequest<'_>,
    source: &Source,
    plan: &RestorePlan,
    server_facts: &ServerFacts,
) -> Vec<PlannedStep> {
    let of = if request.order.salvages {
        plan_of_a_salvage
    } else {
        plan_of_a_restore
    };
    of(request, source, plan, server_facts)
}

fn plan_of_a_restore(
    request: &RestoreRequest<'_>,
    source: &Source,
    plan: &RestorePlan,
    server_facts: &ServerFacts,
) -> Vec<PlannedStep> {
    let RestorePlan {
        database,
        loads_into,
        user,
        ..
    } = plan;
    let manifest = source.manifest.as_ref();
    let original = manifest.map_or(database, |manifest| &manifest.database);
    let read = match manifest {
        Some(_) => ", with its roles and census: it must be what was written",
        None => "",
    };
    let command = |words: &Option<Vec<String>>| words.as_deref().map(shown);
    let replaces = request.replace && plan.replaces.is_some();
    let mut steps = Vec::new();
    let mut step = |what: String, like| steps.push(PlannedStep::new(what, like));
    step(
        format!("read {} in full{read}", source.path().display()),
        &[DrillPhase::Verify],
    );
    step(
        display_roles(request, source, server_facts),
        &[DrillPhase::Globals],
    );
    step(
        format!(
            "create the database {loads_into} on {} from template0, as {original} was",
            plan.server
        ),
        &[],
    );
    if replaces && let Some(stop) = command(&request.settings.stop) {
        step(format!("stop the application: {stop}"), &[]);
    }
    step(
        format!("load the dump into {loads_into}, {}", about_functions(user)),
        &[DrillPhase::Load],
    );
    step(
        format!(
            "dump {loads_into} again and compare it with the backup, row by row; meanwhile refresh \
             its statistics (ANALYZE)"
        ),
        &[DrillPhase::Dump, DrillPhase::Compare],
    );
    step(
        "give it the recorded settings, privileges and comment".to_owned(),
        &[],
    );
    step(display_swap(plan), &[]);
    if let (Some(_), Some(aside), true) = (&plan.replaces, &plan.keeps_as, request.drop_old) {
        step(format!("drop {aside}"), &[]);
    }
    if replaces && let Some(start) = command(&request.settings.start) {
        step(
            format!("start the application, also after any failure: {start}"),
            &[],
        );
    }
    steps
}

/// Every step of a salvage.
fn plan_of_a_salvage(
    request: &RestoreRequest<'_>,
    source: &Source,
    plan: &RestorePlan,
    server_facts: &ServerFacts,
) -> Vec<PlannedStep> {
    let RestorePlan {
        database,
        loads_into,
        user,
        server,
        ..
    } = plan;
    let path = source.path().display();
    let steps = [
        display_roles(request, source, server_facts),
        format!("create the database {loads_into} on {server} from template0"),
        format!(
            "load {path} into {loads_into} one statement at a time, {}; what the server refuses is tried \
             again, left out and reported",
            about_functions(user)
        ),
        format!("dump {loads_into} again and compare it with the backup, row by row"),
        "give it the recorded settings and privileges".to_owned(),
        format!("rename {loads_into} to {database}"),
        format!(
            "write what is left to be done, and rows that the server refuses, to files in {}",
            request.order.repository.directory().display()
        ),
    ];
    let steps = steps.into_iter();
    steps.map(|what| PlannedStep::new(what, &[])).collect()
}

/// How the restored database gets its name.
fn display_swap(plan: &RestorePlan) -> String {
    let RestorePlan {
        database,
        loads_into,
        ..
    } = plan;
    let (Some(standing), Some(aside)) = (&plan.replaces, &plan.keeps_as) else {
        return format!("rename {loads_into} to {database}");
    };
    let bytes = standing.size_bytes.map(size);
    format!(
        "end the sessions of {database}, and in one transaction rename {database}{} to {aside} and \
         {loads_into} to {database}",
        bytes.map_or_else(String::new, |bytes| format!(" ({bytes})"))
    )
}

/// What is done about roles.
fn display_roles(
    request: &RestoreRequest<'_>,
    source: &Source,
    server_facts: &ServerFacts,
) -> String {
    let roles = roles::to_restore(
        &source.globals,
        &server_facts.roles,
        request.overwrite_roles,
    );
    let mut words = if roles.missing.is_empty() {
        "create no role, since none is missing".to_owned()
    } else {
        format!(
            "create {}: {}",
            counted(roles.missing.len() as u64, "missing role", "missing roles"),
            roles.missing.join(", ")
        )
    };
    if request.overwrite_roles {
        words.push_str("; make the others as they were");
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(operation: &str, event: &str, phases: &[(&str, f64)]) -> Record {
        let phases: Vec<_> = phases
            .iter()
            .map(|(phase, seconds)| serde_json::json!({"phase": phase, "seconds": seconds}))
            .collect();
        serde_json::from_value(serde_json::json!({
            "at": "2025-07-09T02:00:00+03:00",
            "run": uuid::Uuid::nil(),
            "operation": operation,
            "event": event,
            "database": "app",
            "backup": "backup_20250708_020000",
            "bytes": 7,
            "phases": phases,
        }))
        .unwrap()
    }

    const PHASES: [(&str, f64); 5] = [
        ("verify", 1.0),
        ("server", 2.0),
        ("load", 30.0),
        ("dump", 4.0),
        ("compare", 0.5),
    ];

    #[test]
    fn a_step_took_what_the_parts_took_that_do_the_same() {
        let drill = LastDrill::of(record("drill", "succeeded", &PHASES)).unwrap();
        for (like, seconds) in [
            ([DrillPhase::Verify].as_slice(), Some(1.0)),
            (&[DrillPhase::Load], Some(30.0)),
            (&[DrillPhase::Dump, DrillPhase::Compare], Some(4.5)),
            // That backup had no roles.
            (&[DrillPhase::Globals], None),
            (&[], None),
        ] {
            let step = PlannedStep {
                what: String::new(),
                like: Vec::from(like).leak(),
            };
            let took = step.took(&drill).map(|took| took.as_secs_f64());
            assert_eq!(took, seconds, "{like:?}");
        }
        assert_eq!(drill.recovery_time(), Duration::from_secs(33));
    }

    #[test]
    fn only_a_test_restore_that_succeeded_measures_anything() {
        for (operation, event, phases) in [
            ("drill", "started", PHASES.as_slice()),
            ("drill", "failed", &PHASES),
            ("restore", "succeeded", &PHASES),
            ("drill", "succeeded", &[]),
        ] {
            assert_eq!(
                LastDrill::of(record(operation, event, phases)),
                None,
                "{operation} {event}"
            );
        }
    }
}
