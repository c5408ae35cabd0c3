//! Where a peer is.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tokio::{
    net::{TcpStream, UdpSocket, UnixDatagram, UnixStream},
    time,
};

use super::{Connection, resolve::resolve};

/// `sun_path` is 108 bytes with its terminator.
const SUN_PATH: usize = 107;

/// How long a name's look-up may take, and a connection to each of its addresses.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a peer is. Names are looked up whenever a connection is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Udp(Host),
    Tcp(Host),
    Unix(PathBuf),
    Unixgram(PathBuf),
}

/// A name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub name: String,
    pub port: u16,
}

impl Host {
    /// `name:port`, `[v6]:port` or, with a default port, these without one.
    pub fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let (name, rest) = match text.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match rest.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if rest.is_empty() => default_port?,
            None => return None,
        };
        (!name.is_empty() && !name.contains('/')).then(|| Self {
            name: name.into(),
            port,
        })
    }
}

impl Address {
    /// `udp://` and `tcp://` with a host, `unix://` and `unixgram://` with an absolute path of at most 107 bytes.
    pub fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_path = rest.starts_with('/') && rest.len() <= SUN_PATH;
        let path = || is_path.then(|| PathBuf::from(rest));
        match scheme {
            "udp" => Host::parse(rest, default_port).map(Self::Udp),
            "tcp" => Host::parse(rest, default_port).map(Self::Tcp),
            "unix" => path().map(Self::Unix),
            "unixgram" => path().map(Self::Unixgram),
            _ => None,
        }
    }

    /// Connects to the first address that can be reached.
    pub async fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Udp(host) => connect_udp(&patiently(resolve(host)).await?).await,
            Self::Tcp(host) => connect_tcp(&patiently(resolve(host)).await?).await,
            Self::Unix(path) => patiently(UnixStream::connect(path)).await.map(Connection::Unix),
            Self::Unixgram(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                Ok(Connection::Unixgram(socket))
            }
        }
    }
}

async fn patiently<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = time::timeout(PATIENCE, work).await;
    done.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn connect_tcp(addresses: &[SocketAddr]) -> io::Result<Connection> {
    let mut last = io::ErrorKind::NotFound.into();
    for to in addresses {
        match patiently(TcpStream::connect(to)).await {
            Ok(stream) => {
                // Records are small, and nothing is answered.
                stream.set_nodelay(true)?;
                return Ok(Connection::Tcp(stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_udp(addresses: &[SocketAddr]) -> io::Result<Connection> {
    let mut last = io::ErrorKind::NotFound.into();
    for to in addresses {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        match socket.connect(to).await {
            Ok(()) => return Ok(Connection::Udp(socket)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(host) => write!(f, "udp://{host}"),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Unixgram(path) => write!(f, "unixgram://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        for (text, port, expected) in [
            ("udp://host:1", None, "udp://host:1"),
            ("tcp://1.2.3.4", Some(514), "tcp://1.2.3.4:514"),
            ("tcp://[::1]:2", None, "tcp://[::1]:2"),
            ("udp://[fe80::1]", Some(9), "udp://[fe80::1]:9"),
            ("unix:///a/b", None, "unix:///a/b"),
            ("unixgram:///a", Some(1), "unixgram:///a"),
        ] {
            assert_eq!(
                Address::parse(text, port).map(|address| address.to_string()),
                Some(expected.into())
            );
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            "host:1",
            "tcp+tls://h:1",
            "udp://",
            "udp://h",
            "udp://:1",
            "udp://h:x",
            "udp://h:99999",
            "udp://h:1/p",
            "udp://[::1",
            "udp://[::1]x:1",
            "unix://a",
            "unix://",
        ] {
            assert_eq!(Address::parse(text, None), None, "{text}");
        }
        let path = "/".repeat(SUN_PATH);
        assert!(Address::parse(&format!("unix://{path}"), None).is_some());
        assert_eq!(Address::parse(&format!("unix://{path}/"), None), None);
    }
}
