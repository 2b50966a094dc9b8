//! All hosts that have something at a destination: who was heard last when, and how new the copies are. Only what a
//! trusted key has signed counts; all else is shown with the reason why it does not.

use chrono::{DateTime, Utc};
use futures::StreamExt as _;

use crate::copies::{
    Copy, HeardStatus, HostState, HostStatusThere, Identities, NewestThere, Place, hosts, places,
    read_host_status, read_newest_copies,
};
use crate::destination::DestinationError;
use crate::display::one_line;
use crate::jobs::error::JobError;
use crate::jobs::fetch::{CopySource, WantedPlaces};
use crate::jobs::run::Run;
use crate::policy::{FleetCopy, FleetHost, FleetVerdict, Series, Severity, judge_host};

/// So many databases are asked for at once.
const AT_ONCE: usize = 4;

/// The hosts at a destination.
#[derive(Debug)]
pub struct FleetReport {
    /// When it was looked at, by the store's clock where it has one.
    pub at: DateTime<Utc>,
    /// The hosts, by name.
    pub hosts: Vec<FleetHostReport>,
}

/// What lies there of one host.
#[derive(Debug)]
pub struct FleetHostReport {
    /// The host.
    pub host: String,
    /// Its states.
    pub status: HostStatusThere,
    /// What the newest one that counts says, to whoever has the identity.
    pub state: OpenedState,
    /// The newest copy of each series of each database.
    pub copies: Vec<(Place, Series, NewestThere)>,
    /// How it stands.
    pub verdict: FleetVerdict,
}

/// What is sealed in a state.
#[derive(Debug)]
pub enum OpenedState {
    /// Nothing is: there is none, or it is at a plain destination.
    None,
    /// No identity was given.
    Closed,
    /// It cannot be opened, for this reason.
    Failed(String),
    /// This.
    Opened(Box<HostState>),
}

impl FleetHostReport {
    /// Whether anything needs attention.
    pub fn needs_attention(&self) -> bool {
        !self.verdict.attention.is_empty()
    }

    /// How many concerns of each severity it has, critical ones first, where that is known.
    pub fn concerns(&self) -> Option<(u64, u64)> {
        if let OpenedState::Opened(state) = &self.state {
            let count = |severity| {
                let concerns = state.concerns.iter();
                concerns.filter(|one| one.severity == severity).count() as u64
            };
            let critical = count(Severity::Critical);
            // What there is no room for comes behind.
            return Some((critical, count(Severity::Warning) + state.more_concerns));
        }
        let counts = self.status.newest.as_ref()?.status.concerns?;
        Some((counts.critical, counts.warning))
    }
}

/// Looks at the hosts that are meant.
///
/// # Errors
/// When there is none, or the destination cannot be asked.
pub async fn look_at_fleet(
    run: &Run<'_>,
    source: &CopySource,
    (wanted, identities): (WantedPlaces<'_>, Option<&Identities>),
) -> Result<FleetReport, JobError> {
    let looking = look(source, wanted, identities);
    let report = run.wait_for(looking).await??;
    if report.hosts.is_empty() {
        let host = wanted
            .host
            .map_or_else(String::new, |host| format!(" host {host:?} at"));
        let label = &source.label;
        let message = if host.is_empty() {
            format!(
                "there are no copies at {label}\n\
                 hint: check the address: the folder v1 of the copies lies directly below it"
            )
        } else {
            format!("there is no{host} {label}\nhint: leave out --host to see all")
        };
        return Err(JobError::failed(message));
    }
    if !wanted.databases.is_empty() && report.hosts.iter().all(|host| host.copies.is_empty()) {
        let label = &source.label;
        let names: Vec<String> = wanted.databases.iter().map(|name| one_line(name)).collect();
        return Err(JobError::failed(format!(
            "there are no copies of {} at {label}\nhint: leave out --database to see all",
            names.join(", ")
        )));
    }
    Ok(report)
}

async fn look(
    source: &CopySource,
    wanted: WantedPlaces<'_>,
    identities: Option<&Identities>,
) -> Result<FleetReport, DestinationError> {
    let store = &*source.store;
    let offset = store.clock_offset().await?;
    let at = Utc::now() + offset.unwrap_or_default();
    let mut found = Vec::new();
    for host in hosts(store).await? {
        if wanted.host.is_none_or(|wanted| wanted == host) {
            found.push(one_host(source, (host, at), (wanted, identities)).await?);
        }
    }
    Ok(FleetReport { at, hosts: found })
}

async fn one_host(
    source: &CopySource,
    (host, at): (String, DateTime<Utc>),
    (wanted, identities): (WantedPlaces<'_>, Option<&Identities>),
) -> Result<FleetHostReport, DestinationError> {
    let store = &*source.store;
    let status = read_host_status(store, &host, &source.trusted).await?;
    let state = opened(status.newest.as_ref(), identities);
    let places = places(store, &host).await?;
    let places = places.into_iter().filter(|place| wanted.admits(place));
    let mut reading = futures::stream::iter(places)
        .map(async |place| {
            let copies = read_newest_copies(store, &place, &source.trusted).await;
            copies.map(|copies| (place, copies))
        })
        .buffered(AT_ONCE);
    let mut copies = Vec::new();
    while let Some(read) = reading.next().await {
        let (place, by_series) = read?;
        let by_series = by_series.into_iter();
        copies.extend(by_series.map(|(series, newest)| (place.clone(), series, newest)));
    }
    let mut report = FleetHostReport {
        host,
        status,
        state,
        copies,
        verdict: FleetVerdict {
            word: String::new(),
            attention: Vec::new(),
        },
    };
    report.verdict = judge_host(&facts(&report), at);
    Ok(report)
}

fn opened(newest: Option<&HeardStatus>, identities: Option<&Identities>) -> OpenedState {
    let Some(newest) = newest.filter(|newest| newest.status.sealed.is_some()) else {
        return OpenedState::None;
    };
    let Some(identities) = identities else {
        return OpenedState::Closed;
    };
    match newest.status.open(identities) {
        None => OpenedState::None,
        Some(Ok(state)) => OpenedState::Opened(Box::new(state)),
        Some(Err(error)) => OpenedState::Failed(error.to_string()),
    }
}

/// What is judged of a host.
fn facts(report: &FleetHostReport) -> FleetHost {
    let heard = report.status.newest.as_ref();
    let copies = report.copies.iter();
    FleetHost {
        host: report.host.clone(),
        heard: heard.map(|heard| (heard.stored, heard.status.next_due)),
        refused: report
            .status
            .refused
            .as_ref()
            .map(|refused| refused.reason.clone()),
        concerns: report.concerns(),
        copies: copies
            .map(|(place, series, newest)| FleetCopy {
                label: format!("{}/{} {series}", place.server, place.database),
                newest: newest.copy.as_ref().map(|copy| {
                    let manifest = &copy.manifest.manifest;
                    (manifest.started.to_utc(), manifest.next_due)
                }),
                is_incomplete: newest
                    .copy
                    .as_ref()
                    .is_some_and(|copy| !Copy::is_complete(copy)),
                refused: newest.refused.clone(),
            })
            .collect(),
    }
}
