//! This host's state, put at each destination. It takes no lock and waits for no copy; a failure is noted and
//! tried again later.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use tokio::time::timeout;

use crate::config::{Destination, Plan};
use crate::copies::{
    CLOCK_TOLERANCE, ConcernCounts, HostConcern, HostCopies, HostDatabase, HostState, HostStatus,
    Signer, layout, remove_old_statuses,
};
use crate::destination::{self, Store};
use crate::display::rough_span;
use crate::jobs::own_host::OwnHost;
use crate::jobs::{JobContext, StatusReport};
use crate::policy::{Concern, LastStatus, STATUS_EVERY, Severity, is_status_due};
use crate::repository::{DestinationFile as _, StatusPut};
use crate::threads;

/// So long a destination has for it; each request has its own limit besides.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// States are kept for so long.
const KEPT: TimeDelta = TimeDelta::days(28);

/// So many old ones are removed at a time at most.
const REMOVED_AT_ONCE: usize = 50;

/// A state that is put later than this after it was made counts for nothing.
const LONGEST_LAG: TimeDelta = TimeDelta::minutes(25);

/// What became of the state at one destination.
#[derive(Debug)]
pub struct StatusAttempt {
    /// The destination.
    pub destination: String,
    /// Why none was put, if so.
    pub failure: Option<String>,
    /// Whether that is news: it was not so before.
    pub is_news: bool,
}

/// Puts this host's state at each destination where it is due. Where it is not, nothing is asked.
pub async fn put_status(
    context: &JobContext,
    plan: &Arc<Plan>,
    status: &Arc<StatusReport>,
) -> Vec<StatusAttempt> {
    let mut concerns: Vec<String> = status.concerns.iter().map(Concern::id).collect();
    concerns.sort();
    let putting = plan.destinations.iter().map(|destination| {
        let put = Put {
            context,
            plan,
            status,
            destination,
            concerns: &concerns,
        };
        put.carry_out()
    });
    join_all(putting).await.into_iter().flatten().collect()
}

/// The putting of a state at one destination.
#[derive(Clone, Copy)]
struct Put<'a> {
    context: &'a JobContext,
    plan: &'a Arc<Plan>,
    status: &'a StatusReport,
    destination: &'a Destination,
    /// The ids of all concerns, sorted.
    concerns: &'a [String],
}

impl Put<'_> {
    /// Puts it if it is due; none if it is not.
    async fn carry_out(self) -> Option<StatusAttempt> {
        let now = Utc::now();
        let mut known = self.known().await?;
        if !is_status_due(known.last.as_ref(), known.tried, (self.concerns, now)) {
            return None;
        }
        let before = known.tidied;
        let put = match timeout(PATIENCE, self.put(now, before)).await {
            Ok(put) => put,
            Err(_) => Err(format!("it took longer than {}", rough_span(PATIENCE))),
        };
        let (failure, is_news) = match put {
            Ok(tidied) => {
                known.tidied = tidied;
                known.succeed(LastStatus {
                    at: now,
                    concerns: self.concerns.to_vec(),
                });
                (None, false)
            }
            Err(why) => {
                let is_news = known.fail(why.clone(), now);
                (Some(why), is_news)
            }
        };
        self.note(known).await;
        Some(StatusAttempt {
            destination: self.destination.name.clone(),
            failure,
            is_news,
        })
    }

    /// What is known of those before; none where the state directory does not answer.
    async fn known(self) -> Option<StatusPut> {
        let (state, name) = self.place();
        let address = self.destination.settings.full_address();
        let read = threads::io("status", move || {
            Ok(StatusPut::read(&state, &name, &address))
        });
        read.await.ok()
    }

    async fn note(self, known: StatusPut) {
        let (state, name) = self.place();
        let written = threads::io("status", move || known.write(&state, &name));
        if let Err(error) = written.await {
            tracing::debug!("that a state was put cannot be noted: {error}");
        }
    }

    fn place(self) -> (std::path::PathBuf, String) {
        let state = self.context.state_directory.clone();
        (state, self.destination.name.clone())
    }

    /// Puts it, and then removes old ones once a day; `tidied` is when that was done last. Gives when it was done
    /// now.
    async fn put(
        self,
        now: DateTime<Utc>,
        tidied: Option<DateTime<Utc>>,
    ) -> Result<Option<DateTime<Utc>>, String> {
        let (own, signer) = self.own().await?;
        let host = &own.name;
        let settings = &self.destination.settings;
        let store = destination::open(settings, &self.context.environment);
        let store = store.map_err(|error| error.to_string())?;
        check_clock(&*store).await?;
        let status = self.document((host, &signer), now)?;
        let bytes = status.to_bytes().map_err(|error| error.to_string())?;
        let signature = signer.sign(&bytes).map_err(|error| error.to_string())?;
        let key = layout::status_at(host, status.made).map_err(|error| error.to_string())?;
        let of_signature = layout::status_signature(&key).ok_or("the key of the state is wrong")?;
        for (key, content) in [
            (of_signature, Bytes::from(signature)),
            (key, Bytes::from(bytes)),
        ] {
            let put = store.put_new(&key, content).await;
            put.map_err(|error| error.to_string())?;
        }
        if tidied.is_some_and(|tidied| tidied <= now && now - tidied < STATUS_EVERY) {
            return Ok(tidied);
        }
        let old = (now - KEPT, REMOVED_AT_ONCE);
        // A store that removes nothing is as good.
        if let Err(error) = remove_old_statuses(&*store, (host, &own.trusted()), old).await {
            let name = &self.destination.name;
            tracing::debug!("old states of this host stay at {name}: {error}");
        }
        Ok(Some(now))
    }

    /// This host's name and signing key, which are made where they are not there yet.
    async fn own(self) -> Result<(OwnHost, Signer), String> {
        let context = self.context.clone();
        let own = threads::io("status", move || {
            OwnHost::to_sign(&context).map_err(io::Error::other)
        });
        own.await.map_err(|error| error.to_string())
    }

    /// The document: sealed to the recipients, and at a plain destination nothing but numbers.
    fn document(
        self,
        (host, signer): (&str, &Signer),
        now: DateTime<Utc>,
    ) -> Result<HostStatus, String> {
        let status = HostStatus::new(host, signer.fingerprint(), (now, now + STATUS_EVERY));
        if self.destination.plain {
            let count = |severity| {
                let concerns = self.status.concerns.iter();
                concerns.filter(|one| one.severity == severity).count() as u64
            };
            return Ok(HostStatus {
                concerns: Some(ConcernCounts {
                    critical: count(Severity::Critical),
                    warning: count(Severity::Warning),
                }),
                ..status
            });
        }
        let recipients = &self.plan.recipients;
        let sealed = host_state(self.status).seal(recipients);
        let mut prints: Vec<String> = recipients
            .iter()
            .map(|one| one.fingerprint().to_owned())
            .collect();
        prints.sort();
        Ok(HostStatus {
            recipients: prints,
            sealed: Some(sealed.map_err(|error| error.to_string())?),
            ..status
        })
    }
}

/// Refuses to put what would count for nothing.
async fn check_clock(store: &dyn Store) -> Result<(), String> {
    let offset = store
        .clock_offset()
        .await
        .map_err(|error| error.to_string())?;
    let Some(offset) = offset else {
        return Ok(());
    };
    if -offset <= CLOCK_TOLERANCE && offset <= LONGEST_LAG {
        return Ok(());
    }
    Err(format!(
        "it would not count: this machine's clock is {} {} the store's\n\
         hint: set the clock; `timedatectl` shows whether it is synchronised",
        rough_span(offset.abs().to_std().unwrap_or_default()),
        if offset > TimeDelta::zero() {
            "behind"
        } else {
            "ahead of"
        }
    ))
}

/// What the recipients read: the same as `status`, without paths.
fn host_state(status: &StatusReport) -> HostState {
    let concerns = status.concerns.iter().map(|concern| HostConcern {
        id: concern.id(),
        kind: concern.kind.word().to_owned(),
        severity: concern.severity,
        about: status.about(concern),
        message: concern.sentence.clone(),
    });
    let databases = status.databases.iter().map(|database| {
        let copies = database.facts.copies.iter().map(|copies| HostCopies {
            destination: copies.destination.clone(),
            newest: copies.newest.as_ref().map(|newest| newest.started),
            state: copies.newest.as_ref().map(|newest| newest.state),
        });
        HostDatabase {
            server: database.facts.server.clone(),
            database: database.facts.database.clone(),
            newest: database.newest.map(|newest| newest.to_utc()),
            copies: copies.collect(),
        }
    });
    let state = HostState {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        concerns: concerns.collect(),
        more_concerns: 0,
        databases: databases.collect(),
    };
    state.bounded()
}
