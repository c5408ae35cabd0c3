//! What the runtime refuses, before it has done anything.

use crate::{
    Config, Device, IntelRdt, NamespaceKind, Process, User, id_mapping, net_device, priorities, sysctl, time_offset,
};

/// The bits of a device's numbers (MINORBITS of include/linux/kdev_t.h).
const MOST_MAJOR: u32 = (1 << 12) - 1;
const MOST_MINOR: u32 = (1 << 20) - 1;

/// Why a config.json or process.json is refused.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not JSON, or not of the right shape.
    #[error("invalid json: {0}")]
    Json(serde_json::Error),
    /// A version of the specification that this runtime does not follow.
    #[error("unsupported spec version {0:?}: only 1.x is known")]
    Version(String),
    /// A field that must be there, or must not be there beside another.
    #[error("{0}")]
    Shape(&'static str),
    /// A value that cannot be.
    #[error("{field} {value:?} {problem}")]
    Value {
        /// Its name in the file.
        field: &'static str,
        /// What the file says.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An id that means to the kernel: leave it as it is, which is root.
    #[error("unable to setup user: cannot set{kind} to unmapped {kind} {id} in user namespace")]
    UnmappedId {
        /// `uid` or `gid`.
        kind: &'static str,
        /// The id.
        id: u32,
    },
    /// Two namespaces of one kind.
    #[error("malformed spec file: duplicated ns {0}")]
    DuplicateNamespace(NamespaceKind),
    /// A map of ids that the kernel does not take in one piece.
    #[error(
        "{field}: {count} mappings of {bytes} bytes, but the kernel takes at most 340 and less than a page (4096 bytes): join neighbouring ranges"
    )]
    TooManyMappings {
        /// The list.
        field: &'static str,
        /// How many there are.
        count: usize,
        /// As many bytes in the kernel's form.
        bytes: usize,
    },
    /// A user namespace in which nobody is root.
    #[error("{0}: container id 0 is not mapped, and without it nobody can set up the container")]
    NoRoot(&'static str),
    /// Something that needs a namespace which the container does not have.
    #[error("unable to {action} without a private {namespace} namespace")]
    NeedsNamespace {
        /// What was asked for.
        action: &'static str,
        /// The namespace it would change.
        namespace: &'static str,
    },
    /// A kernel parameter of a namespace that the container shares with the host.
    #[error("sysctl {name:?} is not allowed in the hosts {place} namespace")]
    SysctlOfHost {
        /// The parameter.
        name: String,
        /// The namespace it belongs to.
        place: &'static str,
    },
    /// A kernel parameter of the whole machine.
    #[error("sysctl {0:?} is not in a separate kernel namespace")]
    SysctlOutside(String),
    /// The host name, twice.
    #[error("sysctl {0:?} conflicts with the OCI hostname setting")]
    SysctlHostname(String),
    /// A scheduling parameter or a limit that cannot be.
    #[error("{0}")]
    Priority(String),
    /// A class of service or a schema that cannot be.
    #[error("{0}")]
    IntelRdt(String),
    /// No name of an interface, or of two at once.
    #[error("invalid network device name {0:?}")]
    NetDevice(String),
    /// A number that no device has.
    #[error("linux.devices: {0:?} has incorrect major:minor {1}:{2}: at most {MOST_MAJOR}:{MOST_MINOR}")]
    DeviceNumber(String, u32, u32),
}

impl Config {
    /// Refuses what cannot be done, with the name of the field.
    pub fn validate(&self) -> Result<(), SpecError> {
        if !self.oci_version.starts_with("1.") {
            return Err(SpecError::Version(self.oci_version.clone()));
        }
        if self.root.as_ref().is_none_or(|root| root.path.as_os_str().is_empty()) {
            return Err(SpecError::Shape("root must be specified"));
        }
        self.process
            .as_ref()
            .ok_or(SpecError::Shape("process property must be set"))?
            .validate()?;
        self.validate_namespaces()?;
        for mount in &self.mounts {
            if mount.destination.is_empty() {
                return Err(SpecError::Shape("mounts: destination must not be empty"));
            }
            id_mapping::validate_map("mounts.uidMappings", &mount.uid_mappings)?;
            id_mapping::validate_map("mounts.gidMappings", &mount.gid_mappings)?;
        }
        self.linux.devices.iter().try_for_each(Device::validate)?;
        self.validate_scheduler()?;
        net_device::validate(&self.linux)?;
        self.linux.intel_rdt.as_ref().map_or(Ok(()), IntelRdt::validate)?;
        sysctl::validate(&self.linux, &self.hostname)
    }

    fn validate_namespaces(&self) -> Result<(), SpecError> {
        let linux = &self.linux;
        for (at, namespace) in linux.namespaces.iter().enumerate() {
            if linux.namespaces[..at]
                .iter()
                .any(|earlier| earlier.kind == namespace.kind)
            {
                return Err(SpecError::DuplicateNamespace(namespace.kind));
            }
        }
        id_mapping::validate(linux)?;
        time_offset::validate(linux)?;
        let needs = |kind, wanted: bool, action, namespace| match wanted && linux.namespace(kind).is_none() {
            true => Err(SpecError::NeedsNamespace { action, namespace }),
            false => Ok(()),
        };
        needs(NamespaceKind::Uts, !self.hostname.is_empty(), "set hostname", "UTS")?;
        needs(NamespaceKind::Uts, !self.domainname.is_empty(), "set domainname", "UTS")?;
        let restricts = !linux.masked_paths.is_empty() || !linux.readonly_paths.is_empty();
        needs(NamespaceKind::Mount, restricts, "restrict sys entries", "MNT")
    }

    /// The kernel admits a deadline only to processes that may run on every CPU.
    fn validate_scheduler(&self) -> Result<(), SpecError> {
        let scheduler = self.process.as_ref().and_then(|process| process.scheduler.as_ref());
        let has_deadline = scheduler.is_some_and(|scheduler| scheduler.policy == "SCHED_DEADLINE");
        let cpu = self
            .linux
            .resources
            .as_ref()
            .and_then(|resources| resources.cpu().as_ref());
        let has_cpus = cpu.is_some_and(|cpu| cpu.cpus().as_deref().is_some_and(|cpus| !cpus.is_empty()));
        match has_deadline && has_cpus {
            true => Err(SpecError::Shape(
                "process scheduler can't be used together with AllowedCPUs (linux.resources.cpu.cpus)",
            )),
            false => Ok(()),
        }
    }
}

impl Device {
    /// The kernel would take the lower bits, and make another device.
    fn validate(&self) -> Result<(), SpecError> {
        match self.major > MOST_MAJOR || self.minor > MOST_MINOR {
            true => Err(SpecError::DeviceNumber(self.path.clone(), self.major, self.minor)),
            false => Ok(()),
        }
    }
}

impl Process {
    /// Refuses what cannot be done, with the name of the field.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.user.validate()?;
        if self.args.is_empty() {
            return Err(SpecError::Shape("args must not be empty"));
        }
        if self.cwd.is_empty() {
            return Err(SpecError::Shape("Cwd property must not be empty"));
        }
        if !self.cwd.starts_with('/') {
            return Err(SpecError::Value {
                field: "cwd",
                value: self.cwd.clone(),
                problem: "must be an absolute path",
            });
        }
        let has_nul = |text: &String| text.contains('\0');
        if self.args.iter().any(has_nul) || self.env.iter().any(has_nul) || has_nul(&self.cwd) {
            return Err(SpecError::Shape("process: a NUL byte in args, env or cwd"));
        }
        for variable in &self.env {
            match variable.find('=') {
                None => return Err(SpecError::Shape("invalid environment variable: missing '='")),
                Some(0) => return Err(SpecError::Shape("invalid environment variable: name cannot be empty")),
                Some(_) => {}
            }
        }
        priorities::validate(self)
    }
}

impl User {
    fn validate(&self) -> Result<(), SpecError> {
        let unmapped = |kind, id| Err(SpecError::UnmappedId { kind, id });
        match (self.uid, self.gid) {
            (u32::MAX, _) => unmapped("uid", u32::MAX),
            (_, u32::MAX) => unmapped("gid", u32::MAX),
            _ if self.additional_gids.contains(&u32::MAX) => unmapped("gid", u32::MAX),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
