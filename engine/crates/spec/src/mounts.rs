//! What is mounted in a container: Docker's default table, the engine's three files under /etc, and what the user asked for.

use std::path::PathBuf;

use oci_spec::runtime::{Mount, MountBuilder};

use crate::{Input, host::MountRequest, modes::IpcMode};

/// All mounts, in the order in which the runtime makes them: outer before inner.
pub(crate) fn mounts(input: &Input<'_>) -> Vec<Mount> {
    let mut mounts = defaults(input);
    let user = user_mounts(input);
    // What the user mounts replaces what stands there by default.
    mounts.retain(|mount| !user.iter().any(|own| own.destination() == mount.destination()));
    let mut files = engine_files(input);
    files.retain(|mount| !user.iter().any(|own| own.destination() == mount.destination()));
    let mut inner: Vec<Mount> = files.into_iter().chain(user).collect();
    inner.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(inner);
    mounts
}

fn defaults(input: &Input<'_>) -> Vec<Mount> {
    let host = input.host;
    let protect: &[&str] = if host.privileged { &[] } else { &["ro"] };
    let shm_size = format!(
        "size={}",
        if host.shm_size > 0 {
            host.shm_size
        } else {
            crate::DEFAULT_SHM_SIZE
        }
    );
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &[&["nosuid", "noexec", "nodev"], protect].concat(),
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &[protect, &["nosuid", "noexec", "nodev"]].concat(),
        ),
    ];
    // Shows the queues of whichever namespace the container is in; the host itself may have none mounted.
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    match host.ipc {
        IpcMode::Private => {
            let options = ["nosuid", "noexec", "nodev", "mode=1777", &shm_size];
            mounts.push(mount("/dev/shm", "tmpfs", "shm", &options));
        }
        IpcMode::Host => {
            mounts.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"]));
        }
    }
    mounts
}

fn engine_files(input: &Input<'_>) -> Vec<Mount> {
    let mut options = vec!["rbind", "rprivate"];
    if input.host.readonly_rootfs {
        options.push("ro");
    }
    ["resolv.conf", "hostname", "hosts"]
        .map(|name| {
            let source = input.files.join(name).display().to_string();
            mount(&format!("/etc/{name}"), "bind", &source, &options)
        })
        .into()
}

fn user_mounts(input: &Input<'_>) -> Vec<Mount> {
    let host = input.host;
    let binds = host
        .binds
        .iter()
        .map(|own| bind(&own.source, &own.target, own.read_only, &own.propagation));
    let tmpfs = host.tmpfs.iter().map(|(target, options)| {
        let mut list = vec!["noexec", "nosuid", "nodev"];
        let given = options.split(',').filter(|option| !option.is_empty());
        for option in given {
            list.retain(|preset| option != preset.trim_start_matches("no"));
            list.push(option);
        }
        mount(target, "tmpfs", "tmpfs", &list)
    });
    let mounts = host.mounts.iter().map(requested);
    binds.chain(tmpfs).chain(mounts).collect()
}

fn requested(request: &MountRequest) -> Mount {
    match request {
        MountRequest::Bind {
            source,
            target,
            read_only,
            propagation,
        } => bind(source, target, *read_only, propagation),
        MountRequest::Tmpfs {
            target,
            read_only,
            size,
            mode,
        } => {
            let mut options = vec!["noexec".to_owned(), "nosuid".into(), "nodev".into()];
            if *read_only {
                options.push("ro".into());
            }
            if *mode != 0 {
                options.push(format!("mode={mode:o}"));
            }
            if *size > 0 {
                options.push(format!("size={size}"));
            }
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            mount(target, "tmpfs", "tmpfs", &options)
        }
    }
}

fn bind(source: &str, target: &str, read_only: bool, propagation: &str) -> Mount {
    let propagation = if propagation.is_empty() {
        "rprivate"
    } else {
        propagation
    };
    let mut options = vec!["rbind"];
    if read_only {
        // Recursive: a file system mounted below the source must not stay writable.
        options.extend(["ro", "rro"]);
    }
    options.push(propagation);
    mount(target, "bind", source, &options)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    MountBuilder::default()
        .destination(PathBuf::from(destination))
        .typ(kind)
        .source(PathBuf::from(source))
        .options(options)
        .build()
        .expect("destination, type, source and options are set")
}
