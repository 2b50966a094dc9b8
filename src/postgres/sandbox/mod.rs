//! A private, temporary `PostgreSQL`: made in a directory of its own, reached by a socket that
//! nobody else can reach, gone with everything in it when it is dropped.

mod error;
mod home;
mod settings;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::types::Type;

use super::child::{
    Account, Child, ChildError, ChildInput, ChildKind, ChildOutput, ChildSpec, Confinement,
};
use super::client::Client;
use super::conninfo::{Conninfo, ConninfoError, LoginFacts};
use super::programs::Programs;
use super::properties::ServerSetting;
use super::properties::{DatabaseProperties, Extension};
use super::quote::{identifier, literal};
use super::recreate::{create_database, settings_for_loading};
use super::security_labels::missing_label_providers;
use super::system_catalog_text::value;
use crate::config::Connection;

pub use error::SandboxError;
use home::Home;
pub use home::{FetchDirectory, sweep_sandboxes};
use settings::{
    SETTINGS, bounds_of_initdb, bounds_of_programs, bounds_of_the_server, settings_to_preload,
};

/// How long the server may take from its start to its first answer.
const START: Duration = Duration::from_secs(60);

/// How long it may take to end on SIGQUIT.
const STOP: Duration = Duration::from_secs(10);

/// What the settings of the superuser's role, which come with the roles that are loaded, may not
/// decide for our sessions, besides what they never may: with which libraries they are.
const OPTIONS: &str = "-c session_preload_libraries= -c local_preload_libraries=";

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

/// A temporary cluster. Dropping it ends the server and removes its directory.
pub struct Sandbox {
    // Dropped in this order: first the server, then its files.
    server: Child,
    home: Home,
    program: PathBuf,
    superuser: String,
    patience: Duration,
    major: u32,
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
        let initdb = spawn(&home, spec.programs.initdb(), arguments, Part::Initdb).await;
        let mut initdb = initdb.map_err(|error| match &error {
            ChildError::Start { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                home.closed().unwrap_or(error.into())
            }
            _ => error.into(),
        })?;
        let exit = initdb.wait().await?;
        if !exit.success() {
            return Err(SandboxError::Program {
                program: "initdb",
                how: exit.to_string(),
                detail: exit.stderr.trim().to_owned(),
            });
        }

        let program = spec.programs.postgres();
        let mut sandbox = Self {
            server: serve(&home, program.clone(), &[]).await?,
            home,
            program,
            superuser: spec.superuser.to_owned(),
            patience: spec.patience,
            major: spec.programs.version.major,
        };
        sandbox.until_it_answers().await?;
        Ok(sandbox)
    }

    /// Starts the server again, with these libraries loaded, for a database of this name. Whatever they
    /// are, they get no background worker: one would go to work on the copy.
    ///
    /// # Errors
    /// When the server does not start with them.
    pub async fn preload(
        &mut self,
        libraries: &[String],
        database: &str,
    ) -> Result<(), SandboxError> {
        self.server.terminate(STOP).await?;
        let settings = settings_to_preload(libraries, database);
        self.server = serve(&self.home, self.program.clone(), &settings).await?;
        let answering = self.until_it_answers().await;
        answering.map_err(|source| SandboxError::Preload {
            libraries: libraries.join(", "),
            source: Box::new(source),
        })
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
                        detail: exit.stderr.trim().to_owned(),
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

    /// As whom, where and within which bounds programs run that work on it.
    pub fn confinement(&self) -> Confinement {
        self.home.confinement(bounds_of_programs(&self.home.path))
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
            ("options", OPTIONS.to_owned()),
        ];
        let connection = Connection {
            parameters: parameters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..Connection::default()
        };
        let conninfo = Conninfo::resolve(&connection, &self.home.environment(), Some(database))?;
        let login = LoginFacts {
            major: self.major,
            is_superuser: true,
            sets_messages: true,
        };
        Ok(conninfo.known(login).without_event_triggers(self.major))
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

    /// Makes an empty database like the one that was dumped, whose owner and tablespace are there
    /// already, with its settings and those of its server; gives its name, the same one unless the server
    /// has a database of that name, and the names of settings that this server does not take.
    ///
    /// # Errors
    /// When the locale is not installed here, or this version cannot have it.
    pub async fn create_database(
        &self,
        properties: &DatabaseProperties,
        server: &[ServerSetting],
    ) -> Result<(String, Vec<String>), SandboxError> {
        const WHAT: &str = "make the database to restore into";
        let name = database_name(properties);
        let client = self.client("postgres").await?;
        let sql = create_database(name, Some(properties), self.major);
        client
            .query(WHAT, &sql, &[])
            .await
            .map_err(|source| SandboxError::Database {
                encoding: properties.encoding.clone(),
                locale: locale(properties),
                source: Box::new(source),
            })?;
        let mut refused = Vec::new();
        let settings = settings_for_loading(name, server, properties);
        if !settings.iter().any(|one| one.name == "lc_monetary") {
            // Amounts of money are written in the server's locale, which the manifest does not
            // know; nearly always it is the database's. Where it is not installed, nothing is lost.
            let sql = format!(
                "ALTER DATABASE {} SET lc_monetary = {}",
                identifier(name),
                literal(&properties.lc_collate)
            );
            let _ = client.query(WHAT, &sql, &[]).await;
        }
        for one in settings {
            if client.query(WHAT, &one.sql, &[]).await.is_err() {
                refused.push(one.name);
            }
        }
        Ok((name.to_owned(), refused))
    }

    /// Gives a restored database another name, so that another one can be made under its own.
    ///
    /// # Errors
    /// When somebody is connected to it and stays.
    pub async fn set_aside(&self, name: &str) -> Result<(), SandboxError> {
        // The server has no other database but its own.
        let aside = if name == "aside" { "apart" } else { "aside" };
        let sql = format!("ALTER DATABASE {} RENAME TO {aside}", identifier(name));
        let client = self.client("postgres").await?;
        client
            .query("rename a restored database", &sql, &[])
            .await?;
        Ok(())
    }

    /// Those of these extensions that are not installed on this machine.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn missing_extensions<'a>(
        &self,
        properties: &'a DatabaseProperties,
    ) -> Result<Vec<&'a Extension>, SandboxError> {
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
            .collect())
    }

    /// Those of these libraries that are not installed on this machine, where the server looks for
    /// libraries that are named without a directory.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn missing_libraries(
        &self,
        libraries: &[String],
    ) -> Result<Vec<String>, SandboxError> {
        const WHAT: &str = "ask for the libraries there are";
        let client = self.client("postgres").await?;
        let sql = "SELECT l.name FROM pg_catalog.unnest($1::text[]) AS l (name), \
                          pg_catalog.pg_config() AS c \
                    WHERE c.name = 'PKGLIBDIR' \
                      AND (pg_catalog.pg_stat_file(c.setting || '/' || l.name || '.so', true)).size \
                          IS NULL";
        let rows = client
            .query(WHAT, sql, &[(&libraries, Type::TEXT_ARRAY)])
            .await?;
        rows.iter()
            .map(|row| Ok(value(&client, WHAT, row, 0)?))
            .collect()
    }

    /// Those of these providers of security labels that the server has not loaded.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn missing_label_providers(
        &self,
        providers: &BTreeSet<String>,
    ) -> Result<Vec<String>, SandboxError> {
        let client = self.client("postgres").await?;
        Ok(missing_label_providers(&client, providers, self.patience).await?)
    }

    async fn client(&self, database: &str) -> Result<Client, SandboxError> {
        Ok(Client::connect(&self.conninfo(database)?, self.patience).await?)
    }

    /// Whether the server still runs; what it said when it does not.
    pub async fn ended(&mut self) -> Option<String> {
        let exit = tokio::time::timeout(Duration::from_millis(100), self.server.wait()).await;
        let exit = exit.ok()?.ok()?;
        Some(format!(
            "postgres {exit}; its output:\n{}",
            exit.stderr.trim()
        ))
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

/// The name of a restored database: the same one, unless every server has a database of that name.
pub fn database_name(properties: &DatabaseProperties) -> &str {
    match properties.name.as_str() {
        "postgres" | "template0" | "template1" => "restored",
        name => name,
    }
}

/// Starts the server that has been made, with further settings.
async fn serve(
    home: &Home,
    program: PathBuf,
    settings: &[(&str, String)],
) -> Result<Child, ChildError> {
    let mut arguments: Vec<OsString> = vec!["-D".into(), home.path.join("data").into()];
    let socket = home.path.join("socket").display().to_string();
    let own = [("unix_socket_directories", socket)];
    let usual = SETTINGS
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    // Of a setting that is named twice, the last one counts.
    for (name, value) in usual.chain(own).chain(settings.iter().cloned()) {
        arguments.push("-c".into());
        arguments.push(format!("{name}={value}").into());
    }
    spawn(home, program, arguments, Part::Server).await
}

/// The programs of the sandbox.
#[derive(Clone, Copy)]
enum Part {
    Initdb,
    Server,
}

async fn spawn(
    home: &Home,
    program: PathBuf,
    args: Vec<OsString>,
    part: Part,
) -> Result<Child, ChildError> {
    let (bounds, kind) = match part {
        Part::Initdb => (bounds_of_initdb(&home.path), ChildKind::Program),
        Part::Server => (bounds_of_the_server(&home.path), ChildKind::Server),
    };
    tracing::debug!("running {} {args:?}", program.display());
    Child::spawn(ChildSpec {
        program,
        args,
        environment: home.environment().into_iter().collect(),
        stdin: ChildInput::Null,
        stdout: ChildOutput::Null,
        mask: Box::new(|text| text),
        confinement: home.confinement(bounds),
        kind,
    })
    .await
}

/// The locale of a database for a sentence.
fn locale(properties: &DatabaseProperties) -> String {
    let mut text = format!("{}, {}", properties.lc_collate, properties.lc_ctype);
    if let Some(locale) = &properties.locale {
        text = format!("{text}, {} {locale}", properties.locale_provider);
    }
    text
}
