//! Where alerts go: the channels of the plan.

mod email;
mod webhook;

use std::time::Duration;

use chrono_tz::Tz;
use secrecy::SecretString;

use super::findings::{Findings, is_name, key, names_are};
use super::fragment::{AlertFragment, ChannelType, Fragment, Template};
use super::layer::Key;
use super::nearest::nearest;
use super::plan::{
    AlertChannel, ChannelWay, PasswordSource, Patterns, PingAbout, PingChannel, PingService,
};
use super::scalar::Window;
use super::{running, servers};
use crate::policy::{Blackouts, Severity};

/// After so long, what is still open is sent again.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// A service that hangs holds back the other messages for so long at most.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// The pings of a daemon are at least so far apart: services limit how often they are called.
const LEAST_HEARTBEAT: Duration = Duration::from_secs(10);

/// So long may sending a message take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Settings that only channels of some types have.
const SETTINGS: [(&str, &[ChannelType]); 21] = {
    use ChannelType::{Command, Email, Ping, Webhook};
    const ALERTS: &[ChannelType] = &[Email, Webhook, Command];
    const HTTP: &[ChannelType] = &[Webhook, Ping];
    [
        ("severities", ALERTS),
        ("databases", ALERTS),
        ("kinds", ALERTS),
        ("hours", ALERTS),
        ("remind", ALERTS),
        ("min_age", ALERTS),
        ("to", &[Email]),
        ("from", &[Email]),
        ("smtp", &[Email]),
        ("tls", &[Email]),
        ("user", &[Email]),
        ("password_file", &[Email, Webhook]),
        ("credential", &[Email, Webhook, Ping]),
        ("url", HTTP),
        ("url_file", HTTP),
        ("template", HTTP),
        ("body", &[Webhook]),
        ("headers", &[Webhook]),
        ("headers_file", &[Webhook]),
        ("ca_file", &[Email, Webhook, Ping]),
        ("argv", &[Command]),
    ]
};

/// Settings of pings alone.
const OF_PINGS: [&str; 2] = ["jobs", "heartbeat"];

/// A channel as written, and where.
struct Written<'f> {
    table: Key,
    fragment: &'f AlertFragment,
}

impl Written<'_> {
    /// The key of one of its settings.
    fn key(&self, name: &str) -> Key {
        [self.table.as_slice(), &key(&[name])].concat()
    }
}

/// All channels.
pub(super) fn channels(
    findings: &mut Findings<'_>,
    fragment: &Fragment,
    zone: Tz,
) -> Vec<AlertChannel> {
    let mut channels = Vec::new();
    for (name, channel) in &fragment.alerts {
        let written = Written {
            table: key(&["alerts", name]),
            fragment: channel,
        };
        if !is_name(name) {
            let message = format!("invalid channel name {name:?}");
            findings.refuse_key(&written.table, message, Some(names_are()));
        }
        let Some(kind) = channel.kind.map(|word| word.0) else {
            let way = "write type = \"email\", \"webhook\", \"command\" or \"ping\"".to_owned();
            let message = "the channel has no type".to_owned();
            findings.refuse_key(&written.table, message, Some(way));
            continue;
        };
        refuse_settings_of_other_types(findings, &written, kind);
        let way = match kind {
            ChannelType::Email => email::email(findings, &written).map(ChannelWay::Email),
            ChannelType::Webhook => webhook::webhook(findings, &written).map(ChannelWay::Webhook),
            ChannelType::Command => command(findings, &written).map(ChannelWay::Command),
            ChannelType::Ping => ping(findings, &written, fragment).map(ChannelWay::Ping),
        };
        let common = common(findings, &written, zone);
        channels.extend(way.map(|way| AlertChannel {
            name: name.clone(),
            way,
            ..common
        }));
    }
    channels
}

fn refuse_settings_of_other_types(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    kind: ChannelType,
) {
    let of_pings = OF_PINGS.map(|name| (name, &[ChannelType::Ping][..]));
    for (name, types) in SETTINGS.into_iter().chain(of_pings) {
        let at = written.key(name);
        if findings.settings.is_written(&at) && !types.contains(&kind) {
            let types: Vec<String> = types
                .iter()
                .map(|one| format!("\"{}\"", one.word()))
                .collect();
            findings.refuse_key(
                &at,
                format!("a channel of the type \"{}\" has no {name}", kind.word()),
                Some(format!("remove it; it is of type {}", types.join(" or "))),
            );
        }
    }
}

/// What every channel has, with a way that is replaced.
fn common(findings: &mut Findings<'_>, written: &Written<'_>, zone: Tz) -> AlertChannel {
    let fragment = written.fragment;
    let words = |list: &Vec<_>| {
        list.iter()
            .map(|word: &super::scalar::Word<_>| word.0)
            .collect()
    };
    let severities: Vec<Severity> = fragment
        .severities
        .as_ref()
        .map_or_else(|| vec![Severity::Warning, Severity::Critical], words);
    if severities.is_empty() {
        findings.refuse(
            &written.key("severities"),
            "no alert is of any of no severities".to_owned(),
            Some("write severities = [\"critical\"], or remove it for all alerts".to_owned()),
        );
    }
    let kinds = fragment
        .kinds
        .as_ref()
        .map_or_else(Vec::new, |list| list.iter().map(|word| word.0).collect());
    AlertChannel {
        name: String::new(),
        severities,
        databases: match &fragment.databases {
            Some(list) => servers::patterns(findings, &written.key("databases"), Some(list)),
            None => Patterns::default(),
        },
        kinds,
        hours: hours(findings, written, zone),
        remind: fragment.remind.as_ref().map_or(Some(REMIND), |age| age.0),
        min_age: fragment
            .min_age
            .as_ref()
            .map_or(Duration::ZERO, |age| age.0),
        timeout: timeout(findings, written),
        way: ChannelWay::Command(Vec::new()),
    }
}

fn timeout(findings: &mut Findings<'_>, written: &Written<'_>) -> Duration {
    let timeout = written.fragment.timeout.as_ref();
    let timeout = timeout.map_or(TIMEOUT, |time| time.0);
    if timeout > LONGEST_TIMEOUT {
        findings.refuse(
            &written.key("timeout"),
            "no message may take so long: the others wait for it".to_owned(),
            Some("write at most timeout = \"2 minutes\"".to_owned()),
        );
    }
    timeout
}

/// When warnings are sent; windows that cover the week are no limit.
fn hours(findings: &mut Findings<'_>, written: &Written<'_>, zone: Tz) -> Option<Blackouts> {
    let windows = written.fragment.hours.as_ref()?;
    if windows.0.is_empty() {
        findings.refuse(
            &written.key("hours"),
            "the list of hours is empty, so warnings would wait permanently".to_owned(),
            Some("write hours = [\"Mon-Fri 08:00-18:00\"], or severities = [\"critical\"]".into()),
        );
    }
    let windows = windows.0.iter().map(|Window(window)| window.clone());
    Blackouts::new(windows.collect(), zone).ok()
}

fn command(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<Vec<String>> {
    let argv = written.fragment.argv.as_ref();
    let example = "argv = [\"/usr/local/bin/alert\", \"--from\", \"pgbackupd\"]";
    if argv.is_none_or(Vec::is_empty) {
        let way = Some(format!("write {example}"));
        findings.refuse_key(&written.table, "the channel has no argv".to_owned(), way);
    }
    running::command(findings, &written.key("argv"), argv, example)
}

fn ping(findings: &mut Findings<'_>, written: &Written<'_>, all: &Fragment) -> Option<PingChannel> {
    let fragment = written.fragment;
    let service = match fragment.template.map(|word| word.0) {
        None | Some(Template::Healthchecks) => PingService::Healthchecks,
        Some(Template::Cronitor) => PingService::Cronitor,
        Some(Template::UptimeKuma) => PingService::UptimeKuma,
        Some(_) => {
            findings.refuse(
                &written.key("template"),
                "this is the template of a webhook".to_owned(),
                Some("write \"healthchecks\", \"cronitor\" or \"uptime-kuma\"".to_owned()),
            );
            return None;
        }
    };
    let about = match (&fragment.jobs, &fragment.heartbeat) {
        (Some(_), Some(_)) => {
            findings.refuse_key(
                &written.key("heartbeat"),
                "both jobs and heartbeat are set".to_owned(),
                Some("a check watches one thing: make a second channel for the daemon".to_owned()),
            );
            return None;
        }
        (None, None) => PingAbout::AllJobs,
        (Some(jobs), None) => {
            refuse_unknown_jobs(findings, written, (jobs, all));
            PingAbout::Jobs(jobs.clone())
        }
        (None, Some(every)) => {
            if every.0 < LEAST_HEARTBEAT {
                findings.refuse(
                    &written.key("heartbeat"),
                    "the heartbeat is too frequent".to_owned(),
                    Some("write at least heartbeat = \"10 s\"".to_owned()),
                );
            }
            PingAbout::Daemon(every.0)
        }
    };
    Some(PingChannel {
        url: webhook::address(findings, written, None)?,
        service,
        about,
        ca_file: fragment.ca_file.clone().map(|path| path.0),
    })
}

fn refuse_unknown_jobs(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    (jobs, all): (&[String], &Fragment),
) {
    if jobs.is_empty() {
        let way = "name jobs, or remove it for all of them".to_owned();
        let message = "the list of jobs is empty".to_owned();
        findings.refuse(&written.key("jobs"), message, Some(way));
    }
    for (index, job) in jobs.iter().enumerate() {
        if !all.jobs.contains_key(job) {
            let known = all.jobs.keys().map(String::as_str);
            let help = match nearest(job, known.clone()) {
                Some(right) => format!("did you mean \"{right}\"?"),
                None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
            };
            let at = [written.key("jobs"), key(&[&index.to_string()])].concat();
            findings.refuse(&at, format!("there is no job {job:?}"), Some(help));
        }
    }
}

/// The only one of several places where a secret comes from, each with its setting.
fn only_source(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    sources: Vec<(&str, PasswordSource)>,
) -> Option<PasswordSource> {
    if let [(first, _), (second, _), ..] = sources.as_slice() {
        findings.refuse_key(
            &written.key(second),
            format!("both {first} and {second} are set"),
            Some("leave one of them".to_owned()),
        );
    }
    sources.into_iter().next().map(|(_, source)| source)
}

/// A secret that is the first line of a file, or a credential.
fn file_or_credential<'n>(written: &Written<'_>, name: &'n str) -> Vec<(&'n str, PasswordSource)> {
    let fragment = written.fragment;
    let file = match name {
        "url_file" => &fragment.url_file,
        _ => &fragment.password_file,
    };
    let file = file
        .as_ref()
        .map(|path| PasswordSource::File(path.0.clone()));
    let credential = fragment.credential.as_ref();
    let credential = credential.map(|name| PasswordSource::Credential(name.0.clone()));
    let sources = [(name, file), ("credential", credential)];
    sources
        .into_iter()
        .filter_map(|(name, source)| Some((name, source?)))
        .collect()
}

/// A secret that stands in the configuration.
fn inline(text: &str) -> PasswordSource {
    PasswordSource::Inline(SecretString::from(text))
}
