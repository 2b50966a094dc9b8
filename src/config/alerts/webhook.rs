//! A channel that is a service on the network.

use std::collections::BTreeMap;

use reqwest::header;
use secrecy::SecretString;

use super::{Findings, Template, Written, file_or_credential, inline, only_source};
use crate::config::address;
use crate::config::plan::{
    BodyPart, HeaderValue, PasswordSource, Payload, Placeholder, WebhookChannel,
};

/// Where `PagerDuty` takes events.
const PAGER_DUTY: &str = "https://events.pagerduty.com/v2/enqueue";

pub(super) fn webhook(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
) -> Option<WebhookChannel> {
    let fragment = written.fragment;
    let template = fragment.template.map(|word| word.0);
    if let (Some(_), Some(_)) = (template, &fragment.body) {
        findings.refuse_key(
            &written.key("body"),
            "both template and body are set".to_owned(),
            Some("leave one of them".to_owned()),
        );
    }
    let is_pager_duty = template == Some(Template::PagerDuty);
    if fragment.password_file.is_some() && !is_pager_duty {
        findings.refuse_key(
            &written.key("password_file"),
            "only the template \"pagerduty\" has a key".to_owned(),
            Some("a header with a token belongs into headers_file".to_owned()),
        );
    }
    let payload = match (template, &fragment.body) {
        (None, Some(body)) => own(findings, written, body),
        (None | Some(Template::Json), _) => Some(Payload::Json),
        (Some(Template::Slack), _) => Some(Payload::Slack),
        (Some(Template::Teams), _) => Some(Payload::Teams),
        (Some(Template::PagerDuty), _) => pager_duty(findings, written),
        (Some(Template::Alertmanager), _) => Some(Payload::Alertmanager),
        (Some(Template::Healthchecks | Template::Cronitor | Template::UptimeKuma), _) => {
            findings.refuse(
                &written.key("template"),
                "this is the template of a ping".to_owned(),
                Some("write type = \"ping\"".to_owned()),
            );
            None
        }
    };
    let headers = headers(findings, written);
    let url = address(findings, written, is_pager_duty.then_some(PAGER_DUTY));
    Some(WebhookChannel {
        url: url?,
        payload: payload?,
        headers,
        headers_file: fragment.headers_file.clone().map(|path| path.0),
        ca_file: fragment.ca_file.clone().map(|path| path.0),
    })
}

/// Where a channel sends to; `usual` where nothing is said, and then the credential is another secret.
pub(super) fn address(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    usual: Option<&str>,
) -> Option<PasswordSource> {
    let mut sources = file_or_credential(written, "url_file");
    if usual.is_some() {
        sources.retain(|(name, _)| *name != "credential");
    }
    if let Some(url) = &written.fragment.url {
        if let Err(message) = address::check(url) {
            let way = "write the address that the service shows: https://HOST/PATH".to_owned();
            findings.refuse(&written.key("url"), message, Some(way));
        }
        sources.insert(0, ("url", inline(url)));
    }
    let found = only_source(findings, written, sources).or_else(|| usual.map(inline));
    if found.is_none() {
        findings.refuse_key(
            &written.table,
            "the channel has no address".to_owned(),
            Some(
                "write url = \"https://…\", or name a file with url_file, or a systemd \
                  credential with credential"
                    .to_owned(),
            ),
        );
    }
    found
}

fn pager_duty(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<Payload> {
    let sources = file_or_credential(written, "password_file");
    let key = only_source(findings, written, sources);
    if key.is_none() {
        findings.refuse_key(
            &written.table,
            "the channel has no integration key".to_owned(),
            Some("name a file or a systemd credential with password_file or credential".to_owned()),
        );
    }
    key.map(Payload::PagerDuty)
}

fn headers(findings: &mut Findings<'_>, written: &Written<'_>) -> BTreeMap<String, HeaderValue> {
    let mut headers = BTreeMap::new();
    for (name, value) in written.fragment.headers.iter().flatten() {
        let at = [written.key("headers"), vec![name.clone()]].concat();
        if name.parse::<header::HeaderName>().is_err() {
            let message = format!("invalid name of a header {name:?}");
            findings.refuse_key(&at, message, None);
        } else if header::HeaderValue::from_str(value).is_err() {
            let message = "the value of a header is one line without control characters";
            findings.refuse(&at, message.to_owned(), None);
        } else {
            let value = HeaderValue(SecretString::from(value.as_str()));
            headers.insert(name.clone(), value);
        }
    }
    headers
}

/// The pieces of the operator's own text.
fn own(findings: &mut Findings<'_>, written: &Written<'_>, body: &str) -> Option<Payload> {
    match parts(body) {
        Ok(parts) => Some(Payload::Own(parts)),
        Err(message) => {
            let names: Vec<String> = Placeholder::ALL
                .iter()
                .map(|(name, _)| format!("{{{{{name}}}}}"))
                .collect();
            let help = format!("there are: {}", names.join(", "));
            findings.refuse(&written.key("body"), message, Some(help));
            None
        }
    }
}

fn parts(body: &str) -> Result<Vec<BodyPart>, String> {
    let mut parts = Vec::new();
    let mut rest = body;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((name, after)) = behind.split_once("}}") else {
            return Err("a placeholder without an end".to_owned());
        };
        let name = name.trim();
        let known = Placeholder::ALL.iter().find(|(known, _)| *known == name);
        let Some((_, placeholder)) = known else {
            return Err(format!("unknown placeholder {name:?}"));
        };
        parts.push(BodyPart::Text(before.to_owned()));
        parts.push(BodyPart::Placeholder(*placeholder));
        rest = after;
    }
    parts.push(BodyPart::Text(rest.to_owned()));
    Ok(parts)
}
