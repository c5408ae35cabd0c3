//! Flags about the network.

use bollard::models::HostConfig;
use clap::Args;

use super::pairs;

/// Names and networks.
#[derive(Debug, Default, Args)]
pub struct NetworkFlags {
    /// Network to join: bridge, host or none
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    network: Option<String>,
    /// Add a name to the container's hosts file (name:address)
    #[arg(long, value_name = "HOST:IP", value_parser = extra_host)]
    add_host: Vec<String>,
    /// Name servers
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    dns: Vec<String>,
    /// Options of the resolver
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    dns_option: Vec<String>,
    /// Search domains of the resolver
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
}

impl NetworkFlags {
    /// Adds what the flags say.
    pub fn apply(&self, host: &mut HostConfig) {
        host.network_mode = self.network.clone();
        host.extra_hosts = pairs::list(&self.add_host);
        host.dns = pairs::list(&self.dns);
        host.dns_options = pairs::list(&self.dns_option);
        host.dns_search = pairs::list(&self.dns_search);
    }
}

/// `name:address` or `name=address`; the API knows the first.
fn extra_host(text: &str) -> Result<String, String> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let invalid = || format!("bad format for add-host: {text:?}");
    let (name, ip) = split.filter(|(name, _)| !name.is_empty()).ok_or_else(invalid)?;
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if bare != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {ip:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

fn address(text: &str) -> Result<String, String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("{text} is not an ip address")),
    }
}
