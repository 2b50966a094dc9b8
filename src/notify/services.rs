//! Webhooks: what each service wants to be sent.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::body::{self, Escaping};
use super::error::SendError;
use super::http::{self, Request};
use super::text::{self, State};
use super::{Answer, json as document};
use crate::config::{self, AlertChannel, BodyPart, Payload, WebhookChannel};
use crate::policy::{Alert, Change, Notice, NoticeItem, ReportMessage, Severity};

/// The longest message of a chat, in characters. Slack cuts at 4,000; a card of Teams has 28 KB.
const CHAT: usize = 3500;

/// The longest summary of an event of `PagerDuty`.
const SUMMARY: usize = 1024;

/// So many incidents of `PagerDuty` one message opens.
const EVENTS: usize = 50;

/// An alert that nobody closes in Alertmanager ends by itself after so many days, where it is never sent
/// again.
const LAST: TimeDelta = TimeDelta::days(30);

/// JSON's media type.
const JSON: &str = "application/json";

/// Sends a message.
pub(super) async fn send(
    channel: &AlertChannel,
    webhook: &WebhookChannel,
    notice: &Notice,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let service = service(webhook, environment)?;
    let documents = match &webhook.payload {
        Payload::PagerDuty(key) => {
            let key = config::secret(key, environment)?;
            let events = pager_duty(notice, &key);
            events.iter().map(Value::to_string).collect()
        }
        Payload::Json => vec![document::document(notice)],
        Payload::Slack => vec![slack(notice).to_string()],
        Payload::Teams => vec![teams(notice).to_string()],
        Payload::Alertmanager => vec![alertmanager(channel, notice).to_string()],
        Payload::Own(parts) => {
            let content_type = content_type(&service, parts);
            let text = body::filled(parts, notice, Escaping::of(&content_type));
            return service.post(Request::post(&content_type, text)).await;
        }
    };
    let mut answer = Answer::of("nothing to send".to_owned());
    for document in documents {
        answer = service.post(Request::post(JSON, document)).await?;
    }
    Ok(answer)
}

/// Sends a report.
pub(super) async fn send_report(
    webhook: &WebhookChannel,
    message: &ReportMessage,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let service = service(webhook, environment)?;
    let document = match &webhook.payload {
        Payload::PagerDuty(_) | Payload::Alertmanager => return Err(SendError::no_report()),
        Payload::Json => document::report_document(message),
        Payload::Slack => slack_report(message).to_string(),
        Payload::Teams => teams_report(message).to_string(),
        Payload::Own(parts) => {
            let content_type = content_type(&service, parts);
            let escaping = Escaping::of(&content_type);
            let text = body::filled_with_report(parts, message, escaping);
            return service.post(Request::post(&content_type, text)).await;
        }
    };
    service.post(Request::post(JSON, document)).await
}

/// A report for Slack. Its first line is its title.
fn slack_report(message: &ReportMessage) -> Value {
    slack_text(&text::cut(&message.text, CHAT))
}

/// A report for Teams, a block a line.
fn teams_report(message: &ReportMessage) -> Value {
    let text = text::report_for_chat(message, CHAT);
    let subject = text::calling_nobody(&message.subject);
    card((&subject, "Accent"), text.lines())
}

/// Where a webhook goes.
fn service(
    webhook: &WebhookChannel,
    environment: &BTreeMap<String, String>,
) -> Result<http::Service, SendError> {
    Ok(http::Service {
        url: config::secret(&webhook.url, environment)?,
        headers: headers(webhook)?,
        client: http::client(webhook.ca_file.as_deref())?,
    })
}

/// The media type of the operator's own text.
fn content_type(service: &http::Service, parts: &[BodyPart]) -> String {
    let own = service.header("content-type");
    own.unwrap_or_else(|| body::usual_type(parts).to_owned())
}

/// The headers of the configuration and of the file that it names.
fn headers(webhook: &WebhookChannel) -> Result<Vec<(String, SecretString)>, SendError> {
    let own = webhook.headers.iter();
    let mut headers: Vec<_> = own
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect();
    if let Some(path) = &webhook.headers_file {
        let text = config::closed_file(path)?;
        for (line, number) in text
            .lines()
            .zip(1..)
            .filter(|(line, _)| !line.trim().is_empty())
        {
            let Some((name, value)) = line.split_once(':') else {
                return Err(SendError::later(format!(
                    "{}:{number}: a header is NAME: VALUE",
                    path.display()
                )));
            };
            headers.push((name.trim().to_owned(), SecretString::from(value.trim())));
        }
    }
    Ok(headers)
}

/// A message of Slack. It is plain text (`mrkdwn`), and `<!channel>` and the like are no commands in it.
fn slack(notice: &Notice) -> Value {
    slack_text(&format!(
        "{}\n{}",
        text::subject(notice),
        text::text(notice, CHAT)
    ))
}

fn slack_text(text: &str) -> Value {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    json!({ "text": text::calling_nobody(&text), "mrkdwn": false })
}

/// An adaptive card, as a workflow of Teams takes it. Its runs of text have no Markdown.
fn teams(notice: &Notice) -> Value {
    let colour = match State::of(notice) {
        State::Critical => "Attention",
        State::Warning => "Warning",
        State::Resolved => "Good",
        State::Test => "Accent",
    };
    let text = text::chat(notice, CHAT);
    let blocks = text.split("\n\n");
    card((&text::subject(notice), colour), blocks)
}

/// A card with a coloured title and these blocks of text.
fn card<'t>((title, colour): (&str, &str), blocks: impl Iterator<Item = &'t str>) -> Value {
    let run = |text: &str, more: Value| {
        let mut run = json!({ "type": "TextRun", "text": text });
        if let (Some(run), Value::Object(more)) = (run.as_object_mut(), more) {
            run.extend(more);
        }
        json!({ "type": "RichTextBlock", "inlines": [run] })
    };
    let title = run(
        title,
        json!({ "weight": "Bolder", "size": "Medium", "color": colour }),
    );
    let blocks = blocks.filter(|block| !block.trim().is_empty());
    let body: Vec<Value> = std::iter::once(title)
        .chain(blocks.map(|block| run(block.trim(), json!({}))))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "msteams": { "width": "Full" }
            }
        }]
    })
}

/// Events of `PagerDuty`: each alert is an incident of its own, known by the alert's id. Each is sent by
/// itself; one that comes twice is one. A test opens an incident and closes it.
fn pager_duty(notice: &Notice, key: &SecretString) -> Vec<Value> {
    let event = |action: &str, id: &str, payload: Value| {
        let mut event = json!({
            "routing_key": key.expose_secret(),
            "event_action": action,
            "dedup_key": format!("pgbackupd/{}/{id}", notice.host),
        });
        if action == "trigger" {
            event["client"] = "pgbackupd".into();
            event["payload"] = payload;
        }
        event
    };
    let payload = |summary: &str, severity: &str, details: Value| {
        json!({
            "summary": text::cut(summary, SUMMARY),
            "source": notice.host,
            "severity": severity,
            "timestamp": notice.at.to_rfc3339(),
            "component": "pgbackupd",
            "custom_details": details,
        })
    };
    if notice.is_test {
        let test = payload(&text::subject(notice), "info", json!({}));
        return vec![
            event("trigger", "test", test),
            event("resolve", "test", Value::Null),
        ];
    }
    let (resolved, open): (Vec<&NoticeItem>, Vec<&NoticeItem>) = notice
        .items
        .iter()
        .partition(|item| item.change == Change::Resolved);
    let more = open.len().saturating_sub(EVENTS);
    let opened = open.into_iter().take(EVENTS).map(|item| {
        let alert = &item.alert;
        let mut details = labels(notice, alert);
        details.insert("message".to_owned(), alert.sentence.as_str().into());
        if more > 0 {
            details.insert("more".to_owned(), format!("and {more} more alerts").into());
        }
        let summary = format!("{}: {}: {}", notice.host, text::title(item), alert.sentence);
        let payload = payload(&summary, alert.severity.word(), details.into());
        event("trigger", &alert.id, payload)
    });
    let closed = resolved
        .into_iter()
        .map(|item| event("resolve", &item.alert.id, Value::Null));
    opened.chain(closed).collect()
}

/// Alerts of Alertmanager. The severity is among the labels, by which it routes; so an alert that gets
/// worse is another one, and the one before ends. What is open ends by itself some time after the next
/// reminder is due, should nobody be there to send it.
fn alertmanager(channel: &AlertChannel, notice: &Notice) -> Value {
    let at = notice.at;
    if notice.is_test {
        return json!([{
            "labels": { "alertname": "pgbackupd_test", "severity": "none", "instance": notice.host },
            "annotations": { "summary": text::subject(notice), "description": text::text(notice, CHAT) },
            "startsAt": at.to_rfc3339(),
            "endsAt": (at + TimeDelta::minutes(1)).to_rfc3339(),
        }]);
    }
    let remind = channel
        .remind
        .and_then(|remind| TimeDelta::from_std(remind).ok());
    let lasts = remind.map_or(LAST, |remind| remind * 2 + TimeDelta::hours(1));
    let mut alerts = Vec::new();
    for item in &notice.items {
        let alert = &item.alert;
        let mut add = |of: Severity, ends| {
            let mut labels = labels(notice, alert);
            let name = format!("pgbackupd_{}", alert.kind.word());
            labels.insert("alertname".to_owned(), name.into());
            labels.insert("severity".to_owned(), of.word().into());
            labels.insert("id".to_owned(), alert.id.as_str().into());
            alerts.push(json!({
                "labels": labels,
                "annotations": { "summary": text::title(item), "description": alert.sentence },
                "startsAt": alert.since.to_rfc3339(),
                "endsAt": chrono::DateTime::to_rfc3339(&ends),
            }));
        };
        match item.change {
            Change::Resolved => {
                add(Severity::Warning, at);
                add(Severity::Critical, at);
            }
            Change::Worsened => {
                add(Severity::Warning, at);
                add(alert.severity, at + lasts);
            }
            Change::Opened | Change::Reminded => add(alert.severity, at + lasts),
        }
    }
    alerts.into()
}

/// What an alert is about, without what changes while it lasts.
fn labels(notice: &Notice, alert: &Alert) -> serde_json::Map<String, Value> {
    let pairs = [
        ("instance", Some(&notice.host)),
        ("server", alert.server.as_ref()),
        ("database", alert.database.as_ref()),
        ("series", alert.series.as_ref()),
        ("object", alert.object.as_ref()),
    ];
    pairs
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.as_str().into())))
        .collect()
}

#[cfg(test)]
mod tests;
