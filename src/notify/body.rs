//! The operator's own text of a request, with the message in the place of placeholders.

use super::json;
use super::text::{self, State};
use crate::config::{BodyPart, Placeholder};
use crate::policy::{Notice, ReportMessage};

/// The longest message, in characters: Discord takes 2,000, Telegram 4,096, and ntfy 4,096 bytes.
const TEXT: usize = 1800;

/// How what is put in is written, so that it cannot be taken for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As a part of a string in JSON.
    Json,
    /// As a part of a form's value.
    Form,
    /// As it is.
    Plain,
}

impl Escaping {
    /// For a media type.
    pub(super) fn of(content_type: &str) -> Self {
        let lower = content_type.to_ascii_lowercase();
        if lower.contains("json") {
            Self::Json
        } else if lower.starts_with("application/x-www-form-urlencoded") {
            Self::Form
        } else {
            Self::Plain
        }
    }

    fn escape(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Self::Form => {
                let mut pairs = reqwest::Url::parse("http://x").ok();
                if let Some(url) = &mut pairs {
                    url.query_pairs_mut().append_pair("", text);
                }
                let query = pairs.as_ref().and_then(reqwest::Url::query);
                query.unwrap_or("=").trim_start_matches('=').to_owned()
            }
        }
    }
}

/// The media type of a text whose headers do not say it.
pub(super) fn usual_type(parts: &[BodyPart]) -> &'static str {
    let begins_json = match parts.first() {
        Some(BodyPart::Text(text)) if !text.trim().is_empty() => {
            text.trim_start().starts_with(['{', '['])
        }
        _ => parts.contains(&BodyPart::Placeholder(Placeholder::Json)),
    };
    if begins_json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    }
}

/// The text with the message in it.
pub(super) fn filled(parts: &[BodyPart], notice: &Notice, escaping: Escaping) -> String {
    with_values(parts, escaping, |placeholder| value(placeholder, notice))
}

/// The text with a report in it.
pub(super) fn filled_with_report(
    parts: &[BodyPart],
    message: &ReportMessage,
    escaping: Escaping,
) -> String {
    with_values(parts, escaping, |placeholder| match placeholder {
        Placeholder::Subject => text::calling_nobody(&message.subject),
        Placeholder::Text => text::report_for_chat(message, TEXT),
        Placeholder::Host => message.host.clone(),
        Placeholder::State => "report".to_owned(),
        Placeholder::At => message.at.to_rfc3339(),
        Placeholder::Id => message.id.to_string(),
        Placeholder::Json => json::report_document(message),
    })
}

fn with_values(
    parts: &[BodyPart],
    escaping: Escaping,
    value: impl Fn(Placeholder) -> String,
) -> String {
    let mut filled = String::new();
    for part in parts {
        match part {
            BodyPart::Text(text) => filled.push_str(text),
            // It is quoted already.
            BodyPart::Placeholder(Placeholder::Json) => filled.push_str(&value(Placeholder::Json)),
            BodyPart::Placeholder(placeholder) => {
                filled.push_str(&escaping.escape(&value(*placeholder)));
            }
        }
    }
    filled
}

fn value(placeholder: Placeholder, notice: &Notice) -> String {
    match placeholder {
        Placeholder::Subject => text::calling_nobody(&text::subject(notice)),
        Placeholder::Text => text::chat(notice, TEXT),
        Placeholder::Host => notice.host.clone(),
        Placeholder::State => State::of(notice).word().to_owned(),
        Placeholder::At => notice.at.to_rfc3339(),
        Placeholder::Id => notice.id.to_string(),
        Placeholder::Json => json::document(notice),
    }
}
