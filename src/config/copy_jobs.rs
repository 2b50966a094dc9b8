//! Jobs about copies: where they copy to, and which copies they verify.

use super::destinations;
use super::findings::{Findings, key};
use super::fragment::Fragment;
use super::plan::{Job, JobKind};

/// Refuses destinations that are not there. A verification without destinations gets those that no other one names;
/// where that leaves none, there is no such job.
pub(super) fn check(findings: &mut Findings<'_>, jobs: &mut Vec<Job>, fragment: &Fragment) {
    for job in jobs.iter() {
        let at = key(&["jobs", &job.name, "destinations"]);
        match &job.kind {
            JobKind::Copy(to) => {
                destinations::refuse_unknown(findings, (&at, to), fragment);
                refuse_none(findings, (job, to), fragment);
            }
            JobKind::VerifyCopies(verification) => {
                let named = &verification.destinations;
                destinations::refuse_unknown(findings, (&at, named), fragment);
            }
            _ => {}
        }
    }
    let rest = not_named(fragment);
    jobs.retain_mut(|job| {
        let JobKind::VerifyCopies(verification) = &mut job.kind else {
            return true;
        };
        if verification.destinations.is_empty() {
            verification.destinations.clone_from(&rest);
        }
        !verification.destinations.is_empty()
    });
}

/// The destinations that no verification names, switched on or not.
fn not_named(fragment: &Fragment) -> Vec<String> {
    let is_named = |name: &&String| {
        let mut jobs = fragment.jobs.values();
        jobs.any(|job| {
            job.is_verify()
                && job
                    .destinations
                    .as_ref()
                    .is_some_and(|named| named.contains(name))
        })
    };
    let names = fragment.destinations.keys();
    names.filter(|name| !is_named(name)).cloned().collect()
}

/// Refuses a copy job that copies nowhere.
fn refuse_none(findings: &mut Findings<'_>, (job, to): (&Job, &[String]), fragment: &Fragment) {
    let written = fragment.jobs.get(&job.name);
    let is_written = written.is_some_and(|job| job.destinations.is_some());
    if to.is_empty() && (fragment.destinations.is_empty() || is_written) {
        let message = "the copy job has no destination".to_owned();
        let way = destinations::known("", fragment);
        findings.refuse_key(&key(&["jobs", &job.name]), message, Some(way));
    }
}
