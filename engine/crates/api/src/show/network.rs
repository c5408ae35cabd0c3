use davit_engine_containers::Record;
use serde_json::{Value, json};

use crate::networks;

/// `NetworkSettings` of an inspection.
pub fn settings(record: &Record) -> Value {
    let endpoint = Endpoint::of(record);
    json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": {},
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": endpoint.id,
        "Gateway": endpoint.gateway,
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": endpoint.address,
        "IPPrefixLen": endpoint.prefix,
        "IPv6Gateway": "",
        "MacAddress": endpoint.mac,
        "Networks": networks(record),
    })
}

/// The networks that a container is on: one.
pub fn networks(record: &Record) -> Value {
    let endpoint = Endpoint::of(record);
    let shown = json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "MacAddress": endpoint.mac,
        "DriverOpts": null,
        "GwPriority": 0,
        "NetworkID": networks::id(record.host.network),
        "EndpointID": endpoint.id,
        "Gateway": endpoint.gateway,
        "IPAddress": endpoint.address,
        "IPPrefixLen": endpoint.prefix,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": null,
    });
    json!({ record.host.network.to_string(): shown })
}

/// Texts that are empty while a container has no place on a network.
#[derive(Default)]
struct Endpoint<'a> {
    id: &'a str,
    address: String,
    prefix: u8,
    gateway: String,
    mac: &'a str,
}

impl<'a> Endpoint<'a> {
    fn of(record: &'a Record) -> Self {
        let Some(endpoint) = &record.state.endpoint else {
            return Self::default();
        };
        Self {
            id: &record.id,
            address: endpoint.address.to_string(),
            prefix: endpoint.prefix,
            gateway: endpoint.gateway.to_string(),
            mac: &endpoint.mac,
        }
    }
}
