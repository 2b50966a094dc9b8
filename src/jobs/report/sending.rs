//! Reports that are sent: made when they are due, written down, and sent until they arrive or a day has
//! passed. Shared by the daemon and by `pgbackupd alerts deliver`.

use std::collections::BTreeSet;
use std::io;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{ReportOrder, make_report, text};
use crate::config::{AlertChannel, Plan, Settings};
use crate::jobs::alerts::{alert_file, wait_of};
use crate::jobs::{JobContext, StatusReport};
use crate::notify::{self, Again, Answer, SendError};
use crate::policy::{Refusal, ReportMessage, ReportPeriod};
use crate::repository::ReportFile;
use crate::threads;

/// What came of an attempt to send a report.
#[derive(Clone, Debug)]
pub struct ReportAttempt {
    /// The channel's name.
    pub channel: String,
    /// Which report.
    pub period: ReportPeriod,
    /// What the channel answered, or why it did not take the report.
    pub outcome: Result<Answer, SendError>,
    /// How many attempts to send something to it failed before.
    pub failed_before: u32,
}

/// Whether a report is due: then it is worth having the status for it.
///
/// # Errors
/// When the state directory cannot be read.
pub fn is_report_due(plan: &Plan, now: DateTime<Utc>) -> io::Result<bool> {
    if plan.reports.is_empty() {
        return Ok(false);
    }
    // One that is spoilt is replaced when the report is made.
    let book = match report_file(plan).read() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(true),
        book => book?,
    };
    let mut reports = plan.reports.iter();
    Ok(reports.any(|report| book.due(report.period, &report.schedule, now).is_some()))
}

/// Makes the reports that are due, and writes them down to be sent.
///
/// # Errors
/// When the state directory does not take them; they are due again then.
pub fn take_in_reports(
    context: &JobContext,
    (plan, settings): (&Plan, &Settings),
    status: &StatusReport,
) -> io::Result<()> {
    let file = report_file(plan);
    for report in &plan.reports {
        let now = Utc::now();
        let book = file.change(|book| book.clone())?;
        let Some(slot) = book.due(report.period, &report.schedule, now) else {
            continue;
        };
        let made = slot.is_wanted.then(|| {
            let order = ReportOrder {
                plan,
                settings,
                span: report.period.ending_at(now, plan.zone),
                status: Some(status),
            };
            message(context, &order).map(|message| {
                let channels: BTreeSet<String> = report.channels.iter().cloned().collect();
                (message, channels)
            })
        });
        let made = made.transpose()?;
        file.change(|book| book.handle(&report.schedule, (report.period, slot.at), made))?;
    }
    Ok(())
}

fn message(context: &JobContext, order: &ReportOrder<'_>) -> io::Result<ReportMessage> {
    let report = make_report(context, order).map_err(io::Error::other)?;
    Ok(ReportMessage {
        id: Uuid::now_v7(),
        host: report.host.clone(),
        at: report.at,
        period: report.period,
        subject: report.title.clone(),
        text: text(&report),
        report: serde_json::to_value(&report)?,
    })
}

/// Sends what waits, one after the other. A channel that fails is left alone for as long as for alerts.
///
/// # Errors
/// When the state directory cannot be read or written: nothing is sent that would not be remembered.
pub async fn deliver_reports(plan: &Plan, context: &JobContext) -> io::Result<Vec<ReportAttempt>> {
    let (file, alerts) = (report_file(plan), alert_file(plan));
    let is_expected = !plan.reports.is_empty();
    let names: BTreeSet<String> = plan.alerts.iter().map(|one| one.name.clone()).collect();
    let waiting = threads::io("reports", move || {
        // Without reports, the file is looked at only for what waited when they were switched off.
        if !is_expected && file.read().is_ok_and(|book| book.owed().is_empty()) {
            return Ok(None);
        }
        let Some(turn) = alerts.try_to_send()? else {
            return Ok(None);
        };
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let now = Utc::now();
        let (given_up, owed) = file.change(|book| (book.give_up(&names, now), book.owed()))?;
        Ok(Some((turn, given_up, owed)))
    });
    let Some((_turn, given_up, owed)) = waiting.await? else {
        return Ok(Vec::new());
    };
    for (channel, period) in given_up {
        tracing::warn!(
            "channel {channel}: the {} report is not sent any more: it is a day old, or the channel was \
             removed",
            period.word()
        );
    }
    let mut attempts = Vec::new();
    for (name, message) in owed {
        let channel = plan.alerts.iter().find(|channel| channel.name == name);
        let alerts = alert_file(plan);
        let book = threads::io("reports", move || alerts.read()).await?;
        let state = book.channels.get(&name).cloned().unwrap_or_default();
        if let Some(channel) = channel.filter(|_| state.is_due(context.now())) {
            let failed_before = state.failing.map_or(0, |failing| failing.attempts);
            let attempt = attempt(plan, context, (channel, &message)).await?;
            attempts.push(ReportAttempt {
                failed_before,
                ..attempt
            });
        }
    }
    Ok(attempts)
}

/// Sends a report to a channel, and notes what came of it.
async fn attempt(
    plan: &Plan,
    context: &JobContext,
    (channel, message): (&AlertChannel, &ReportMessage),
) -> io::Result<ReportAttempt> {
    let outcome = notify::send_report(channel, message, &context.environment).await;
    let now = context.now();
    let is_over = match &outcome {
        Ok(_) => true,
        Err(error) => error.again == Again::Never && !channel.takes_reports(),
    };
    let (file, alerts) = (report_file(plan), alert_file(plan));
    let (name, id, period) = (channel.name.clone(), message.id, message.period);
    threads::io("reports", move || {
        if is_over {
            file.change(|book| book.settle(&name, id))?;
        }
        let refusal = outcome.as_ref().err().map(|error| Refusal {
            error: &error.sentence,
            retry_after: wait_of(error.again),
        });
        alerts.change(|book| book.note_report(&name, refusal.as_ref(), now))?;
        Ok(ReportAttempt {
            channel: name,
            period,
            outcome,
            failed_before: 0,
        })
    })
    .await
}

/// When the next report is due, if any is sent.
pub fn next_report(plan: &Plan, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let reports = plan.reports.iter();
    let next = reports.filter_map(|report| report.schedule.next_after(now));
    next.map(|next| next.to_utc()).min()
}

fn report_file(plan: &Plan) -> ReportFile {
    ReportFile::at(&plan.daemon.state_directory)
}
