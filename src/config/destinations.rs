//! Where copies go: the destinations of the plan.

mod azure;
mod google;
mod place;
mod s3;
mod sftp;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use self::place::{Named, Place, place};
use super::address;
use super::findings::{Findings, is_name, key, names_are};
use super::fragment::{CredentialsFrom, DestinationFragment, Fragment};
use super::keeping;
use super::layer::Key;
use super::nearest::nearest;
use super::plan::{
    Destination, DestinationAddress, DestinationSettings, PasswordSource, Patterns, Server,
};
use super::servers;
use crate::policy::Series;

/// So long may one request take: 16 MiB over half a megabit a second.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What takes longer would hold up the end of the service for as long.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Of each series the newest so many are copied.
const BACKFILL: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// The settings that not every address has, and the schemes of those that have them.
const SETTINGS: [(&str, &[&str]); 17] = [
    ("account", &["az"]),
    ("endpoint", STORES),
    ("region", &["s3"]),
    ("path_style", &["s3", "az"]),
    ("credentials", STORES),
    ("access_key_id", &["s3"]),
    ("secret_key_file", STORES),
    ("credential", &["s3", "az", "gs", "sftp"]),
    ("ca_file", STORES),
    ("proxy", STORES),
    ("storage_class", STORES),
    ("sse", &["s3"]),
    ("sse_key", &["s3"]),
    ("identity_file", &["sftp"]),
    ("known_hosts_file", &["sftp"]),
    ("ssh_config_file", &["sftp"]),
    ("mounted", &["file"]),
];

/// The schemes of buckets.
const STORES: &[&str] = &["s3", "az", "gs"];

/// A destination as written, and where.
struct Written<'f> {
    table: Key,
    fragment: &'f DestinationFragment,
}

impl Written<'_> {
    /// The key of one of its settings.
    fn key(&self, name: &str) -> Key {
        [self.table.as_slice(), &key(&[name])].concat()
    }
}

/// All destinations.
pub(super) fn destinations(findings: &mut Findings<'_>, fragment: &Fragment) -> Vec<Destination> {
    let mut destinations = Vec::new();
    for (name, destination) in &fragment.destinations {
        let written = Written {
            table: key(&["destinations", name]),
            fragment: destination,
        };
        if !is_name(name) {
            let message = format!("invalid name of a destination {name:?}");
            findings.refuse_key(&written.table, message, Some(names_are()));
        }
        let address = address_of(findings, &written);
        let series = series(findings, &written, fragment);
        let databases = match &destination.databases {
            Some(list) => servers::patterns(findings, &written.key("databases"), Some(list)),
            None => Patterns::default(),
        };
        let retention = keeping::of_copies(findings, &written.table, destination, fragment);
        let timeout = timeout(findings, &written);
        destinations.extend(address.map(|address| Destination {
            name: name.clone(),
            settings: DestinationSettings { address, timeout },
            rate: destination.rate.as_ref().map(|rate| rate.0),
            series,
            databases,
            backfill: destination.backfill.map_or(BACKFILL, |count| count.0),
            retention,
            plain: destination.plain.unwrap_or(false),
        }));
    }
    refuse_one_place_twice(findings, &destinations);
    destinations
}

/// The destinations that must have a copy of a backup before it may go.
pub(super) fn required_copies(
    findings: &mut Findings<'_>,
    fragment: &Fragment,
    all: &[Destination],
) -> Vec<Destination> {
    let Some(names) = &fragment.retention.require_copies else {
        return Vec::new();
    };
    let at = key(&["retention", "require_copies"]);
    refuse_unknown(findings, (&at, names), fragment);
    let is_required = |one: &&Destination| names.contains(&one.name);
    all.iter().filter(is_required).cloned().collect()
}

/// Refuses names of destinations, in the list with this key, that there are not.
pub(super) fn refuse_unknown(
    findings: &mut Findings<'_>,
    (at, names): (&Key, &[String]),
    fragment: &Fragment,
) {
    for (index, name) in names.iter().enumerate() {
        if !fragment.destinations.contains_key(name) {
            let at = [at.as_slice(), &key(&[&index.to_string()])].concat();
            let message = format!("there is no destination {name:?}");
            findings.refuse(&at, message, Some(known(name, fragment)));
        }
    }
}

/// Which destination may be meant, or which there are.
pub(super) fn known(name: &str, fragment: &Fragment) -> String {
    let known = || fragment.destinations.keys().map(String::as_str);
    match nearest(name, known()) {
        Some(right) => format!("did you mean \"{right}\"?"),
        None if fragment.destinations.is_empty() => {
            "add one as [destinations.NAME] with a url".to_owned()
        }
        None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
    }
}

/// Refuses a second destination at the place of another one: what is there once would count as two copies.
fn refuse_one_place_twice(findings: &mut Findings<'_>, destinations: &[Destination]) {
    let place = |one: &Destination| one.settings.full_address();
    for (index, one) in destinations.iter().enumerate() {
        let mut earlier = destinations[..index].iter();
        if let Some(other) = earlier.find(|other| place(other) == place(one)) {
            findings.refuse(
                &key(&["destinations", &one.name, "url"]),
                format!("the destination {} is at the same place", other.name),
                Some("give one of the two another bucket, prefix or directory".to_owned()),
            );
        }
    }
}

/// Refuses a destination in a directory of backups, or around one: it is lost with them, and its names are those
/// of databases.
pub(super) fn refuse_directories_of_backups(
    findings: &mut Findings<'_>,
    destinations: &[Destination],
    servers: &[Server],
) {
    for one in destinations {
        let DestinationAddress::Directory { path, .. } = &one.settings.address else {
            continue;
        };
        let is_one_place = |backups: &Path| path.starts_with(backups) || backups.starts_with(path);
        if let Some(server) = servers
            .iter()
            .find(|server| is_one_place(&server.directory))
        {
            findings.refuse(
                &key(&["destinations", &one.name, "url"]),
                format!(
                    "the backups themselves are in {}",
                    server.directory.display()
                ),
                Some("name a directory on another disk".to_owned()),
            );
        }
    }
}

fn address_of(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<DestinationAddress> {
    let way = || {
        let forms = format!(
            "write url = \"s3://BUCKET/PREFIX\", \"az://CONTAINER/PREFIX\", \"gs://BUCKET/PREFIX\", \"{}\" or \
             \"file:///PATH\"",
            sftp::FORM
        );
        Some(forms)
    };
    let Some(url) = &written.fragment.url else {
        findings.refuse_key(
            &written.table,
            "the destination has no url".to_owned(),
            way(),
        );
        return None;
    };
    let place = match place(url) {
        Ok(place) => place,
        Err(message) => {
            findings.refuse(&written.key("url"), message, way());
            return None;
        }
    };
    refuse_settings_of_others(findings, written, place.scheme());
    match place {
        Place::Directory(path) => Some(DestinationAddress::Directory {
            path,
            mounted: written.fragment.mounted.unwrap_or(false),
        }),
        Place::S3(bucket) => {
            let settings = s3::complete(findings, written, bucket);
            settings.map(|settings| DestinationAddress::S3(Box::new(settings)))
        }
        Place::Azure(container) => {
            let settings = azure::complete(findings, written, container);
            settings.map(|settings| DestinationAddress::Azure(Box::new(settings)))
        }
        Place::Google(bucket) => {
            let settings = google::complete(findings, written, bucket);
            settings.map(|settings| DestinationAddress::Google(Box::new(settings)))
        }
        Place::Sftp(address) => {
            let settings = sftp::complete(findings, written, address);
            Some(DestinationAddress::Sftp(Box::new(settings)))
        }
    }
}

fn refuse_settings_of_others(findings: &mut Findings<'_>, written: &Written<'_>, scheme: &str) {
    for (name, schemes) in SETTINGS {
        let at = written.key(name);
        if !schemes.contains(&scheme) && findings.settings.is_written(&at) {
            let schemes: Vec<String> = schemes.iter().map(|one| format!("{one}://")).collect();
            let message = format!("only a destination at {} has {name}", either(&schemes));
            findings.refuse_key(&at, message, Some("remove it".to_owned()));
        }
    }
}

/// Names as in "a, b or c".
fn either(names: &[String]) -> String {
    match names {
        [many @ .., last] if !many.is_empty() => format!("{} or {last}", many.join(", ")),
        names => names.concat(),
    }
}

/// Whether an address leads to a host and to nothing on it.
fn about_host(findings: &mut Findings<'_>, written: &Written<'_>, name: &str) {
    let text = match name {
        "endpoint" => &written.fragment.endpoint,
        _ => &written.fragment.proxy,
    };
    let Some(text) = text else { return };
    let url = written.fragment.url.as_deref().unwrap_or_default();
    let is_s3 = url.starts_with("s3://");
    let at = written.key(name);
    let way = Some(format!("write {name} = \"https://HOST:PORT\""));
    match address::check(text) {
        Err(message) => findings.refuse(&at, message, way),
        Ok(url) if url.password().is_some() || !url.username().is_empty() => findings.refuse(
            &at,
            "a user or a password is in the address".to_owned(),
            Some(match name {
                "proxy" => "set HTTPS_PROXY in the environment of the service, and remove it here"
                    .to_owned(),
                _ if is_s3 => {
                    "write access_key_id, and name the secret by secret_key_file".to_owned()
                }
                _ => "remove it; secret_key_file or credential names the secret".to_owned(),
            }),
        ),
        Ok(url) if url.path() != "/" || url.query().is_some() || url.fragment().is_some() => {
            findings.refuse(
                &at,
                "unexpected path or query after the host".to_owned(),
                way,
            );
        }
        Ok(url) if name == "endpoint" && url.scheme() == "http" && !is_this_machine(&url) => {
            findings.warn(format!(
                "{}: what goes to {} can be read and changed on its way; https:// protects it",
                at.join("."),
                url.origin().ascii_serialization()
            ));
        }
        Ok(_) => {}
    }
}

fn is_this_machine(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Refuses values of these settings that are not one word.
fn refuse_no_words(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    settings: &[(&str, &Option<String>)],
) {
    let is_word = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    for (name, value) in settings {
        if value.as_ref().is_some_and(|text| !is_word(text)) {
            let message = format!("invalid {name}: it is one word of ASCII characters");
            findings.refuse(&written.key(name), message, None);
        }
    }
}

/// The secret of the configuration.
fn secret(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<PasswordSource> {
    let (file, credential) = (
        &written.fragment.secret_key_file,
        &written.fragment.credential,
    );
    if file.is_some() && credential.is_some() {
        findings.refuse_key(
            &written.key("credential"),
            "both secret_key_file and credential are set".to_owned(),
            Some("leave one of them".to_owned()),
        );
    }
    let file = file.as_ref();
    let file = file.map(|path| PasswordSource::File(path.0.clone()));
    let credential = credential.as_ref();
    let credential = credential.map(|name| PasswordSource::Credential(name.0.clone()));
    file.or(credential)
}

/// Where the credentials come from, where that is not a secret of the configuration; a secret is refused then.
fn elsewhere(findings: &mut Findings<'_>, written: &Written<'_>) -> Option<CredentialsFrom> {
    let from = written.fragment.credentials.map(|word| word.0);
    let from = from.filter(|from| *from != CredentialsFrom::Keys)?;
    for name in ["access_key_id", "secret_key_file", "credential"] {
        let at = written.key(name);
        if findings.settings.is_written(&at) {
            let message = format!("{name} is set, and the credentials come from elsewhere");
            let way = "remove it, or write credentials = \"keys\"".to_owned();
            findings.refuse_key(&at, message, Some(way));
        }
    }
    Some(from)
}

/// Refuses a destination without credentials.
fn refuse_without_credentials(findings: &mut Findings<'_>, written: &Written<'_>, ways: &str) {
    findings.refuse_key(
        &written.table,
        "the destination has no credentials".to_owned(),
        Some(ways.to_owned()),
    );
}

/// A variable of the environment that is not empty.
fn variable(environment: &BTreeMap<String, String>, names: &[&str]) -> Option<String> {
    let values = names.iter().filter_map(|name| environment.get(*name));
    values.into_iter().find(|value| !value.is_empty()).cloned()
}

/// The address of a store that a variable of the environment gives, without a slash at its end.
///
/// # Errors
/// It is no address; the error does not show it.
fn endpoint_of(
    environment: &BTreeMap<String, String>,
    names: &[&str],
) -> Result<Option<String>, String> {
    let Some(endpoint) = variable(environment, names) else {
        return Ok(None);
    };
    let name = names.last().copied().unwrap_or_default();
    address::check(&endpoint).map_err(|message| format!("{name}: {message}"))?;
    Ok(Some(endpoint.trim_end_matches('/').to_owned()))
}

fn timeout(findings: &mut Findings<'_>, written: &Written<'_>) -> Duration {
    let timeout = written.fragment.timeout.as_ref();
    let timeout = timeout.map_or(TIMEOUT, |time| time.0);
    if timeout > LONGEST_TIMEOUT {
        findings.refuse(
            &written.key("timeout"),
            "no request may take so long".to_owned(),
            Some("write at most timeout = \"1 hour\"".to_owned()),
        );
    }
    timeout
}

/// The series whose backups are copied; one that no job makes is a mistake.
fn series(findings: &mut Findings<'_>, written: &Written<'_>, all: &Fragment) -> Vec<Series> {
    let mut series = Vec::new();
    let Some(list) = &written.fragment.series else {
        return series;
    };
    if list.is_empty() {
        let way = "name series, or remove it for all of them".to_owned();
        let message = "the list of series is empty".to_owned();
        findings.refuse(&written.key("series"), message, Some(way));
    }
    for (index, name) in list.iter().enumerate() {
        let at = [written.key("series"), key(&[&index.to_string()])].concat();
        match name.parse::<Series>() {
            Ok(one) => {
                let is_made =
                    |job: &super::fragment::JobFragment| job.series.as_ref() == Some(name);
                if !one.is_manual() && !all.jobs.values().any(is_made) {
                    let message = format!("{}: no job makes the series {name}", at.join("."));
                    findings.warn(message);
                }
                series.push(one);
            }
            Err(error) => findings.refuse(&at, error.to_string(), None),
        }
    }
    series
}

impl DestinationSettings {
    /// The settings of an address alone: those of a store come from the usual environment, `AWS_…`, `AZURE_…` and
    /// `GOOGLE_APPLICATION_CREDENTIALS`; what ssh does not find by itself from `SFTP_IDENTITY_FILE`,
    /// `SFTP_KNOWN_HOSTS_FILE` and `SFTP_SSH_CONFIG_FILE`.
    ///
    /// # Errors
    /// It is no address of a destination; the error does not show it.
    pub fn of_url(text: &str, environment: &BTreeMap<String, String>) -> Result<Self, String> {
        let address = match place(text)? {
            Place::Directory(path) => DestinationAddress::Directory {
                path,
                mounted: false,
            },
            Place::Sftp(address) => {
                let settings = sftp::from_environment(address, environment)?;
                DestinationAddress::Sftp(Box::new(settings))
            }
            Place::S3(bucket) => {
                let settings = s3::from_environment(bucket, environment)?;
                DestinationAddress::S3(Box::new(settings))
            }
            Place::Azure(container) => {
                let settings = azure::from_environment(container, environment)?;
                DestinationAddress::Azure(Box::new(settings))
            }
            Place::Google(bucket) => {
                let settings = google::from_environment(bucket, environment)?;
                DestinationAddress::Google(Box::new(settings))
            }
        };
        Ok(Self {
            address,
            timeout: TIMEOUT,
        })
    }
}
