//! Reports: made when they are due, and sent. Called by the task that watches.

use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::config::{Plan, Settings};
use crate::emit;
use crate::jobs::{
    JobContext, ReportAttempt, StatusReport, deliver_reports, is_report_due, next_report,
    take_in_reports,
};
use crate::threads;

/// What reports are made from and sent by.
pub(super) struct Reports<'a> {
    /// The plan.
    pub(super) plan: &'a Arc<Plan>,
    /// What it follows from.
    pub(super) settings: &'a Settings,
    /// The job's context.
    pub(super) context: &'a JobContext,
}

impl Reports<'_> {
    /// Makes the reports that are due.
    ///
    /// # Errors
    /// When one cannot be made, or noted in the state directory; it is due again then.
    pub(super) async fn make(&self, status: &Arc<StatusReport>) -> io::Result<()> {
        let (plan, settings) = (Arc::clone(self.plan), self.settings.clone());
        let (context, status) = (self.context.clone(), Arc::clone(status));
        threads::io("reports", move || {
            if is_report_due(&plan, Utc::now())? {
                take_in_reports(&context, (&plan, &settings), &status)?;
            }
            Ok(())
        })
        .await
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// When the state directory cannot be used.
    pub(super) async fn send(&self) -> io::Result<()> {
        let attempts = deliver_reports(self.plan, self.context).await?;
        attempts.iter().for_each(log);
        Ok(())
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<DateTime<Utc>> {
        next_report(self.plan, Utc::now())
    }
}

fn log(attempt: &ReportAttempt) {
    let (channel, period) = (&attempt.channel, attempt.period.word());
    match &attempt.outcome {
        Ok(answer) => {
            tracing::info!(
                "channel {channel}: the {period} report has been sent: {}",
                answer.said
            );
            if let Some(complaint) = &answer.complaint {
                tracing::warn!("channel {channel}: {complaint}");
            }
        }
        // Once, and then in `status`.
        Err(error) if attempt.failed_before == 0 => emit!(
            AlertChannelFails,
            { channel },
            "channel {channel}: the {period} report could not be sent: {error}; it is tried again for a \
             day; `pgbackupd alerts test {channel}` shows what the channel answers"
        ),
        Err(error) => tracing::info!("channel {channel} still fails: {error}"),
    }
}
