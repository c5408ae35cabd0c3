//! What this machine has mounted, and where in it we are.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::{CgroupError, Result, control_file, path::CgroupPath};

/// Where a pure v2 machine has its only hierarchy; every init system agrees.
const UNIFIED_MOUNT: &str = "/sys/fs/cgroup";
/// What statfs calls a cgroup2 file system (linux/magic.h).
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// The mounted hierarchies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// v1 hierarchies, with a v2 one beside them (hybrid) or without.
    Hierarchies(Vec<Hierarchy>),
    /// One v2 hierarchy.
    Unified(Hierarchy),
}

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// `["cpu", "cpuacct"]`, `["name=systemd"]`, or `[""]` for the v2 one: the names of `/proc/self/cgroup`.
    pub controllers: Vec<String>,
    pub mount_point: PathBuf,
    /// Which cgroup of the hierarchy is at the mount point, `/` but in some containers.
    pub root: String,
    /// Our own cgroup, counted from the hierarchy's root.
    pub own: String,
}

impl Host {
    pub(crate) fn discover() -> Result<Self> {
        // The pure v2 machine is recognised without reading a mount table that grows with every container.
        if statfs(UNIFIED_MOUNT).is_ok_and(|stat| stat.f_type as u64 == CGROUP2_SUPER_MAGIC) {
            let own = own_cgroups(&read("/proc/self/cgroup")?)
                .into_iter()
                .find(|(controllers, _)| controllers == &[""]);
            return Ok(Host::Unified(Hierarchy {
                controllers: vec![String::new()],
                mount_point: UNIFIED_MOUNT.into(),
                root: "/".into(),
                own: own.map_or_else(|| "/".into(), |(_, path)| path),
            }));
        }
        Self::from_tables(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
    }

    /// `mountinfo` and `cgroup` are the contents of the files of that name in /proc/self.
    pub(crate) fn from_tables(mountinfo: &str, cgroup: &str) -> Result<Self> {
        let own = own_cgroups(cgroup);
        let mut found: Vec<Hierarchy> = Vec::new();
        for mount in mountinfo.lines().filter_map(CgroupMount::parse) {
            let entry = own.iter().find(|(controllers, _)| mount.carries(controllers));
            let Some((controllers, own)) = entry else { continue };
            // A hierarchy mounted a second time, say in a chroot, adds nothing.
            if found.iter().any(|known| known.controllers == *controllers) {
                continue;
            }
            found.push(Hierarchy {
                controllers: controllers.clone(),
                mount_point: mount.mount_point,
                root: mount.root,
                own: own.clone(),
            });
        }
        match found.as_slice() {
            [] => Err(CgroupError::NotMounted),
            [only] if only.is_unified() => Ok(Host::Unified(only.clone())),
            _ => Ok(Host::Hierarchies(found)),
        }
    }
}

impl Hierarchy {
    pub(crate) fn is_unified(&self) -> bool {
        self.controllers == [""]
    }

    /// The directory of `path`; a relative one lies below our own cgroup.
    pub(crate) fn directory(&self, path: &CgroupPath) -> PathBuf {
        match path.absolute {
            true => self.mount_point.join(&path.inner),
            false => self.own_directory().join(&path.inner),
        }
    }

    /// The directory of `path`; a relative one lies beside our own cgroup.
    ///
    /// On v2 a cgroup with processes in it, such as ours, cannot have children with controllers.
    pub(crate) fn directory_beside(&self, path: &CgroupPath) -> PathBuf {
        let own = self.own_directory();
        match own.parent().filter(|_| !path.absolute && own != self.mount_point) {
            Some(parent) => parent.join(&path.inner),
            None => self.mount_point.join(&path.inner),
        }
    }

    pub(crate) fn own_directory(&self) -> PathBuf {
        let below = match self.root.as_str() {
            "/" => Some(self.own.as_str()),
            root => self
                .own
                .strip_prefix(root)
                .filter(|rest| rest.is_empty() || rest.starts_with('/')),
        };
        // Where our cgroup lies outside of what is mounted here, the mount point is the best that can be named.
        self.mount_point.join(below.unwrap_or_default().trim_start_matches('/'))
    }
}

fn read(path: &str) -> Result<String> {
    let path = Path::new(path);
    control_file::read_whole(path).map_err(|source| CgroupError::Read {
        path: path.into(),
        source,
    })
}

/// The lines of /proc/self/cgroup as (controllers, path).
fn own_cgroups(text: &str) -> Vec<(Vec<String>, String)> {
    text.lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            Some((controllers.split(',').map(str::to_owned).collect(), path.to_owned()))
        })
        .collect()
}

/// A line of mountinfo that is a cgroup mount.
struct CgroupMount<'a> {
    root: String,
    mount_point: PathBuf,
    unified: bool,
    /// The super block's options; the controllers are among them.
    options: Vec<&'a str>,
}

impl<'a> CgroupMount<'a> {
    /// `36 35 98:0 /root /mount/point rw,noatime [optional fields] - type source super-options`
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fs_fields = file_system.split(' ');
        let unified = match fs_fields.next()? {
            "cgroup" => false,
            "cgroup2" => true,
            _ => return None,
        };
        let mut fields = mount.split(' ').skip(3);
        Some(CgroupMount {
            root: unescape(fields.next()?),
            mount_point: unescape(fields.next()?).into(),
            unified,
            options: fs_fields.nth(1)?.split(',').collect(),
        })
    }

    fn carries(&self, controllers: &[String]) -> bool {
        match self.unified {
            true => controllers == [""],
            false => controllers != [""] && controllers.iter().all(|name| self.options.contains(&name.as_str())),
        }
    }
}

/// Undoes the octal escapes of mountinfo (`\040` is a space).
fn unescape(field: &str) -> String {
    if !field.contains('\\') {
        return field.to_owned();
    }
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests;
