//! Names of hosts, from /etc/hosts and the servers in /etc/resolv.conf: a static program has no resolver in its C library.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
};

use super::address::Host;

/// All addresses of a host, IPv4 first: a datagram that nobody takes at `::1` tells nobody.
///
/// Both files are read each time: whoever connects seldom keeps nothing in memory for it.
pub async fn resolve(host: &Host) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.name.parse::<IpAddr>() {
        return Ok(vec![(address, host.port).into()]);
    }
    let mut found = listed(&host.name, &Hosts::from_system().unwrap_or_default());
    if found.is_empty() {
        found = ask(&host.name)
            .await
            .map_err(|error| io::Error::other(format!("cannot look up {:?}: {error}", host.name)))?;
    }
    found.sort_by_key(IpAddr::is_ipv6);
    Ok(found.into_iter().map(|address| (address, host.port).into()).collect())
}

/// What a file of hosts says: then no server is asked, for the other kind of address neither.
fn listed(name: &str, hosts: &Hosts) -> Vec<IpAddr> {
    let Ok(name) = Name::from_str(name) else {
        return Vec::new();
    };
    let found = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    found
        .flat_map(|found| {
            found
                .answers()
                .iter()
                .filter_map(|record| record.data.ip_addr())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// What servers say. Without any, `localhost` is still known.
async fn ask(name: &str) -> Result<Vec<IpAddr>, hickory_resolver::net::NetError> {
    let nobody = || {
        let config = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| nobody());
    builder.options_mut().use_hosts_file = ResolveHosts::Never;
    let found = builder.build()?.lookup_ip(name).await?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_file_of_hosts_need_no_server() {
        let mut hosts = Hosts::default();
        hosts
            .read_hosts_conf(&b"127.0.0.1 localhost\n192.0.2.1 web web.example # a\n2001:db8::1 web\n"[..])
            .unwrap();
        let check = |name: &str, expected: &[&str]| {
            let found = listed(name, &hosts);
            assert_eq!(
                found,
                expected
                    .iter()
                    .map(|text| text.parse::<IpAddr>().unwrap())
                    .collect::<Vec<_>>()
            );
        };
        check("localhost", &["127.0.0.1"]);
        check("web", &["192.0.2.1", "2001:db8::1"]);
        check("WEB.example", &["192.0.2.1"]);
        check("other", &[]);
        check("no name", &[]);
    }

    #[tokio::test]
    async fn localhost_is_found_whatever_the_files_say() {
        let host = Host {
            name: "localhost".into(),
            port: 7,
        };
        let found = resolve(&host).await.unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 7)
        );
        assert!(ask("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
