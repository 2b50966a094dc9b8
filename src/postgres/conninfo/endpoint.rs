//! Where the server may be: the lists of hosts, addresses and ports, put together.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::error::ConninfoError;
use super::values::Values;

/// The port of a server that says nothing else.
const DEFAULT_PORT: u16 = 5432;

/// One place where the server may be.
#[derive(Clone, Debug)]
pub(in crate::postgres) struct Endpoint {
    pub(in crate::postgres) host: Host,
    /// An address that saves looking the name up; the name still counts for TLS.
    pub(in crate::postgres) address: Option<IpAddr>,
    pub(in crate::postgres) port: u16,
    /// A password file may have a different one for each host.
    pub(in crate::postgres) password: Option<SecretString>,
    /// Why there is none, where a password file was asked.
    pub(in crate::postgres) lack: Option<String>,
}

/// A host as libpq understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum Host {
    /// The directory of a unix socket.
    Socket(PathBuf),
    /// A name or an address.
    Tcp(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.address) {
            (Host::Socket(directory), _) => {
                write!(f, "{}/.s.PGSQL.{}", directory.display(), self.port)
            }
            (Host::Tcp(name), Some(address)) if *name != address.to_string() => {
                write!(f, "{name} ({address}) port {}", self.port)
            }
            (Host::Tcp(name), _) => write!(f, "{name} port {}", self.port),
        }
    }
}

impl Host {
    pub(super) fn in_password_file(&self) -> String {
        match self {
            Self::Socket(directory) => directory.display().to_string(),
            Self::Tcp(name) => name.clone(),
        }
    }
}

/// Hosts, addresses and ports are lists that belong together, one element each for one server.
pub(super) fn hosts(
    values: &mut Values,
) -> Result<Vec<(Host, Option<IpAddr>, u16)>, ConninfoError> {
    let list = |name: &str| -> Vec<String> {
        values
            .get(name)
            .map(|text| text.split(',').map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = names.len().max(addresses.len()).max(1);
    let all_or_none = |what, others| {
        let hosts = count;
        if others == 0 || others == count {
            Ok(())
        } else {
            Err(ConninfoError::CountMismatch {
                hosts,
                others,
                what,
            })
        }
    };
    all_or_none("names", names.len())?;
    all_or_none("addresses (hostaddr)", addresses.len())?;
    if ports.len() != 1 {
        all_or_none("ports", ports.len())?;
    }

    let mut hosts = Vec::with_capacity(count);
    for i in 0..count {
        let port = match ports.get(i).or(ports.first()).map(String::as_str) {
            None | Some("") => DEFAULT_PORT,
            Some(text) => match text.trim().parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(values.bad("port", text, "a number from 1 to 65535")),
            },
        };
        let address: Option<IpAddr> = match addresses.get(i).map(String::as_str) {
            None | Some("") => None,
            Some(text) => match text.parse() {
                Ok(address) => Some(address),
                Err(_) => return Err(values.bad("hostaddr", text, "an IPv4 or IPv6 address")),
            },
        };
        let host = match (names.get(i).map(String::as_str), address) {
            (None | Some(""), Some(address)) => Host::Tcp(address.to_string()),
            (None | Some(""), None) => Host::Socket(default_socket_directory(port)),
            (Some(name), _) if name.starts_with('@') => {
                let expected = "a host name, an address or the directory of a socket in the file \
                                system; sockets in the abstract name space are not supported";
                return Err(values.bad("host", name, expected));
            }
            (Some(name), None) if name.starts_with('/') => Host::Socket(name.into()),
            (Some(name), _) => Host::Tcp(name.to_owned()),
        };
        hosts.push((host, address, port));
    }
    for name in ["host", "hostaddr", "port"] {
        values.take(name);
    }
    Ok(hosts)
}

/// Where libpq was built to look for the socket: Debian and Red Hat say `/var/run/postgresql`,
/// `PostgreSQL`'s own source says `/tmp`. The one where a server listens wins.
fn default_socket_directory(port: u16) -> PathBuf {
    let [packaged, original] = ["/var/run/postgresql", "/tmp"].map(Path::new);
    let socket = format!(".s.PGSQL.{port}");
    if original.join(&socket).exists() && !packaged.join(&socket).exists() {
        original.to_owned()
    } else {
        packaged.to_owned()
    }
}
