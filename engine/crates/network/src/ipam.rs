//! Addresses of one subnet: handed out in order, and given again as late as possible.

use std::{collections::HashMap, net::Ipv4Addr};

use davit_vocabulary::ContainerId;
use ipnet::Ipv4Net;

use crate::{NetworkError, Result};

/// Who has which address. The store of this is the engine's container records: a new pool is empty and told by
/// [`AddressPool::adopt`].
#[derive(Debug)]
pub struct AddressPool {
    bridge: String,
    subnet: Ipv4Net,
    gateway: Ipv4Addr,
    leases: HashMap<Ipv4Addr, ContainerId>,
    by_container: HashMap<ContainerId, Ipv4Addr>,
    last: u32,
}

impl AddressPool {
    /// An empty pool; `address` is the gateway's, with the length of the prefix.
    pub fn new(bridge: &str, address: Ipv4Net) -> Result<Self> {
        let subnet = address.trunc();
        let gateway = address.addr();
        if subnet.prefix_len() > 30 {
            return Err(NetworkError::InvalidConfig(format!(
                "{address} has no room for containers"
            )));
        }
        if gateway == subnet.network() || gateway == subnet.broadcast() {
            return Err(NetworkError::InvalidConfig(format!(
                "{address} is not the address of a host"
            )));
        }
        Ok(Self {
            bridge: bridge.into(),
            subnet,
            gateway,
            leases: HashMap::new(),
            by_container: HashMap::new(),
            last: u32::from(subnet.network()),
        })
    }

    /// The next free address after the one given last, round the subnet. A container that has one keeps it.
    pub fn allocate(&mut self, container: &ContainerId) -> Result<Ipv4Addr> {
        if let Some(address) = self.by_container.get(container) {
            return Ok(*address);
        }
        let (first, end) = (u32::from(self.subnet.network()) + 1, u32::from(self.subnet.broadcast()));
        let after_last = (self.last + 1).max(first);
        let free = (after_last..end)
            .chain(first..after_last.min(end))
            .map(Ipv4Addr::from)
            .find(|it| self.is_free(*it));
        let address = free.ok_or_else(|| NetworkError::PoolExhausted(self.bridge.clone()))?;
        self.last = u32::from(address);
        self.record(container, address);
        Ok(address)
    }

    /// Takes note of an address that a container has already.
    pub fn adopt(&mut self, container: &ContainerId, address: Ipv4Addr) -> Result<()> {
        let is_host = self.subnet.contains(&address)
            && ![self.subnet.network(), self.subnet.broadcast(), self.gateway].contains(&address);
        if !is_host {
            return Err(NetworkError::OutsideSubnet(address, self.subnet));
        }
        if let Some(holder) = self.leases.get(&address).filter(|holder| *holder != container) {
            return Err(NetworkError::AddressInUse {
                address,
                container: container.to_string(),
                holder: holder.to_string(),
            });
        }
        self.release(container);
        self.last = self.last.max(u32::from(address));
        self.record(container, address);
        Ok(())
    }

    /// Frees the container's address, if it has one.
    pub fn release(&mut self, container: &ContainerId) {
        if let Some(address) = self.by_container.remove(container) {
            self.leases.remove(&address);
        }
    }

    fn is_free(&self, address: Ipv4Addr) -> bool {
        address != self.gateway && !self.leases.contains_key(&address)
    }

    fn record(&mut self, container: &ContainerId, address: Ipv4Addr) {
        self.leases.insert(address, container.clone());
        self.by_container.insert(container.clone(), address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(address: &str) -> AddressPool {
        AddressPool::new("br", address.parse().unwrap()).unwrap()
    }

    fn id(text: &str) -> ContainerId {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_come_in_order_after_the_gateway_and_are_given_again_late() {
        let mut pool = pool("172.17.0.1/29");
        let mut take = |name: &str| pool.allocate(&id(name)).map(|it| it.octets()[3]);
        assert_eq!((take("a").unwrap(), take("b").unwrap(), take("a").unwrap()), (2, 3, 2));
        pool.release(&id("a"));
        let mut take = |name: &str| pool.allocate(&id(name)).map(|it| it.octets()[3]);
        assert_eq!(["c", "d", "e", "f"].map(|name| take(name).unwrap()), [4, 5, 6, 2]);
        assert!(matches!(take("g"), Err(NetworkError::PoolExhausted(_))));
    }

    #[test]
    fn adopted_addresses_are_not_given_to_others() {
        let mut pool = pool("10.0.0.1/24");
        pool.adopt(&id("a"), "10.0.0.9".parse().unwrap()).unwrap();
        assert!(matches!(
            pool.adopt(&id("b"), "10.0.0.9".parse().unwrap()),
            Err(NetworkError::AddressInUse { .. })
        ));
        assert!(matches!(
            pool.adopt(&id("b"), "10.0.0.1".parse().unwrap()),
            Err(NetworkError::OutsideSubnet(..))
        ));
        assert!(matches!(
            pool.adopt(&id("b"), "10.0.1.2".parse().unwrap()),
            Err(NetworkError::OutsideSubnet(..))
        ));
        assert_eq!(pool.allocate(&id("b")).unwrap().octets()[3], 10);
        assert_eq!(pool.allocate(&id("a")).unwrap().octets()[3], 9);
    }

    #[test]
    fn a_subnet_without_room_or_a_gateway_that_is_no_host_is_refused() {
        for bad in ["10.0.0.1/31", "10.0.0.1/32", "10.0.0.0/24", "10.0.0.255/24"] {
            assert!(AddressPool::new("br", bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
