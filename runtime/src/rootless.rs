//! What is different where the runtime is an ordinary user's.

use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::PathBuf,
};

use davit_spec::{Config, Mount, NamespaceKind, Process, id_mappings_from_table, to_host};
use rustix::process::geteuid;

/// Where the state of containers is kept.
const ROOT: &str = "/run/davit/runc";
/// The same, below a user's `XDG_RUNTIME_DIR`.
const ROOT_OF_USER: &str = "davit/runc";
/// All ids there are.
const ALL_IDS: u32 = u32::MAX;

/// What an ordinary user's runtime refuses.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// Nothing can be done outside of one.
    #[error("rootless container requires user namespaces (linux.namespaces): see spec --rootless")]
    NoUserNamespace,
    /// A new one with nobody in it.
    #[error("rootless containers requires at least one {0} mapping")]
    NoMapping(&'static str),
    /// The kernel does not let an ordinary user do that.
    #[error("cannot set any additional groups in a rootless container")]
    AdditionalGroups,
    /// Only root may map ids of somebody else's file system.
    #[error("id-mapped mounts are not supported for rootless containers: {0:?}")]
    MappedMount(String),
    /// They are the host's.
    #[error("network devices are not supported for rootless containers")]
    NetDevices,
    /// An owner that the user namespace does not have.
    #[error("cannot specify {0} mount option for rootless container: the id is not mapped")]
    MountOwner(String),
}

/// Whether the runtime itself is an ordinary user's: what it may do, it may do in a user namespace only.
pub fn is_rootless() -> bool {
    !geteuid().is_root()
}

/// What `--rootless` says: whether missing rights on cgroups are passed over. `None` where it is none of its words.
pub fn is_without_cgroup_rights(flag: &str) -> Option<bool> {
    match flag {
        // Root of a user namespace finds out when a right is missing: see [`is_in_user_namespace`].
        "" | "auto" => Some(is_rootless()),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether the runtime is in another user namespace than the machine's first.
pub fn is_in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // Linux gives no file where it has no user namespaces.
    !map.is_empty()
        && !id_mappings_from_table(&map)
            .iter()
            .any(|map| (map.container_id, map.host_id, map.size) == (0, 0, ALL_IDS))
}

/// Where the state of containers is kept if the command line does not say.
pub fn default_root() -> Result<PathBuf, String> {
    let is_users = || is_rootless() || (env::var("USER").as_deref() != Ok("root") && is_in_user_namespace());
    let folder = env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty() && is_users());
    let Some(folder) = folder.map(PathBuf::from) else {
        return Ok(ROOT.into());
    };
    // As any root: see `command::absolute`.
    if folder.to_str().is_none() {
        return Err(format!("the path in $XDG_RUNTIME_DIR must be valid UTF-8: {folder:?}"));
    }
    let root = folder.join(ROOT_OF_USER);
    // The sticky bit says that the files below are used though nobody touches them (XDG base directory specification).
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&root)
        .and_then(|()| fs::set_permissions(&root, Permissions::from_mode(0o1700)))
        .map(|()| root)
        .map_err(|err| format!("the path in $XDG_RUNTIME_DIR must be writable by the user: {folder:?}: {err}"))
}

/// Refuses what an ordinary user's runtime cannot do, if it is one.
pub fn check(config: &Config) -> Result<(), RootlessError> {
    if !is_rootless() {
        return Ok(());
    }
    let linux = &config.linux;
    if !linux.net_devices.is_empty() {
        return Err(RootlessError::NetDevices);
    }
    let namespace = linux
        .namespace(NamespaceKind::User)
        .ok_or(RootlessError::NoUserNamespace)?;
    if namespace.is_new() {
        for (kind, map) in [("UID", &linux.uid_mappings), ("GID", &linux.gid_mappings)] {
            if map.is_empty() {
                return Err(RootlessError::NoMapping(kind));
            }
        }
    }
    config.mounts.iter().try_for_each(|mount| check_mount(config, mount))?;
    config.process.as_ref().map_or(Ok(()), check_process)
}

/// Refuses what an ordinary user's process cannot be.
pub fn check_process(process: &Process) -> Result<(), RootlessError> {
    match is_rootless() && !process.user.additional_gids.is_empty() {
        true => Err(RootlessError::AdditionalGroups),
        false => Ok(()),
    }
}

fn check_mount(config: &Config, mount: &Mount) -> Result<(), RootlessError> {
    let maps_ids = |option: &String| option == "idmap" || option == "ridmap";
    if !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() || mount.options.iter().any(maps_ids) {
        return Err(RootlessError::MappedMount(mount.destination.clone()));
    }
    // A namespace that is joined is mapped by others.
    match config.linux.has_new(NamespaceKind::User) {
        true => check_owner(config, mount),
        false => Ok(()),
    }
}

fn check_owner(config: &Config, mount: &Mount) -> Result<(), RootlessError> {
    let is_mapped = |option: &str| {
        let (id, map) = match option.split_once('=') {
            Some(("uid", id)) => (id, &config.linux.uid_mappings),
            Some(("gid", id)) => (id, &config.linux.gid_mappings),
            _ => return true,
        };
        // What is no number is the file system's affair.
        id.parse().map_or(true, |id| to_host(map, id).is_some())
    };
    match mount.options.iter().find(|option| !is_mapped(option)) {
        Some(option) => Err(RootlessError::MountOwner(option.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_flag_has_three_words_and_auto_asks_who_runs() {
        assert_eq!(is_without_cgroup_rights("true"), Some(true));
        assert_eq!(is_without_cgroup_rights("false"), Some(false));
        assert_eq!(is_without_cgroup_rights("perhaps"), None);
        assert_eq!(is_without_cgroup_rights("auto"), is_without_cgroup_rights(""));
    }

    #[test]
    fn an_owner_of_a_mount_must_be_mapped() {
        let config = json!({
            "ociVersion": "1.0.0",
            "linux": {"uidMappings": [{"containerID": 0, "hostID": 1000, "size": 2}]},
            "mounts": [
                {"destination": "/a", "options": ["uid=1", "uid=nobody", "size=5"]},
                {"destination": "/b", "options": ["uid=2"]},
                {"destination": "/c", "options": ["gid=0"]},
            ],
        });
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        let refused: Vec<bool> = config
            .mounts
            .iter()
            .map(|mount| check_owner(&config, mount).is_err())
            .collect();
        assert_eq!(refused, [false, true, true]);
    }
}
