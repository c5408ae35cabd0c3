use davit_engine_containers::{Paths, Record, Status};
use davit_engine_spec::{Config, Host, LogDriver, MountRequest};
use davit_vocabulary::ExecId;
use serde_json::{Map, Value, json};

use super::{host_config::host_config, network, time::rfc3339};

/// `GET /containers/{id}/json`.
pub fn inspect(record: &Record, paths: &Paths, execs: &[ExecId], snapshotter: &str) -> Value {
    let folder = paths.container(&record.id);
    let command = record.config.command_line();
    let log = match record.host.log.driver {
        LogDriver::JsonFile => paths.log(&record.id).display().to_string(),
        LogDriver::None => String::new(),
    };
    let execs: Vec<&str> = execs.iter().map(ExecId::as_str).collect();
    json!({
        "Id": record.id.as_str(),
        "Created": record.created.to_string(),
        "Path": command.first().map_or("", String::as_str),
        "Args": command.get(1..).unwrap_or_default(),
        "State": state(record),
        "Image": record.image.as_str(),
        "ResolvConfPath": folder.join("resolv.conf"),
        "HostnamePath": folder.join("hostname"),
        "HostsPath": folder.join("hosts"),
        "LogPath": log,
        "Name": format!("/{}", record.name),
        "RestartCount": record.state.restart_count,
        "Driver": snapshotter,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
        "HostConfig": host_config(&record.host),
        "GraphDriver": { "Data": null, "Name": snapshotter },
        "Mounts": mounts(&record.host),
        "Config": config(&record.config),
        "NetworkSettings": network::settings(record),
    })
}

fn state(record: &Record) -> Value {
    let state = &record.state;
    json!({
        "Status": state.status.name(),
        // Docker calls one that waits for its restart running, too.
        "Running": matches!(state.status, Status::Running | Status::Restarting),
        "Paused": false,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_at),
        "FinishedAt": rfc3339(state.finished_at),
    })
}

/// `Config`: what runs.
pub fn config(config: &Config) -> Value {
    let mut shown = json!({
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "User": config.user,
        "AttachStdin": config.attach.stdin,
        "AttachStdout": config.attach.stdout,
        "AttachStderr": config.attach.stderr,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "Env": config.env,
        "Cmd": config.cmd,
        "Image": config.image,
        "Volumes": set(&config.volumes),
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint,
        "OnBuild": null,
        "Labels": config.labels,
    });
    // Docker leaves these out where nothing is set.
    if !config.exposed_ports.is_empty() {
        shown["ExposedPorts"] = set(&config.exposed_ports);
    }
    if let Some(signal) = &config.stop_signal {
        shown["StopSignal"] = json!(signal);
    }
    if let Some(timeout) = config.stop_timeout {
        shown["StopTimeout"] = json!(timeout);
    }
    shown
}

/// Go's sets: keys with empty objects.
fn set<'a>(names: impl IntoIterator<Item = &'a String>) -> Value {
    let members: Map<String, Value> = names.into_iter().map(|name| (name.clone(), json!({}))).collect();
    if members.is_empty() {
        Value::Null
    } else {
        Value::Object(members)
    }
}

/// The mount points that the user asked for.
pub fn mounts(host: &Host) -> Value {
    let point = |kind: &str, source: &str, target: &str, mode: &str, read_only: bool, propagation: &str| {
        let propagation = if kind == "bind" && propagation.is_empty() {
            "rprivate"
        } else {
            propagation
        };
        json!({
            "Type": kind, "Source": source, "Destination": target, "Mode": mode, "RW": !read_only, "Propagation": propagation,
        })
    };
    let binds = host.binds.iter().map(|bind| {
        let mode = if bind.read_only { "ro" } else { "" };
        point(
            "bind",
            &bind.source,
            &bind.target,
            mode,
            bind.read_only,
            &bind.propagation,
        )
    });
    let requests = host.mounts.iter().map(|mount| match mount {
        MountRequest::Bind {
            source,
            target,
            read_only,
            propagation,
        } => point("bind", source, target, "", *read_only, propagation),
        MountRequest::Tmpfs { target, read_only, .. } => point("tmpfs", "", target, "", *read_only, ""),
    });
    binds.chain(requests).collect()
}
