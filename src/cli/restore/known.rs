//! The database whose name another one is to get, for commands that swap names and read no backup.

use super::super::failure::Failure;
use super::super::select;
use super::super::session::Session;
use super::records::{OwnDirectory, is_configured, records};
use crate::config::Server;
use crate::repository::Repository;

/// A database whose names may be swapped, its server, and its directory.
pub(in crate::cli) struct Known<'a> {
    pub(in crate::cli) server: &'a Server,
    pub(in crate::cli) database: String,
    pub(in crate::cli) repository: Repository,
}

/// Finds the databases of these servers; and what could not be looked at, with its server.
fn known_on<'a>(
    session: &Session<'_>,
    servers: &[&'a Server],
) -> (Vec<Known<'a>>, Vec<(&'a Server, Failure)>) {
    let (mut known, mut unseen) = (Vec::new(), Vec::new());
    for server in servers.iter().copied() {
        match session.directories_on(server) {
            Ok(directories) => {
                known.extend(directories.found.into_iter().map(|one| Known {
                    server,
                    database: one.database,
                    repository: one.repository,
                }));
                let failures = directories.unseen.into_iter();
                unseen.extend(failures.map(|failure| (server, failure)));
            }
            Err(failure) => unseen.push((server, failure)),
        }
    }
    (known, unseen)
}

/// The database that is meant; `undone` is what is not done where that cannot be said.
pub(in crate::cli) fn which<'a>(
    database: Option<&str>,
    server: Option<&str>,
    session: &'a Session<'_>,
    undone: &str,
) -> Result<Known<'a>, Failure> {
    let plan = session.plan();
    let is_asked = |one: &&Server| server.is_none_or(|name| one.name == name);
    let servers: Vec<&Server> = plan.servers.iter().filter(is_asked).collect();
    let (mut known, mut unseen) = known_on(session, &servers);
    let (server, name) = match database {
        None => (None, None),
        Some(text) => {
            let (server, name) =
                select::split(&servers, text, |server, name| has(&known, server, name))
                    .map_err(Failure::usage)?;
            (server, Some(name))
        }
    };
    let servers: Vec<&Server> = match server {
        Some(server) => vec![server],
        None => servers,
    };
    unseen.retain(|(one, _)| servers.iter().any(|server| server.name == one.name));
    if !unseen.is_empty() {
        let unseen: Vec<Failure> = unseen.into_iter().map(|(_, failure)| failure).collect();
        return Err(select::refused(&unseen, undone));
    }
    known.retain(|one| {
        servers.iter().any(|server| server.name == one.server.name)
            && name.is_none_or(|name| one.database == name)
    });
    if let Some(name) = name {
        // What was restored need not be what is backed up.
        for server in &servers {
            let repository = Repository::at(server.directory_for(name));
            let is_new = !has(&known, server, name);
            if is_new && (servers.len() == 1 || repository.restore_ledger().path().exists()) {
                known.push(Known {
                    server,
                    database: name.to_owned(),
                    repository,
                });
            }
        }
    }
    if known.len() == 1 {
        let mut known = known.remove(0);
        let own = OwnDirectory {
            path: known.repository.directory().to_owned(),
            is_configured: is_configured(known.server),
        };
        known.repository = records(&known.database, own, None, &plan.daemon);
        return Ok(known);
    }
    Err(not_one(session, &known, name))
}

/// Refuses to choose among several databases, or among none.
fn not_one(session: &Session<'_>, known: &[Known<'_>], name: Option<&str>) -> Failure {
    let labels: Vec<String> = known
        .iter()
        .map(|one| session.plan().label(&one.server.name, &one.database))
        .collect();
    match (labels.as_slice(), name) {
        ([], Some(name)) => Failure::usage(format!(
            "no restore of database {name:?} is on record\nhint: name its server with --server"
        )),
        ([], None) => Failure::usage(
            "no database has a directory for backups yet\nhint: name one with --database",
        ),
        _ => select::several("there are several databases", &labels),
    }
}

fn has(known: &[Known<'_>], server: &Server, name: &str) -> bool {
    known
        .iter()
        .any(|one| one.server.name == server.name && one.database == name)
}
