use davit_engine_spec::{Host, MASKED_PATHS, MountRequest, READONLY_PATHS};
use serde_json::{Value, json};

/// `HostConfig` of an inspection: what the container has, and Docker's zero values for what it cannot have.
pub fn host_config(host: &Host) -> Value {
    let mut shown = modes(host);
    for part in [lists(host), limits(host), absent()] {
        if let (Value::Object(shown), Value::Object(part)) = (&mut shown, part) {
            shown.extend(part);
        }
    }
    shown
}

fn modes(host: &Host) -> Value {
    let (restart, retries) = host.restart.to_parts();
    json!({
        "NetworkMode": host.network.to_string(),
        "RestartPolicy": { "Name": restart, "MaximumRetryCount": retries },
        "AutoRemove": host.auto_remove,
        "LogConfig": { "Type": host.log.driver_name(), "Config": host.log.options },
        "Privileged": host.privileged,
        "ReadonlyRootfs": host.readonly_rootfs,
        "IpcMode": host.ipc.to_string(),
        "PidMode": host.pid.to_string(),
        "UTSMode": host.uts.to_string(),
        "CgroupnsMode": host.cgroupns.to_string(),
        "CgroupParent": host.cgroup_parent,
        "Runtime": host.runtime,
        "ShmSize": host.shm_size,
        "OomScoreAdj": host.oom_score_adj,
        "ConsoleSize": host.console_size,
    })
}

fn lists(host: &Host) -> Value {
    let binds: Vec<String> = host.binds.iter().map(ToString::to_string).collect();
    let exposed = host.privileged || host.security.unconfined_paths;
    let paths = |own: &Option<Vec<String>>, default: &[&str]| match own {
        Some(paths) => json!(paths),
        None if exposed => Value::Null,
        None => json!(default),
    };
    let devices = host.devices.iter().map(|device| {
        json!({
            "PathOnHost": device.host_path,
            "PathInContainer": device.container_path,
            "CgroupPermissions": device.permissions,
        })
    });
    let ulimits = host
        .ulimits
        .iter()
        .map(|ulimit| json!({ "Name": ulimit.name, "Soft": ulimit.soft, "Hard": ulimit.hard }));
    let mut shown = json!({
        "Binds": null_if_empty(&binds),
        "CapAdd": null_if_empty(&host.cap_add),
        "CapDrop": null_if_empty(&host.cap_drop),
        "SecurityOpt": null_if_empty(&host.security.given),
        "GroupAdd": null_if_empty(&host.group_add),
        "ExtraHosts": null_if_empty(&host.extra_hosts),
        "DeviceCgroupRules": null_if_empty(&host.device_cgroup_rules),
        "Dns": host.dns,
        "DnsOptions": host.dns_options,
        "DnsSearch": host.dns_search,
        "Devices": devices.collect::<Value>(),
        "Ulimits": ulimits.collect::<Value>(),
        "MaskedPaths": paths(&host.masked_paths, &MASKED_PATHS),
        "ReadonlyPaths": paths(&host.readonly_paths, &READONLY_PATHS),
    });
    // Docker leaves these out where there are none.
    for (name, map) in [
        ("Tmpfs", &host.tmpfs),
        ("Sysctls", &host.sysctls),
        ("Annotations", &host.annotations),
    ] {
        if !map.is_empty() {
            shown[name] = json!(map);
        }
    }
    if !host.mounts.is_empty() {
        shown["Mounts"] = host.mounts.iter().map(mount_request).collect();
    }
    shown
}

fn mount_request(mount: &MountRequest) -> Value {
    match mount {
        MountRequest::Bind {
            source,
            target,
            read_only,
            propagation,
        } => json!({
            "Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only,
            "BindOptions": { "Propagation": propagation },
        }),
        MountRequest::Tmpfs {
            target,
            read_only,
            size,
            mode,
        } => json!({
            "Type": "tmpfs", "Target": target, "ReadOnly": read_only,
            "TmpfsOptions": { "SizeBytes": size, "Mode": mode },
        }),
    }
}

fn limits(host: &Host) -> Value {
    let resources = &host.resources;
    json!({
        "Memory": resources.memory,
        "MemoryReservation": resources.memory_reservation,
        "MemorySwap": if resources.memory > 0 && resources.memory_swap == 0 { resources.memory * 2 } else { resources.memory_swap },
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "CpuShares": resources.cpu_shares,
        "CpuPeriod": resources.cpu_period,
        "CpuQuota": resources.cpu_quota,
        "NanoCpus": resources.nano_cpus,
        "CpusetCpus": resources.cpuset_cpus,
        "CpusetMems": resources.cpuset_mems,
        "PidsLimit": if resources.pids_limit > 0 { json!(resources.pids_limit) } else { Value::Null },
        "BlkioWeight": resources.blkio_weight,
    })
}

fn absent() -> Value {
    json!({
        "ContainerIDFile": "", "PortBindings": {}, "VolumeDriver": "", "VolumesFrom": null, "Cgroup": "", "Links": null,
        "PublishAllPorts": false, "UsernsMode": "", "Isolation": "", "BlkioWeightDevice": [], "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0, "DeviceRequests": null, "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
}

fn null_if_empty(list: &[String]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}
