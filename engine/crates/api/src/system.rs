//! What the engine says of itself.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use davit_engine_containers::Status;
use davit_engine_images::ListFilters;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    engine::App,
    error::ApiError,
    machine,
    version::{ApiVersion, ENGINE},
};

/// How long these answers wait for the manager; without it they say less.
const MANAGER_TIME: Duration = Duration::from_secs(2);

/// `GET` and `HEAD /_ping`: the first words between client and engine.
pub async fn ping(method: Method) -> Response {
    let body = if method == Method::HEAD { "" } else { "OK" };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let own = [
        ("Builder-Version", "1"),
        ("Swarm", "inactive"),
        ("Pragma", "no-cache"),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
    ];
    for (name, value) in own {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if method == Method::HEAD {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    response
}

/// `GET /version`.
pub async fn version(State(app): State<App>) -> Json<Value> {
    let kernel = machine::kernel();
    let details = json!({
        "ApiVersion": ApiVersion::NEWEST.to_string(),
        "Arch": machine::go_architecture(),
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": kernel,
        "MinAPIVersion": ApiVersion::OLDEST.to_string(),
        "Os": "linux",
    });
    let mut components = vec![json!({ "Name": "Engine", "Version": ENGINE, "Details": details })];
    if let Ok(Ok(manager)) = timeout(MANAGER_TIME, app.containers.containerd().version()).await {
        components.push(json!({
            "Name": "containerd",
            "Version": manager.version,
            "Details": { "GitCommit": manager.revision },
        }));
    }
    Json(json!({
        "Platform": { "Name": "Davit" },
        "Components": components,
        "Version": ENGINE,
        "ApiVersion": ApiVersion::NEWEST.to_string(),
        "MinAPIVersion": ApiVersion::OLDEST.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": machine::go_architecture(),
        "KernelVersion": kernel,
        "BuildTime": "",
    }))
}

/// `GET /info`.
pub async fn info(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let records = app.containers.list();
    let count = |status: Status| records.iter().filter(|record| record.state.status == status).count();
    let running = count(Status::Running) + count(Status::Restarting);
    let no_filter = ListFilters::default();
    let images = match timeout(MANAGER_TIME, app.images.list(&no_filter)).await {
        Ok(Ok(images)) => images.len(),
        _ => 0,
    };
    let mut info = json!({
        "ID": app.identity.id,
        "Containers": records.len(),
        "ContainersRunning": running,
        "ContainersPaused": 0,
        "ContainersStopped": records.len() - running,
        "Images": images,
        "Debug": app.identity.debug,
        "NFd": machine::open_files(),
        "NGoroutines": 0,
        "NEventsListener": app.containers.events().listeners(),
        "SystemTime": jiff::Timestamp::now().to_string(),
    });
    for part in [machine_part(&app), engine_part(&app)] {
        if let (Value::Object(info), Value::Object(part)) = (&mut info, part) {
            info.extend(part);
        }
    }
    Ok(Json(info))
}

fn machine_part(app: &App) -> Value {
    let machine = app.containers.machine();
    json!({
        "Name": machine::name(),
        "KernelVersion": machine::kernel(),
        "OperatingSystem": machine::operating_system(),
        "OSVersion": machine::operating_system_version(),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "NCPU": machine.cpus,
        "MemTotal": machine::memory(),
        "MemoryLimit": true,
        "SwapLimit": true,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": true,
        "CPUSet": true,
        "PidsLimit": true,
        "IPv4Forwarding": machine::forwards(),
        "OomKillDisable": !machine.unified_cgroups,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if machine.unified_cgroups { "2" } else { "1" },
        "GenericResources": null,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
    })
}

fn engine_part(app: &App) -> Value {
    let identity = &app.identity;
    let runtimes = app.containers.runtimes();
    let programs: serde_json::Map<String, Value> = runtimes
        .programs
        .iter()
        .map(|(name, path)| (name.clone(), json!({ "path": path })))
        .collect();
    json!({
        "Driver": identity.snapshotter,
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "Plugins": {
            "Volume": [],
            "Network": ["bridge", "host", "null"],
            "Authorization": null,
            "Log": ["json-file", "none"],
        },
        "LoggingDriver": "json-file",
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "IndexConfigs": { "docker.io": { "Mirrors": [], "Name": "docker.io", "Official": true, "Secure": true } },
            "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
            "Mirrors": null,
        },
        "DockerRootDir": app.containers.paths().data_root,
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": ENGINE,
        "Runtimes": programs,
        "DefaultRuntime": runtimes.default,
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": null,
        },
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "",
        "ContainerdCommit": { "ID": "" },
        "RuncCommit": { "ID": "" },
        "InitCommit": { "ID": "" },
        "SecurityOptions": ["name=seccomp,profile=builtin"],
        "CDISpecDirs": [],
        "Containerd": {
            "Address": identity.containerd_address,
            "Namespaces": { "Containers": identity.namespace, "Plugins": identity.namespace },
        },
        "Warnings": null,
    })
}
