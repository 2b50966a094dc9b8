//! The channels of alerts: what a message says on each of them, and how it gets there.
//!
//! What a message looks like is a pure function of it; sending is thin around that. An error is one
//! sentence without a secret, and says whether it is worth sending the message again.

mod body;
mod command;
mod email;
mod error;
#[cfg(test)]
mod examples;
mod http;
mod json;
mod ping;
mod services;
mod text;

use std::collections::BTreeMap;

use tokio::time::timeout;

use crate::config::{AlertChannel, ChannelWay};
use crate::display::span;
use crate::policy::{Notice, ReportMessage};

pub use error::{Again, SendError};
pub use ping::{Ping, PingEvent};

/// What a channel answered to a message that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In its own words: the server's last line, the status.
    pub said: String,
    /// What it did not do all the same, such as recipients that were refused.
    pub complaint: Option<String>,
}

impl Answer {
    fn of(said: String) -> Self {
        Self {
            said,
            complaint: None,
        }
    }
}

/// Sends a message. The environment is the process's: systemd's credentials, and what a command gets.
///
/// # Errors
/// The channel did not take the message, or did not answer within its `timeout`.
pub async fn send(
    channel: &AlertChannel,
    notice: &Notice,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let sending = async {
        match &channel.way {
            ChannelWay::Email(email) => email::send(email, notice, environment).await,
            ChannelWay::Webhook(webhook) => {
                services::send(channel, webhook, notice, environment).await
            }
            ChannelWay::Command(argv) => {
                command::run(argv, json::document(notice), environment).await
            }
            ChannelWay::Ping(ping) => ping::test(ping, environment).await,
        }
    };
    within(channel, sending).await
}

/// Sends a report.
///
/// # Errors
/// The channel did not take it, cannot carry one, or did not answer within its `timeout`.
pub async fn send_report(
    channel: &AlertChannel,
    message: &ReportMessage,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let sending = async {
        match &channel.way {
            ChannelWay::Email(email) => email::send_report(email, message, environment).await,
            ChannelWay::Webhook(webhook) => {
                services::send_report(webhook, message, environment).await
            }
            ChannelWay::Command(argv) => {
                command::run(argv, json::report_document(message), environment).await
            }
            ChannelWay::Ping(_) => Err(SendError::no_report()),
        }
    };
    within(channel, sending).await
}

/// Reports a run, or that the daemon is alive, to the service of a channel. Of other channels, and of
/// what the service knows no word for, it does nothing.
///
/// # Errors
/// The service did not take it, or did not answer within the channel's `timeout`.
pub async fn ping(
    channel: &AlertChannel,
    ping: &Ping,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let ChannelWay::Ping(to) = &channel.way else {
        return Ok(Answer::of("nothing to report".to_owned()));
    };
    within(channel, ping::report(to, ping, environment)).await
}

async fn within(
    channel: &AlertChannel,
    sending: impl Future<Output = Result<Answer, SendError>>,
) -> Result<Answer, SendError> {
    match timeout(channel.timeout, sending).await {
        Ok(outcome) => outcome,
        Err(_) => Err(SendError::later(format!(
            "no answer within {} (alerts.{}.timeout)",
            span(channel.timeout),
            channel.name
        ))),
    }
}
