//! Where an engine listens.

use std::{fmt, path::PathBuf, str::FromStr};

/// The address of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// `unix:///run/davit/davit.sock`
    Unix(PathBuf),
    /// `tcp://127.0.0.1:2375`, plain HTTP.
    Tcp(String),
}

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// The scheme is Docker's, but not ours yet.
    #[error("{0}:// hosts are not supported by davit yet")]
    Unsupported(String),
    /// Not an address.
    #[error("unable to parse docker host `{0}`")]
    Invalid(String),
}

impl Default for Host {
    fn default() -> Self {
        Self::Unix("/run/davit/davit.sock".into())
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((scheme, address)) = text.split_once("://") else {
            return Err(HostError::Invalid(text.to_owned()));
        };
        match scheme {
            "unix" if !address.is_empty() => Ok(Self::Unix(address.into())),
            "tcp" | "http" => tcp(address).ok_or_else(|| HostError::Invalid(text.to_owned())),
            "ssh" | "https" | "fd" | "npipe" => Err(HostError::Unsupported(scheme.to_owned())),
            _ => Err(HostError::Invalid(text.to_owned())),
        }
    }
}

/// A host with its port, 2375 where none is given. A path is refused: nothing would use it.
fn tcp(address: &str) -> Option<Host> {
    let address = address.trim_end_matches('/');
    if address.is_empty() || address.contains('/') {
        return None;
    }
    let bracketed_end = address.rfind(']').unwrap_or(0);
    match address[bracketed_end..].rsplit_once(':') {
        Some((_, port)) => port.parse::<u16>().ok().map(|_| Host::Tcp(address.to_owned())),
        None => Some(Host::Tcp(format!("{address}:2375"))),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_docker_reads_them() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Host>(), expected, "{text}");
        check("unix:///run/x.sock", Ok(Host::Unix("/run/x.sock".into())));
        check("tcp://127.0.0.1:2375", Ok(Host::Tcp("127.0.0.1:2375".into())));
        check("tcp://box", Ok(Host::Tcp("box:2375".into())));
        check("tcp://[::1]", Ok(Host::Tcp("[::1]:2375".into())));
        check("tcp://[::1]:80/", Ok(Host::Tcp("[::1]:80".into())));
        check("ssh://box", Err(HostError::Unsupported("ssh".into())));
        for bad in [
            "",
            "unix://",
            "tcp://",
            "tcp://box:http",
            "tcp://box/path",
            "/run/x.sock",
            "ftp://x",
        ] {
            check(bad, Err(HostError::Invalid(bad.into())));
        }
    }
}
