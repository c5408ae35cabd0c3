//! What of a container is not in its image: binds of the host, devices, cgroup directories, masked files, and
//! namespaces that it shares.

use std::{
    fs::File,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use davit_cgroup::MountTable;
use davit_criu::{CriuOpts, ExtMountMap, InheritFd, JoinNamespace, Version};
use davit_spec::{Config, Mount, Namespace, NamespaceKind};

use super::{CriuError, mountpoints::resolve, stage::Stage, worker::SOCKET_FD};
use crate::{
    errno::Attempt,
    rootfs::{
        devices,
        gate::{Gate, is_directory},
    },
};

/// The name, in an image, of whatever covers a masked file.
const NULL: &str = "/dev/null";

/// Whether a mount shows a directory or file of the host.
pub fn is_bind(mount: &Mount) -> bool {
    mount.kind == "bind" || mount.options.iter().any(|option| option == "bind" || option == "rbind")
}

/// Whether a mount stands for the cgroup hierarchies.
pub fn is_cgroup(mount: &Mount) -> bool {
    !is_bind(mount) && (mount.kind == "cgroup" || mount.kind == "cgroup2")
}

/// What a bind shows, on the host.
pub fn source(mount: &Mount, bundle: &Path) -> PathBuf {
    // By its components, that is without any "." in between: criu looks for this very text among the mounts.
    bundle.join(&mount.source).components().collect()
}

/// Names the external mounts of a running container, of which `gate` is the root.
pub fn name_mounts(opts: &mut CriuOpts, config: &Config, gate: &Gate, cgroups: &MountTable) {
    let mut name = |path: String, name: String| opts.ext_mnt.push(ExtMountMap { key: path, val: name });
    for mount in &config.mounts {
        if is_bind(mount) {
            let path = resolve(gate, &mount.destination);
            name(path.clone(), path);
        } else if is_cgroup(mount) {
            for (path, _) in bound_cgroups(config, mount, cgroups) {
                name(path.clone(), path);
            }
        }
    }
    for path in &config.linux.masked_paths {
        let covered = gate.place(path);
        if covered
            .is_ok_and(|place| is_directory(std::os::fd::AsFd::as_fd(&place)).is_ok_and(|is_directory| !is_directory))
        {
            name(resolve(gate, path), NULL.into());
        }
    }
    // Nodes, but binds where the container may not make any.
    for path in devices::paths(config) {
        name(path.clone(), path);
    }
}

/// Says what the names of [`name_mounts`] stand for. `places` are the mounts' places in the container.
pub fn give_mounts(
    opts: &mut CriuOpts,
    config: &Config,
    bundle: &Path,
    places: &[String],
    cgroups: &MountTable,
    stage: &Stage,
) {
    let mut give = |name: String, path: String| opts.ext_mnt.push(ExtMountMap { key: name, val: path });
    // The first of a name counts for criu.
    give(NULL.into(), text(&stage.null()));
    for (mount, place) in config.mounts.iter().zip(places) {
        if is_bind(mount) {
            give(place.clone(), text(&source(mount, bundle)));
        } else if is_cgroup(mount) {
            for (name, source) in bound_cgroups(config, mount, cgroups) {
                give(name, text(&source));
            }
        }
    }
    for path in devices::paths(config).filter(|path| path != NULL) {
        give(path.clone(), path);
    }
}

/// The cgroup directories that are bound into a container: place and directory. With a cgroup namespace there are none.
fn bound_cgroups(config: &Config, mount: &Mount, cgroups: &MountTable) -> Vec<(String, PathBuf)> {
    if config.linux.namespace(NamespaceKind::Cgroup).is_some() {
        return Vec::new();
    }
    let destination = mount.destination.trim_end_matches('/');
    match cgroups {
        MountTable::Hierarchies { mounts, .. } if mount.kind == "cgroup" => mounts
            .iter()
            .map(|hierarchy| (format!("{destination}/{}", hierarchy.name), hierarchy.source.clone()))
            .collect(),
        table => table
            .unified()
            .map(|hierarchy| (destination.into(), hierarchy.into()))
            .into_iter()
            .collect(),
    }
}

/// Names the namespaces of a running container that somebody else made: they are not dumped.
pub fn name_namespaces(opts: &mut CriuOpts, config: &Config, version: Version) -> Result<(), CriuError> {
    for (kind, oldest) in EXTERNAL {
        let Some(namespace) = shared(config, kind) else {
            continue;
        };
        if version < oldest {
            return Err(CriuError::Lacks(format!(
                "criu lacks support for external {} namespace during checkpointing process (old criu version?)",
                kind.proc_name()
            )));
        }
        let metadata = std::fs::metadata(&namespace.path).attempt("stat", namespace.path.display())?;
        opts.external
            .push(format!("{}[{}]:{}", kind.proc_name(), metadata.ino(), key(kind)));
    }
    Ok(())
}

/// Gives criu the namespaces to restore into. Returns the descriptors that it has to get after its socket.
pub fn give_namespaces(opts: &mut CriuOpts, config: &Config, version: Version) -> Result<Vec<OwnedFd>, CriuError> {
    let mut passed = Vec::new();
    for namespace in config.linux.namespaces.iter().filter(|namespace| !namespace.is_new()) {
        let kind = namespace.kind;
        match EXTERNAL.iter().find(|(external, _)| *external == kind) {
            Some((_, oldest)) if version < *oldest => {
                return Err(CriuError::Lacks(format!(
                    "criu lacks support for external {} namespace during the restoration process (old criu version?)",
                    kind.proc_name()
                )));
            }
            Some(_) => {
                let file = File::open(&namespace.path).map_err(|err| {
                    let path = namespace.path.display();
                    CriuError::Lacks(format!("Requested network namespace {path} does not exist: {err}"))
                })?;
                opts.inherit_fd.push(InheritFd {
                    key: key(kind).into(),
                    fd: SOCKET_FD + 1 + passed.len() as i32,
                });
                passed.push(file.into());
            }
            None if kind == NamespaceKind::Cgroup => {
                return Err(CriuError::Lacks(
                    "criu cannot restore into an existing cgroup namespace: remove its path from config.json".into(),
                ));
            }
            None => opts.join_ns.push(JoinNamespace {
                ns: kind.proc_name().into(),
                ns_file: text(&namespace.path),
            }),
        }
    }
    Ok(passed)
}

/// Namespaces that criu can leave out of an image, and since when.
const EXTERNAL: [(NamespaceKind, Version); 2] = [
    (NamespaceKind::Network, Version::new(31100)),
    (NamespaceKind::Pid, Version::new(31500)),
];

/// What such a namespace is called in the image; runc's name for it.
fn key(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::Pid => "extRootPidNS",
        _ => "extRootNetNS",
    }
}

fn shared(config: &Config, kind: NamespaceKind) -> Option<&Namespace> {
    config.linux.namespace(kind).filter(|namespace| !namespace.is_new())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
