//! The bridge itself: made when it is missing, taken over when it fits.

use std::{fs, path::Path};

use ipnet::Ipv4Net;

use crate::{
    MacAddress, NetworkConfig, NetworkError, Result,
    error::file,
    links::{Link, Links},
    rules,
};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// IFNAMSIZ without its terminator.
const LONGEST_NAME: usize = 15;

/// Makes sure that the bridge is up with its address, that packets are forwarded, and that the rules stand. Returns the
/// bridge's index.
pub(crate) async fn open(links: &Links, config: &NetworkConfig) -> Result<u32> {
    check_name(&config.bridge)?;
    let existing = links.find(&config.bridge).await?;
    let opened = match existing {
        Some(link) => adopt(links, config, link).await,
        None => create(links, config).await,
    };
    if opened.is_err() && existing.is_none() {
        let _ = links.delete(&config.bridge).await;
    }
    opened
}

/// Removes bridge and rules, as far as they are there.
pub(crate) async fn remove(links: &Links, bridge: &str) -> Result<()> {
    rules::apply(rules::removal(bridge)).await?;
    links.delete(bridge).await
}

async fn create(links: &Links, config: &NetworkConfig) -> Result<u32> {
    links
        .add_bridge(&config.bridge, MacAddress::of(config.address.addr()))
        .await?;
    let link = links
        .find(&config.bridge)
        .await?
        .ok_or_else(|| vanished(&config.bridge))?;
    links.add_address(link.index, config.address).await?;
    finish(config).await?;
    tracing::info!(bridge = config.bridge, address = %config.address, "bridge created");
    Ok(link.index)
}

async fn adopt(links: &Links, config: &NetworkConfig, link: Link) -> Result<u32> {
    if !link.is_bridge {
        return Err(NetworkError::InvalidConfig(format!(
            "{} exists and is not a bridge",
            config.bridge
        )));
    }
    let addresses = links.addresses(link.index).await?;
    if let Some(other) = addresses.iter().find(|address| **address != config.address) {
        return Err(NetworkError::InvalidConfig(other_address(config, *other)));
    }
    links.add_address(link.index, config.address).await?;
    links.set_up(link.index, &config.bridge).await?;
    finish(config).await?;
    Ok(link.index)
}

fn other_address(config: &NetworkConfig, other: Ipv4Net) -> String {
    let NetworkConfig { bridge, address, .. } = config;
    format!("bridge {bridge} has the address {other}, not {address}: remove the bridge or give that address")
}

async fn finish(config: &NetworkConfig) -> Result<()> {
    forward_packets()?;
    rules::apply(rules::table(&config.bridge, config.address.trunc())).await
}

/// Written only when it is off: a read-only /proc/sys where it is on is fine.
fn forward_packets() -> Result<()> {
    let path = Path::new(FORWARDING);
    let is_on = fs::read(path).map_err(file("read", path))?.first() == Some(&b'1');
    if is_on {
        return Ok(());
    }
    tracing::info!("switching packet forwarding on");
    fs::write(path, "1").map_err(file("write", path))
}

fn check_name(name: &str) -> Result<()> {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let is_valid = !name.is_empty() && name.len() <= LONGEST_NAME && is_plain && name != "." && name != "..";
    match is_valid {
        true => Ok(()),
        false => Err(NetworkError::InvalidConfig(format!(
            "bridge name {name:?}: 1 to {LONGEST_NAME} letters, digits, '-', '_' or '.'"
        ))),
    }
}

fn vanished(bridge: &str) -> NetworkError {
    NetworkError::Link {
        action: format!("create bridge {bridge}"),
        problem: "it vanished again".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn a_bridges_name_fits_the_kernel_and_the_rules() {
        for good in ["davit0", "br-0", "a.b_c", &"b".repeat(15)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "a\"; flush ruleset", &"b".repeat(16)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
