//! What a reload changes, in words. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::config::{
    Databases, DrillChoice, Job, JobKind, Plan, Server, Setting, Settings, Verification,
};
use crate::display::{one_line, size, span};

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Changes {
    /// Jobs that the scheduler has to forget, by name.
    pub unscheduled: Vec<String>,
    /// Jobs that it has to learn, by name.
    pub scheduled: Vec<String>,
    /// Every change in words, one sentence each.
    pub sentences: Vec<String>,
    /// What only a new start brings into force.
    pub not_in_force: Vec<String>,
}

/// Compares the plan in force, and the settings that it follows from, with new ones.
pub(super) fn changes(
    (old, old_settings): (&Plan, &Settings),
    (new, new_settings): (&Plan, &Settings),
    now: DateTime<Utc>,
) -> Changes {
    let mut changes = Changes::default();
    let values = Values::between(old_settings, new_settings);
    jobs((old, new), &values, now, &mut changes);
    servers((old, new), &values, &mut changes.sentences);
    let sentences = &mut changes.sentences;
    if old.zone != new.zone {
        sentences.push(format!("timezone: {} → {}", old.zone, new.zone));
    }
    for (name, is_changed) in [
        ("limits", old.limits != new.limits),
        ("retention", old.retention != new.retention),
        ("drill", old.drill != new.drill),
        ("programs", old.programs != new.programs),
        ("objectives", old.objectives != new.objectives),
        ("anomaly", old.anomaly != new.anomaly),
        ("restore", old.restore != new.restore),
        ("alerts", old.alerts != new.alerts),
        ("name", old.name != new.name),
        ("destinations", old.destinations != new.destinations),
        (
            "encryption",
            (
                &old.recipients,
                old.scope,
                &old.trusted_signers,
                &old.signer,
            ) != (
                &new.recipients,
                new.scope,
                &new.trusted_signers,
                &new.signer,
            ),
        ),
        ("web", old.web != new.web),
        ("reports", old.reports != new.reports),
    ] {
        if is_changed {
            // The rules of retention are in the tables of the series.
            let is_one = |key: &[&str]| key[0] == name || name == "retention" && key[0] == "series";
            values.report_settings(name, is_one, sentences);
        }
    }
    let (was, is) = (&old.daemon, &new.daemon);
    if (was.concurrency, was.concurrency_per_server) != (is.concurrency, is.concurrency_per_server)
    {
        sentences.push(format!(
            "daemon: concurrency {} in all and {} a server → {} and {}",
            was.concurrency, was.concurrency_per_server, is.concurrency, is.concurrency_per_server
        ));
    }
    changes.not_in_force = after_restart(old, new);
    changes
}

/// The settings and tables in which two plans differ and that take effect when the service is restarted.
pub(super) fn after_restart(old: &Plan, new: &Plan) -> Vec<String> {
    let (was, is) = (&old.daemon, &new.daemon);
    let differs = [
        (
            "daemon.runtime_directory",
            was.runtime_directory != is.runtime_directory,
        ),
        (
            "daemon.state_directory",
            was.state_directory != is.state_directory,
        ),
        ("logs", old.logs != new.logs),
    ];
    let differing = differs.into_iter().filter(|(_, differs)| *differs);
    differing.map(|(name, _)| name.to_owned()).collect()
}

/// The settings that differ, by their keys: the old and the new value, as TOML and without secrets.
struct Values(BTreeMap<Vec<String>, (Option<String>, Option<String>)>);

impl Values {
    fn between(old: &Settings, new: &Settings) -> Self {
        let of = |settings: &Settings| -> BTreeMap<Vec<String>, String> {
            let list = settings.list().into_iter();
            list.map(|Setting { key, value, .. }| (key, value))
                .collect()
        };
        let (old, new) = (of(old), of(new));
        let keys: BTreeSet<&Vec<String>> = old.keys().chain(new.keys()).collect();
        let pairs = keys
            .into_iter()
            .filter(|key| old.get(*key) != new.get(*key));
        Self(
            pairs
                .map(|key| (key.clone(), (old.get(key).cloned(), new.get(key).cloned())))
                .collect(),
        )
    }

    /// Tells the old and the new value of each of these settings that differs. Where none does, it is
    /// a secret that has changed, or the program's environment.
    fn report_settings(
        &self,
        what: &str,
        is_one: impl Fn(&[&str]) -> bool,
        sentences: &mut Vec<String>,
    ) {
        let mut found = Vec::new();
        for (key, (was, is)) in &self.0 {
            let levels: Vec<&str> = key.iter().map(String::as_str).collect();
            if is_one(&levels) {
                let value = |value: &Option<String>| {
                    value
                        .as_deref()
                        .map_or_else(|| "not set".to_owned(), one_line)
                };
                found.push(format!("{}: {} → {}", key.join("."), value(was), value(is)));
            }
        }
        if found.is_empty() {
            found.push(format!("{what}: a value that is not shown has changed"));
        }
        for line in found {
            // What several have in common is reported once.
            if !sentences.contains(&line) {
                sentences.push(line);
            }
        }
    }
}

/// Whether this says when a job runs, besides its schedule.
fn is_rule(key: &str) -> bool {
    matches!(key, "window" | "jitter" | "catch_up" | "retry" | "blackout")
}

fn jobs((old, new): (&Plan, &Plan), values: &Values, now: DateTime<Utc>, changes: &mut Changes) {
    let find = |jobs: &[Job], name: &str| jobs.iter().find(|job| job.name == name).cloned();
    for job in &old.jobs {
        if find(&new.jobs, &job.name).is_none() {
            changes.unscheduled.push(job.name.clone());
            changes.sentences.push(format!("job {}: removed", job.name));
        }
    }
    for job in &new.jobs {
        let name = &job.name;
        match find(&old.jobs, name) {
            None => {
                changes.scheduled.push(name.clone());
                changes.sentences.push(format!(
                    "job {name}: new, {}, {}; next run {}",
                    kind(&job.kind),
                    job.schedule.describe(),
                    next(job, now)
                ));
            }
            Some(was) => {
                if was.schedule != job.schedule {
                    changes.unscheduled.push(name.clone());
                    changes.scheduled.push(name.clone());
                    changes.sentences.push(schedule(&was, job, now));
                }
                if was.kind != job.kind {
                    let (was, is) = (kind(&was.kind), kind(&job.kind));
                    changes.sentences.push(format!("job {name}: {was} → {is}"));
                }
                let rules = |job: &Job| (job.window, job.jitter, job.catch_up, job.retry);
                if rules(&was) != rules(job) || was.blackouts != job.blackouts {
                    let is_one = |key: &[&str]| match key {
                        ["jobs", job, rule, ..] => *job == name.as_str() && is_rule(rule),
                        [rule, ..] => is_rule(rule),
                        [] => false,
                    };
                    values.report_settings(&format!("job {name}"), is_one, &mut changes.sentences);
                }
            }
        }
    }
}

fn schedule(was: &Job, is: &Job, now: DateTime<Utc>) -> String {
    let (zone_was, zone_is) = (was.schedule.zone(), is.schedule.zone());
    let zones = if zone_was == zone_is {
        String::new()
    } else {
        format!(" ({zone_was} → {zone_is})")
    };
    format!(
        "job {}: schedule {} → {}{zones}; next run {}",
        is.name,
        was.schedule.text(),
        is.schedule.text(),
        next(is, now)
    )
}

fn servers((old, new): (&Plan, &Plan), values: &Values, sentences: &mut Vec<String>) {
    for server in &old.servers {
        if !new.servers.iter().any(|other| other.name == server.name) {
            sentences.push(format!("server {}: removed", server.name));
        }
    }
    for server in &new.servers {
        let Some(was) = old.servers.iter().find(|other| other.name == server.name) else {
            sentences.push(format!(
                "server {}: new, {}",
                server.name,
                databases(server)
            ));
            continue;
        };
        let (before, after) = (databases(was), databases(server));
        if before != after {
            sentences.push(format!("server {}: {before} → {after}", server.name));
        } else if was != server {
            let is_main = server.name == "main";
            let is_one = |key: &[&str]| match key {
                ["servers", name, ..] => *name == server.name,
                // What a server does not say itself is said for all of them.
                ["dump" | "directory", ..] => true,
                [
                    "connection" | "database" | "databases" | "include" | "exclude",
                    ..,
                ] => is_main,
                _ => false,
            };
            values.report_settings(&format!("server {}", server.name), is_one, sentences);
        }
    }
}

/// More names than this are not listed.
const MOST_NAMES: usize = 10;

fn databases(server: &Server) -> String {
    match &server.databases {
        Databases::All(_) => "all its databases".to_owned(),
        Databases::FromEnvironment => "the database of libpq's environment".to_owned(),
        Databases::Named(named) if named.len() > MOST_NAMES => {
            format!("{} databases", named.len())
        }
        Databases::Named(named) => {
            let listed: Vec<String> = named
                .iter()
                .map(|database| one_line(&database.name))
                .collect();
            format!(
                "database{} {}",
                if listed.len() == 1 { "" } else { "s" },
                listed.join(", ")
            )
        }
    }
}

/// A job's kind in a word or two.
pub(super) fn kind(kind: &JobKind) -> String {
    match kind {
        JobKind::Backup(series) => format!("backup of series {series}"),
        JobKind::Verify(verification) => {
            let usual = Verification::default();
            let mut text = "verify run".to_owned();
            if verification.older_than != usual.older_than {
                let age = span(verification.older_than);
                text = format!("{text} of what was not checked for {age}");
            }
            if verification.budget != usual.budget {
                let time = span(verification.budget);
                text = format!("{text} within {time}");
            }
            text
        }
        JobKind::VerifyCopies(verification) => {
            let time = span(verification.budget.time);
            let bytes = verification.budget.bytes.map(size);
            let bytes = bytes.map_or_else(String::new, |bytes| format!(" and {bytes}"));
            let there = verification.destinations.join(", ");
            format!("verify run of copies at {there} within {time}{bytes}")
        }
        JobKind::Drill(DrillChoice::Newest) => "drill".to_owned(),
        JobKind::Drill(DrillChoice::Random) => "drill of a random backup".to_owned(),
        JobKind::Prune => "prune run".to_owned(),
        JobKind::Copy(to) if to.is_empty() => "copy".to_owned(),
        JobKind::Copy(to) => format!("copy to {}", to.join(", ")),
    }
}

fn next(job: &Job, now: DateTime<Utc>) -> String {
    job.schedule.next_after(now).map_or_else(
        || "never".to_owned(),
        |next| next.format("%a %Y-%m-%d %H:%M %Z").to_string(),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::{Changes, changes};
    use crate::config::{Loaded, Source, load};

    /// The configuration that a file with this text is.
    pub(in crate::daemon) fn loaded(text: &str) -> Loaded {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgbackupd.toml");
        std::fs::write(&file, text).unwrap();
        // It may hold a password.
        rustix::fs::chmod(&file, 0o600.into()).unwrap();
        let source = Source {
            file: Some(file.clone()),
            default_file: file,
            environment: BTreeMap::new(),
            ..Source::of_process(None)
        };
        load(&source).unwrap()
    }

    fn between(old: &str, new: &str) -> Changes {
        let (old, new) = (loaded(old), loaded(new));
        changes(
            (&old.plan, &old.settings),
            (&new.plan, &new.settings),
            "2025-07-09T00:00:00Z".parse().unwrap(),
        )
    }

    #[test]
    fn a_reload_of_the_same_configuration_changes_nothing() {
        let text = "databases = [\"a\", \"b\"]\nblackout = [\"Mon-Fri 08:00-18:00\"]\n";
        assert_eq!(between(text, text), Changes::default());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_change_is_reported_in_words() {
        let cases = [
            (
                "[jobs.weekly]\nschedule = \"0 4 * * 5\"",
                "job weekly: schedule 0 3 * * 0 → 0 4 * * 5; next run Fri 2025-07-11 04:00 +03",
            ),
            (
                "[jobs.weekly]\ntimezone = \"Europe/Berlin\"",
                "job weekly: schedule 0 3 * * 0 → 0 3 * * 0 (Asia/Riyadh → Europe/Berlin); next run \
                 Sun 2025-07-13 03:00 CEST",
            ),
            ("[jobs.weekly]\nenabled = false", "job weekly: removed"),
            (
                "[jobs.hourly]\nseries = \"hourly\"\nschedule = \"@hourly\"",
                "job hourly: new, backup of series hourly, every hour at minute 0; next run Wed \
                 2025-07-09 04:00 +03",
            ),
            (
                "[jobs.daily]\nwindow = \"2 hours\"",
                "jobs.daily.window: \"6 hours\" → \"2 hours\"",
            ),
            (
                "[jobs.weekly]\nseries = \"daily\"",
                "job weekly: backup of series weekly → backup of series daily",
            ),
            (
                "[servers.far]\ndatabase = \"x\"\nconnection.host = \"far\"",
                "server far: new, database x",
            ),
            (
                "[connection]\nhost = \"elsewhere\"",
                "connection.host: not set → \"elsewhere\"",
            ),
            (
                "[jobs.verify]\nolder_than = \"6 days\"\nbudget = \"2 hours\"",
                "job verify: verify run → verify run of what was not checked for 6 days within 2 hours",
            ),
            ("[drill]\njobs = 3", "drill.jobs: 2 → 3"),
            (
                "[limits]\ndump = \"1 hour\"",
                "limits.dump: \"12 hours\" → \"1 hour\"",
            ),
            ("[retention]\nfloor = 7", "retention.floor: 3 → 7"),
            (
                "[series.daily]\nkeep = \"60 days\"",
                "series.daily.keep: \"30 days\" → \"60 days\"",
            ),
            (
                "[restore]\ntimeout = \"1 hour\"",
                "restore.timeout: \"2 minutes\" → \"1 hour\"",
            ),
            (
                "[objectives]\nrecovery_point = \"1 hour\"",
                "objectives.recovery_point: \"24 hours\" → \"1 hour\"",
            ),
            (
                "[retry]\nfirst = \"1 minute\"",
                "retry.first: \"30 seconds\" → \"1 minute\"",
            ),
            ("[dump]\nlevel = 3", "dump.level: not set → 3"),
            (
                "[daemon]\nconcurrency = 9",
                "daemon: concurrency 2 in all and 1 a server → 9 and 1",
            ),
        ];
        for (new, sentences) in cases {
            let changes = between("database = \"a\"\n", &format!("database = \"a\"\n{new}\n"));
            assert_eq!(changes.sentences, [sentences]);
            assert!(changes.not_in_force.is_empty());
        }
    }

    #[test]
    fn a_secret_that_changed_is_reported_without_its_value() {
        let with =
            |password: &str| format!("database = \"a\"\n[connection]\npassword = \"{password}\"\n");
        assert_eq!(
            between(&with("one"), &with("two")).sentences,
            ["server main: a value that is not shown has changed"]
        );
        assert_eq!(
            between("database = \"a\"", &with("two")).sentences,
            ["connection.password: not set → \"****\""]
        );
    }

    #[test]
    fn databases_are_reported_by_name_unless_they_are_many() {
        let sentences = |new: &str| between("database = \"a\"", new).sentences;
        assert_eq!(
            sentences("databases = [\"a\", \"b\\nc\"]"),
            ["server main: database a → databases a, b\\nc"]
        );
        assert_eq!(
            sentences("databases = \"all\""),
            ["server main: database a → all its databases"]
        );
        let many: Vec<String> = (0..11).map(|number| format!("\"{number}\"")).collect();
        assert_eq!(
            sentences(&format!("databases = [{}]", many.join(", "))),
            ["server main: database a → 11 databases"]
        );
    }

    #[test]
    fn only_jobs_whose_schedule_changed_are_scheduled_again() {
        let changes = between(
            "database = \"a\"",
            "database = \"a\"\n[jobs.daily]\nschedule = \"0 1 * * *\"\n[jobs.drill]\nenabled = false\n\
             [jobs.new]\nkind = \"verify\"\nschedule = \"@daily\"\n[jobs.weekly]\njitter = \"1 minute\"",
        );
        assert_eq!(changes.unscheduled, ["drill", "daily"]);
        assert_eq!(changes.scheduled, ["daily", "new"]);
    }

    #[test]
    fn what_only_a_start_brings_into_force_is_reported_apart() {
        let changes = between(
            "database = \"a\"",
            "database = \"a\"\n[daemon]\nruntime_directory = \"/r\"\nstate_directory = \"/s\"\n\
             [logs]\nlevel = \"debug\"",
        );
        assert!(changes.sentences.is_empty(), "{changes:?}");
        assert_eq!(
            changes.not_in_force,
            ["daemon.runtime_directory", "daemon.state_directory", "logs"]
        );
    }
}
