//! Networks: namespaces, the bridge, addresses, NAT.
//!
//! A container's network namespace is a bind-mounted file made before the task, so that it outlives every process of
//! this project. The default bridge gives it an address, a route and masquerading. All links are made over netlink; the
//! one program executed is `nft`, for one atomic transaction when the network opens.
//!
//! Not here: published ports, other networks than the default bridge, names, IPv6.

mod bridge;
pub mod error;
pub mod ipam;
mod links;
pub mod model;
mod namespace;
pub mod network;
mod rules;

pub use error::NetworkError;
pub use model::{Endpoint, MacAddress, NetworkConfig};
pub use network::Network;

/// What calls of this crate return.
pub type Result<T> = std::result::Result<T, NetworkError>;

/// What a container calls its end of the pair.
pub(crate) const CONTAINER_LINK: &str = "eth0";
