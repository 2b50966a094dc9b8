//! What `status --from --json` prints.

use schemars::JsonSchema;
use serde::Serialize;

use crate::copies::{HostState, NewestThere, Place, RefusedStatus};
use crate::jobs::{FleetHostReport, FleetReport, OpenedState};
use crate::policy::{CopyState, Series, Severity};

/// The whole document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct FleetDocument {
    /// Whether nothing needs attention; if not, the exit code is 1.
    ok: bool,
    /// The destination, as it was named.
    destination: String,
    /// When this was seen, by the store's clock where it has one.
    at: String,
    /// The hosts, by name.
    hosts: Vec<Host>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Host {
    #[serde(rename = "host")]
    name: String,
    ok: bool,
    state: String,
    attention: Vec<String>,
    heard: Option<String>,
    next_due: Option<String>,
    signer: Option<String>,
    refused: Option<Refused>,
    critical: Option<u64>,
    warnings: Option<u64>,
    reported: Option<Reported>,
    unreadable: Option<String>,
    copies: Vec<NewestCopy>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Refused {
    at: String,
    reason: String,
    unknown_signer: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Reported {
    version: String,
    concerns: Vec<Concern>,
    more_concerns: u64,
    databases: Vec<Database>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Concern {
    id: String,
    kind: String,
    severity: Severity,
    about: Option<String>,
    message: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Database {
    server: String,
    #[serde(rename = "database")]
    name: String,
    newest: Option<String>,
    copies: Vec<Copies>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Copies {
    destination: String,
    newest: Option<String>,
    state: Option<CopyState>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct NewestCopy {
    server: String,
    database: String,
    series: String,
    backup: Option<String>,
    run: Option<String>,
    started: Option<String>,
    copied: Option<String>,
    next_due: Option<String>,
    manifest: Option<String>,
    signer: Option<String>,
    missing_volumes: u64,
    refused: Option<String>,
}

impl FleetDocument {
    /// The hosts at a destination, for programs.
    pub(super) fn of(report: &FleetReport, destination: &str) -> Self {
        Self {
            ok: !report.hosts.iter().any(FleetHostReport::needs_attention),
            destination: destination.to_owned(),
            at: report.at.to_rfc3339(),
            hosts: report.hosts.iter().map(host).collect(),
        }
    }
}

fn host(report: &FleetHostReport) -> Host {
    let heard = report.status.newest.as_ref();
    let concerns = report.concerns();
    let (opened, unreadable) = match &report.state {
        OpenedState::Opened(state) => (Some(reported(state)), None),
        OpenedState::Failed(why) => (None, Some(why.clone())),
        OpenedState::None | OpenedState::Closed => (None, None),
    };
    let copies = report.copies.iter();
    Host {
        name: report.host.clone(),
        ok: !report.needs_attention(),
        state: report.verdict.word.clone(),
        attention: report.verdict.attention.clone(),
        heard: heard.map(|heard| heard.stored.to_rfc3339()),
        next_due: heard.map(|heard| heard.status.next_due.to_rfc3339()),
        signer: heard.map(|heard| heard.signature.fingerprint.clone()),
        refused: report.status.refused.as_ref().map(refused),
        critical: concerns.map(|(critical, _)| critical),
        warnings: concerns.map(|(_, warnings)| warnings),
        reported: opened,
        unreadable,
        copies: copies
            .map(|(place, series, newest)| newest_copy((place, series), newest))
            .collect(),
    }
}

fn refused(refused: &RefusedStatus) -> Refused {
    Refused {
        at: refused.stored.to_rfc3339(),
        reason: refused.reason.clone(),
        unknown_signer: refused.unknown_signer.clone(),
    }
}

fn reported(state: &HostState) -> Reported {
    let concerns = state.concerns.iter().map(|concern| Concern {
        id: concern.id.clone(),
        kind: concern.kind.clone(),
        severity: concern.severity,
        about: concern.about.clone(),
        message: concern.message.clone(),
    });
    let databases = state.databases.iter().map(|database| Database {
        server: database.server.clone(),
        name: database.database.clone(),
        newest: database.newest.map(|newest| newest.to_rfc3339()),
        copies: database
            .copies
            .iter()
            .map(|copies| Copies {
                destination: copies.destination.clone(),
                newest: copies.newest.map(|newest| newest.to_rfc3339()),
                state: copies.state,
            })
            .collect(),
    });
    Reported {
        version: state.version.clone(),
        concerns: concerns.collect(),
        more_concerns: state.more_concerns,
        databases: databases.collect(),
    }
}

fn newest_copy((place, series): (&Place, &Series), newest: &NewestThere) -> NewestCopy {
    let copy = newest.copy.as_ref();
    let manifest = copy.map(|copy| &copy.manifest.manifest);
    NewestCopy {
        server: place.server.clone(),
        database: place.database.clone(),
        series: series.to_string(),
        backup: copy.map(|copy| copy.name.stem().to_string()),
        run: copy.map(|copy| copy.name.run().to_string()),
        started: manifest.map(|manifest| manifest.started.to_rfc3339()),
        copied: copy.map(|copy| copy.manifest.stored.to_rfc3339()),
        next_due: manifest.and_then(|manifest| Some(manifest.next_due?.to_rfc3339())),
        manifest: copy.map(|copy| copy.manifest.sha256.to_string()),
        signer: copy.map(|copy| copy.manifest.signature.fingerprint.clone()),
        missing_volumes: copy.map_or(0, |copy| copy.lacking.len() as u64),
        refused: newest.refused.clone(),
    }
}
