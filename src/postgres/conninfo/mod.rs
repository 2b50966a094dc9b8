//! How a server is reached, resolved as libpq resolves it: the configuration, then the service
//! file, then the environment, then libpq's defaults.
//!
//! Our own connection and the programs that we start get the same resolved values, so that both
//! talk to the same server as the same user.

mod endpoint;
mod environment;
mod error;
mod mode;
mod password;
mod service;
mod session;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::config::{Connection, Parameters};
use crate::credential;
use crate::mask::{mask, mask_uris};
pub(super) use endpoint::{Endpoint, Host};
pub(super) use environment::quoted;
pub use error::{ConninfoError, ParameterSource};
pub(super) use mode::{ChannelBinding, SessionAttributes, SslMode};
pub use password::PasswordError;
use password::{Login, PasswordFile};
pub use service::ServiceError;
use session::Purpose;
pub(super) use session::{LoginFacts, has_options};
use values::Values;

/// Everything that is needed to connect to one database. Showing it shows no secret.
#[derive(Clone, Debug)]
pub struct Conninfo {
    /// Where the server may be, in the order in which the places are tried; never empty.
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) ssl_mode: SslMode,
    pub(super) session: SessionAttributes,
    pub(super) channel_binding: ChannelBinding,
    pub(super) keepalive: Keepalive,
    /// For each single attempt, when the operator limits it.
    pub(super) connect_timeout: Option<Duration>,
    /// The remaining parameters as they were given, by keyword; none of them is a secret.
    pub(super) parameters: Parameters,
    /// The time zone of programs; without, it is the server's.
    zone: Option<String>,
    /// What programs do with a dump.
    purpose: Purpose,
    /// What is known of the server and of our user there, once a connection was made.
    login: Option<LoginFacts>,
    /// What the programs we start need from the environment besides libpq's own variables.
    surroundings: Vec<(String, String)>,
    home: Option<PathBuf>,
}

/// A text without the passwords of URIs, and those behind `password=`.
pub fn without_passwords(text: &str) -> String {
    mask(text, &[])
}

/// A text without the passwords of URIs.
pub fn without_passwords_of_uris(text: &str) -> String {
    mask_uris(text)
}

/// How a silent connection over TCP is watched; none means the system's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) enabled: bool,
    pub(super) idle: Option<Duration>,
    pub(super) interval: Option<Duration>,
    pub(super) count: Option<u32>,
    pub(super) user_timeout: Option<Duration>,
}

impl Keepalive {
    fn of(values: &Values) -> Result<Self, ConninfoError> {
        Ok(Self {
            enabled: values.integer("keepalives")?.is_none_or(|on| on != 0),
            idle: values.duration("keepalives_idle", Duration::from_secs)?,
            interval: values.duration("keepalives_interval", Duration::from_secs)?,
            count: values
                .integer("keepalives_count")?
                .filter(|&count| count != 0),
            user_timeout: values.duration("tcp_user_timeout", Duration::from_millis)?,
        })
    }
}

impl Conninfo {
    /// Resolves a connection. `environment` is the process's own; of files, only the service file,
    /// the password file and the file or credential that the configuration names are read.
    ///
    /// `database` is the plain name of the database and wins over every other place. Without it and
    /// without `dbname` and PGDATABASE, the database is the user's, as in libpq.
    ///
    /// # Errors
    /// Each says which place to correct.
    pub fn resolve(
        connection: &Connection,
        environment: &BTreeMap<String, String>,
        database: Option<&str>,
    ) -> Result<Self, ConninfoError> {
        let mut values = Values::gather(connection, environment)?;
        values.refuse_what_cannot_be_followed()?;
        refuse_credentials_of_others(&values)?;

        let user = values.take("user").map_or_else(system_user, Ok)?;
        let named = values.take("dbname");
        let database = database
            .map(str::to_owned)
            .or(named)
            .unwrap_or_else(|| user.clone());
        let hosts = endpoint::hosts(&mut values)?;

        let text = values.take("password").map(SecretString::from);
        let single = match &connection.password {
            Some(source) => Some(password::configured(source, environment)?),
            None => text,
        };
        let file = match (&single, password_file(&mut values, environment)) {
            (None, Some((path, is_configured))) => PasswordFile::open(&path, is_configured)?,
            (Some(_), _) | (None, None) => PasswordFile::default(),
        };
        let endpoints = hosts
            .into_iter()
            .map(|(host, address, port)| {
                let login = Login {
                    host: &host.in_password_file(),
                    port,
                    database: &database,
                    user: &user,
                };
                let password = single.clone().or_else(|| file.password(login));
                let lack = password.is_none().then(|| file.lack(login)).flatten();
                Endpoint {
                    host,
                    address,
                    port,
                    password,
                    lack,
                }
            })
            .collect();

        Ok(Self {
            endpoints,
            user,
            database,
            ssl_mode: ssl_mode(&values)?,
            session: values
                .parsed("target_session_attrs")?
                .unwrap_or(SessionAttributes::Any),
            channel_binding: values
                .parsed("channel_binding")?
                .unwrap_or(ChannelBinding::Prefer),
            keepalive: Keepalive::of(&values)?,
            connect_timeout: values.duration("connect_timeout", Duration::from_secs)?,
            parameters: values.rest(),
            zone: Some("UTC".to_owned()),
            purpose: Purpose::Dump,
            login: None,
            surroundings: environment::surroundings(environment),
            home: environment.get("HOME").map(PathBuf::from),
        })
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The user who logs in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The first place where the server may be, as `host:port`.
    pub fn server(&self) -> String {
        self.endpoints
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// The same connection, as the same user with the same password, to another database.
    #[must_use]
    pub fn to_database(&self, name: &str) -> Self {
        Self {
            database: name.to_owned(),
            ..self.clone()
        }
    }

    /// The same connection for programs that load a dump, in this time zone, or in the server's own: a
    /// CHECK may ask for the day of a moment, which is not the same everywhere. Of a superuser's sessions
    /// no event trigger is fired, also none of an extension's own, and no library is loaded that a
    /// session usually has, unless `keeps_libraries`: a security label wants its provider.
    #[must_use]
    pub fn for_loading(&self, zone: Option<&str>, keeps_libraries: bool) -> Self {
        Self {
            zone: zone.map(str::to_owned),
            purpose: Purpose::Load { keeps_libraries },
            ..self.clone()
        }
    }

    /// The same connection to a server of this major version, whose sessions fire no event trigger:
    /// one on login may write rows, or let nobody in. Only a superuser may ask for that.
    #[must_use]
    pub fn without_event_triggers(&self, major: u32) -> Self {
        let mut quiet = self.clone();
        // Both the triggers on login and the setting came with version 17.
        if major >= 17 {
            let options = quiet.parameters.entry("options".to_owned()).or_default();
            options.push_str(" -c event_triggers=off");
        }
        quiet
    }

    /// Whether the first place is a socket of this machine.
    pub fn is_on_this_machine(&self) -> bool {
        self.endpoints
            .first()
            .is_some_and(|endpoint| matches!(endpoint.host, Host::Socket(_)))
    }

    /// The same connection, to this one of its places only.
    pub(super) fn only(&self, endpoint: &Endpoint) -> Self {
        Self {
            endpoints: vec![endpoint.clone()],
            ..self.clone()
        }
    }

    /// The text without passwords, for what other programs wrote.
    pub fn mask(&self, text: &str) -> String {
        let passwords = self
            .endpoints
            .iter()
            .filter_map(|one| one.password.as_ref());
        let known: Vec<&str> = passwords.map(ExposeSecret::expose_secret).collect();
        mask(text, &known)
    }

    /// A file in the directory where libpq looks for certificates and keys.
    pub(super) fn home_file(&self, name: &str) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(".postgresql").join(name))
    }
}

impl fmt::Display for Conninfo {
    /// Database, user and place, for an error or a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "database {:?} as user {:?} at ",
            self.database, self.user
        )?;
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            write!(f, "{}{endpoint}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Files that a unit of systemd's may have as credentials.
const FILES: [&str; 5] = ["passfile", "sslkey", "sslcert", "sslrootcert", "sslcrl"];

fn refuse_credentials_of_others(values: &Values) -> Result<(), ConninfoError> {
    for name in FILES {
        let Some(path) = values.get(name).map(Path::new) else {
            continue;
        };
        if let Some(credential) = credential::name(path).filter(|_| credential::is_elsewhere(path))
        {
            return Err(ConninfoError::Elsewhere {
                place: values.source_of(name),
                name,
                credential,
            });
        }
    }
    Ok(())
}

/// The password file, and whether it is configured.
fn password_file(
    values: &mut Values,
    environment: &BTreeMap<String, String>,
) -> Option<(PathBuf, bool)> {
    let is_configured = values.source_of("passfile") != ParameterSource::Variable("PGPASSFILE");
    match values.take("passfile") {
        Some(path) => Some((path.into(), is_configured)),
        None => Some((Path::new(environment.get("HOME")?).join(".pgpass"), false)),
    }
}

fn ssl_mode(values: &Values) -> Result<SslMode, ConninfoError> {
    let mode = values.parsed("sslmode")?;
    if values.get("sslrootcert") != Some("system") {
        return Ok(mode.unwrap_or(SslMode::Prefer));
    }
    // Any of the world's certificates would do, were the name not checked (libpq's manual).
    match mode {
        None | Some(SslMode::VerifyFull) => Ok(SslMode::VerifyFull),
        Some(_) => Err(values.bad(
            "sslmode",
            values.get("sslmode").unwrap_or_default(),
            "verify-full, because sslrootcert=system trusts every public authority",
        )),
    }
}

fn system_user() -> Result<String, ConninfoError> {
    let id = rustix::process::geteuid().as_raw();
    uzers::get_user_by_uid(id)
        .and_then(|user| user.name().to_str().map(str::to_owned))
        .ok_or(ConninfoError::NoUser(id))
}

#[cfg(test)]
mod tests;
