//! What this crate asks of the kernel over netlink, in one network namespace.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::{
    address::AddressAttribute,
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage, State},
};
use nix::errno::Errno;
use rtnetlink::{
    Error, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
};

use crate::{MacAddress, NetworkError, Result};

/// The loopback has this index in every namespace.
const LOOPBACK: u32 = 1;
/// A link that takes longer is left to come up while the container starts.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// A netlink socket; it stays in the namespace in which it was opened.
#[derive(Clone)]
pub(crate) struct Links {
    handle: Handle,
}

/// A link that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub is_bridge: bool,
    /// Whether it carries packets.
    pub is_up: bool,
}

/// A pair to be made: the host's end in a bridge, the other in a namespace as `eth0`.
pub(crate) struct Pair<'a> {
    pub host_name: &'a str,
    pub bridge: u32,
    pub namespace: BorrowedFd<'a>,
    pub mac: MacAddress,
}

impl Links {
    /// A socket in the calling thread's namespace. Needs a runtime's context.
    pub(crate) fn here() -> Result<Self> {
        let (connection, handle, _) = new_connection().map_err(|error| problem("open a netlink socket", error))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub(crate) async fn set_loopback_up(&self) -> Result<()> {
        self.set_up(LOOPBACK, "lo").await
    }

    pub(crate) async fn set_up(&self, index: u32, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let answer = self.handle.link().set(message).execute().await;
        answer.map_err(|error| failed(format!("set {name} up"), error))
    }

    /// The link of this name.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Link>> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await {
            Ok(message) => Ok(message.as_ref().map(read)),
            Err(error) if is(&error, Errno::ENODEV) => Ok(None),
            Err(error) => Err(failed(format!("look for {name}"), error)),
        }
    }

    /// Waits until a link that was set up carries packets.
    ///
    /// The kernel does the last step of that later, on a queue that may stand behind the removal of other links; until
    /// then what is sent is lost, and TCP and ARP try again only after a second. From Linux 6.8 on the question itself
    /// does that step.
    pub(crate) async fn carries(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + LONGEST_WAIT;
        while !self.find(name).await?.is_some_and(|link| link.is_up) {
            if Instant::now() > deadline {
                tracing::warn!(link = name, "a link does not carry packets yet");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Makes a bridge, up, with an address of its own that does not change with its ports.
    pub(crate) async fn add_bridge(&self, name: &str, mac: MacAddress) -> Result<()> {
        let message = LinkBridge::new(name).address(mac.0.to_vec()).up().build();
        let answer = self.handle.link().add(message).execute().await;
        answer.map_err(|error| failed(format!("create bridge {name}"), error))
    }

    /// Makes a whole pair with one message: nothing is half made. The end inside is still down: the kernel cannot open it
    /// before the pair is one.
    pub(crate) async fn add_pair(&self, pair: Pair<'_>) -> Result<()> {
        let inside = LinkMessageBuilder::<LinkUnspec>::new()
            .name(super::CONTAINER_LINK)
            .setns_by_fd(pair.namespace.as_raw_fd())
            .address(pair.mac.0.to_vec())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(pair.host_name, super::CONTAINER_LINK)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside)))
            .controller(pair.bridge)
            .up()
            .build();
        let answer = self.handle.link().add(message).execute().await;
        answer.map_err(|error| failed(format!("create {}", pair.host_name), error))
    }

    /// Removes a link; none of this name is fine.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let Some(link) = self.find(name).await? else {
            return Ok(());
        };
        match self.handle.link().del(link.index).execute().await {
            Err(error) if !is(&error, Errno::ENODEV) => Err(failed(format!("delete {name}"), error)),
            _ => Ok(()),
        }
    }

    /// Gives a link an address; one that it has already is fine.
    pub(crate) async fn add_address(&self, index: u32, address: Ipv4Net) -> Result<()> {
        let request = self
            .handle
            .address()
            .add(index, IpAddr::V4(address.addr()), address.prefix_len());
        match request.execute().await {
            Err(error) if !is(&error, Errno::EEXIST) => Err(failed(format!("add address {address}"), error)),
            _ => Ok(()),
        }
    }

    /// The IPv4 addresses of a link.
    pub(crate) async fn addresses(&self, index: u32) -> Result<Vec<Ipv4Net>> {
        let mut messages = self.handle.address().get().set_link_index_filter(index).execute();
        let mut addresses = Vec::new();
        loop {
            let message = messages
                .try_next()
                .await
                .map_err(|error| failed("list addresses".into(), error))?;
            let Some(message) = message else { return Ok(addresses) };
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            let prefix = message.header.prefix_len;
            addresses.extend(local.and_then(|local| Ipv4Net::new(local, prefix).ok()));
        }
    }

    /// Sends everything that has no better route to a gateway.
    pub(crate) async fn add_default_route(&self, gateway: Ipv4Addr) -> Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        match self.handle.route().add(route).execute().await {
            Err(error) if !is(&error, Errno::EEXIST) => Err(failed(format!("add route through {gateway}"), error)),
            _ => Ok(()),
        }
    }
}

fn read(message: &LinkMessage) -> Link {
    let is_bridge = message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
        _ => false,
    });
    let is_up = message.attributes.contains(&LinkAttribute::OperState(State::Up));
    Link {
        index: message.header.index,
        is_bridge,
        is_up,
    }
}

fn is(error: &Error, errno: Errno) -> bool {
    matches!(error, Error::NetlinkError(message) if message.to_io().raw_os_error() == Some(errno as i32))
}

fn failed(action: String, error: Error) -> NetworkError {
    match error {
        Error::NetlinkError(message) => problem(action, message.to_io()),
        other => NetworkError::Link {
            action,
            problem: other.to_string(),
        },
    }
}

fn problem(action: impl Into<String>, error: io::Error) -> NetworkError {
    NetworkError::Link {
        action: action.into(),
        problem: error.to_string(),
    }
}
