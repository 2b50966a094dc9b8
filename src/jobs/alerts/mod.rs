//! Alerts: how things stand is taken in, and every channel is sent what it has not been sent yet. Shared
//! by the daemon and by `pgbackupd alerts deliver`.

mod rules;
mod unseen;

use std::io;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use futures::future::join_all;

use super::{JobContext, StatusReport};
use crate::config::{AlertChannel, Plan};
use crate::identity::host_name;
use crate::notify::{self, Again, SendError};
use crate::policy::{AlertBook, Judged, Notice, NoticeItem, Refusal};
use crate::repository::AlertFile;
use crate::threads;
use rules::{Admission, with_rules};
use unseen::{is_unseen, retried};

pub use unseen::LastFacts;

/// So long a service that refuses a message for good is left alone, in seconds: somebody has to change
/// something.
const AFTER_REFUSAL: u64 = 3600;

/// What came of an attempt to send a message.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The channel's name.
    pub channel: String,
    /// What the message was about.
    pub notice: Notice,
    /// What the channel answered, or why it did not take the message.
    pub outcome: Result<notify::Answer, SendError>,
    /// How many attempts before this one failed.
    pub failed_before: u32,
}

/// Takes in how things stand; gives what has opened, worsened or is over since the last time.
///
/// # Errors
/// When the state directory does not take it; nothing has changed then.
pub fn take_in(
    plan: &Plan,
    status: &StatusReport,
    now: DateTime<FixedOffset>,
) -> io::Result<Vec<NoticeItem>> {
    let retried = retried(plan, status);
    let admissions = admissions(plan, now);
    alert_file(plan).change(|book| {
        let judged = Judged {
            concerns: &status.concerns,
            retried: &retried,
            is_unseen: &|alert| is_unseen(status, alert),
            now,
        };
        with_rules(&admissions, |rules| book.update(&judged, rules))
    })
}

/// Sends every channel what it is owed, all of them at once, each within its time limit.
///
/// # Errors
/// When the state directory cannot be read or written: nothing is sent that would not be remembered.
pub async fn deliver(plan: &Plan, context: &JobContext) -> io::Result<Vec<Attempt>> {
    let file = alert_file(plan);
    let at_the_start = file.clone();
    let (turn, book) = threads::io("alerts", move || {
        Ok((at_the_start.try_to_send()?, at_the_start.read()?))
    })
    .await?;
    let Some(_turn) = turn else {
        return Ok(Vec::new());
    };
    let now = context.now();
    let admissions = admissions(plan, now);
    let host = host_name();
    let owed: Vec<(&AlertChannel, Notice, u32)> = with_rules(&admissions, |rules| {
        let pairs = rules.iter().zip(&admissions);
        pairs
            .filter_map(|(rules, admission)| {
                let state = book.channels.get(rules.name);
                let notice = state
                    .is_none_or(|state| state.is_due(now))
                    .then(|| book.owed(rules, &host, now))??;
                let failing = state.and_then(|state| state.failing.as_ref());
                let failed = failing.map_or(0, |failing| failing.attempts);
                Some((admission.channel, notice, failed))
            })
            .collect()
    });
    if owed.is_empty() {
        return Ok(Vec::new());
    }
    let begun: Vec<(String, Notice)> = owed
        .iter()
        .map(|(channel, notice, _)| (channel.name.clone(), notice.clone()))
        .collect();
    let before_sending = file.clone();
    threads::io("alerts", move || {
        before_sending.change(|book| {
            for (channel, notice) in &begun {
                book.begin(channel, notice);
            }
        })
    })
    .await?;
    let sending = owed.into_iter().map(async |(channel, notice, failed)| {
        let outcome = notify::send(channel, &notice, &context.environment).await;
        let attempt = Attempt {
            channel: channel.name.clone(),
            notice,
            outcome,
            failed_before: failed,
        };
        // One channel that takes its time keeps no other's outcome off the disk.
        let (file, now) = (file.clone(), context.now());
        threads::io("alerts", move || {
            file.change(|book| settle(book, &attempt, now))?;
            Ok(attempt)
        })
        .await
    });
    join_all(sending).await.into_iter().collect()
}

/// Notes what came of an attempt.
fn settle(book: &mut AlertBook, attempt: &Attempt, now: DateTime<FixedOffset>) {
    match &attempt.outcome {
        Ok(_) => book.arrived(&attempt.channel, &attempt.notice, now),
        Err(error) => {
            let refusal = Refusal {
                error: &error.sentence,
                retry_after: wait_of(error.again),
            };
            book.failed(&attempt.channel, &refusal, now);
        }
    }
}

/// How long a channel is left alone after an attempt that failed, where that is more than usual.
pub(super) fn wait_of(again: Again) -> Option<Duration> {
    match again {
        Again::Later => None,
        Again::After(wait) => Some(wait),
        Again::Never => Some(Duration::from_secs(AFTER_REFUSAL)),
    }
}

/// Lets every channel that fails be tried again at once: something may have been corrected.
///
/// # Errors
/// When the state directory does not take it.
pub fn retry_now(plan: &Plan, now: DateTime<FixedOffset>) -> io::Result<()> {
    alert_file(plan).change(|book| {
        for state in book.channels.values_mut() {
            if let Some(failing) = &mut state.failing {
                failing.next = now;
            }
        }
    })
}

/// When something may have to be sent although nothing else happens.
///
/// # Errors
/// When the state directory cannot be read.
pub fn next_moment(
    plan: &Plan,
    now: DateTime<FixedOffset>,
) -> io::Result<Option<DateTime<FixedOffset>>> {
    let book = alert_file(plan).read()?;
    let admissions = admissions(plan, now);
    Ok(with_rules(&admissions, |rules| {
        book.next_moment(rules, now)
    }))
}

/// What is known of the alerts.
///
/// # Errors
/// When the state directory cannot be read.
pub fn read_alerts(plan: &Plan) -> io::Result<AlertBook> {
    alert_file(plan).read()
}

/// The file with the alerts of this plan's service.
pub fn alert_file(plan: &Plan) -> AlertFile {
    AlertFile::at(&plan.daemon.state_directory)
}

/// The channels, and what each takes now; a ping takes no alert.
fn admissions(plan: &Plan, now: DateTime<FixedOffset>) -> Vec<Admission<'_>> {
    plan.alerts
        .iter()
        .map(|channel| Admission::new(channel, now.to_utc()))
        .collect()
}
