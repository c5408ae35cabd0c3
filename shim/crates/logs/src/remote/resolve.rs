//! Names of hosts, from /etc/hosts and the servers in /etc/resolv.conf: a static program has no resolver in its C library.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use hickory_resolver::TokioResolver;

use super::address::Host;

/// All addresses of a host, IPv4 first: a datagram that nobody takes at `::1` tells nobody. Both files are read each time: whoever connects seldom keeps nothing in memory for it.
pub async fn resolve(host: &Host) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.name.parse::<IpAddr>() {
        return Ok(vec![(address, host.port).into()]);
    }
    let failed = |error| io::Error::other(format!("cannot look up {:?}: {error}", host.name));
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(failed)?;
    let found = resolver.lookup_ip(host.name.as_str()).await.map_err(failed)?;
    let mut addresses: Vec<SocketAddr> = found.iter().map(|address| (address, host.port).into()).collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    Ok(addresses)
}
