//! Services that hear of runs, and raise an alert when they hear nothing: the dead man's switch.

use std::collections::BTreeMap;

use reqwest::Url;
use uuid::Uuid;

use super::Answer;
use super::error::SendError;
use super::http::{self, Request};
use super::text::cut;
use crate::config::{self, PingChannel, PingService};

/// So much of an error is passed on, in characters.
const ERROR: usize = 10_000;

/// So much of it where it is part of the address.
const ERROR_IN_ADDRESS: usize = 500;

/// What a service hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ping {
    /// What happened.
    pub event: PingEvent,
    /// The run that it happened to, by which its start and its end belong together.
    pub run: Option<Uuid>,
}

/// What a service hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingEvent {
    /// A run began.
    Start,
    /// It succeeded, or the daemon is alive.
    Success,
    /// It failed, with the error's text.
    Failure(String),
}

/// Reports an event in the service's language.
pub(super) async fn report(
    channel: &PingChannel,
    ping: &Ping,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    let service = service(channel, environment)?;
    let asked = asked(channel.service, service.url()?, ping);
    let Some((url, request)) = asked else {
        return Ok(Answer::of("nothing to report".to_owned()));
    };
    service.ask(url, request).await
}

/// Tries the channel. healthchecks.io takes an entry of the log that is no event; the others know no such
/// thing, and hear that all is well.
pub(super) async fn test(
    channel: &PingChannel,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, SendError> {
    const TEST: &str = "pgbackupd alerts test";
    let service = service(channel, environment)?;
    let url = service.url()?;
    let (url, request) = match channel.service {
        PingService::Healthchecks => (below(url, Some("log"), None), text(TEST)),
        PingService::Cronitor => (with_query(url, &[("message", TEST)]), Request::get()),
        PingService::UptimeKuma => (
            with_query(url, &[("status", "up"), ("msg", TEST)]),
            Request::get(),
        ),
    };
    service.ask(url, request).await
}

fn service(
    channel: &PingChannel,
    environment: &BTreeMap<String, String>,
) -> Result<http::Service, SendError> {
    Ok(http::Service {
        url: config::secret(&channel.url, environment)?,
        headers: Vec::new(),
        client: http::client(channel.ca_file.as_deref())?,
    })
}

/// What is asked of a service for an event; none where it knows no word for it.
fn asked(service: PingService, url: Url, ping: &Ping) -> Option<(Url, Request)> {
    match service {
        PingService::Healthchecks => Some(match &ping.event {
            PingEvent::Start => (below(url, Some("start"), ping.run), text("")),
            PingEvent::Success => (below(url, None, ping.run), text("")),
            PingEvent::Failure(error) => {
                (below(url, Some("fail"), ping.run), text(&cut(error, ERROR)))
            }
        }),
        PingService::Cronitor => {
            let run = ping.run.map(|run| run.to_string());
            let (state, message) = match &ping.event {
                PingEvent::Start => ("run", None),
                PingEvent::Success => ("complete", None),
                PingEvent::Failure(error) => ("fail", Some(cut(error, ERROR_IN_ADDRESS))),
            };
            let mut pairs = vec![("state", state)];
            pairs.extend(run.as_deref().map(|run| ("series", run)));
            pairs.extend(message.as_deref().map(|message| ("message", message)));
            Some((with_query(url, &pairs), Request::get()))
        }
        PingService::UptimeKuma => {
            let (status, message) = match &ping.event {
                PingEvent::Start => return None,
                PingEvent::Success => ("up", "OK".to_owned()),
                PingEvent::Failure(error) => ("down", cut(error, ERROR_IN_ADDRESS)),
            };
            let pairs = [("status", status), ("msg", &*message)];
            Some((with_query(url, &pairs), Request::get()))
        }
    }
}

fn text(text: &str) -> Request {
    Request::post("text/plain; charset=utf-8", text.to_owned())
}

/// The address with one more segment, and the run.
fn below(mut url: Url, segment: Option<&str>, run: Option<Uuid>) -> Url {
    if let Some(segment) = segment
        && let Ok(mut segments) = url.path_segments_mut()
    {
        segments.pop_if_empty().push(segment);
    }
    if let Some(run) = run {
        url.query_pairs_mut().append_pair("rid", &run.to_string());
    }
    url
}

/// The address with these in place of pairs of the same names.
fn with_query(mut url: Url, pairs: &[(&str, &str)]) -> Url {
    let is_set = |name: &str| pairs.iter().any(|(one, _)| *one == name);
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| !is_set(name))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .extend_pairs(pairs);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_hears_of_a_run_in_its_own_words() {
        let run = Uuid::nil();
        let failed = PingEvent::Failure("no space".to_owned());
        let table = [
            (
                PingService::Healthchecks,
                "https://h/ping/u",
                [
                    "POST https://h/ping/u/start?rid=00000000-0000-0000-0000-000000000000 ",
                    "POST https://h/ping/u?rid=00000000-0000-0000-0000-000000000000 ",
                    "POST https://h/ping/u/fail?rid=00000000-0000-0000-0000-000000000000 no space",
                ],
            ),
            (
                PingService::Cronitor,
                "https://c/p/k/backup?env=prod",
                [
                    "GET https://c/p/k/backup?env=prod&state=run&series=00000000-0000-0000-0000-000000000000 ",
                    "GET https://c/p/k/backup?env=prod&state=complete&series=00000000-0000-0000-0000-000000000000 ",
                    "GET https://c/p/k/backup?env=prod&state=fail&series=00000000-0000-0000-0000-000000000000&message=no+space ",
                ],
            ),
            (
                PingService::UptimeKuma,
                "http://k/api/push/t?status=up&msg=OK&ping=",
                [
                    "",
                    "GET http://k/api/push/t?ping=&status=up&msg=OK ",
                    "GET http://k/api/push/t?ping=&status=down&msg=no+space ",
                ],
            ),
        ];
        for (service, url, expected) in table {
            let events = [PingEvent::Start, PingEvent::Success, failed.clone()];
            for (event, expected) in events.into_iter().zip(expected) {
                let ping = Ping {
                    event,
                    run: Some(run),
                };
                let asked = asked(service, url.parse().unwrap(), &ping);
                let shown = asked.map_or_else(String::new, |(url, request)| request.shown(&url));
                assert_eq!(shown, expected, "{service:?}");
            }
        }
    }
}
