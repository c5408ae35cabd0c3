//! Why something on the network failed.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use davit_vocabulary::ErrorKind;

/// A failed call on a network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The subnet has no address left. Docker's words.
    #[error("no available IPv4 addresses on this network's address pools: bridge ({0})")]
    PoolExhausted(String),
    /// Two containers claim one address.
    #[error("address {address} of container {container} is in use by container {holder}")]
    AddressInUse {
        /// The address.
        address: Ipv4Addr,
        /// Who asks.
        container: String,
        /// Who has it.
        holder: String,
    },
    /// An address that is not of the subnet, or is the gateway's.
    #[error("address {0} is not one of the subnet {1}")]
    OutsideSubnet(Ipv4Addr, ipnet::Ipv4Net),
    /// The configuration makes no sense.
    #[error("invalid bridge configuration: {0}")]
    InvalidConfig(String),
    /// A file could not be read, written or mounted.
    #[error("{action} {path}: {cause}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The kernel refused a change of a link, an address or a route.
    #[error("{action}: {problem}")]
    Link {
        /// What was tried.
        action: String,
        /// Its answer.
        problem: String,
    },
    /// `nft` refused the rules.
    #[error("nft: {0}")]
    Rules(String),
    /// The machine has no thread left for work inside a namespace.
    #[error("run a thread in a network namespace: {cause}")]
    Thread {
        /// Why not.
        cause: io::Error,
    },
}

impl NetworkError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidConfig(_) | Self::OutsideSubnet(..) => ErrorKind::InvalidArgument,
            Self::AddressInUse { .. } => ErrorKind::Conflict,
            Self::PoolExhausted(_) => ErrorKind::ResourceExhausted,
            Self::File { .. } | Self::Link { .. } | Self::Rules(_) | Self::Thread { .. } => ErrorKind::Internal,
        }
    }
}

/// Turns an error of the system into one that says what was tried on which file.
pub(crate) fn file<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl Fn(E) -> NetworkError {
    move |error| NetworkError::File {
        action,
        path: path.to_owned(),
        cause: error.into(),
    }
}
