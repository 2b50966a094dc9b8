//! A private, throw-away `PostgreSQL`: made in a directory of its own, reached by a socket that
//! nobody else can reach, gone with everything in it when it is dropped.
//!
//! ```text
//! <directory>/pgbackupd-drill-0f3a91c07d55/    ours
//!     lock            held for as long as we live
//!     data/           of the user that the server runs as, as everything below is
//!     socket/         0700
//!     home/           empty: working directory and HOME of the programs
//!     tablespaces/    one directory each
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal};

use super::child::{
    Account, Child, ChildError, ChildInput, ChildKind, ChildOutput, ChildSpec, Confinement,
};
use super::client::{Client, QueryError};
use super::connect_error::ConnectError;
use super::conninfo::{Conninfo, ConninfoError};
use super::programs::Programs;
use super::properties::DatabaseProperties;
use super::quote::{identifier, literal};
use super::recreate::create_throw_away;
use crate::config::Connection;

/// What every sandbox's directory begins with.
const PREFIX: &str = "pgbackupd-drill-";

/// `sun_path` has 108 bytes, the last of them a NUL (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The server's socket in its directory.
const SOCKET: &str = "/socket/.s.PGSQL.5432";

/// How long the server may take from its start to its first answer.
const START: Duration = Duration::from_secs(60);

/// How long it may take to end on SIGQUIT.
const STOP: Duration = Duration::from_secs(10);

/// A directory without a lock that is younger is being made.
const BEING_MADE: Duration = Duration::from_secs(60);

/// Settings of the server: no network, no durability, and bounded. It is thrown away, so that a
/// crash costs nothing.
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "256MB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
    // Nothing may make memory executable under the unit's MemoryDenyWriteExecute.
    ("jit", "off"),
    ("shared_buffers", "64MB"),
    ("work_mem", "16MB"),
    ("maintenance_work_mem", "128MB"),
    ("max_connections", "20"),
    ("max_worker_processes", "4"),
    ("max_parallel_workers", "2"),
    ("max_parallel_maintenance_workers", "1"),
    // A dump locks every table at once.
    ("max_locks_per_transaction", "4096"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_min_messages", "warning"),
    ("log_statement", "none"),
    ("log_min_error_statement", "panic"),
    ("lc_messages", "C"),
    ("timezone", "UTC"),
];

/// What a sandbox is made of.
#[derive(Clone, Debug)]
pub struct SandboxSpec<'a> {
    /// The directory in which it gets one of its own.
    pub directory: &'a Path,
    /// The programs; those of a server are among them.
    pub programs: &'a Programs,
    /// The name of the superuser, which no role that is loaded later has to bear in vain.
    pub superuser: &'a str,
    /// The encoding of its own databases, as the server calls it.
    pub encoding: &'a str,
    /// How long a connection, or an answer, may take.
    pub patience: Duration,
}

/// Why there is no sandbox. None of it says anything about a backup.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its directory.
    #[error(
        "cannot {doing} {}: {source}; drill.directory names the place for throw-away servers",
        path.display()
    )]
    Directory {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A socket's path is longer than the system allows.
    #[error(
        "the path of the directory {} is too long for a socket in it: set drill.directory to one \
         of at most {longest} bytes",
        path.display()
    )]
    PathTooLong {
        /// The directory.
        path: PathBuf,
        /// So long may it be.
        longest: usize,
    },
    /// `postgres` refuses to run as root.
    #[error("PostgreSQL does not run as root, and there is no user nobody to run it as")]
    NoAccount,
    /// A program failed.
    #[error("{program} {how}{}", if said.is_empty() { String::new() } else { format!("; it said:\n{said}") })]
    Program {
        /// Its name.
        program: &'static str,
        /// How it ended.
        how: String,
        /// What it said.
        said: String,
    },
    /// A program could not be run.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// The connection cannot be described.
    #[error(transparent)]
    Conninfo(#[from] ConninfoError),
    /// The server does not answer.
    #[error("the throw-away server does not answer: {0}")]
    Connect(#[from] ConnectError),
    /// It refuses.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A database like the one that was dumped cannot be made here.
    #[error(
        "a database with encoding {encoding} and locale {locale} cannot be made on this machine: \
         {source}; `locale -a` shows the locales there are"
    )]
    Database {
        /// Its encoding.
        encoding: String,
        /// Its locale, with its provider.
        locale: String,
        /// What the server said.
        source: Box<QueryError>,
    },
}

fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let path = path.to_owned();
    move |source| SandboxError::Directory {
        doing,
        path,
        source,
    }
}

/// A throw-away server. Dropping it ends the server and removes its directory.
pub struct Sandbox {
    // Dropped in this order: first the server, then its files.
    server: Child,
    home: Home,
    superuser: String,
    patience: Duration,
    major: u32,
}

/// The directory of a sandbox, removed when it is dropped.
struct Home {
    path: PathBuf,
    account: Option<Account>,
    _lock: File,
}

impl Home {
    fn make(directory: &Path) -> Result<Self, SandboxError> {
        let account = account()?;
        // The last bytes of a version 7 UUID are random.
        let random = uuid::Uuid::now_v7().simple().to_string();
        let path = directory.join(format!("{PREFIX}{}", &random[20..]));
        let length = path.as_os_str().as_bytes().len() + SOCKET.len();
        if length > LONGEST_SOCKET {
            return Err(SandboxError::PathTooLong {
                path: directory.to_owned(),
                longest: LONGEST_SOCKET.saturating_sub(SOCKET.len() + PREFIX.len() + 13),
            });
        }
        // Another user has to pass through it to what is its own.
        let mode = if account.is_some() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .mode(mode)
            .create(&path)
            .map_err(at("make the directory", &path))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .map_err(at("make the directory", &path))?;
        // Whoever sweeps finds it locked or not at all.
        let (unlocked, locked) = (path.join("lock.new"), path.join("lock"));
        let lock = File::create_new(&unlocked).map_err(at("make", &unlocked))?;
        lock.lock().map_err(at("lock", &unlocked))?;
        fs::rename(&unlocked, &locked).map_err(at("make", &locked))?;
        let home = Self {
            path,
            account,
            _lock: lock,
        };
        for name in ["data", "socket", "home", "tablespaces"] {
            home.make_directory(name)?;
        }
        Ok(home)
    }

    /// Makes a directory that belongs to the server.
    fn make_directory(&self, name: &str) -> Result<PathBuf, SandboxError> {
        let path = self.path.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(at("make the directory", &path))?;
        if let Some(account) = &self.account {
            chown(&path, Some(account.user), Some(account.group))
                .map_err(at("change the owner of", &path))?;
        }
        Ok(path)
    }

    fn confinement(&self) -> Confinement {
        Confinement {
            account: self.account.clone(),
            directory: Some(self.path.join("home")),
        }
    }

    /// All that a program in the sandbox knows of the world outside.
    fn environment(&self) -> BTreeMap<String, String> {
        [
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("HOME", self.path.join("home").display().to_string()),
            ("LC_ALL", "C".to_owned()),
            ("TZ", "UTC".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next sweep.
        let _ = remove(&self.path);
    }
}

impl Sandbox {
    /// Makes a server and starts it.
    ///
    /// # Errors
    /// When that is not possible on this machine; nothing is left of it.
    pub async fn start(spec: SandboxSpec<'_>) -> Result<Self, SandboxError> {
        let home = Home::make(spec.directory)?;
        let data = home.path.join("data");
        let mut arguments: Vec<OsString> = vec![
            "--no-sync".into(),
            "--auth=trust".into(),
            "--locale=C".into(),
            format!("--encoding={}", spec.encoding).into(),
            format!("--username={}", spec.superuser).into(),
            "--pgdata".into(),
        ];
        arguments.push(data.clone().into());
        let mut initdb =
            spawn(&home, spec.programs.initdb(), arguments, ChildKind::Program).await?;
        let exit = initdb.wait().await?;
        if !exit.success() {
            return Err(SandboxError::Program {
                program: "initdb",
                how: exit.to_string(),
                said: exit.stderr.trim().to_owned(),
            });
        }

        let mut arguments: Vec<OsString> = vec!["-D".into(), data.into()];
        let socket = home.path.join("socket").display().to_string();
        let own = [("unix_socket_directories", socket.as_str())];
        for (name, value) in SETTINGS.iter().chain(&own) {
            arguments.push("-c".into());
            arguments.push(format!("{name}={value}").into());
        }
        let program = spec.programs.postgres();
        let mut sandbox = Self {
            server: spawn(&home, program, arguments, ChildKind::Server).await?,
            home,
            superuser: spec.superuser.to_owned(),
            patience: spec.patience,
            major: spec.programs.version.major,
        };
        sandbox.until_it_answers().await?;
        Ok(sandbox)
    }

    async fn until_it_answers(&mut self) -> Result<(), SandboxError> {
        let began = Instant::now();
        let conninfo = self.conninfo("postgres")?;
        loop {
            let Err(refusal) = Client::connect(&conninfo, self.patience).await else {
                return Ok(());
            };
            let pause = tokio::time::sleep(Duration::from_millis(20));
            tokio::select! {
                exit = self.server.wait() => {
                    let exit = exit?;
                    return Err(SandboxError::Program {
                        program: "postgres",
                        how: exit.to_string(),
                        said: exit.stderr.trim().to_owned(),
                    });
                }
                () = pause => {}
            }
            if began.elapsed() > START {
                return Err(refusal.into());
            }
        }
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Its superuser.
    pub fn superuser(&self) -> &str {
        &self.superuser
    }

    /// The user that the server runs as, when that is another one than ourselves.
    pub fn account(&self) -> Option<&Account> {
        self.home.account.as_ref()
    }

    /// As whom and where programs run that work on it.
    pub fn confinement(&self) -> Confinement {
        self.home.confinement()
    }

    /// How one of its databases is reached, as its superuser.
    ///
    /// # Errors
    /// Only when the directory's path is no text.
    pub fn conninfo(&self, database: &str) -> Result<Conninfo, ConninfoError> {
        let socket = self.home.path.join("socket").display().to_string();
        let parameters = [
            ("host", socket),
            ("port", "5432".to_owned()),
            ("user", self.superuser.clone()),
            ("sslmode", "disable".to_owned()),
        ];
        let connection = Connection {
            parameters: parameters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..Connection::default()
        };
        Conninfo::resolve(&connection, &self.home.environment(), Some(database))
    }

    /// Makes an empty directory for a tablespace.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_tablespace_directory(&self, number: usize) -> Result<PathBuf, SandboxError> {
        self.home.make_directory(&format!("tablespaces/{number}"))
    }

    /// Where the directories of tablespaces are.
    pub fn tablespaces(&self) -> PathBuf {
        self.home.path.join("tablespaces")
    }

    /// Makes an empty database with the encoding and the locale of the one that was dumped, and
    /// gives its name: the same one, unless the server has a database of that name already.
    ///
    /// # Errors
    /// When the locale is not installed here, or this version cannot have it.
    pub async fn create_database(
        &self,
        properties: &DatabaseProperties,
    ) -> Result<String, SandboxError> {
        const WHAT: &str = "make the database to restore into";
        let name = match properties.name.as_str() {
            "postgres" | "template0" | "template1" => "restored",
            name => name,
        };
        let client = self.client("postgres").await?;
        let sql = create_throw_away(name, properties, self.major);
        client
            .query(WHAT, &sql, &[])
            .await
            .map_err(|source| SandboxError::Database {
                encoding: properties.encoding.clone(),
                locale: locale(properties),
                source: Box::new(source),
            })?;
        // Amounts of money are written in the server's locale, which the manifest does not know;
        // nearly always it is the database's. Where it is not installed, nothing is lost.
        let sql = format!(
            "ALTER DATABASE {} SET lc_monetary = {}",
            identifier(name),
            literal(&properties.lc_collate)
        );
        let _ = client.query(WHAT, &sql, &[]).await;
        Ok(name.to_owned())
    }

    /// Those of these extensions that are not installed on this machine.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn missing_extensions(
        &self,
        properties: &DatabaseProperties,
    ) -> Result<Vec<String>, SandboxError> {
        const WHAT: &str = "ask for the extensions there are";
        let client = self.client("postgres").await?;
        let sql = "SELECT name::text FROM pg_catalog.pg_available_extensions";
        let rows = client.query(WHAT, sql, &[]).await?;
        let mut available = Vec::new();
        for row in &rows {
            let name: String = row
                .try_get(0)
                .map_err(|error| client.odd_answer(WHAT, &error))?;
            available.push(name);
        }
        Ok(properties
            .extensions
            .iter()
            .filter(|extension| !available.contains(&extension.name))
            .map(|extension| format!("{} {}", extension.name, extension.version))
            .collect())
    }

    async fn client(&self, database: &str) -> Result<Client, SandboxError> {
        Ok(Client::connect(&self.conninfo(database)?, self.patience).await?)
    }

    /// Whether the server still runs; what it said when it does not.
    pub async fn ended(&mut self) -> Option<String> {
        let exit = tokio::time::timeout(Duration::from_millis(100), self.server.wait()).await;
        let exit = exit.ok()?.ok()?;
        Some(format!("postgres {exit}; it said:\n{}", exit.stderr.trim()))
    }

    /// Ends the server and removes everything.
    ///
    /// # Errors
    /// When it does not even end when it is killed; its directory then stays for the next sweep.
    pub async fn stop(mut self) -> Result<(), SandboxError> {
        self.server.terminate(STOP).await?;
        Ok(())
    }
}

async fn spawn(
    home: &Home,
    program: PathBuf,
    args: Vec<OsString>,
    kind: ChildKind,
) -> Result<Child, ChildError> {
    tracing::debug!("running {} {args:?}", program.display());
    Child::spawn(ChildSpec {
        program,
        args,
        environment: home.environment().into_iter().collect(),
        stdin: ChildInput::Null,
        stdout: ChildOutput::Null,
        mask: Box::new(|text| text),
        confinement: home.confinement(),
        kind,
    })
    .await
}

/// The user that a server of ours runs as: ourselves, but for root `nobody`, who owns nothing.
fn account() -> Result<Option<Account>, SandboxError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let nobody = uzers::get_user_by_name("nobody").ok_or(SandboxError::NoAccount)?;
    Ok(Some(Account {
        name: "nobody".to_owned(),
        user: nobody.uid(),
        group: nobody.primary_group_id(),
    }))
}

/// The locale of a database for a sentence.
fn locale(properties: &DatabaseProperties) -> String {
    let mut text = format!("{}, {}", properties.lc_collate, properties.lc_ctype);
    if let Some(locale) = &properties.locale {
        text = format!("{text}, {} {locale}", properties.locale_provider);
    }
    text
}

/// Removes what crashes left of sandboxes in a directory: processes first, then files. Gives the
/// directories that were removed. Sandboxes that are in use stay.
///
/// # Errors
/// When the directory cannot be read, or something in it cannot be removed.
pub fn sweep_sandboxes(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut removed = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_named = entry.file_name().as_bytes().starts_with(PREFIX.as_bytes());
        if !is_named || !is_stale(&entry.path()) {
            continue;
        }
        end_servers_of(&entry.path());
        remove(&entry.path())?;
        removed.push(entry.path());
    }
    Ok(removed)
}

/// Whether a directory is of ours, and nobody uses it any more.
fn is_stale(path: &Path) -> bool {
    let Ok(metadata) = path.symlink_metadata() else {
        return false;
    };
    // In a directory that others can write to, anybody can give a name.
    if !metadata.is_dir() || metadata.uid() != rustix::process::geteuid().as_raw() {
        return false;
    }
    match File::open(path.join("lock")) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => metadata
            .modified()
            .ok()
            .and_then(|made| SystemTime::now().duration_since(made).ok())
            .is_some_and(|age| age > BEING_MADE),
    }
}

/// Kills what is left of a server whose data is below a directory. Its processes work in there.
fn end_servers_of(directory: &Path) {
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for process in processes.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        let works_there =
            fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory));
        let is_postgres = fs::read_to_string(process.path().join("comm"))
            .is_ok_and(|comm| comm.trim_end() == "postgres");
        if works_there && is_postgres {
            // It fails only when it has just ended.
            rustix::process::kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// Removes a directory in which a server may be about to end.
fn remove(path: &Path) -> io::Result<()> {
    const TRIES: u32 = 50;
    for _ in 1..TRIES {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.symlink_metadata().is_err() {
                    return Ok(());
                }
            }
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
        sleep(Duration::from_millis(100));
    }
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(provider: &str, locale: Option<&str>) -> DatabaseProperties {
        DatabaseProperties {
            name: "a\"b".to_owned(),
            encoding: "UTF8".to_owned(),
            locale_provider: provider.to_owned(),
            lc_collate: "C".to_owned(),
            lc_ctype: "it's".to_owned(),
            locale: locale.map(str::to_owned),
            icu_rules: None,
            collation_version: None,
            owner: "me".to_owned(),
            tablespace: None,
            connection_limit: -1,
            is_template: false,
            allow_connections: true,
            privileges: None,
            comment: None,
            settings: Vec::new(),
            extensions: Vec::new(),
            size_bytes: 0,
        }
    }

    #[test]
    fn a_database_is_made_like_the_one_that_was_dumped() {
        let common = "CREATE DATABASE \"a\"\"b\" TEMPLATE template0 ENCODING E'UTF8' LC_COLLATE \
                     E'C' LC_CTYPE E'it''s'";
        for (provider, locale, major, rest) in [
            ("libc", None, 14, ""),
            ("libc", None, 15, " LOCALE_PROVIDER \"libc\""),
            (
                "icu",
                Some("ar"),
                15,
                " LOCALE_PROVIDER \"icu\" ICU_LOCALE E'ar'",
            ),
            (
                "builtin",
                Some("C.UTF-8"),
                17,
                " LOCALE_PROVIDER \"builtin\" BUILTIN_LOCALE E'C.UTF-8'",
            ),
        ] {
            assert_eq!(
                create_throw_away("a\"b", &properties(provider, locale), major),
                format!("{common}{rest}")
            );
        }
    }

    #[test]
    fn only_what_nobody_uses_is_swept() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::make(directory.path()).unwrap();
        let stranger = directory.path().join("pgbackupd-drill-stranger");
        fs::create_dir(&stranger).unwrap();
        assert_eq!(
            sweep_sandboxes(directory.path()).unwrap(),
            [""; 0].map(PathBuf::from)
        );
        assert!(stranger.is_dir(), "it may be one that is being made");
        let path = home.path.clone();
        // As a process that was killed leaves it: its lock is gone, its files are not.
        let aside = directory.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        drop(home);
        fs::rename(&aside, &path).unwrap();
        assert_eq!(sweep_sandboxes(directory.path()).unwrap(), [path]);
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(100));
        fs::create_dir(&long).unwrap();
        assert!(matches!(
            Home::make(&long),
            Err(SandboxError::PathTooLong { .. })
        ));
    }
}
