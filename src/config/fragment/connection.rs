//! How a server is reached, as it is written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::scalar::{AbsolutePath, Count, CredentialName, Ports, Word};
use crate::config::switch::Switch;

/// How a server is reached. What is not said here comes from libpq's environment, service file and
/// password file.
// No `Debug`: it may hold a password.
#[derive(Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ConnectionFragment {
    /// A libpq URI; the single settings win over it.
    #[serde(skip_serializing)]
    pub(in crate::config) uri: Option<String>,
    /// A libpq keyword string; the single settings win over it.
    #[serde(skip_serializing)]
    pub(in crate::config) conninfo: Option<String>,
    /// The password's text. Better: `password_file` or credential.
    #[serde(skip_serializing)]
    pub(in crate::config) password: Option<String>,
    /// A file whose first line is the password; nobody else may read it.
    #[serde(skip_serializing)]
    pub(in crate::config) password_file: Option<AbsolutePath>,
    /// The name of a systemd credential that holds the password.
    #[serde(skip_serializing)]
    pub(in crate::config) credential: Option<CredentialName>,
    /// The server's name or address, or the directory of its socket.
    host: Option<String>,
    /// Its address, to save looking the name up.
    hostaddr: Option<String>,
    /// Its port.
    port: Option<Ports>,
    /// The role to connect as.
    user: Option<String>,
    /// A service of the service file.
    pub(in crate::config) service: Option<String>,
    /// The service file.
    #[serde(rename(serialize = "servicefile"))]
    service_file: Option<String>,
    /// libpq's password file; nobody else may read it.
    pub(in crate::config) passfile: Option<String>,
    /// Whether channel binding is wanted.
    channel_binding: Option<Word<ChannelBinding>>,
    /// Whether TLS is wanted, and how the server's certificate is checked.
    sslmode: Option<Word<SslMode>>,
    /// How TLS begins.
    sslnegotiation: Option<Word<SslNegotiation>>,
    /// Certificates of the authorities that are trusted.
    sslrootcert: Option<String>,
    /// Our certificate.
    sslcert: Option<String>,
    /// Our certificate's key.
    sslkey: Option<String>,
    /// Revoked certificates.
    sslcrl: Option<String>,
    /// The oldest version of TLS that is accepted.
    ssl_min_protocol_version: Option<String>,
    /// The newest version of TLS that is accepted.
    ssl_max_protocol_version: Option<String>,
    /// The name that the server shows for us.
    application_name: Option<String>,
    /// Options for the session.
    options: Option<String>,
    /// Seconds for one address to answer; limits.connect is for all together.
    connect_timeout: Option<Count<86_400>>,
    /// Whether keepalives are sent: 0 or 1.
    keepalives: Option<Switch>,
    /// Seconds of silence before the first.
    keepalives_idle: Option<Count<86_400>>,
    /// Seconds between them.
    keepalives_interval: Option<Count<86_400>>,
    /// How many may be lost.
    keepalives_count: Option<Count<1000>>,
    /// Milliseconds for sent data to be acknowledged.
    tcp_user_timeout: Option<Count<86_400_000>>,
    /// GSSAPI encryption.
    gssencmode: Option<Word<GssEncMode>>,
    /// The service name of Kerberos.
    krbsrvname: Option<String>,
    /// What the server must be, of several hosts.
    target_session_attrs: Option<Word<SessionAttributes>>,
    /// The order in which several hosts are tried.
    load_balance_hosts: Option<Word<LoadBalance>>,
}

impl ConnectionFragment {
    /// What was written with libpq's keywords, by keyword.
    pub(in crate::config) fn parameters(&self) -> BTreeMap<String, String> {
        let written = match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(written)) => written,
            // A struct of strings and numbers always becomes an object.
            _ => serde_json::Map::new(),
        };
        written
            .into_iter()
            .filter_map(|(keyword, value)| match value {
                serde_json::Value::String(text) => Some((keyword, text)),
                serde_json::Value::Number(number) => Some((keyword, number.to_string())),
                _ => None,
            })
            .collect()
    }

    /// Whether anything was written at all.
    pub(in crate::config) fn is_empty(&self) -> bool {
        self.uri.is_none()
            && self.conninfo.is_none()
            && self.password.is_none()
            && self.password_file.is_none()
            && self.credential.is_none()
            && self.parameters().is_empty()
    }
}

impl<const MAX: u32> Serialize for Count<MAX> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0.get())
    }
}

/// Defines the words of one of libpq's settings.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub(super) enum $name { $($variant),+ }
    };
}

words!(
    /// libpq's sslmode.
    SslMode { Disable, Allow, Prefer, Require, VerifyCa, VerifyFull }
);
words!(
    /// libpq's `channel_binding`.
    ChannelBinding { Disable, Prefer, Require }
);
words!(
    /// libpq's sslnegotiation.
    SslNegotiation { Postgres, Direct }
);
words!(
    /// libpq's gssencmode.
    GssEncMode { Disable, Prefer, Require }
);
words!(
    /// libpq's `target_session_attrs`.
    SessionAttributes { Any, ReadWrite, ReadOnly, Primary, Standby, PreferStandby }
);
words!(
    /// libpq's `load_balance_hosts`.
    LoadBalance { Disable, Random }
);
