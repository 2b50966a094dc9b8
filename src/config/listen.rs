//! Where the page listens: a loopback address or a Unix socket. Whoever reaches it sees everything on it,
//! so no other address is taken.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

/// The kernel takes no longer path of a socket, in bytes (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// What an address looks like.
const EXAMPLES: &str = "write \"127.0.0.1:8432\", \"[::1]:8432\", or the path of a Unix socket, such as \
                        \"/run/pgbackupd/web.sock\"";

/// The ways in from elsewhere.
const WAYS_IN: &str = "listen on \"127.0.0.1:8432\" or on a socket, and reach it through an SSH tunnel or a \
                       proxy that asks who it is (/usr/share/doc/pgbackupd/page.md); metrics also go to a \
                       file (metrics.file)";

/// Where the page listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// Reads an address as the configuration has it.
    ///
    /// # Errors
    /// What is wrong, and in a second line the way out.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return socket(text).map(Self::Unix);
        }
        // The name may mean anything in /etc/hosts; people mean this.
        let numeric = text
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        let numeric = numeric.as_deref().unwrap_or(text);
        let address: SocketAddr = numeric
            .parse()
            .map_err(|_| format!("invalid address {text:?}\n{EXAMPLES}"))?;
        if address.port() == 0 {
            return Err(format!("{text:?} has no port\n{EXAMPLES}"));
        }
        if !address.ip().to_canonical().is_loopback() {
            return Err(format!(
                "{text:?} can be reached from other machines, and the page asks nobody for a \
                 password\n{WAYS_IN}"
            ));
        }
        Ok(Self::Tcp(address))
    }
}

/// The path of a socket.
fn socket(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if text.contains('\0') {
        return Err(format!("a path has no NUL in it\n{EXAMPLES}"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("a path with .. in it\nwrite the path that it leads to".to_owned());
    }
    if text.ends_with('/') || path.file_name().is_none() {
        return Err(format!("{text:?} names no file\n{EXAMPLES}"));
    }
    if text.len() > LONGEST_SOCKET {
        return Err(format!(
            "the path of a socket has {LONGEST_SOCKET} bytes at most, and this one has {}\nuse a \
             shorter one, such as \"/run/pgbackupd/web.sock\"",
            text.len()
        ));
    }
    Ok(path.components().collect())
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn loopback_addresses_and_sockets_are_taken() {
        for (text, expected) in [
            ("127.0.0.1:8432", "http://127.0.0.1:8432/"),
            ("127.8.9.1:80", "http://127.8.9.1:80/"),
            ("localhost:8432", "http://127.0.0.1:8432/"),
            ("[::1]:8432", "http://[::1]:8432/"),
            ("/run//pgbackupd/web.sock", "unix:/run/pgbackupd/web.sock"),
        ] {
            assert_eq!(Listen::read(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn every_other_address_is_refused_with_the_way_out() {
        let long = format!("/run/{}", "x".repeat(103));
        for (text, wrong, way) in [
            ("0.0.0.0:8432", "other machines", "SSH tunnel"),
            ("[::]:8432", "other machines", "SSH tunnel"),
            ("192.168.0.7:8432", "other machines", "a proxy"),
            ("[::ffff:10.0.0.1]:8432", "other machines", "metrics.file"),
            ("127.0.0.1", "invalid address", "[::1]:8432"),
            (":8432", "invalid address", "127.0.0.1:8432"),
            ("8432", "invalid address", "127.0.0.1:8432"),
            ("db.example.org:8432", "invalid address", "127.0.0.1:8432"),
            ("http://127.0.0.1:8432", "invalid address", "127.0.0.1:8432"),
            ("127.0.0.1:0", "no port", "127.0.0.1:8432"),
            ("127.0.0.1:65536", "invalid address", "127.0.0.1:8432"),
            ("run/web.sock", "invalid address", "/run/pgbackupd/web.sock"),
            ("/run/../web.sock", "..", "leads to"),
            ("/", "no file", "/run/pgbackupd/web.sock"),
            ("/run/pgbackupd/", "no file", "/run/pgbackupd/web.sock"),
            ("/run/a\0b", "NUL", "/run/pgbackupd/web.sock"),
            (&long, "107 bytes", "shorter"),
            ("", "invalid address", "127.0.0.1:8432"),
        ] {
            let message = Listen::read(text).unwrap_err();
            let (what, how) = message.split_once('\n').unwrap();
            assert!(what.contains(wrong), "{text}: {message}");
            assert!(how.contains(way), "{text}: {message}");
        }
    }
}
