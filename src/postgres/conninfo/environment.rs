//! The environment of the programs we start: everything that libpq needs, and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::session::Purpose;
use super::{Conninfo, Host};
use crate::config::keyword;

/// Variables that a program of `PostgreSQL` may need besides libpq's: where its certificates,
/// libraries and time zone are.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "TZ",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "OPENSSL_CONF",
];

/// A path that cannot exist. Without PGPASSFILE libpq would ask `~/.pgpass`, and of `/dev/null` it
/// says that it is not a plain file.
const NO_PASSWORD_FILE: &str = "/dev/null/none";

/// What of our own environment the programs get.
pub(super) fn surroundings(environment: &BTreeMap<String, String>) -> Vec<(String, String)> {
    PASSED_ON
        .iter()
        .filter_map(|name| {
            let value = environment.get(*name)?;
            Some(((*name).to_owned(), value.clone()))
        })
        .collect()
}

/// How bytea, names, strings and (in `pg_dumpall`) times are written in a dump, and how arrays and
/// comparisons with NULL are read from it: neither is written into the dump itself.
const WRITING: &str = "-c bytea_output=hex -c quote_all_identifiers=off \
    -c standard_conforming_strings=on -c datestyle=ISO -c array_nulls=on -c transform_null_equals=off";

/// What decides how a dump is read and is not written into it. All else, such as the order of day and
/// month, is the database's: functions may depend on it, and a dump has its times in a form that does not.
const READING: &str =
    "-c standard_conforming_strings=on -c array_nulls=on -c transform_null_equals=off";

impl Conninfo {
    /// The whole environment for `pg_dump` and its kin; start them with no other.
    ///
    /// The password and the name of the database go by variables only: arguments can be read by
    /// everybody, and libpq takes a name with `=` or `://` in an argument for a connection string.
    /// `connect_timeout` is the limit for one attempt unless the operator gave one; libpq counts in
    /// seconds.
    ///
    /// Places that need another password than the first one are left out. Take the connection from
    /// [`Client::conninfo`](crate::postgres::Client::conninfo), which has only the place that
    /// answered.
    pub fn child_environment(
        &self,
        application_name: &str,
        connect_timeout: Duration,
    ) -> Vec<(String, String)> {
        let mut variables = self.surroundings.clone();
        let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));

        // So that the messages can be recognised; the server's own follow its lc_messages.
        set("LC_ALL", "C");
        set("LANG", "C");
        for (name, value) in &self.parameters {
            let variable = keyword::find(name).and_then(|keyword| keyword.variable);
            if let Some(variable) = variable
                && variable != "PGOPTIONS"
            {
                set(variable, value);
            }
        }
        // A dump must not depend on settings of the role or the database: the same row would be
        // written in two ways, and a restored copy, whose settings are not there yet, would seem
        // to differ. What pg_dump itself leaves open is the zone of times and what WRITING sets.
        if let Some(zone) = &self.zone {
            set("PGTZ", zone);
        }
        let options = match self.purpose {
            Purpose::Dump => self.options_of_program(WRITING),
            Purpose::Load { .. } => self.options_of_program(READING),
        };
        set("PGOPTIONS", &options);
        let seconds = self
            .connect_timeout
            .unwrap_or(connect_timeout)
            .as_secs()
            .max(1);
        set("PGCONNECT_TIMEOUT", &seconds.to_string());
        set("PGDATABASE", &self.database);
        set("PGUSER", &self.user);
        set("PGAPPNAME", application_name);
        // Ours cannot do it either, and both are to connect in the same way.
        set("PGGSSENCMODE", "disable");
        set("PGPASSFILE", NO_PASSWORD_FILE);

        let password = |i: usize| {
            let password = self.endpoints.get(i)?.password.as_ref()?;
            Some(password.expose_secret())
        };
        if let Some(password) = password(0) {
            set("PGPASSWORD", password);
        }
        let (mut hosts, mut addresses, mut ports) = (Vec::new(), Vec::new(), Vec::new());
        for (i, endpoint) in self.endpoints.iter().enumerate() {
            if password(i) != password(0) {
                continue;
            }
            hosts.push(match &endpoint.host {
                Host::Socket(directory) => directory.display().to_string(),
                Host::Tcp(name) => name.clone(),
            });
            addresses.push(endpoint.address.map(|address| address.to_string()));
            ports.push(endpoint.port.to_string());
        }
        set("PGHOST", &hosts.join(","));
        set("PGPORT", &ports.join(","));
        if addresses.iter().any(Option::is_some) {
            let addresses: Vec<_> = addresses
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect();
            set("PGHOSTADDR", &addresses.join(","));
        }
        variables
    }

    /// The parameters that have no variable (keepalives and the like), as a keyword string for
    /// `--dbname`; it holds no secret and no name of a database, so that PGDATABASE still counts.
    pub fn child_argument(&self) -> Option<String> {
        let pairs: Vec<_> = self
            .parameters
            .iter()
            .filter(|(name, _)| {
                keyword::find(name).is_some_and(|keyword| keyword.variable.is_none())
            })
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join(" "))
    }
}

/// A value as it has to be written in a keyword string.
pub(in crate::postgres) fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}
