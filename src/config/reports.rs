//! Which reports are sent, when, and where to.

use chrono_tz::Tz;

use super::findings::{Findings, key};
use super::fragment::Fragment;
use super::nearest::nearest;
use super::plan::{AlertChannel, ReportPlan};
use crate::policy::{ReportPeriod, Schedule};

/// All reports that are sent; `alerts` has the channels that are configured correctly.
pub(super) fn reports(
    findings: &mut Findings<'_>,
    fragment: &Fragment,
    (zone, alerts): (Tz, &[AlertChannel]),
) -> Vec<ReportPlan> {
    let mut reports = Vec::new();
    for (name, written) in &fragment.reports {
        let table = key(&["reports", name]);
        let Some(period) = period(name) else {
            let known = ReportPeriod::ALL.map(ReportPeriod::word);
            let way = match nearest(name, known) {
                Some(right) => format!("did you mean \"{right}\"?"),
                None => format!("there are: {}", known.join(", ")),
            };
            findings.refuse_key(&table, format!("there is no report {name:?}"), Some(way));
            continue;
        };
        let at = |name: &str| [table.as_slice(), &key(&[name])].concat();
        let channels = written.channels.clone().unwrap_or_default();
        if channels.is_empty() {
            let message = format!("the {name} report has no channels");
            let way = "write channels = [\"NAME\"] with the name of an [alerts.NAME]".to_owned();
            findings.refuse_key(&table, message, Some(way));
        }
        for (index, channel) in channels.iter().enumerate() {
            let at = [at("channels"), key(&[&index.to_string()])].concat();
            about_channel(findings, &at, channel, (fragment, alerts));
        }
        let pattern = written.schedule.as_ref();
        let pattern = pattern.map_or(period.usual_schedule(), |pattern| pattern.0.as_str());
        match Schedule::parse(pattern, zone) {
            Ok(schedule) => reports.push(ReportPlan {
                period,
                schedule,
                channels,
            }),
            Err(error) => findings.refuse(&at("schedule"), error.to_string(), None),
        }
    }
    reports.sort_by_key(|report| report.period);
    reports
}

fn period(name: &str) -> Option<ReportPeriod> {
    let mut all = ReportPeriod::ALL.into_iter();
    all.find(|period| period.word() == name)
}

/// Refuses a channel that is not there or cannot carry a report.
fn about_channel(
    findings: &mut Findings<'_>,
    at: &[String],
    channel: &str,
    (fragment, alerts): (&Fragment, &[AlertChannel]),
) {
    if !fragment.alerts.contains_key(channel) {
        let known = || fragment.alerts.keys().map(String::as_str);
        let way = match nearest(channel, known()) {
            Some(right) => format!("did you mean \"{right}\"?"),
            None if fragment.alerts.is_empty() => {
                "add a channel as [alerts.NAME]; /usr/share/doc/pgbackupd/alerts.md has one for each \
                 service"
                    .to_owned()
            }
            None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
        };
        findings.refuse(at, format!("there is no channel {channel:?}"), Some(way));
        return;
    }
    // One that is wrong itself is refused already.
    let found = alerts.iter().find(|one| one.name == channel);
    if found.is_some_and(|found| !found.takes_reports()) {
        findings.refuse(
            at,
            format!("the channel {channel:?} cannot carry a report"),
            Some(
                "name one of the type \"email\" or \"command\", or a \"webhook\" without the \
                 template \"pagerduty\" or \"alertmanager\""
                    .to_owned(),
            ),
        );
    }
}
