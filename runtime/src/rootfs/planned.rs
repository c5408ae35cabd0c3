//! The mounts of config.json, read and refused before anything is made.

use std::path::PathBuf;

use davit_spec::{Config, IdMapping, Mount, NamespaceKind};
use rustix::process::geteuid;

use super::{
    idmap::{IdMap, IdMaps},
    mount::normal,
    options::{MountOptions, Tree, propagation},
};
use crate::{errno::CallError, log};

/// A mount with its options understood.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its place among the mounts of the config.
    pub index: usize,
    /// As config.json has it.
    pub mount: Mount,
    /// Its options.
    pub options: MountOptions,
    /// How its ids are mapped.
    pub ids: Option<IdMap>,
}

/// Why a mount cannot be.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A mount that contradicts itself.
    #[error("invalid mount {destination:?}: {problem}")]
    Mount {
        /// Where it was to be.
        destination: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No such propagation.
    #[error("rootfsPropagation={0} is not supported")]
    Propagation(String),
    /// No user namespace could be made or opened for its ids.
    #[error("failed to create userns for the id mapping of {destination:?}: {cause}")]
    IdMap {
        /// Where it was to be.
        destination: String,
        /// What went wrong.
        cause: CallError,
    },
}

impl Planned {
    /// Whether it shows something that is there already.
    pub fn is_bind(&self) -> bool {
        self.options.bind.is_some() || self.mount.kind == "bind"
    }

    /// Whether it is a file system on a device of the host.
    pub fn is_on_device(&self) -> bool {
        !self.is_bind() && !self.options.remount && self.mount.source.starts_with('/')
    }

    /// How much of its source a bind shows.
    pub fn tree(&self) -> Tree {
        self.options.bind.unwrap_or(Tree::Single)
    }
}

/// Reads the mounts of a config. User namespaces for mapped ids are made here: init may not be able to any more.
pub fn plan(config: &Config) -> Result<Vec<Planned>, PlanError> {
    let root = &config.linux.rootfs_propagation;
    if !root.is_empty() && propagation(root).is_none() {
        return Err(PlanError::Propagation(root.clone()));
    }
    let mut maps = IdMaps::default();
    config
        .mounts
        .iter()
        .enumerate()
        .map(|(index, mount)| plan_one(index, mount, config, &mut maps))
        .collect()
}

fn plan_one<'c>(
    index: usize,
    mount: &'c Mount,
    config: &'c Config,
    maps: &mut IdMaps<'c>,
) -> Result<Planned, PlanError> {
    let mut planned = Planned {
        index,
        mount: mount.clone(),
        options: MountOptions::parse(&mount.options),
        ids: None,
    };
    let refused = |problem| PlanError::Mount {
        destination: mount.destination.clone(),
        problem,
    };
    if [&mount.source, &mount.destination, &mount.kind]
        .iter()
        .any(|field| field.contains('\0'))
    {
        return Err(refused("mount field contains null byte"));
    }
    if !mount.destination.starts_with('/') {
        log::warn(&format!(
            "mount destination {} is not absolute. Support for non-absolute mount destinations will be removed in a \
             future release.",
            mount.destination
        ));
    }
    // As runc has it: a detour need not exist.
    planned.mount.destination = normal(&mount.destination);
    if planned.mount.destination == "/" {
        return Err(refused("its mountpoint is on the top of rootfs"));
    }
    // The kernel would ignore them without a word.
    if planned.is_bind() && !planned.options.data.is_empty() {
        return Err(refused(
            "bind mounts cannot have any filesystem-specific options applied",
        ));
    }
    // The SELinux context is an option of the file system. Those whose files are the kernel's own have none.
    let label = &config.linux.mount_label;
    let has_context = !planned.is_bind() && !["proc", "sysfs", "mqueue", "cgroup"].contains(&mount.kind.as_str());
    if !label.is_empty() && has_context {
        planned.options.data.push(format!("context={label}"));
    }
    if let Some(source) = id_source(mount, &planned.options, config) {
        if !planned.is_bind() {
            return Err(refused("id-mapped mounts are only supported for bind-mounts"));
        }
        if !geteuid().is_root() {
            return Err(refused("id-mapped mounts are not supported for rootless containers"));
        }
        let source = source.ok_or_else(|| refused("id-mapped mounts must have both uid and gid mappings specified"))?;
        let map = maps.map(source).map_err(|cause| PlanError::IdMap {
            destination: mount.destination.clone(),
            cause,
        })?;
        planned.ids = Some(IdMap {
            user_namespace: map,
            tree: planned.options.idmap.unwrap_or(Tree::Single),
        });
    }
    Ok(planned)
}

/// Where the mapping of a mount's ids comes from: `None` where they are not mapped, `Some(None)` where they are to be and
/// nothing says how.
fn id_source<'c>(mount: &'c Mount, options: &MountOptions, config: &'c Config) -> Option<Option<IdSource<'c>>> {
    let of = |uids: &'c [IdMapping], gids: &'c [IdMapping]| {
        (!uids.is_empty() && !gids.is_empty()).then_some(IdSource::Mappings(uids, gids))
    };
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Some(of(&mount.uid_mappings, &mount.gid_mappings));
    }
    options.idmap?;
    let linux = &config.linux;
    Some(match linux.namespace(NamespaceKind::User) {
        Some(joined) if !joined.is_new() => Some(IdSource::Namespace(&joined.path)),
        _ => of(&linux.uid_mappings, &linux.gid_mappings),
    })
}

/// What ids are mapped by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum IdSource<'c> {
    /// Mappings of user and group ids.
    Mappings(&'c [IdMapping], &'c [IdMapping]),
    /// The mappings of an existing user namespace.
    Namespace(&'c PathBuf),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mount: Mount) -> String {
        let config = Config {
            mounts: vec![mount],
            ..Config::default()
        };
        plan(&config).unwrap_err().to_string()
    }

    fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
        Mount {
            destination: destination.into(),
            kind: kind.into(),
            options: options.iter().map(|option| (*option).into()).collect(),
            ..Mount::default()
        }
    }

    #[test]
    fn a_mount_that_contradicts_itself_is_refused() {
        assert!(check(mount("/x", "none", &["bind", "size=3"])).contains("filesystem-specific"));
        assert!(check(mount("/x", "tmpfs", &["idmap"])).contains("only supported for bind-mounts"));
        assert!(check(mount("/x", "none", &["bind", "idmap"])).contains("both uid and gid mappings"));
        assert!(check(mount("/x/../.", "tmpfs", &[])).contains("top of rootfs"));
    }
}
