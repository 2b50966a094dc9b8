//! Jobs, what surrounds them, and what is kept.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{accepted, refused};
use crate::config::{Job, JobKind, Verification};

#[test]
fn each_job_has_its_own_surroundings_or_the_common_ones() {
    let loaded = accepted(
        r#"
        database = "a"
        timezone = "Europe/Berlin"
        blackout = ["Mon-Fri 08:00-18:00"]

        [retry]
        first = "1 second"

        [jobs.weekly]
        window = "2 days"
        jitter = "10 minutes"
        catch_up = false
        timezone = "UTC"
        blackout = ["Sat,Sun 22:00-02:00", "12:00-13:00"]

        [jobs.verify]
        timezone = "UTC"

        [jobs.prune]
        blackout = []
        "#,
    );
    let job = |name: &str| {
        let found = loaded.plan.jobs.iter().find(|job| job.name == name);
        found.unwrap_or_else(|| panic!("{name}"))
    };
    let windows = |job: &Job| {
        let windows = job.blackouts.windows().iter().map(ToString::to_string);
        (windows.collect::<Vec<_>>().join("; "), job.blackouts.zone())
    };
    let berlin = chrono_tz::Tz::Europe__Berlin;
    let common = ("Mon-Fri 08:00-18:00".to_owned(), berlin);
    assert_eq!(windows(job("daily")), common);
    // The common windows are read in the common zone, whatever the job's.
    assert_eq!(windows(job("verify")), common);
    assert_eq!(windows(job("prune")), (String::new(), berlin));
    let weekly = job("weekly");
    assert_eq!(
        windows(weekly),
        (
            "Sat,Sun 22:00-02:00; 12:00-13:00".to_owned(),
            chrono_tz::Tz::UTC
        )
    );
    assert_eq!(weekly.window, Duration::from_secs(2 * 24 * 60 * 60));
    assert_eq!(weekly.jitter, Duration::from_secs(600));
    assert!(!weekly.catch_up);
    assert_eq!(weekly.retry.first, Duration::from_secs(1));
}

#[test]
fn a_job_of_ones_own_is_surrounded_as_those_of_the_policy_are() {
    let loaded =
        accepted("database = \"a\"\n[jobs.x]\nkind = \"verify\"\nschedule = \"0 2 * * *\"");
    let job = |name: &str| {
        let found = loaded.plan.jobs.iter().find(|job| job.name == name);
        found.unwrap().clone()
    };
    let same = Job {
        name: "x".to_owned(),
        kind: JobKind::Verify(Verification::default()),
        ..job("daily")
    };
    assert_eq!(job("x"), same);
}

#[test]
fn every_window_that_is_wrong_is_reported_at_once() {
    let error =
        refused("database = \"a\"\nblackout = [\"x\", \"Mon-Fri 08:00-18:00\", \"25:00-26:00\"]");
    assert!(error.contains("2:13") && error.contains("2:41"), "{error}");
    assert!(error.contains("2 problems"), "{error}");
}

#[test]
fn a_rule_by_age_can_be_taken_away() {
    let loaded = accepted("database = \"a\"\n[series.daily]\nkeep = false\nkeep_last = 7");
    let rules = &loaded.plan.retention.series[&"daily".parse().unwrap()];
    assert_eq!(
        (rules.within, rules.last.map(NonZeroU32::get)),
        (None, Some(7))
    );
}

#[test]
fn a_verification_reads_everything_for_four_hours_unless_it_is_reported_otherwise() {
    let verification = |text: &str| {
        let text = format!("database = \"a\"\n[jobs.verify]\n{text}");
        let jobs = accepted(&text).plan.jobs;
        let verify = jobs.into_iter().find(|job| job.name == "verify").unwrap();
        let JobKind::Verify(verification) = verify.kind else {
            panic!("{:?}", verify.kind);
        };
        (verification.older_than, verification.budget)
    };
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(verification(""), (Duration::ZERO, 4 * hour));
    let both = "older_than = \"6 days\"\nbudget = \"90 minutes\"";
    assert_eq!(verification(both), (6 * 24 * hour, 90 * hour / 60));
}

/// A configuration with two destinations, and these settings of jobs.
fn with_destinations(jobs: &str) -> String {
    let destination =
        |name: &str| format!("[destinations.{name}]\nurl = \"file:///mnt/{name}\"\nplain = true\n");
    format!(
        "database = \"a\"\n{jobs}\n{}{}",
        destination("far"),
        destination("nas")
    )
}

#[test]
fn copies_are_verified_by_default_wherever_no_other_job_does() {
    let verified = |jobs: &str| -> Vec<(String, Vec<String>)> {
        let jobs = accepted(&with_destinations(jobs)).plan.jobs.into_iter();
        let of_copies = jobs.filter_map(|job| match job.kind {
            JobKind::VerifyCopies(verification) => Some((job.name, verification.destinations)),
            _ => None,
        });
        of_copies.collect()
    };
    let named = |name: &str, to: &[&str]| {
        (
            name.to_owned(),
            to.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>(),
        )
    };
    let own = "[jobs.x]\nkind = \"verify\"\nschedule = \"@daily\"\n";
    for (jobs, expected) in [
        (String::new(), vec![named("verify_copies", &["far", "nas"])]),
        ("[jobs.verify_copies]\nenabled = false".to_owned(), vec![]),
        // Of backups here.
        (
            own.to_owned(),
            vec![named("verify_copies", &["far", "nas"])],
        ),
        (
            format!("{own}destinations = [\"nas\"]"),
            vec![named("verify_copies", &["far"]), named("x", &["nas"])],
        ),
        (
            format!("{own}destinations = [\"nas\", \"far\"]"),
            vec![named("x", &["nas", "far"])],
        ),
        // One that is switched off says that nobody verifies there.
        (
            format!("{own}destinations = [\"nas\"]\nenabled = false"),
            vec![named("verify_copies", &["far"])],
        ),
    ] {
        assert_eq!(verified(&jobs), expected, "{jobs}");
    }
    let jobs = accepted("database = \"a\"").plan.jobs;
    assert!(
        jobs.iter().all(|job| job.name != "verify_copies"),
        "{jobs:?}"
    );
}

#[test]
fn a_verification_of_copies_has_a_budget_of_time_and_bytes() {
    let budget = |text: &str| {
        let text = with_destinations(&format!("[jobs.verify_copies]\n{text}"));
        let mut jobs = accepted(&text).plan.jobs.into_iter();
        let job = jobs.find(|job| job.name == "verify_copies").unwrap();
        let JobKind::VerifyCopies(verification) = job.kind else {
            panic!("{:?}", job.kind);
        };
        (verification.budget.time, verification.budget.bytes)
    };
    let hour = Duration::from_secs(60 * 60);
    assert_eq!(budget(""), (4 * hour, Some(100_000_000_000)));
    let both = "budget = \"2 hours\"\nbudget_bytes = \"50 GB\"";
    assert_eq!(budget(both), (2 * hour, Some(50_000_000_000)));
}

#[test]
fn settings_of_copies_are_refused_where_they_mean_nothing() {
    for (jobs, place, expected) in [
        (
            "[jobs.verify_copies]\nolder_than = \"6 days\"",
            "older_than",
            "a verify job of copies reads the newest of each series",
        ),
        (
            "[jobs.verify]\nbudget_bytes = \"1 GB\"",
            "budget_bytes",
            "only a verify job of copies downloads",
        ),
        (
            "[jobs.prune]\nbudget_bytes = \"1 GB\"",
            "budget_bytes",
            "only a verify job",
        ),
        (
            "[jobs.drill]\ndestinations = [\"nas\"]",
            "destinations",
            "only a copy or verify job has destinations",
        ),
        (
            "[jobs.verify_copies]\ndestinations = [\"nsa\"]",
            "destinations",
            "there is no destination \"nsa\"",
        ),
    ] {
        let message = refused(&with_destinations(jobs));
        assert!(
            message.contains(place) && message.contains(expected),
            "{jobs}: {message}"
        );
    }
}
