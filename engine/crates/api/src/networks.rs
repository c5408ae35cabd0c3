//! `GET /networks…`: the three that are always there.

use axum::{
    Json,
    extract::{Path, State},
};
use davit_engine_spec::NetworkMode;
use serde_json::{Map, Value, json};

use crate::{
    engine::App,
    error::ApiError,
    request::{Filters, Params},
};

const MODES: [NetworkMode; 3] = [NetworkMode::Bridge, NetworkMode::Host, NetworkMode::None];

/// `GET /networks`.
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Value>, ApiError> {
    let filters = Filters::read(&params, &["name", "id", "driver", "type", "scope", "label", "dangling"])?;
    let shown = MODES.iter().map(|mode| show(&app, *mode, false)).filter(|network| {
        let text = |key: &str| network[key].as_str().unwrap_or_default().to_owned();
        filters.any("name", |wanted| text("Name").contains(wanted))
            && filters.any("id", |wanted| text("Id").starts_with(wanted))
            && filters.any("driver", |wanted| text("Driver") == wanted)
            && filters.any("scope", |wanted| wanted == "local")
            && filters.any("type", |wanted| wanted == "builtin")
            && filters.values("label").is_empty()
            && !filters
                .values("dangling")
                .iter()
                .any(|wanted| wanted == "true" || wanted == "1")
    });
    Ok(Json(shown.collect()))
}

/// `GET /networks/{id}`.
pub async fn inspect(State(app): State<App>, Path(wanted): Path<String>) -> Result<Json<Value>, ApiError> {
    let named = MODES
        .iter()
        .find(|mode| mode.to_string() == wanted || (wanted.len() >= 12 && id(**mode).starts_with(&wanted)));
    match named {
        Some(mode) => Ok(Json(show(&app, *mode, true))),
        None => Err(ApiError::not_found(format!("network {wanted} not found"))),
    }
}

/// The same on every machine, for nothing tells one machine's from another's.
pub fn id(mode: NetworkMode) -> String {
    let digit = match mode {
        NetworkMode::Bridge => 'b',
        NetworkMode::Host => 'a',
        NetworkMode::None => 'e',
    };
    digit.to_string().repeat(64)
}

fn show(app: &App, mode: NetworkMode, verbose: bool) -> Value {
    let driver = match mode {
        NetworkMode::Bridge => "bridge",
        NetworkMode::Host => "host",
        NetworkMode::None => "null",
    };
    let config = app.network.config();
    let (pools, options) = match mode {
        NetworkMode::Bridge => (
            json!([{ "Subnet": config.address.trunc().to_string(), "Gateway": config.address.addr().to_string() }]),
            json!({ "com.docker.network.bridge.name": config.bridge, "com.docker.network.bridge.default_bridge": "true" }),
        ),
        NetworkMode::Host | NetworkMode::None => (Value::Null, json!({})),
    };
    json!({
        "Name": mode.to_string(),
        "Id": id(mode),
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": pools },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": if verbose { members(app, mode) } else { json!({}) },
        "Options": options,
        "Labels": {},
    })
}

fn members(app: &App, mode: NetworkMode) -> Value {
    let mut members = Map::new();
    for record in app.containers.list() {
        if record.host.network != mode || !record.state.is_running() {
            continue;
        }
        let endpoint = record.state.endpoint.as_ref();
        let member = json!({
            "Name": record.name,
            "EndpointID": record.id.as_str(),
            "MacAddress": endpoint.map_or("", |endpoint| &endpoint.mac),
            "IPv4Address": endpoint.map_or(String::new(), |endpoint| format!("{}/{}", endpoint.address, endpoint.prefix)),
            "IPv6Address": "",
        });
        members.insert(record.id.to_string(), member);
    }
    Value::Object(members)
}
