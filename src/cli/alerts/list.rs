//! `pgbackupd alerts list`: what is open, since when, and who was sent it.

use std::io::Write;

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::Serialize;

use super::state_failure;
use crate::cli::env::CommandEnv;
use crate::cli::failure::Failure;
use crate::cli::report::{self, moment, one_line};
use crate::cli::session::Session;
use crate::cli::wrap::wrapped;
use crate::jobs::read_alerts;
use crate::policy::{AlertBook, ConcernKind, Severity, Tracked};

/// List the open alerts: since when, and which channels were sent them.
///
/// They are those of the service's last judgement, at most five minutes old while it runs. `pgbackupd
/// status` looks at the backups themselves.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Args {}

/// What `alerts list --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct AlertList {
    /// The open alerts, critical ones first.
    alerts: Vec<Open>,
    /// The configured channels.
    channels: Vec<Channel>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Open {
    id: String,
    kind: ConcernKind,
    severity: Severity,
    server: Option<String>,
    database: Option<String>,
    series: Option<String>,
    object: Option<String>,
    /// When it was first seen.
    since: String,
    message: String,
    /// The channels that were sent it, and when last.
    sent: Vec<Sent>,
    /// Until when it is silenced, or null.
    silenced_until: Option<String>,
    /// Why, or null.
    silenced_because: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Sent {
    channel: String,
    at: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Channel {
    name: String,
    /// When a message last arrived, or null.
    succeeded: Option<String>,
    /// Since when it fails, or null.
    failing_since: Option<String>,
    /// Why, or null.
    error: Option<String>,
    /// When it is tried again, or null.
    next_attempt: Option<String>,
}

pub(super) fn run(_: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let book = read_alerts(session.plan()).map_err(|error| state_failure(&session, &error))?;
    let now = session.context.now();
    let mut open: Vec<&Tracked> = book
        .alerts
        .values()
        .filter(|tracked| tracked.resolved.is_none())
        .collect();
    open.sort_by_key(|tracked| {
        let alert = &tracked.alert;
        (std::cmp::Reverse(alert.severity), alert.since)
    });
    let channels = channels(&session, &book);
    if env.json {
        let alerts = open.iter().map(|one| self::open(one, &book, now)).collect();
        return report::json(&AlertList { alerts, channels }, out);
    }
    if open.is_empty() {
        writeln!(out, "no alert is open")?;
    }
    let listing = Listing {
        session: &session,
        book: &book,
        now,
    };
    for tracked in open {
        listing.print(tracked, out)?;
    }
    if channels.is_empty() {
        writeln!(
            out,
            "no channel is configured: alerts are in the log and in `pgbackupd status` only"
        )?;
    }
    for channel in &session.plan().alerts {
        let state = book.channels.get(&channel.name);
        let failing = state.and_then(|state| state.failing.as_ref());
        let state = match (failing, state.and_then(|state| state.succeeded)) {
            (Some(failing), _) => format!("FAILS: {}", one_line(&failing.error)),
            (None, Some(at)) => format!("the last message was sent at {}", moment(at)),
            (None, None) => "no message was sent yet".to_owned(),
        };
        wrapped(out, "", &format!("channel {}: {state}", channel.name))?;
    }
    Ok(())
}

/// What alerts are shown with.
struct Listing<'a> {
    session: &'a Session<'a>,
    book: &'a AlertBook,
    now: DateTime<FixedOffset>,
}

impl Listing<'_> {
    fn print(&self, tracked: &Tracked, out: &mut dyn Write) -> Result<(), Failure> {
        let alert = &tracked.alert;
        let about = match (&alert.server, &alert.database) {
            (Some(server), Some(database)) => {
                let label = self.session.plan().label(server, database);
                format!("{}: ", one_line(&label))
            }
            _ => String::new(),
        };
        let severity = alert.severity.word();
        let since = moment(alert.since);
        writeln!(out, "{} ({severity}) since {since}", alert.id)?;
        wrapped(out, "  ", &format!("{about}{}", one_line(&alert.sentence)))?;
        if !tracked.sent.is_empty() {
            let sent = tracked.sent.iter();
            let sent: Vec<String> = sent
                .map(|(channel, sent)| format!("{channel} at {}", moment(sent.at)))
                .collect();
            wrapped(out, "  ", &format!("sent to {}", sent.join(", ")))?;
        }
        if let Some(silence) = self.book.silence(alert, self.now) {
            let (until, reason) = (moment(silence.until), one_line(&silence.reason));
            wrapped(out, "  ", &format!("silenced until {until}: {reason}"))?;
        }
        Ok(())
    }
}

fn open(tracked: &Tracked, book: &AlertBook, now: DateTime<FixedOffset>) -> Open {
    let alert = tracked.alert.clone();
    let silence = book.silence(&alert, now);
    Open {
        since: alert.since.to_rfc3339(),
        sent: tracked
            .sent
            .iter()
            .map(|(channel, sent)| Sent {
                channel: channel.clone(),
                at: sent.at.to_rfc3339(),
            })
            .collect(),
        silenced_until: silence.map(|silence| silence.until.to_rfc3339()),
        silenced_because: silence.map(|silence| silence.reason.clone()),
        id: alert.id,
        kind: alert.kind,
        severity: alert.severity,
        server: alert.server,
        database: alert.database,
        series: alert.series,
        object: alert.object,
        message: alert.sentence,
    }
}

fn channels(session: &Session<'_>, book: &AlertBook) -> Vec<Channel> {
    let channels = session.plan().alerts.iter();
    channels
        .map(|channel| {
            let state = book.channels.get(&channel.name);
            let failing = state.and_then(|state| state.failing.as_ref());
            let succeeded = state.and_then(|state| state.succeeded);
            Channel {
                name: channel.name.clone(),
                succeeded: succeeded.map(|at| at.to_rfc3339()),
                failing_since: failing.map(|failing| failing.since.to_rfc3339()),
                error: failing.map(|failing| failing.error.clone()),
                next_attempt: failing.map(|failing| failing.next.to_rfc3339()),
            }
        })
        .collect()
}
