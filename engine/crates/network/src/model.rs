//! What a network is made of and what it gives a container.

use std::{fmt, net::Ipv4Addr, path::PathBuf};

use ipnet::Ipv4Net;

/// The default bridge and where namespaces are kept.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Name of the bridge, at most 15 bytes.
    pub bridge: String,
    /// The bridge's own address and the subnet of the containers (`--bip`): `172.17.0.1/16`.
    pub address: Ipv4Net,
    /// Folder of the bind-mounted namespaces.
    pub namespaces: PathBuf,
}

/// A container's place on the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
    /// Derived from the address.
    pub mac: MacAddress,
}

/// An Ethernet address, shown as `02:42:ac:11:00:02`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Docker's rule: `02:42` and the four bytes of the address, so that the same address keeps the same neighbours'
    /// caches right.
    pub fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
