//! The servers of the plan: which there are, their databases and the databases' directories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSetBuilder};

use super::connection::connection;
use super::directory::{Claim, conflicts, directory_name};
use super::dump::{checked, merged};
use super::findings::{Findings, is_name, key, names_are};
use super::fragment::{ConnectionFragment, DatabaseFragment, DatabaseList, DumpFragment, Fragment};
use super::layer::Key;
use super::plan::{Connection, Database, Databases, Patterns, Selection, Server};
use super::scalar::DatabaseName;

/// The server that needs no name.
const MAIN: &str = "main";

/// A server as written, the main one or another.
pub(super) struct Written<'f> {
    name: &'f str,
    /// Its table's levels; none for the main one.
    table: Key,
    database: Option<&'f DatabaseName>,
    databases: Option<&'f DatabaseList>,
    include: Option<&'f [String]>,
    exclude: Option<&'f [String]>,
    directory: PathBuf,
    pub(super) connection: &'f ConnectionFragment,
    /// How its dumps are made, the most general first, each with its levels.
    dump: Vec<(DumpFragment, Key)>,
}

impl<'f> Written<'f> {
    /// The server at the top of the file.
    fn main(fragment: &'f Fragment, directory: &Path) -> Self {
        Self {
            name: MAIN,
            table: Vec::new(),
            database: fragment.database.as_ref(),
            databases: fragment.databases.as_ref(),
            include: fragment.include.as_deref(),
            exclude: fragment.exclude.as_deref(),
            directory: directory.to_owned(),
            connection: &fragment.connection,
            dump: vec![(fragment.dump, key(&["dump"]))],
        }
    }

    /// The key of one of its settings.
    pub(super) fn key(&self, levels: &[&str]) -> Key {
        [self.table.as_slice(), &key(levels)].concat()
    }
}

/// All servers with at least one database, and no directory twice.
pub(super) fn servers(
    findings: &mut Findings<'_>,
    fragment: &Fragment,
    directory: &Path,
    environment: &BTreeMap<String, String>,
) -> Vec<Server> {
    let main = Written::main(fragment, directory);
    let (mut servers, mut claims) = (Vec::new(), Vec::new());
    let (connection_of_main, dbname) =
        connection(findings, main.connection, &main.key(&["connection"]));
    match databases(findings, &main, dbname.as_deref(), &mut claims) {
        Some(databases) => servers.push(server(findings, &main, connection_of_main, databases)),
        None if fragment.servers.is_empty() => {
            if is_in_environment(&main, environment) {
                let databases = Databases::FromEnvironment;
                servers.push(server(findings, &main, connection_of_main, databases));
            } else if !findings.concern(&["connection.uri", "connection.conninfo"]) {
                // A connection string that can be read may name one.
                findings.refuse_key(&key(&["database"]), "no database is named".to_owned(), None);
            }
        }
        None => refuse_connection_to_none(findings, &main),
    }
    for (name, written) in &fragment.servers {
        let table = key(&["servers", name]);
        if name == MAIN || !is_name(name) {
            let help = if name == MAIN {
                Some("main is the server at the top of the file; choose another name".to_owned())
            } else {
                Some(names_are())
            };
            findings.refuse_key(&table, format!("invalid server name {name:?}"), help);
            continue;
        }
        let own_directory = written.directory.clone().map(|path| path.0);
        let written = Written {
            name,
            database: written.database.as_ref(),
            databases: written.databases.as_ref(),
            include: written.include.as_deref(),
            exclude: written.exclude.as_deref(),
            directory: own_directory.unwrap_or_else(|| directory.join(name)),
            connection: &written.connection,
            dump: [
                &*main.dump,
                &[(written.dump, [&*table, &key(&["dump"])].concat())],
            ]
            .concat(),
            table,
        };
        let (connection, dbname) =
            connection(findings, written.connection, &written.key(&["connection"]));
        match databases(findings, &written, dbname.as_deref(), &mut claims) {
            Some(databases) => servers.push(server(findings, &written, connection, databases)),
            None => findings.refuse_key(
                &written.table,
                "the server names no database".to_owned(),
                Some(
                    "write database = \"NAME\", databases = [\"NAME\", …] or databases = \"all\""
                        .to_owned(),
                ),
            ),
        }
    }
    refuse_conflicts(findings, &claims);
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    servers
}

/// Whether libpq's own variables name the database of the server without a name.
fn is_in_environment(written: &Written<'_>, environment: &BTreeMap<String, String>) -> bool {
    let named = |variable: &str| {
        environment
            .get(variable)
            .is_some_and(|value| !value.is_empty())
    };
    named("PGDATABASE") || named("PGSERVICE") || written.connection.service.is_some()
}

/// Refuses the connection of the server without a name, where that has no database.
fn refuse_connection_to_none(findings: &mut Findings<'_>, written: &Written<'_>) {
    if !written.connection.is_empty() {
        findings.refuse_key(
            &key(&["connection"]),
            "no database is named for this connection".to_owned(),
            Some(
                "write database = \"NAME\" at the top of the file, or remove [connection]"
                    .to_owned(),
            ),
        );
    }
}

/// Refuses directories that two databases would have, or one inside of another's.
fn refuse_conflicts(findings: &mut Findings<'_>, claims: &[Claim]) {
    for (first, second) in conflicts(claims) {
        let relation = if first.directory == second.directory {
            "is"
        } else {
            "lies inside"
        };
        let message = format!(
            "{} for {} {relation} the directory of {}",
            second.directory.display(),
            second.owner,
            first.owner
        );
        let help = "every database needs a directory of its own; set directory for one of them";
        findings.refuse(&second.key, message, Some(help.to_owned()));
    }
}

fn server(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    connection: Connection,
    databases: Databases,
) -> Server {
    Server {
        name: written.name.to_owned(),
        connection,
        databases,
        directory: written.directory.clone(),
        dump: checked(findings, &written.dump),
    }
}

/// The databases of a server; none if nothing names any.
fn databases(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    dbname: Option<&str>,
    claims: &mut Vec<Claim>,
) -> Option<Databases> {
    let all = matches!(written.databases, Some(DatabaseList::All));
    for (name, patterns) in [("include", written.include), ("exclude", written.exclude)] {
        if patterns.is_some() && !all {
            findings.refuse_key(
                &written.key(&[name]),
                "patterns choose only among databases = \"all\"".to_owned(),
                Some("write databases = \"all\", or remove the patterns".to_owned()),
            );
        }
    }
    match (written.database, written.databases) {
        (Some(_), Some(_)) => {
            findings.refuse_key(
                &written.key(&["database"]),
                "both database and databases are set".to_owned(),
                Some("write all names into databases, and remove database".to_owned()),
            );
            Some(Databases::Named(Vec::new()))
        }
        (Some(name), None) => {
            let entry = only(name.clone());
            let entries = [(&entry, written.key(&["database"]))];
            Some(Databases::Named(named(findings, written, entries, claims)))
        }
        (None, Some(DatabaseList::Named(entries))) => {
            if entries.is_empty() {
                findings.refuse(
                    &written.key(&["databases"]),
                    "the list of databases is empty".to_owned(),
                    Some("name at least one, or write \"all\"".to_owned()),
                );
            }
            let at = |index: usize| written.key(&["databases", &index.to_string()]);
            let entries = entries.iter().enumerate();
            let entries = entries.map(|(index, entry)| (entry, at(index)));
            Some(Databases::Named(named(findings, written, entries, claims)))
        }
        (None, Some(DatabaseList::All)) => {
            claims.push(Claim {
                directory: written.directory.clone(),
                owner: format!("all databases of server {}", written.name),
                is_root: true,
                key: written.key(&["databases"]),
            });
            let include = patterns(findings, &written.key(&["include"]), written.include);
            let exclude = patterns(findings, &written.key(&["exclude"]), written.exclude);
            Some(Databases::All(Selection { include, exclude }))
        }
        (None, None) => {
            let entry = only(DatabaseName(dbname?.to_owned()));
            let entries = [(&entry, written.key(&["connection"]))];
            Some(Databases::Named(named(findings, written, entries, claims)))
        }
    }
}

/// A database with nothing but its name.
fn only(name: DatabaseName) -> DatabaseFragment {
    DatabaseFragment {
        name: Some(name),
        ..Default::default()
    }
}

/// The databases of a list, each with the key that an error points at.
fn named<'f>(
    findings: &mut Findings<'_>,
    written: &Written<'_>,
    entries: impl IntoIterator<Item = (&'f DatabaseFragment, Key)>,
    claims: &mut Vec<Claim>,
) -> Vec<Database> {
    let mut seen = BTreeSet::new();
    let mut databases = Vec::new();
    for (entry, at) in entries {
        let Some(DatabaseName(name)) = &entry.name else {
            let way = "write name = \"NAME\"".to_owned();
            findings.refuse(&at, "the database has no name".to_owned(), Some(way));
            continue;
        };
        if !seen.insert(name) {
            findings.refuse(&at, format!("{name:?} is in the list twice"), None);
            continue;
        }
        let own = DumpFragment {
            format: entry.format,
            compression: entry.compression,
            level: entry.level,
            threads: entry.threads,
            jobs: entry.jobs,
            globals: entry.globals,
        };
        let mut layers = written.dump.clone();
        layers.push((own, at.clone()));
        let directory = match &entry.directory {
            Some(directory) => directory.0.clone(),
            None => written.directory.join(directory_name(name)),
        };
        claims.push(Claim {
            directory: directory.clone(),
            owner: format!("database {name:?} of server {}", written.name),
            is_root: false,
            key: match &entry.directory {
                Some(_) => [at.as_slice(), &key(&["directory"])].concat(),
                None => at,
            },
        });
        let dump = if own_is_empty(&own) {
            merged(&written.dump)
        } else {
            checked(findings, &layers)
        };
        databases.push(Database {
            name: name.clone(),
            directory,
            dump,
        });
    }
    databases
}

fn own_is_empty(own: &DumpFragment) -> bool {
    own.format.is_none()
        && own.compression.is_none()
        && own.level.is_none()
        && own.threads.is_none()
        && own.jobs.is_none()
        && own.globals.is_none()
}

/// Patterns of names, written under a key.
pub(super) fn patterns(
    findings: &mut Findings<'_>,
    list: &[String],
    patterns: Option<&[String]>,
) -> Patterns {
    let mut set = GlobSetBuilder::new();
    let mut seen = BTreeSet::new();
    for (index, pattern) in patterns.unwrap_or_default().iter().enumerate() {
        let at = [list, &key(&[&index.to_string()])].concat();
        if !seen.insert(pattern) {
            findings.refuse(&at, format!("{pattern:?} is in the list twice"), None);
        }
        match GlobBuilder::new(pattern).literal_separator(false).build() {
            Ok(glob) => {
                set.add(glob);
            }
            Err(error) => findings.refuse(
                &at,
                format!("invalid pattern {pattern:?}: {}", error.kind()),
                Some(
                    "* matches any text, ? one character, [ab] one of these, {a,b} one \
                      of those; \\ makes the next character literal"
                        .to_owned(),
                ),
            ),
        }
    }
    match set.build() {
        Ok(set) => Patterns::new(patterns.unwrap_or_default().to_vec(), set),
        Err(error) => {
            findings.refuse(list, error.to_string(), None);
            Patterns::default()
        }
    }
}
