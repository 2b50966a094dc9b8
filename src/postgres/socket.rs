//! The sockets of our own connections, made as libpq makes them.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::connect_error::{ConnectErrorKind, Refusal};
use super::conninfo::{Endpoint, Host, Keepalive};
use crate::threads::{self, is_exhaustion};

/// A connected socket of either kind.
pub(super) type Socket = Box<dyn Stream>;

/// Bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Where a server listens, apart from its port.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// In this directory.
    Unix(PathBuf),
    /// At this address.
    Tcp(IpAddr),
}

/// The addresses of a server. A name is looked up on a thread of our own, which may be refused.
pub(super) async fn addresses(endpoint: &Endpoint) -> Result<Vec<Address>, Refusal> {
    let name = match (&endpoint.host, endpoint.address) {
        (_, Some(address)) => return Ok(vec![Address::Tcp(address)]),
        (Host::Socket(directory), None) => return Ok(vec![Address::Unix(directory.clone())]),
        (Host::Tcp(name), None) => name.clone(),
    };
    if let Ok(address) = name.parse() {
        return Ok(vec![Address::Tcp(address)]);
    }
    let port = endpoint.port;
    let looking = threads::start("lookup", move || {
        let found = (name.as_str(), port).to_socket_addrs()?;
        Ok::<_, io::Error>(found.map(|found| Address::Tcp(found.ip())).collect())
    });
    let failed = |kind, error: &dyn Display| Refusal::new(kind, error.to_string());
    let looking = looking.map_err(|error| failed(ConnectErrorKind::Exhausted, &error))?;
    match looking.await {
        Ok(found) => found.map_err(|error| failed(kind_of(&error), &error)),
        Err(panicked) => Err(failed(ConnectErrorKind::Other, &panicked)),
    }
}

/// Whose fault it is. "Try again" is the server's, by a socket of this machine: too many wait for it already.
fn kind_of(error: &io::Error) -> ConnectErrorKind {
    if is_exhaustion(error) && error.kind() != io::ErrorKind::WouldBlock {
        ConnectErrorKind::Exhausted
    } else {
        ConnectErrorKind::ServerDown
    }
}

impl Address {
    /// Connects to a port there; a silent connection is watched as asked.
    pub(super) async fn connect(
        &self,
        port: u16,
        keepalive: &Keepalive,
    ) -> Result<Socket, Refusal> {
        let connecting = async {
            Ok::<Socket, io::Error>(match self {
                Self::Unix(directory) => {
                    let path = directory.join(format!(".s.PGSQL.{port}"));
                    Box::new(UnixStream::connect(path).await?)
                }
                Self::Tcp(address) => {
                    let socket = TcpStream::connect((*address, port)).await?;
                    socket.set_nodelay(true)?;
                    keepalive.watch(&socket)?;
                    Box::new(socket)
                }
            })
        };
        connecting.await.map_err(|error| {
            let reason = format!("error connecting to server: {error}");
            Refusal::new(kind_of(&error), reason)
        })
    }
}

impl Keepalive {
    fn watch(&self, socket: &TcpStream) -> io::Result<()> {
        if let Some(limit) = self.user_timeout {
            let milliseconds = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
            sockopt::set_tcp_user_timeout(socket, milliseconds)?;
        }
        if !self.enabled {
            return Ok(());
        }
        sockopt::set_socket_keepalive(socket, true)?;
        if let Some(idle) = self.idle {
            sockopt::set_tcp_keepidle(socket, idle)?;
        }
        if let Some(interval) = self.interval {
            sockopt::set_tcp_keepintvl(socket, interval)?;
        }
        if let Some(count) = self.count {
            sockopt::set_tcp_keepcnt(socket, count)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_refuses_is_not_the_servers_fault() {
        for (errno, expected) in [
            (rustix::io::Errno::MFILE, ConnectErrorKind::Exhausted),
            (rustix::io::Errno::NFILE, ConnectErrorKind::Exhausted),
            (rustix::io::Errno::NOMEM, ConnectErrorKind::Exhausted),
            (rustix::io::Errno::AGAIN, ConnectErrorKind::ServerDown),
            (rustix::io::Errno::CONNREFUSED, ConnectErrorKind::ServerDown),
        ] {
            assert_eq!(kind_of(&io::Error::from(errno)), expected, "{errno}");
        }
    }
}
