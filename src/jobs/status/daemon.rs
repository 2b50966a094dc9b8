//! What the daemon says of itself, and what of that needs attention.

use chrono::{DateTime, Utc};

use super::responsiveness::Answers;
use super::{DaemonView, DatabaseStatus, NextRun};
use crate::config::{Plan, Settings};
use crate::display::{joined_lines, one_line};
use crate::policy::{Concern, ConcernKind};
use crate::repository::{DaemonState, RuntimeDirectory};

pub(super) fn daemon(plan: &Plan) -> DaemonView {
    let runtime = RuntimeDirectory::at(&plan.daemon.runtime_directory);
    let looking =
        Answers::default().ask(runtime.path(), |path| RuntimeDirectory::at(path).daemon());
    match looking.flatten() {
        Ok(Some(state)) => DaemonView::Alive(Box::new(state)),
        Ok(None) => DaemonView::Absent,
        Err(error) => DaemonView::Hidden(format!("{}: {error}", runtime.path().display())),
    }
}

pub(super) fn judge_daemon(
    daemon: &DaemonView,
    is_late: bool,
    concerns: &mut Vec<Concern>,
    remarks: &mut Vec<String>,
) {
    match daemon {
        DaemonView::Alive(state) => {
            if let Some(refused) = &state.refused {
                concerns.push(Concern::new(
                    ConcernKind::ConfigurationRefused,
                    format!(
                        "the daemon runs with the configuration of {}, because the newest one is \
                         refused: {refused}; fix it, and run `systemctl reload pgbackupd`",
                        state.loaded.format("%a %Y-%m-%d %H:%M:%S %:z")
                    ),
                ));
            }
        }
        DaemonView::Absent if is_late => {
            concerns.push(Concern::new(
                ConcernKind::NoDaemon,
                "no daemon runs that would start what is due; run `systemctl enable --now \
                 pgbackupd`, or, where cron or a timer starts the commands, look there",
            ));
        }
        DaemonView::Absent => {}
        DaemonView::Hidden(why) => {
            remarks.push(format!("whether the daemon runs cannot be seen in {why}"));
        }
    }
}

/// What the daemon cannot connect to. A run that has tried since knows better: its failure is reported
/// by itself, and its backup shows that it can be.
pub(super) fn judge_connections(
    state: &DaemonState,
    databases: &[DatabaseStatus],
    is_of_all: bool,
    concerns: &mut Vec<Concern>,
) {
    for failure in &state.cannot_connect {
        let has_tried = |database: &DatabaseStatus| {
            let failing = database.facts.series.iter();
            let failed = failing
                .filter_map(|series| Some(series.failing.as_ref()?.at))
                .max();
            database
                .newest
                .max(failed)
                .is_some_and(|at| at > failure.since)
        };
        let mut on_it = databases.iter().filter(|database| {
            database.facts.server == failure.server
                && failure
                    .database
                    .as_ref()
                    .is_none_or(|name| *name == database.facts.database)
        });
        let is_shown = match on_it.next() {
            Some(first) => !has_tried(first) && !on_it.any(has_tried),
            None => is_of_all,
        };
        if !is_shown {
            continue;
        }
        // Whoever shows it names the database.
        let named = match &failure.database {
            Some(_) => String::new(),
            None => format!("server {} ", failure.server),
        };
        let kind = if failure.is_missing {
            ConcernKind::NoSuchDatabase
        } else {
            ConcernKind::CannotConnect
        };
        let sentence = format!(
            "{}cannot be backed up as configured: {}",
            one_line(&named),
            joined_lines(&failure.message)
        );
        concerns.push(Concern {
            database: failure.database.clone(),
            ..Concern::new(kind, sentence).of_server(&failure.server)
        });
    }
}

/// What of the configuration on the disk is not in force.
pub(super) fn remark_on_changes(
    state: &DaemonState,
    is_changed_on_disk: Option<bool>,
    remarks: &mut Vec<String>,
) {
    if is_changed_on_disk == Some(true) && state.refused.is_none() {
        remarks.push(format!(
            "the configuration's files have changed since the daemon read them at {}; `pgbackupd config \
             check && systemctl reload pgbackupd` activates them",
            state.loaded.format("%a %Y-%m-%d %H:%M:%S %:z")
        ));
    }
    if !state.after_restart.is_empty() {
        remarks.push(format!(
            "what has changed in {} takes effect when the daemon is restarted: `systemctl restart \
             pgbackupd`",
            state.after_restart.join(", ")
        ));
    }
}

/// Whether the files say something else than what the daemon has in force.
pub(super) fn is_changed_on_disk(daemon: &DaemonView, settings: &Settings) -> Option<bool> {
    let DaemonView::Alive(state) = daemon else {
        return None;
    };
    // A daemon of an older version does not say what it has read.
    let in_force = state.configuration.as_ref()?;
    Some(*in_force != settings.files_digest())
}

/// When the configuration's files were changed last: what it asks for was not asked for before.
pub(in crate::jobs) fn last_change(settings: &Settings) -> Option<DateTime<Utc>> {
    let files = settings.files();
    files
        .into_iter()
        .filter_map(|file| Some(file.metadata().ok()?.modified().ok()?.into()))
        .max()
}

pub(super) fn next_runs(plan: &Plan, daemon: &DaemonView, now: DateTime<Utc>) -> Vec<NextRun> {
    let mut next: Vec<NextRun> = match daemon {
        DaemonView::Alive(state) => {
            let jobs = state.jobs.iter();
            jobs.map(|job| NextRun {
                job: job.job.clone(),
                kind: job.kind.clone(),
                at: job.next,
            })
            .collect()
        }
        _ => plan
            .jobs
            .iter()
            .map(|job| NextRun {
                job: job.name.clone(),
                kind: job.kind.word().to_owned(),
                at: job.schedule.next_after(now).map(|next| next.fixed_offset()),
            })
            .collect(),
    };
    next.sort_by(|a, b| (a.at.is_none(), a.at, &a.job).cmp(&(b.at.is_none(), b.at, &b.job)));
    next
}
