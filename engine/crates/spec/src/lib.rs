//! What a container is to be, and the OCI specification that makes it so.
//!
//! [`Config`] and [`Host`] are Docker's `Config` and `HostConfig` as checked values; they are stored with the container.
//! [`generate`] turns them into the specification that the manager hands to the runtime, with Docker's defaults. It talks to
//! nobody; all it reads of the machine is /dev, where the user asked for devices.

mod bind;
pub mod capabilities;
mod config;
mod devices;
mod error;
mod host;
mod machine;
mod modes;
mod mounts;
mod process;
pub mod resources;
mod seccomp;
mod security;
pub mod signal;
pub mod user;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, Process, RootBuilder, Spec,
    SpecBuilder,
};

pub use bind::{Bind, check_target};
pub use config::{Attach, Config};
pub use error::SpecError;
pub use host::{DeviceRequest, Host, MountRequest, Resources, Ulimit};
pub use machine::Machine;
pub use modes::{CgroupMode, IpcMode, LogConfig, LogDriver, NetworkMode, PidMode, RestartPolicy, UtsMode, parse_size};
pub use process::check_ulimit;
pub use security::{SeccompChoice, SecurityOptions};
pub use user::Identity;

/// Size of /dev/shm where nobody says otherwise, in bytes.
pub const DEFAULT_SHM_SIZE: i64 = 64 << 20;

/// Paths that Docker hides from a container.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that Docker makes read-only in a container.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// All that a specification depends on.
pub struct Input<'a> {
    /// The container's id.
    pub id: &'a str,
    /// What runs.
    pub config: &'a Config,
    /// How it is held.
    pub host: &'a Host,
    /// Who it runs as.
    pub identity: &'a Identity,
    /// The folder with the container's hosts, hostname and resolv.conf.
    pub files: &'a Path,
    /// A network namespace made before; `None` lets the runtime make one.
    pub netns: Option<PathBuf>,
    /// What this machine has.
    pub machine: &'a Machine,
}

/// The specification of a container.
pub fn generate(input: &Input<'_>) -> Result<Spec, SpecError> {
    let (config, host) = (input.config, input.host);
    let args = config.command_line();
    if args.is_empty() {
        return Err(SpecError::invalid("no command specified"));
    }
    let process = process::process(process::Plan {
        host,
        machine: input.machine,
        identity: input.identity,
        args,
        env: process::environment(config, config.tty, &config.env, &input.identity.home),
        cwd: &config.working_dir,
        tty: config.tty,
        privileged: host.privileged,
    });
    let root = RootBuilder::default().path("rootfs").readonly(host.readonly_rootfs);
    let mut spec = SpecBuilder::default()
        .version("1.2.1")
        .process(process)
        .root(root.build().expect("the path is set"))
        .mounts(mounts::mounts(input))
        .linux(linux(input)?);
    if host.uts == UtsMode::Private {
        spec = spec.hostname(config.hostname.clone());
        if !config.domainname.is_empty() {
            spec = spec.domainname(config.domainname.clone());
        }
    }
    let annotations: HashMap<String, String> = host.annotations.clone().into_iter().collect();
    spec = spec.annotations(annotations);
    let mut spec = spec.build().expect("every field has a default");
    if host.uts == UtsMode::Host {
        // The builder's own default is a name.
        spec.set_hostname(None);
    }
    Ok(spec)
}

/// An additional process in a container.
pub struct ExecInput<'a> {
    /// The container's.
    pub config: &'a Config,
    /// The container's.
    pub host: &'a Host,
    /// Who it runs as.
    pub identity: &'a Identity,
    /// Command line.
    pub args: Vec<String>,
    /// Beyond the container's environment.
    pub env: &'a [String],
    /// Empty for the container's.
    pub working_dir: &'a str,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether it has all capabilities.
    pub privileged: bool,
    /// Height and width of the terminal.
    pub console_size: [u64; 2],
    /// What this machine has.
    pub machine: &'a Machine,
}

/// The process of an exec.
pub fn exec_process(input: ExecInput<'_>) -> Process {
    let mut env = input.config.env.clone();
    env.extend_from_slice(input.env);
    let cwd = if input.working_dir.is_empty() {
        &input.config.working_dir
    } else {
        input.working_dir
    };
    let host = Host {
        console_size: input.console_size,
        ..input.host.clone()
    };
    process::process(process::Plan {
        host: &host,
        machine: input.machine,
        identity: input.identity,
        args: input.args,
        env: process::environment(input.config, input.tty, &env, &input.identity.home),
        cwd,
        tty: input.tty,
        privileged: input.privileged || input.host.privileged,
    })
}

fn linux(input: &Input<'_>) -> Result<Linux, SpecError> {
    let host = input.host;
    let devices = devices::devices(host)?;
    let parent = if host.cgroup_parent.is_empty() {
        "/davit"
    } else {
        &host.cgroup_parent
    };
    let exposed = host.privileged || host.security.unconfined_paths;
    let paths = |own: &Option<Vec<String>>, default: &[&str]| match own {
        Some(paths) => paths.clone(),
        None if exposed => Vec::new(),
        None => default.iter().map(|&path| path.to_owned()).collect(),
    };
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(input))
        .resources(resources::resources(&host.resources, devices.rules))
        .cgroups_path(Path::new(parent).join(input.id))
        .sysctl(sysctls(host))
        .masked_paths(paths(&host.masked_paths, &MASKED_PATHS))
        .readonly_paths(paths(&host.readonly_paths, &READONLY_PATHS));
    if !devices.nodes.is_empty() {
        linux = linux.devices(devices.nodes);
    }
    if let Some(propagation) = root_propagation(host) {
        linux = linux.rootfs_propagation(propagation);
    }
    let set = capabilities::effective(
        &host.cap_add,
        &host.cap_drop,
        host.privileged,
        &input.machine.capabilities,
    );
    if (!host.privileged || host.security.seccomp != SeccompChoice::Default)
        && let Some(filter) = seccomp::filter(&host.security.seccomp, &set)?
    {
        linux = linux.seccomp(filter);
    }
    Ok(linux.build().expect("every field has a default"))
}

/// A shared or slave bind needs the root to let mounts travel.
fn root_propagation(host: &Host) -> Option<&'static str> {
    let mut binds = host.binds.iter().map(|bind| bind.propagation.as_str());
    let mut mounts = host.mounts.iter().map(|mount| match mount {
        MountRequest::Bind { propagation, .. } => propagation.as_str(),
        MountRequest::Tmpfs { .. } => "",
    });
    let mut any = |suffix: &str| binds.any(|own| own.ends_with(suffix)) || mounts.any(|own| own.ends_with(suffix));
    match () {
        () if any("shared") => Some("shared"),
        () if any("slave") => Some("slave"),
        () => None,
    }
}

fn namespaces(input: &Input<'_>) -> Vec<LinuxNamespace> {
    let host = input.host;
    let namespace = |kind: LinuxNamespaceType| LinuxNamespaceBuilder::default().typ(kind);
    let mut list = vec![namespace(LinuxNamespaceType::Mount)];
    if host.network != NetworkMode::Host {
        let network = namespace(LinuxNamespaceType::Network);
        list.push(match &input.netns {
            Some(path) => network.path(path.clone()),
            None => network,
        });
    }
    if host.uts == UtsMode::Private {
        list.push(namespace(LinuxNamespaceType::Uts));
    }
    if host.pid == PidMode::Private {
        list.push(namespace(LinuxNamespaceType::Pid));
    }
    if host.ipc == IpcMode::Private {
        list.push(namespace(LinuxNamespaceType::Ipc));
    }
    if host.cgroupns == CgroupMode::Private {
        list.push(namespace(LinuxNamespaceType::Cgroup));
    }
    let built = list
        .into_iter()
        .map(|namespace| namespace.build().expect("the type is set"));
    built.collect()
}

/// Docker's two defaults, where the network namespace is the container's own, and what the user sets.
fn sysctls(host: &Host) -> HashMap<String, String> {
    let mut sysctls = HashMap::new();
    if host.network != NetworkMode::Host {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    sysctls.extend(host.sysctls.clone());
    sysctls
}

#[cfg(test)]
mod tests;
