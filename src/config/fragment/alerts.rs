//! A channel of alerts as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::BlackoutList;
use crate::config::plan::SmtpTls;
use crate::config::scalar::{AbsolutePath, AgeLimit, CredentialName, Delay, TimeSpan, Word};
use crate::policy::{ConcernKind, Severity};

/// Where alerts go.
// No `Debug`: it may hold secrets.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AlertFragment {
    /// How alerts are sent: "email", "webhook", "command", or "ping" for a service that hears of runs.
    #[serde(rename = "type")]
    pub(in crate::config) kind: Option<Word<ChannelType>>,
    /// Alerts of these severities: "warning", "critical".
    pub(in crate::config) severities: Option<Vec<Word<Severity>>>,
    /// Only alerts of databases whose name, or SERVER/NAME, matches one of these patterns.
    pub(in crate::config) databases: Option<Vec<String>>,
    /// Only alerts of these kinds.
    pub(in crate::config) kinds: Option<Vec<Word<ConcernKind>>>,
    /// Windows of the week in which warnings are sent; outside of them they wait.
    pub(in crate::config) hours: Option<BlackoutList>,
    /// After so long, what is still open is sent again; "off" for never.
    pub(in crate::config) remind: Option<AgeLimit>,
    /// Only what has been open for so long is sent.
    pub(in crate::config) min_age: Option<Delay>,
    /// So long may sending a message take.
    pub(in crate::config) timeout: Option<TimeSpan>,
    /// Of a mail: the recipients.
    pub(in crate::config) to: Option<Vec<String>>,
    /// Of a mail: the sender.
    pub(in crate::config) from: Option<String>,
    /// Of a mail: the server, as HOST or HOST:PORT.
    pub(in crate::config) smtp: Option<String>,
    /// Of a mail: "starttls", "tls", or "none" for a server on this machine.
    pub(in crate::config) tls: Option<Word<SmtpTls>>,
    /// Of a mail: who logs in.
    pub(in crate::config) user: Option<String>,
    /// A file whose first line is the password, or `PagerDuty`'s integration key.
    pub(in crate::config) password_file: Option<AbsolutePath>,
    /// A systemd credential in place of `password_file` or `url_file`.
    pub(in crate::config) credential: Option<CredentialName>,
    /// Of a webhook and a ping: the address. It may be a secret.
    pub(in crate::config) url: Option<String>,
    /// A file whose first line is the address.
    pub(in crate::config) url_file: Option<AbsolutePath>,
    /// Whose language is spoken.
    pub(in crate::config) template: Option<Word<Template>>,
    /// Of a webhook: a text of your own with placeholders, in place of a template.
    pub(in crate::config) body: Option<String>,
    /// Of a webhook: further headers.
    pub(in crate::config) headers: Option<BTreeMap<String, String>>,
    /// A file with further headers, one a line.
    pub(in crate::config) headers_file: Option<AbsolutePath>,
    /// Certificates of authorities that are trusted in place of the system's.
    pub(in crate::config) ca_file: Option<AbsolutePath>,
    /// Of a command: the program and its arguments. No shell reads it.
    pub(in crate::config) argv: Option<Vec<String>>,
    /// Of a ping: the jobs whose runs are reported; by default all.
    pub(in crate::config) jobs: Option<Vec<String>>,
    /// Of a ping: reports that the daemon is alive, this often, in place of runs.
    pub(in crate::config) heartbeat: Option<TimeSpan>,
}

/// How alerts are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ChannelType {
    /// By mail.
    Email,
    /// By a request to a service.
    Webhook,
    /// By a program.
    Command,
    /// A service hears of runs.
    Ping,
}

/// Whose language a webhook or a ping speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Template {
    /// Our own document.
    Json,
    /// Slack's, and Mattermost's.
    Slack,
    /// That of a workflow of Microsoft Teams.
    Teams,
    /// `PagerDuty`'s events.
    #[serde(rename = "pagerduty")]
    PagerDuty,
    /// That of Prometheus' Alertmanager.
    Alertmanager,
    /// Of a ping: that of healthchecks.io.
    Healthchecks,
    /// Of a ping: Cronitor's.
    Cronitor,
    /// Of a ping: Uptime Kuma's.
    UptimeKuma,
}

impl ChannelType {
    /// The type as it is written.
    pub(in crate::config) fn word(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Command => "command",
            Self::Ping => "ping",
        }
    }
}
