//! Where alerts go: the channels, checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{PasswordSource, Patterns};
use crate::policy::{Blackouts, ConcernKind, Severity};

/// Where alerts go, which of them, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChannel {
    /// Its name in the configuration: `[alerts.NAME]`.
    pub name: String,
    /// Alerts of these severities; that one of them is over is always sent.
    pub severities: Vec<Severity>,
    /// Only alerts of databases that these match, as NAME or SERVER/NAME; without any, all alerts.
    pub databases: Patterns,
    /// Only alerts of these kinds; without any, all kinds.
    pub kinds: Vec<ConcernKind>,
    /// When warnings are sent; none for always. They wait for the next of these hours.
    pub hours: Option<Blackouts>,
    /// After so long, what is still open is sent again; none for never.
    pub remind: Option<Duration>,
    /// Only what has been open for so long is sent.
    pub min_age: Duration,
    /// So long may sending a message take.
    pub timeout: Duration,
    /// How it is sent.
    pub way: ChannelWay,
}

/// How a message is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum ChannelWay {
    /// By mail.
    Email(EmailChannel),
    /// By a request to a service.
    Webhook(WebhookChannel),
    /// By a program, as its words; it reads JSON on its standard input.
    Command(Vec<String>),
    /// It is no message: a service hears of runs, and raises an alert when it hears nothing.
    Ping(PingChannel),
}

/// By mail.
#[derive(Clone, Debug, PartialEq)]
pub struct EmailChannel {
    /// To whom, each as `a@b` or `Name <a@b>`.
    pub to: Vec<String>,
    /// From whom.
    pub from: String,
    /// The server's name or address.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// Who logs in, and the password.
    pub login: Option<(String, PasswordSource)>,
    /// Certificates of authorities that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// TLS after STARTTLS, which the server has to offer.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all: to this machine only.
    None,
}

/// By a request to a service.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookChannel {
    /// Where it goes.
    pub url: PasswordSource,
    /// What it says.
    pub payload: Payload,
    /// Further headers of the request.
    pub headers: BTreeMap<String, HeaderValue>,
    /// A file with further headers, one a line.
    pub headers_file: Option<PathBuf>,
    /// Certificates of authorities that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The value of a header, which may be a secret.
#[derive(Clone, Debug)]
pub struct HeaderValue(pub SecretString);

impl PartialEq for HeaderValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// What a webhook sends.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// Our own document.
    Json,
    /// A message of Slack's incoming webhooks, which Mattermost and Rocket.Chat read too.
    Slack,
    /// An adaptive card, for a workflow of Microsoft Teams.
    Teams,
    /// Events of `PagerDuty`, version 2, with this integration key.
    PagerDuty(PasswordSource),
    /// Alerts of Prometheus' Alertmanager, version 2.
    Alertmanager,
    /// The operator's own text.
    Own(Vec<BodyPart>),
}

/// A piece of the operator's own text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// It stays as it is.
    Text(String),
    /// The message's own comes here.
    Placeholder(Placeholder),
}

/// What the operator's own text can have of a message, as `{{name}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The line above the message.
    Subject,
    /// The message, not longer than chat services accept.
    Text,
    /// The host.
    Host,
    /// `critical`, `warning`, `resolved` or `test`.
    State,
    /// When, in RFC 3339.
    At,
    /// The message's id.
    Id,
    /// Our own document, not quoted.
    Json,
}

impl Placeholder {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("subject", Self::Subject),
        ("text", Self::Text),
        ("host", Self::Host),
        ("state", Self::State),
        ("at", Self::At),
        ("id", Self::Id),
        ("json", Self::Json),
    ];
}

/// A service that hears of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct PingChannel {
    /// Where it is.
    pub url: PasswordSource,
    /// Whose language is spoken.
    pub service: PingService,
    /// What is reported.
    pub about: PingAbout,
    /// Certificates of authorities that are trusted in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Services that hear of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingService {
    /// healthchecks.io, and what speaks as it does.
    Healthchecks,
    /// Cronitor's telemetry API.
    Cronitor,
    /// Uptime Kuma's push monitors.
    UptimeKuma,
}

/// What a ping reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingAbout {
    /// Runs of every job.
    AllJobs,
    /// Runs of these.
    Jobs(Vec<String>),
    /// That the daemon is alive, this often.
    Daemon(Duration),
}

impl AlertChannel {
    /// Its kind, as the configuration writes it.
    pub fn type_word(&self) -> &'static str {
        match self.way {
            ChannelWay::Email(_) => "email",
            ChannelWay::Webhook(_) => "webhook",
            ChannelWay::Command(_) => "command",
            ChannelWay::Ping(_) => "ping",
        }
    }

    /// Whether alerts are sent to it; a ping hears of runs alone.
    pub fn takes_alerts(&self) -> bool {
        !matches!(self.way, ChannelWay::Ping(_))
    }

    /// Whether reports can be sent to it: a service that keeps incidents, and one that hears of runs,
    /// has no place for one.
    pub fn takes_reports(&self) -> bool {
        match &self.way {
            ChannelWay::Email(_) | ChannelWay::Command(_) => true,
            ChannelWay::Webhook(webhook) => !matches!(
                webhook.payload,
                Payload::PagerDuty(_) | Payload::Alertmanager
            ),
            ChannelWay::Ping(_) => false,
        }
    }

    /// Whether an alert is among those that it sends, whenever that may be.
    pub fn wants(
        &self,
        kind: ConcernKind,
        severity: Severity,
        (server, database): (Option<&str>, Option<&str>),
    ) -> bool {
        let is_of_databases = self.databases.is_empty()
            || database.is_some_and(|database| {
                let qualified = format!("{}/{database}", server.unwrap_or_default());
                self.databases.is_match(database) || self.databases.is_match(&qualified)
            });
        self.takes_alerts()
            && self.severities.contains(&severity)
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
            && is_of_databases
    }

    /// Whether what is not critical is sent at this moment.
    pub fn is_open_at(&self, moment: DateTime<Utc>) -> bool {
        let hours = self.hours.as_ref();
        hours.is_none_or(|hours| hours.holding_since(moment).is_some())
    }
}
