//! Whether the servers can be connected to. It is looked at after the start and after each reload, and
//! again while something is wrong; what is wrong for good is reported before a night's backup fails.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Service;
use crate::config::{Databases, Server};
use crate::display::one_line;
use crate::emit;
use crate::jobs::{
    ConnectionFailure, ConnectionFailureKind, JobContext, ServerConnections, check_connections,
};

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
        ConnectionFailureKind::NoSuchDatabase
        | ConnectionFailureKind::Passing
        | ConnectionFailureKind::DueRunFailed => 300,
        ConnectionFailureKind::Refused | ConnectionFailureKind::Misconfigured => 3600,
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

    /// Takes note of a server whose databases could not be found when a job was due.
    fn due_run_failed(&mut self, server: &str, message: String, now: DateTime<Utc>) {
        let is_known = self.failures.iter().any(|(failure, _)| {
            failure.server == server && failure.kind == ConnectionFailureKind::DueRunFailed
        });
        if !is_known {
            let failure = ConnectionFailure {
                server: server.to_owned(),
                database: None,
                kind: ConnectionFailureKind::DueRunFailed,
                message,
            };
            self.failures.push((failure, now));
        }
    }

    /// What fails for good, and what has made a run fail, for the state.
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

/// What differs from the look before.
#[derive(Debug, Default, PartialEq, Eq)]
struct News {
    new: Vec<ConnectionFailure>,
    cured: Vec<ConnectionFailure>,
}

impl Connections {
    /// Takes in what looking at a server has found. What fails as before is no news. A server that does not
    /// answer now cures nothing: what it lacked, it lacks as far as is known.
    fn update(&mut self, found: ServerConnections, now: DateTime<Utc>) -> News {
        let is_same = |one: &ConnectionFailure, other: &ConnectionFailure| {
            (&one.server, &one.database, one.kind) == (&other.server, &other.database, other.kind)
        };
        // What the look at a server that does not answer says nothing about.
        let lasts = |failure: &ConnectionFailure| {
            failure.database.is_some() || failure.kind == ConnectionFailureKind::DueRunFailed
        };
        let mut news = News::default();
        let is_cut_short = found
            .failures
            .iter()
            .any(|failure| failure.database.is_none());
        let (before, mut kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.failures)
            .into_iter()
            .partition(|(failure, _)| failure.server == found.server);
        for (failure, since) in &before {
            let answers = match &failure.database {
                Some(name) => found.databases.contains(name),
                None => !is_cut_short,
            };
            let still_fails = found.failures.iter().any(|new| is_same(new, failure));
            if answers {
                news.cured.push(failure.clone());
            } else if is_cut_short && !still_fails && lasts(failure) {
                kept.push((failure.clone(), *since));
            }
        }
        for failure in found.failures {
            let known = before.iter().find(|(known, _)| is_same(known, &failure));
            if known.is_none() {
                news.new.push(failure.clone());
            }
            let since = known.map_or(now, |(_, since)| *since);
            kept.push((failure, since));
        }
        self.failures = kept;
        news
    }

    /// Forgets what is about servers and databases that are not configured any more.
    fn keep_configured(&mut self, servers: &[Server]) {
        self.failures.retain(|(failure, _)| {
            servers.iter().any(|server| {
                server.name == failure.server
                    && match (&failure.database, &server.databases) {
                        (Some(name), Databases::Named(named)) => {
                            named.iter().any(|database| database.name == *name)
                        }
                        _ => true,
                    }
            })
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
        self.connections
            .keep_configured(&self.configuration.plan.servers);
        for server in self.configuration.plan.servers.clone() {
            let context = self.configuration.context();
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

    /// A job could not find the databases of a server, and does not try again: that is a problem until the
    /// server answers, which is looked at from now on.
    pub(super) fn take_failed_search(&mut self, server: &str, message: String) {
        self.connections.due_run_failed(server, message, Utc::now());
        self.check_connections();
    }

    /// Takes in what looking at a server has found, and reports what is new.
    pub(super) fn take_connections(&mut self, round: u64, found: ServerConnections) {
        if round != self.connections.round {
            return;
        }
        let news = self.connections.update(found, Utc::now());
        for failure in &news.cured {
            tracing::info!("{} can be connected to now", self.named(failure));
        }
        for failure in &news.new {
            self.report_failure(failure);
        }
    }

    /// `server main`, or `database sales` with its server where there are several.
    fn named(&self, failure: &ConnectionFailure) -> String {
        match &failure.database {
            Some(database) => format!(
                "database {}",
                one_line(&self.configuration.plan.label(&failure.server, database))
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
            // The run has reported it.
            ConnectionFailureKind::DueRunFailed => {}
            ConnectionFailureKind::Passing => emit!(
                ServerUnreachable,
                { server = %server },
                "{named} cannot be reached now; every run will try again: {message}"
            ),
            ConnectionFailureKind::NoSuchDatabase
            | ConnectionFailureKind::Refused
            | ConnectionFailureKind::Misconfigured => emit!(
                CannotConnect,
                { server = %server, database = database.as_deref() },
                "{named} cannot be backed up as configured: {message}"
            ),
        }
    }
}

async fn look_again_and_again(
    context: &JobContext,
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

    use super::{ConnectionFailureKind, Connections, News, pause};
    use crate::jobs::{ConnectionFailure, ServerConnections};

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

    fn found(databases: &[&str], failures: Vec<ConnectionFailure>) -> ServerConnections {
        ServerConnections {
            server: "main".to_owned(),
            databases: databases.iter().map(ToString::to_string).collect(),
            failures,
        }
    }

    #[test]
    fn only_what_is_new_is_reported_and_only_what_answers_is_cured() {
        use ConnectionFailureKind::{NoSuchDatabase, Passing, Refused};
        let (sender, _receiver) = mpsc::unbounded_channel();
        let mut connections = Connections::new(sender);
        let now = chrono::Utc::now();
        let (gone, down) = (
            failure(Some("gone"), NoSuchDatabase),
            failure(None, Passing),
        );
        let revoked = failure(Some("gone"), Refused);
        let news = |new: &[&ConnectionFailure], cured: &[&ConnectionFailure]| News {
            new: new.iter().map(|&failure| failure.clone()).collect(),
            cured: cured.iter().map(|&failure| failure.clone()).collect(),
        };
        for (look, expected, lasting) in [
            (found(&["a"], vec![gone.clone()]), news(&[&gone], &[]), 1),
            // Again, after a reload as after a pause.
            (found(&["a"], vec![gone.clone()]), news(&[], &[]), 1),
            // The server is down: nobody knows better of the database.
            (found(&[], vec![down.clone()]), news(&[&down], &[]), 1),
            (found(&["a"], vec![gone.clone()]), news(&[], &[&down]), 1),
            // Made, but not for us; and then for us.
            (
                found(&["a"], vec![revoked.clone()]),
                news(&[&revoked], &[]),
                1,
            ),
            (found(&["a", "gone"], vec![]), news(&[], &[&revoked]), 0),
        ] {
            assert_eq!(connections.update(look.clone(), now), expected, "{look:?}");
            assert_eq!(connections.refused().count(), lasting, "{look:?}");
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
