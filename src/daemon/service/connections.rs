//! Whether the servers can be connected to. It is looked at after the start and after each reload, and
//! again while something is wrong; what is wrong for good is reported before a night's backup fails.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::config::Server;
use crate::jobs::{
    ConnectionFailure, ConnectionFailureKind, Context, ServerConnections, check_connections,
};
use crate::tell;
use crate::words::one_line;

/// What looking has found so far.
pub(super) struct Connections {
    /// What fails now, and since when that is known.
    failures: Vec<(ConnectionFailure, DateTime<Utc>)>,
    /// Results come back through this, each with the number of its round.
    found: mpsc::UnboundedSender<(u64, ServerConnections)>,
    /// The number of the round that counts: one a configuration.
    round: u64,
    /// Ends the round.
    cancel: CancellationToken,
}

/// How long until a server is looked at again: never where nothing fails. What a database administrator
/// does is seen soon; a password that is refused is not tried so often that it could lock the user.
fn pause(failures: &[ConnectionFailure]) -> Option<Duration> {
    let pause = |failure: &ConnectionFailure| match failure.kind {
        ConnectionFailureKind::NoSuchDatabase | ConnectionFailureKind::Passing => 300,
        ConnectionFailureKind::Refused => 3600,
    };
    failures.iter().map(pause).min().map(Duration::from_secs)
}

impl Connections {
    pub(super) fn new(found: mpsc::UnboundedSender<(u64, ServerConnections)>) -> Self {
        Self {
            failures: Vec::new(),
            found,
            round: 0,
            cancel: CancellationToken::new(),
        }
    }

    /// What fails for good, for the state.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&ConnectionFailure, DateTime<Utc>)> {
        let failures = self.failures.iter();
        failures
            .filter(|(failure, _)| failure.kind != ConnectionFailureKind::Passing)
            .map(|(failure, since)| (failure, *since))
    }

    /// Takes note of a database that was connected to since.
    pub(super) fn succeeded(&mut self, server: &str, database: Option<&str>) {
        self.failures.retain(|(failure, _)| {
            failure.server != server
                || failure.database.is_some() && failure.database.as_deref() != database
        });
    }
}

impl Service {
    /// Begins to look at the servers of the configuration that is in force now. A server that does not
    /// answer is no reason not to start: every run tries again.
    pub(super) fn check_connections(&mut self) {
        self.connections.cancel.cancel();
        self.connections.cancel = self.cancel.child_token();
        self.connections.round += 1;
        self.connections.failures.clear();
        for server in self.plan.servers.clone() {
            let context = Context::new(&self.plan, &self.environment);
            let found = self.connections.found.clone();
            let round = self.connections.round;
            let cancel = self.connections.cancel.clone();
            tokio::spawn(async move {
                let looking = look_again_and_again(&context, &server, |connections| {
                    // Nobody listens any more once the service stops.
                    found.send((round, connections)).ok();
                });
                cancel.run_until_cancelled(looking).await;
            });
        }
    }

    /// Takes in what looking at a server has found, and reports what is new.
    pub(super) fn take_connections(&mut self, round: u64, found: ServerConnections) {
        if round != self.connections.round {
            return;
        }
        let now = Utc::now();
        let is_same = |one: &ConnectionFailure, other: &ConnectionFailure| {
            (&one.server, &one.database, one.kind) == (&other.server, &other.database, other.kind)
        };
        let (before, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.connections.failures)
            .into_iter()
            .partition(|(failure, _)| failure.server == found.server);
        self.connections.failures = others;
        for (failure, _) in &before {
            if !found.failures.iter().any(|new| is_same(new, failure)) {
                tracing::info!("{} can be connected to now", self.named(failure));
            }
        }
        for failure in found.failures {
            let known = before.iter().find(|(known, _)| is_same(known, &failure));
            if known.is_none() {
                self.report_failure(&failure);
            }
            let since = known.map_or(now, |(_, since)| *since);
            self.connections.failures.push((failure, since));
        }
    }

    /// `server main`, or `database sales` with its server where there are several.
    fn named(&self, failure: &ConnectionFailure) -> String {
        match &failure.database {
            Some(database) => format!(
                "database {}",
                one_line(&self.plan.label(&failure.server, database))
            ),
            None => format!("server {}", failure.server),
        }
    }

    fn report_failure(&self, failure: &ConnectionFailure) {
        let named = self.named(failure);
        let ConnectionFailure {
            server,
            database,
            kind,
            message,
        } = failure;
        match kind {
            ConnectionFailureKind::Passing => tell!(
                ServerUnreachable,
                { server = %server },
                "{named} cannot be reached now; every run will try again: {message}"
            ),
            ConnectionFailureKind::NoSuchDatabase | ConnectionFailureKind::Refused => tell!(
                CannotConnect,
                { server = %server, database = database.as_deref() },
                "{named} cannot be backed up as configured: {message}"
            ),
        }
    }
}

async fn look_again_and_again(
    context: &Context,
    server: &Server,
    report: impl Fn(ServerConnections),
) {
    loop {
        let found = check_connections(context, server).await;
        let pause = pause(&found.failures);
        report(found);
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::{ConnectionFailureKind, Connections, pause};
    use crate::jobs::ConnectionFailure;

    fn failure(database: Option<&str>, kind: ConnectionFailureKind) -> ConnectionFailure {
        ConnectionFailure {
            server: "main".to_owned(),
            database: database.map(str::to_owned),
            kind,
            message: "why".to_owned(),
        }
    }

    #[test]
    fn what_fails_is_looked_at_again_and_a_refused_password_seldom() {
        use ConnectionFailureKind::{NoSuchDatabase, Passing, Refused};
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        for (kinds, expected) in [
            (&[] as &[_], None),
            (&[NoSuchDatabase], minutes(5)),
            (&[Passing], minutes(5)),
            (&[Refused], minutes(60)),
            (&[Refused, NoSuchDatabase], minutes(5)),
        ] {
            let failures: Vec<_> = kinds.iter().map(|kind| failure(None, *kind)).collect();
            assert_eq!(pause(&failures), expected, "{kinds:?}");
        }
    }

    #[test]
    fn a_backup_that_succeeds_ends_the_failures_of_its_database() {
        use ConnectionFailureKind::{NoSuchDatabase, Passing, Refused};
        let (sender, _receiver) = mpsc::unbounded_channel();
        let mut connections = Connections::new(sender);
        let now = chrono::Utc::now();
        for (database, kind) in [
            (None, Refused),
            (Some("a"), NoSuchDatabase),
            (Some("b"), NoSuchDatabase),
            (Some("c"), Passing),
        ] {
            connections.failures.push((failure(database, kind), now));
        }
        let names = |connections: &Connections| -> Vec<Option<String>> {
            let refused = connections.refused();
            refused
                .map(|(failure, _)| failure.database.clone())
                .collect()
        };
        assert_eq!(names(&connections).len(), 3, "what passes is no concern");
        connections.succeeded("other", Some("a"));
        assert_eq!(names(&connections).len(), 3);
        connections.succeeded("main", Some("a"));
        assert_eq!(names(&connections), [Some("b".to_owned())]);
    }
}
