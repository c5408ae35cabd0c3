//! The three files that the engine mounts under a container's /etc.

use std::{fs, io, net::Ipv4Addr, path::Path};

use davit_engine_spec::{Config, Host, NetworkMode};

/// Writes hostname, hosts and resolv.conf into the container's folder. What a user edited through the mount is kept from
/// one start to the next for resolv.conf; names and addresses are the engine's.
pub fn write(folder: &Path, config: &Config, host: &Host, address: Option<Ipv4Addr>) -> io::Result<()> {
    fs::write(folder.join("hostname"), format!("{}\n", config.hostname))?;
    fs::write(folder.join("hosts"), hosts(config, host, address)?)?;
    let resolv = folder.join("resolv.conf");
    if !resolv.exists() {
        let machine = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        fs::write(resolv, resolv_conf(&machine, host))?;
    }
    Ok(())
}

const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
                           ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";

fn hosts(config: &Config, host: &Host, address: Option<Ipv4Addr>) -> io::Result<String> {
    let mut text = match host.network {
        NetworkMode::Host => fs::read_to_string("/etc/hosts").unwrap_or_else(|_| LOCAL_HOSTS.into()),
        NetworkMode::Bridge | NetworkMode::None => LOCAL_HOSTS.into(),
    };
    for extra in &host.extra_hosts {
        if let Some((name, address)) = extra.split_once(':') {
            text.push_str(&format!("{address}\t{name}\n"));
        }
    }
    if let Some(address) = address {
        let full = match config.domainname.as_str() {
            "" => config.hostname.clone(),
            domain => format!("{}.{domain} {}", config.hostname, config.hostname),
        };
        text.push_str(&format!("{address}\t{full}\n"));
    }
    Ok(text)
}

/// The machine's servers, unless the user names others. A container of its own network cannot reach the machine's
/// loopback, so servers there are left out, and public ones stand in where none is left.
fn resolv_conf(machine: &str, host: &Host) -> String {
    let given = |key: &str| -> Vec<String> {
        let lines = machine.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(key)).then(|| words.collect::<Vec<_>>().join(" "))
        });
        lines.filter(|value| !value.is_empty()).collect()
    };
    let own_network = host.network != NetworkMode::Host;
    let mut servers = if host.dns.is_empty() {
        given("nameserver")
    } else {
        host.dns.clone()
    };
    if own_network {
        servers.retain(|server| !server.starts_with("127.") && server != "::1");
        if servers.is_empty() {
            servers = vec!["8.8.8.8".into(), "8.8.4.4".into()];
        }
    }
    let search = if host.dns_search.is_empty() {
        given("search").pop().into_iter().collect()
    } else {
        host.dns_search.clone()
    };
    let options = if host.dns_options.is_empty() {
        given("options")
    } else {
        host.dns_options.clone()
    };
    let mut text =
        String::from("# Made by davitd from the machine's file and the container's options. Edits are kept.\n");
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_servers_are_left_out_of_a_network_of_its_own() {
        let text = resolv_conf("nameserver 127.0.0.53\nsearch a b\n", &Host::default());
        assert!(text.contains("nameserver 8.8.8.8") && text.contains("search a b") && !text.contains("127.0.0.53"));
        let host = Host {
            network: NetworkMode::Host,
            ..Host::default()
        };
        assert!(resolv_conf("nameserver 127.0.0.53\n", &host).contains("127.0.0.53"));
    }

    #[test]
    fn hosts_names_the_container_and_what_the_user_added() {
        let config = Config {
            hostname: "box".into(),
            ..Config::default()
        };
        let host = Host {
            extra_hosts: vec!["db:10.0.0.1".into()],
            ..Host::default()
        };
        let text = hosts(&config, &host, Some(Ipv4Addr::new(172, 17, 0, 2))).unwrap();
        assert!(text.contains("10.0.0.1\tdb\n") && text.ends_with("172.17.0.2\tbox\n"));
    }
}
