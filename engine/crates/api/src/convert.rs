//! From wire to domain: everything is checked here, and what is not offered is refused by name.

use davit_engine_containers::{ContainerError, CreateRequest, ExecConfig};
use davit_engine_spec::{
    Attach, Config, DeviceRequest, Host, IpcMode, LogConfig, Machine, MountRequest, NetworkMode, PidMode, Resources,
    RestartPolicy, SecurityOptions, SpecError, Ulimit, UtsMode, capabilities, check_target,
};

use crate::{
    error::ApiError,
    wire::{
        create::{Create, Healthcheck, HostConfig, Mount, NetworkingConfig},
        exec::CreateExec,
        rest,
    },
};

type Result<T> = std::result::Result<T, ApiError>;

/// A container as asked for.
pub fn create_request(name: Option<String>, body: Create, machine: &Machine) -> Result<CreateRequest> {
    rest::refuse("", &body.rest)?;
    if let Some(healthcheck) = &body.healthcheck {
        check_healthcheck(healthcheck)?;
    }
    if !body.volumes.is_empty() {
        let paths: Vec<&str> = body.volumes.keys().map(String::as_str).collect();
        return Err(ApiError::unsupported(format!(
            "Volumes {} (an anonymous volume)",
            paths.join(", ")
        )));
    }
    let host = host(body.host_config, machine)?;
    check_distinct_targets(&host)?;
    check_networking(&body.networking_config, host.network)?;
    if host.network == NetworkMode::Host && !body.hostname.is_empty() && host.uts == UtsMode::Host {
        return Err(ApiError::invalid("conflicting options: hostname and the UTS mode"));
    }
    let config = Config {
        hostname: body.hostname,
        domainname: body.domainname,
        user: body.user,
        attach: Attach {
            stdin: body.attach_stdin,
            stdout: body.attach_stdout,
            stderr: body.attach_stderr,
        },
        tty: body.tty,
        open_stdin: body.open_stdin,
        stdin_once: body.stdin_once,
        env: environment(body.env)?,
        cmd: body.cmd.map(Vec::from),
        entrypoint: body.entrypoint.map(Vec::from),
        image: body.image,
        working_dir: body.working_dir,
        labels: body.labels,
        exposed_ports: body.exposed_ports.into_keys().collect(),
        volumes: Default::default(),
        stop_signal: body.stop_signal.filter(|signal| !signal.is_empty()),
        stop_timeout: body.stop_timeout,
    };
    Ok(CreateRequest { name, config, host })
}

fn environment(env: Vec<String>) -> Result<Vec<String>> {
    match env
        .iter()
        .find(|entry| entry.is_empty() || entry.starts_with('=') || entry.contains('\0'))
    {
        Some(bad) => Err(ApiError::invalid(format!("invalid environment variable: {bad}"))),
        None => Ok(env),
    }
}

fn check_healthcheck(healthcheck: &Healthcheck) -> Result<()> {
    let nothing = healthcheck.test.is_empty() && healthcheck.rest.values().all(rest::is_blank);
    if nothing || healthcheck.test == ["NONE"] {
        return Ok(());
    }
    Err(ApiError::unsupported("Healthcheck (health checks)"))
}

/// A client names the network of the mode once more; anything it asks for there is not offered yet.
fn check_networking(networking: &NetworkingConfig, mode: NetworkMode) -> Result<()> {
    for (name, endpoint) in &networking.endpoints_config {
        let named: NetworkMode = name.parse()?;
        if named != mode {
            return Err(ApiError::unsupported(format!(
                "NetworkingConfig.EndpointsConfig {name} (a second network)"
            )));
        }
        if let Some(members) = endpoint.as_object() {
            rest::refuse(&format!("NetworkingConfig.EndpointsConfig.{name}."), members)?;
        }
    }
    Ok(())
}

fn host(body: HostConfig, machine: &Machine) -> Result<Host> {
    rest::refuse("HostConfig.", &body.rest)?;
    refuse_modes(&body)?;
    check_extra_hosts(&body.extra_hosts)?;
    for target in body.tmpfs.keys() {
        check_target(target)?;
    }
    let normalised = |names: Vec<String>| -> std::result::Result<Vec<String>, SpecError> {
        names.iter().map(|name| capabilities::normalise(name)).collect()
    };
    let cgroupns = match body.cgroupns_mode.as_str() {
        "" if body.privileged => davit_engine_spec::CgroupMode::Host,
        "" => machine.default_cgroup_mode(),
        text => text.parse()?,
    };
    Ok(Host {
        binds: body
            .binds
            .iter()
            .map(|text| text.parse())
            .collect::<std::result::Result<_, _>>()?,
        mounts: body.mounts.into_iter().map(mount).collect::<Result<_>>()?,
        tmpfs: body.tmpfs,
        network: body.network_mode.parse()?,
        restart: RestartPolicy::parse(&body.restart_policy.name, body.restart_policy.maximum_retry_count)?,
        auto_remove: body.auto_remove,
        log: LogConfig::parse(&body.log_config.driver, body.log_config.config)?,
        cap_add: normalised(body.cap_add)?,
        cap_drop: normalised(body.cap_drop)?,
        privileged: body.privileged,
        readonly_rootfs: body.readonly_rootfs,
        security: SecurityOptions::parse(body.security_opt)?,
        ipc: body.ipc_mode.parse::<IpcMode>()?,
        pid: body.pid_mode.parse::<PidMode>()?,
        uts: body.uts_mode.parse::<UtsMode>()?,
        cgroupns,
        shm_size: non_negative("SHM size", body.shm_size)?,
        devices: body.devices.into_iter().map(device).collect::<Result<_>>()?,
        device_cgroup_rules: body.device_cgroup_rules,
        ulimits: body.ulimits.into_iter().map(ulimit).collect(),
        sysctls: body.sysctls,
        oom_score_adj: oom_score(body.oom_score_adj)?,
        group_add: body.group_add,
        extra_hosts: body.extra_hosts,
        dns: body.dns,
        dns_search: body.dns_search,
        dns_options: body.dns_options,
        masked_paths: body.masked_paths,
        readonly_paths: body.readonly_paths,
        annotations: body.annotations,
        cgroup_parent: cgroup_parent(body.cgroup_parent)?,
        runtime: body.runtime,
        console_size: body.console_size,
        resources: Resources {
            memory: body.memory,
            memory_reservation: body.memory_reservation,
            memory_swap: body.memory_swap,
            memory_swappiness: body.memory_swappiness.filter(|value| *value != -1),
            oom_kill_disable: body.oom_kill_disable,
            cpu_shares: body.cpu_shares,
            cpu_period: body.cpu_period,
            cpu_quota: body.cpu_quota,
            nano_cpus: body.nano_cpus,
            cpuset_cpus: body.cpuset_cpus,
            cpuset_mems: body.cpuset_mems,
            pids_limit: body.pids_limit.unwrap_or(0),
            blkio_weight: body.blkio_weight,
        },
    })
}

/// Each place in the container is mounted on once.
fn check_distinct_targets(host: &Host) -> Result<()> {
    let binds = host.binds.iter().map(|bind| bind.target.as_str());
    let mounts = host.mounts.iter().map(|mount| match mount {
        MountRequest::Bind { target, .. } | MountRequest::Tmpfs { target, .. } => target.as_str(),
    });
    let tmpfs = host.tmpfs.keys().map(String::as_str);
    let mut seen = std::collections::HashSet::new();
    for target in binds.chain(mounts).chain(tmpfs) {
        let target = target.trim_end_matches('/');
        if !seen.insert(target) {
            return Err(ApiError::invalid(format!("Duplicate mount point: {target}")));
        }
    }
    Ok(())
}

fn refuse_modes(body: &HostConfig) -> Result<()> {
    if !matches!(body.userns_mode.as_str(), "" | "host") {
        return Err(ApiError::unsupported(format!(
            "HostConfig.UsernsMode {:?}",
            body.userns_mode
        )));
    }
    if !matches!(body.isolation.as_str(), "" | "default") {
        return Err(ApiError::invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            body.isolation
        )));
    }
    if !matches!(body.volume_driver.as_str(), "" | "local") {
        return Err(ApiError::unsupported(format!(
            "HostConfig.VolumeDriver {:?}",
            body.volume_driver
        )));
    }
    Ok(())
}

fn check_extra_hosts(hosts: &[String]) -> Result<()> {
    for entry in hosts {
        let invalid = || ApiError::invalid(format!("invalid extra host: '{entry}'"));
        let (name, address) = entry.split_once(':').ok_or_else(invalid)?;
        if address == "host-gateway" {
            return Err(ApiError::unsupported("HostConfig.ExtraHosts host-gateway"));
        }
        if name.is_empty() || address.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_err() {
            return Err(invalid());
        }
    }
    Ok(())
}

fn cgroup_parent(parent: String) -> Result<String> {
    let inside = parent.split('/').all(|part| part != "..");
    if parent.is_empty() || (parent.starts_with('/') && inside) {
        return Ok(parent);
    }
    if inside && !parent.contains(".slice") {
        return Ok(format!("/{parent}"));
    }
    Err(ApiError::invalid(format!(
        "invalid cgroup parent {parent:?}: expected an absolute path without .."
    )))
}

fn oom_score(score: i32) -> Result<i32> {
    if (-1000..=1000).contains(&score) {
        return Ok(score);
    }
    Err(ApiError::invalid(format!(
        "Invalid value {score}, range for oom score adj is [-1000, 1000]"
    )))
}

fn non_negative(what: &str, value: i64) -> Result<i64> {
    if value >= 0 {
        return Ok(value);
    }
    Err(ApiError::invalid(format!("{what} can not be less than 0")))
}

fn mount(body: Mount) -> Result<MountRequest> {
    rest::refuse("HostConfig.Mounts.", &body.rest)?;
    rest::refuse("HostConfig.Mounts.BindOptions.", &body.bind_options.rest)?;
    rest::refuse("HostConfig.Mounts.TmpfsOptions.", &body.tmpfs_options.rest)?;
    check_target(&body.target)?;
    match body.kind.as_str() {
        "bind" if !body.source.starts_with('/') => {
            let text = format!(
                "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
                body.source
            );
            Err(ApiError::invalid(text))
        }
        "bind" if !is_propagation(&body.bind_options.propagation) => {
            let mode = body.bind_options.propagation;
            let text = format!("invalid mount config for type \"bind\": invalid propagation mode: {mode}");
            Err(ApiError::invalid(text))
        }
        "bind" => Ok(MountRequest::Bind {
            source: body.source,
            target: body.target,
            read_only: body.read_only,
            propagation: body.bind_options.propagation,
        }),
        "tmpfs" => Ok(MountRequest::Tmpfs {
            target: body.target,
            read_only: body.read_only,
            size: body.tmpfs_options.size_bytes,
            mode: body.tmpfs_options.mode,
        }),
        kind @ ("volume" | "image" | "cluster" | "npipe") => {
            Err(ApiError::unsupported(format!("HostConfig.Mounts of type {kind}")))
        }
        kind => Err(ApiError::invalid(format!("mount type unknown: {kind:?}"))),
    }
}

fn is_propagation(mode: &str) -> bool {
    let kind = mode.strip_prefix('r').unwrap_or(mode);
    mode.is_empty() || matches!(kind, "private" | "shared" | "slave")
}

fn device(body: crate::wire::create::Device) -> Result<DeviceRequest> {
    let permissions = if body.cgroup_permissions.is_empty() {
        "rwm".into()
    } else {
        body.cgroup_permissions
    };
    if !permissions.bytes().all(|letter| b"rwm".contains(&letter)) {
        return Err(ApiError::invalid(format!("invalid device mode: {permissions}")));
    }
    if !body.path_on_host.starts_with("/dev/") && body.path_on_host != "/dev" {
        // A name without a path is a CDI device.
        return Err(ApiError::unsupported(format!(
            "HostConfig.Devices {:?}",
            body.path_on_host
        )));
    }
    let container_path = if body.path_in_container.is_empty() {
        body.path_on_host.clone()
    } else {
        body.path_in_container
    };
    check_target(&container_path)?;
    Ok(DeviceRequest {
        host_path: body.path_on_host,
        container_path,
        permissions,
    })
}

fn ulimit(body: crate::wire::create::Ulimit) -> Ulimit {
    Ulimit {
        name: body.name,
        soft: body.soft,
        hard: body.hard,
    }
}

/// An exec as asked for.
pub fn exec_config(body: CreateExec) -> Result<ExecConfig> {
    rest::refuse("", &body.rest)?;
    let cmd: Vec<String> = body.cmd.map(Vec::from).unwrap_or_default();
    if cmd.is_empty() {
        return Err(ApiError::invalid("No exec command specified"));
    }
    if !body.working_dir.is_empty() && !body.working_dir.starts_with('/') {
        return Err(ContainerError::Invalid(format!("Cwd must be an absolute path: {}", body.working_dir)).into());
    }
    Ok(ExecConfig {
        cmd,
        env: environment(body.env)?,
        user: body.user,
        working_dir: body.working_dir,
        tty: body.tty,
        privileged: body.privileged,
        attach: Attach {
            stdin: body.attach_stdin,
            stdout: body.attach_stdout,
            stderr: body.attach_stderr,
        },
        detach_keys: body.detach_keys,
        console_size: body.console_size,
    })
}

#[cfg(test)]
mod tests;
