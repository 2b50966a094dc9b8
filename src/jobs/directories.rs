//! Which directories the configuration asks for. Where a server must be asked for its databases,
//! root asks as the user of the service, whom the server knows.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::JobContext;
use super::target::databases_of;
use crate::config::{Databases, Plan};
use crate::postgres::{
    Child, ChildInput, ChildKind, ChildOutput, ChildSpec, Confinement, output_pipe,
};
use crate::repository::{Level, Owner};
use crate::threads;

/// Where util-linux has the program that becomes another user.
const SETPRIV: &str = "/usr/bin/setpriv";

/// More than any server's list of databases needs; names are 63 bytes long.
const LONGEST_ANSWER: u64 = 64 << 20;

/// How long asking may take beyond what connecting may.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the user's process is given of our environment: our settings, libpq's, and the directory of
/// credentials.
const PASSED_ON: [&str; 5] = ["PATH", "TZ", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A directory that the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedDirectory {
    /// The server's name in the configuration.
    pub server: String,
    /// The database; none for the level that holds a server's databases.
    pub database: Option<String>,
    /// Where it is.
    pub path: PathBuf,
}

impl WantedDirectory {
    /// What it is to hold.
    pub fn level(&self) -> Level {
        match self.database {
            Some(_) => Level::Database,
            None => Level::Server,
        }
    }
}

/// What servers said when they were asked for their databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovery {
    /// The databases, each with the name of its server.
    pub databases: Vec<(String, String)>,
    /// Why there may be more of them, one sentence each.
    pub failures: Vec<String>,
}

/// More than a wish for every database of a large server needs.
const LONGEST_WISH: u64 = 16 << 20;

/// What the service wishes for, by the file that it has written: a JSON list of pairs of a server's
/// name and a database. None when it does not say.
///
/// Whoever runs the service can write anything there, or put something else in the file's place:
/// only a regular file is read, and as with every [`Discovery`] only what the plan asks for counts.
pub fn wished_databases(file: &Path) -> Option<Discovery> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(file)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let databases = serde_json::from_reader(file.take(LONGEST_WISH)).ok()?;
    Some(Discovery {
        databases,
        failures: Vec::new(),
    })
}

/// Asks the servers whose databases the configuration does not name, all at the same time.
pub async fn discover_databases(context: &JobContext, plan: &Plan) -> Discovery {
    let unnamed = plan
        .servers
        .iter()
        .filter(|server| !matches!(server.databases, Databases::Named(_)));
    let answers = join_all(unnamed.map(async |server| {
        let databases = databases_of(context, server).await;
        (&server.name, databases)
    }))
    .await;
    let mut discovery = Discovery::default();
    for (server, answer) in answers {
        match answer {
            Ok(databases) => discovery
                .databases
                .extend(databases.into_iter().map(|one| (server.clone(), one.name))),
            Err(error) => discovery.failures.push(format!(
                "the directories of server {server}'s databases are not known: {error}"
            )),
        }
    }
    discovery
}

/// Whether a server must be asked for its databases.
pub fn needs_discovery(plan: &Plan) -> bool {
    plan.servers
        .iter()
        .any(|server| !matches!(server.databases, Databases::Named(_)))
}

/// Has this program, run as another user, ask the servers.
///
/// `program` is this program's own path, and `arguments` make it print a [`Discovery`] as JSON. What
/// it prints is not trusted: [`wanted_directories`] takes from it only what the plan asks for.
pub async fn discover_as(
    owner: &Owner,
    program: &Path,
    arguments: Vec<OsString>,
    context: &JobContext,
) -> Discovery {
    match run_as(owner, program, arguments, context).await {
        Ok(discovery) => discovery,
        Err(why) => Discovery {
            databases: Vec::new(),
            failures: vec![format!(
                "the servers could not be asked for their databases as {}: {why}",
                owner.name
            )],
        },
    }
}

async fn run_as(
    owner: &Owner,
    program: &Path,
    arguments: Vec<OsString>,
    context: &JobContext,
) -> Result<Discovery, String> {
    let mut args: Vec<OsString> = [
        "--reuid",
        &owner.uid.to_string(),
        "--regid",
        &owner.gid.to_string(),
        "--init-groups",
        "--",
    ]
    .map(OsString::from)
    .to_vec();
    args.push(program.into());
    args.extend(arguments);
    let (reader, writer, mark) = output_pipe().map_err(|error| error.to_string())?;
    let mut child = Child::spawn(ChildSpec {
        program: SETPRIV.into(),
        args,
        environment: environment_of(owner, context),
        stdin: ChildInput::Null,
        confinement: Confinement::default(),
        kind: ChildKind::Program,
        stdout: ChildOutput::Pipe(writer, Some(mark)),
        // Our own sentences have no secrets in them.
        mask: Box::new(|text| text),
    })
    .await
    .map_err(|error| error.to_string())?;
    let answer = threads::start("answer", move || {
        let mut answer = Vec::new();
        reader.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    })
    .map_err(|error| error.to_string())?;
    let limit = context.limits.connect + PATIENCE;
    let Ok(exit) = tokio::time::timeout(limit, child.wait()).await else {
        return Err(format!("no answer within {} seconds", limit.as_secs()));
    };
    let exit = exit.map_err(|error| error.to_string())?;
    if !exit.success() {
        let detail = exit.stderr.trim();
        return Err(if detail.is_empty() {
            format!("it {exit}")
        } else {
            detail.to_owned()
        });
    }
    let answer = answer.await.map_err(|error| error.to_string())?;
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| format!("its answer is invalid: {error}"))
}

fn environment_of(owner: &Owner, context: &JobContext) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = context
        .environment
        .iter()
        .filter(|(name, _)| {
            name.starts_with("PG")
                || *name == "CREDENTIALS_DIRECTORY"
                || PASSED_ON.contains(&name.as_str())
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    environment.push(("USER".to_owned(), owner.name.clone()));
    if let Some(home) = &owner.home {
        environment.push(("HOME".to_owned(), home.display().to_string()));
    }
    environment
}

/// The directories that the plan asks for, those of a server before those of its databases, and why
/// one that was discovered is not among them.
pub fn wanted_directories(
    plan: &Plan,
    discovery: &Discovery,
) -> (Vec<WantedDirectory>, Vec<String>) {
    let mut wanted = Vec::new();
    let mut refused = Vec::new();
    for server in &plan.servers {
        let mut databases: BTreeSet<&str> = BTreeSet::new();
        match &server.databases {
            Databases::Named(named) => databases.extend(named.iter().map(|one| one.name.as_str())),
            Databases::All(selection) => {
                for name in discovery
                    .of(&server.name)
                    .filter(|name| selection.matches(name))
                {
                    match plan.directory_taken_by(server, name) {
                        None => drop(databases.insert(name)),
                        Some(other) => refused.push(format!(
                            "database {name:?} of server {} gets no directory: {} belongs to {other}",
                            server.name,
                            server.directory_for(name).display()
                        )),
                    }
                }
            }
            Databases::FromEnvironment => databases.extend(discovery.of(&server.name)),
        }
        let databases: Vec<WantedDirectory> = databases
            .into_iter()
            .map(|name| WantedDirectory {
                server: server.name.clone(),
                database: Some(name.to_owned()),
                path: server.directory_for(name),
            })
            .collect();
        // The common level is the operator's: it holds the servers' own.
        let is_used = |one: &WantedDirectory| one.path.starts_with(&server.directory);
        if server.directory != plan.directory && databases.iter().any(is_used) {
            wanted.push(WantedDirectory {
                server: server.name.clone(),
                database: None,
                path: server.directory.clone(),
            });
        }
        wanted.extend(databases);
    }
    (wanted, refused)
}

impl Discovery {
    /// The databases that a server named.
    fn of<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a str> {
        self.databases
            .iter()
            .filter(move |(of, _)| of == server)
            .map(|(_, database)| database.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::{Discovery, wanted_directories, wished_databases};
    use crate::config::{Plan, Source, load};

    fn plan(text: &str) -> Plan {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgbackupd.toml");
        std::fs::write(&file, text).unwrap();
        let source = Source {
            default_file: file.clone(),
            file: Some(file),
            environment: BTreeMap::new(),
            ..Source::of_process(None)
        };
        load(&source).unwrap().plan
    }

    fn discovery(databases: &[(&str, &str)]) -> Discovery {
        Discovery {
            databases: databases
                .iter()
                .map(|&(server, name)| (server.to_owned(), name.to_owned()))
                .collect(),
            failures: Vec::new(),
        }
    }

    fn paths(plan: &Plan, discovery: &Discovery) -> Vec<String> {
        wanted_directories(plan, discovery)
            .0
            .into_iter()
            .map(|one| format!("{:?} {}", one.level(), one.path.display()))
            .collect()
    }

    #[test]
    fn a_server_has_a_level_of_its_own_and_the_common_one_is_nobodys() {
        let plan = plan(
            "databases = [\"sales\", { name = \"audit\", directory = \"/srv/audit\" }]\n\
             [servers.reports]\ndatabases = \"all\"\n",
        );
        let found = discovery(&[("reports", "b"), ("reports", "a"), ("main", "unasked")]);
        assert_eq!(
            paths(&plan, &found),
            [
                "Database /srv/audit",
                "Database /var/backups/sales",
                "Server /var/backups/reports",
                "Database /var/backups/reports/a",
                "Database /var/backups/reports/b",
            ]
        );
    }

    #[test]
    fn a_wish_is_a_list_in_a_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("wanted");
        assert_eq!(wished_databases(&file), None, "there is none");
        std::fs::write(&file, r#"[["main", "a"], ["reports", "b"]]"#).unwrap();
        let wish = discovery(&[("main", "a"), ("reports", "b")]);
        assert_eq!(wished_databases(&file), Some(wish));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(wished_databases(&link), None, "a link is not followed");
        assert_eq!(wished_databases(directory.path()), None);
        std::fs::write(&file, "wanted\n").unwrap();
        assert_eq!(wished_databases(&file), None, "it does not say");
    }

    #[test]
    fn an_answer_that_the_plan_does_not_ask_for_makes_no_directory() {
        let plan = plan(
            "databases = \"all\"\nexclude = [\"*_test\"]\n[servers.reports]\ndatabase = \"x\"\n",
        );
        let found = discovery(&[
            ("main", "../../etc"),
            ("main", "sales_test"),
            ("main", "reports"),
            ("elsewhere", "a"),
            ("reports", "a"),
        ]);
        let (wanted, refused) = wanted_directories(&plan, &found);
        let wanted: Vec<PathBuf> = wanted.into_iter().map(|one| one.path).collect();
        let expected = [
            "/var/backups/%2E.%2F..%2Fetc",
            "/var/backups/reports",
            "/var/backups/reports/x",
        ];
        assert_eq!(wanted, expected.map(PathBuf::from));
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].contains("server reports"), "{refused:?}");
    }
}
