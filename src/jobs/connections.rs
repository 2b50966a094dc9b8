//! Whether the configured databases can be connected to: what a backup would find out at night.

use super::JobContext;
use super::error::{JobError, JobErrorKind};
use super::target::from_environment;
use crate::config::{Connection, Databases, Selection, Server, nearest};
use crate::display::count;
use crate::postgres::{
    Client, ConnectError, ConnectErrorKind, Conninfo, discover, unreadable, why_undiscovered,
};

/// What keeps databases of a server from being backed up as they are configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionFailure {
    /// The server's name in the configuration.
    pub server: String,
    /// The database; none where it is the whole server.
    pub database: Option<String>,
    /// What kind of failure it is.
    pub kind: ConnectionFailureKind,
    /// What failed, why, and the way out, in a sentence.
    pub message: String,
}

/// The kinds of failures to connect, by what ends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFailureKind {
    /// The server answers, and does not have the database.
    NoSuchDatabase,
    /// The server refuses the connection.
    Refused,
    /// It is configured wrongly: nothing that the server does ends it.
    Misconfigured,
    /// The server does not answer, or cannot take a connection now.
    Passing,
    /// The same, and a job could not even find its databases for it: no ledger has anything of that.
    DueRunFailed,
}

/// What connecting to a server has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConnections {
    /// The server's name in the configuration.
    pub server: String,
    /// The databases that would be backed up.
    pub databases: Vec<String>,
    /// What keeps others from it.
    pub failures: Vec<ConnectionFailure>,
}

/// Connects to every database of a server that would be backed up; where the configuration names none, the
/// server is asked for them.
///
/// A server that does not answer, or does not take the password, is not asked for its other databases.
pub async fn check_connections(context: &JobContext, server: &Server) -> ServerConnections {
    connections(context, server, false).await
}

/// The same, where each database is asked, too, whether our role may read all of it.
pub async fn check_readable(context: &JobContext, server: &Server) -> ServerConnections {
    connections(context, server, true).await
}

async fn connections(context: &JobContext, server: &Server, reads: bool) -> ServerConnections {
    let mut check = Check {
        context,
        server,
        reads,
        found: ServerConnections {
            server: server.name.clone(),
            databases: Vec::new(),
            failures: Vec::new(),
        },
    };
    match &server.databases {
        Databases::Named(databases) => {
            let names = databases.iter().map(|database| database.name.clone());
            check.named(names).await;
        }
        Databases::FromEnvironment => match from_environment(context, server) {
            Ok(name) => check.named(std::iter::once(name)).await,
            Err(error) => check.failed(None, &error),
        },
        Databases::All(selection) => check.all(selection).await,
    }
    check.found
}

/// The error of a connection whose password is a credential of the service, where this process is run by
/// hand.
pub fn missing_credential(context: &JobContext, connection: &Connection) -> Option<JobError> {
    let error = Conninfo::resolve(connection, &context.environment, None).err()?;
    error.is_elsewhere().then(|| error.into())
}

struct Check<'a> {
    context: &'a JobContext,
    server: &'a Server,
    /// Whether it is asked what our role may read.
    reads: bool,
    found: ServerConnections,
}

async fn connect(
    context: &JobContext,
    connection: &Connection,
    database: &str,
) -> Result<Client, JobError> {
    let conninfo = Conninfo::resolve(connection, &context.environment, Some(database))?;
    Ok(Client::connect(&conninfo, context.limits.connect).await?)
}

impl Check<'_> {
    async fn connect(&self, database: &str) -> Result<Client, JobError> {
        connect(self.context, &self.server.connection, database).await
    }

    async fn named(&mut self, names: impl Iterator<Item = String>) {
        for name in names {
            let name = name.as_str();
            match self.connect(name).await {
                Ok(client) => {
                    self.found.databases.push(name.to_owned());
                    self.read(name, &client).await;
                }
                Err(JobError::Connect(error)) if is_missing(&error) => {
                    let error = explain_missing(self.context, &self.server.connection, name).await;
                    self.add(Some(name), ConnectionFailureKind::NoSuchDatabase, &error);
                }
                Err(error) if concerns_all(&error) => return self.failed(None, &error),
                Err(error) => self.failed(Some(name), &error),
            }
        }
    }

    async fn read(&mut self, name: &str, client: &Client) {
        if !self.reads {
            return;
        }
        match unreadable(client).await {
            Ok(found) => {
                for sentence in found {
                    let error = JobError::failed(format!("database {name:?}: {sentence}"));
                    self.add(Some(name), ConnectionFailureKind::Refused, &error);
                }
            }
            Err(error) => self.failed(Some(name), &error.into()),
        }
    }

    async fn all(&mut self, selection: &Selection) {
        let listed = async {
            let client = self.connect("postgres").await?;
            let names = discover(&client).await?;
            Ok::<_, JobError>((client, names))
        };
        let (client, names) = match listed.await {
            Ok(listed) => listed,
            Err(error) => return self.failed(None, &error),
        };
        let address = client.conninfo().server();
        for name in selection.include.literal() {
            if selection.exclude.is_match(name) {
                let error = JobError::failed(format!(
                    "database {name:?} is named by include and left out by exclude\nhint: remove it from one \
                     of the two in the configuration"
                ));
                self.add(Some(name), ConnectionFailureKind::Misconfigured, &error);
            } else if !names.iter().any(|found| found == name) {
                let (kind, message) = match why_undiscovered(&client, name).await {
                    Ok(Some(why)) => (
                        ConnectionFailureKind::Misconfigured,
                        format!("database {name:?} at {address} {why}"),
                    ),
                    Ok(None) | Err(_) => (
                        ConnectionFailureKind::NoSuchDatabase,
                        no_such_database(&address, name, &names),
                    ),
                };
                self.add(Some(name), kind, &JobError::failed(message));
            }
        }
        let chosen: Vec<String> = names
            .into_iter()
            .filter(|name| selection.matches(name))
            .collect();
        if chosen.is_empty() && self.found.failures.is_empty() {
            let error = JobError::failed(format!(
                "no database at {address} is chosen for a backup\nhint: correct include and exclude in the \
                 configuration, or create a database"
            ));
            self.add(None, ConnectionFailureKind::NoSuchDatabase, &error);
        }
        self.named(chosen.into_iter()).await;
    }

    fn failed(&mut self, database: Option<&str>, error: &JobError) {
        let is_closed = |error: &ConnectError| error.kind == ConnectErrorKind::ClosedDatabase;
        let kind = if error.may_pass() {
            ConnectionFailureKind::Passing
        } else if error.kind() == JobErrorKind::Configuration
            || matches!(error, JobError::Connect(error) if is_closed(error))
        {
            ConnectionFailureKind::Misconfigured
        } else {
            ConnectionFailureKind::Refused
        };
        self.add(database, kind, error);
    }

    fn add(&mut self, database: Option<&str>, kind: ConnectionFailureKind, error: &JobError) {
        self.found.failures.push(ConnectionFailure {
            server: self.server.name.clone(),
            database: database.map(str::to_owned),
            kind,
            message: error.to_string(),
        });
    }
}

/// Whether a connection failed because there is no such database.
pub(super) fn is_missing(error: &ConnectError) -> bool {
    error.kind == ConnectErrorKind::NoSuchDatabase
}

/// Whether it is the same with every other database: no answer, no way to talk, or a password that is wrong
/// or missing, which tried too often could lock the user. A limit, a pooler's word on a name or a line of
/// `pg_hba.conf` may be one database's own.
fn concerns_all(error: &JobError) -> bool {
    match error {
        JobError::Connect(error) => is_the_servers(error.kind, error.sqlstate.as_deref()),
        // The connection cannot even be tried.
        _ => true,
    }
}

fn is_the_servers(kind: ConnectErrorKind, sqlstate: Option<&str>) -> bool {
    match kind {
        ConnectErrorKind::ServerDown => sqlstate.is_none_or(|code| code.starts_with("57")),
        ConnectErrorKind::AuthenticationFailed => sqlstate.is_none_or(|code| code == "28P01"),
        ConnectErrorKind::Tls
        | ConnectErrorKind::WrongSession
        | ConnectErrorKind::Pooler
        | ConnectErrorKind::Exhausted => true,
        ConnectErrorKind::NoSuchDatabase
        | ConnectErrorKind::ClosedDatabase
        | ConnectErrorKind::TooManyConnections
        | ConnectErrorKind::Other => false,
    }
}

/// The error of a database that its server does not have, with what the server has instead.
pub(super) async fn explain_missing(
    context: &JobContext,
    connection: &Connection,
    name: &str,
) -> JobError {
    let mut address = "the server".to_owned();
    let mut names = Vec::new();
    for database in ["postgres", "template1"] {
        if let Ok(client) = connect(context, connection, database).await {
            address = client.conninfo().server();
            names = discover(&client).await.unwrap_or_default();
            break;
        }
    }
    JobError::failed(no_such_database(&address, name, &names))
}

/// As many names as fit into a sentence.
const NAMED: usize = 5;

/// That a server has no such database, what may be meant, and the way out. `names` are the databases
/// that it has; none where they could not be listed.
fn no_such_database(address: &str, name: &str, names: &[String]) -> String {
    let instead = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!(" (did you mean {near:?}?)"),
        None if names.is_empty() => String::new(),
        None => {
            let first: Vec<String> = names
                .iter()
                .take(NAMED)
                .map(|name| format!("{name:?}"))
                .collect();
            let more = match names.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {} more", count(more as u64)),
            };
            format!(" (it has {}{more})", first.join(", "))
        }
    };
    format!(
        "there is no database {name:?} at {address}{instead}\nhint: correct the name in the configuration, or \
         create the database"
    )
}

#[cfg(test)]
mod tests {
    use super::{is_the_servers, no_such_database};
    use crate::postgres::ConnectErrorKind;

    #[test]
    fn what_is_the_servers_is_not_tried_for_every_database() {
        use ConnectErrorKind::{
            AuthenticationFailed, Other, Pooler, ServerDown, Tls, TooManyConnections,
        };
        for (kind, sqlstate, expected) in [
            (ServerDown, None, true),
            (ServerDown, Some("57P03"), true),
            (ServerDown, Some("08P01"), false),
            (AuthenticationFailed, None, true),
            (AuthenticationFailed, Some("28P01"), true),
            (AuthenticationFailed, Some("28000"), false),
            (Tls, None, true),
            (Pooler, Some("08P01"), true),
            (TooManyConnections, Some("53300"), false),
            (Other, Some("42501"), false),
            (Other, Some("55000"), false),
        ] {
            let found = is_the_servers(kind, sqlstate);
            assert_eq!(found, expected, "{kind:?} {sqlstate:?}");
        }
    }

    #[test]
    fn a_missing_database_is_named_with_what_may_be_meant() {
        let many: Vec<String> = (1..=7)
            .map(|number| format!("tenant_{number:03}"))
            .collect();
        let few = ["audit".to_owned(), "sales".to_owned()];
        let table: [(&str, &[String], &str); 4] = [
            ("salse", &few, " (did you mean \"sales\"?)"),
            ("Sales", &few, " (did you mean \"sales\"?)"),
            ("reports", &few, " (it has \"audit\", \"sales\")"),
            (
                "reports",
                &many,
                " (it has \"tenant_001\", \"tenant_002\", \"tenant_003\", \"tenant_004\", \
                 \"tenant_005\" and 2 more)",
            ),
        ];
        for (name, names, instead) in table {
            assert_eq!(
                no_such_database("localhost port 5432", name, names),
                format!(
                    "there is no database {name:?} at localhost port 5432{instead}\nhint: correct the name \
                     in the configuration, or create the database"
                )
            );
        }
        assert!(
            no_such_database("there", "x", &[])
                .starts_with("there is no database \"x\" at there\nhint: ")
        );
    }
}
