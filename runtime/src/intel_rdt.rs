//! resctrl: the file system by which the kernel shares out caches and memory bandwidth (Intel RDT).
//!
//! A container is in one group, which it makes or finds. It takes the group along at its end only if it has made it and
//! nobody has named it: a class of service with a name may have other members.

mod stats;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use davit_spec::IntelRdt;
use rustix::fs::statfs;
use serde::{Deserialize, Serialize};

const USUAL_PLACE: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC` of include/uapi/linux/magic.h.
const FILE_SYSTEM_MAGIC: i64 = 0x0765_5821;

/// Why a container has no share of its own.
#[derive(Debug, thiserror::Error)]
pub enum IntelRdtError {
    /// No resctrl is mounted.
    #[error("intelRdt is specified in config, but Intel RDT is not enabled (no resctrl file system is mounted)")]
    Disabled,
    /// The hardware does not share this out, or the kernel was told not to.
    #[error("{0} is not enabled")]
    Missing(&'static str),
    /// A class that is only named must be there.
    #[error(
        "clos dir {0:?} not accessible (must be pre-created when schemata, l3CacheSchema and memBwSchema are empty)"
    )]
    NoClass(PathBuf),
    /// A class that is there is not what the config says.
    #[error("intelRdt: the schemata of {0:?} differ from the config's line {1:?}")]
    Mismatch(PathBuf, String),
    /// A counter or limit that cannot be told.
    #[error("intelrdt: {0:?} has no number but {1:?}")]
    NotANumber(PathBuf, String),
    /// The kernel refused, for its own reason.
    #[error("intelrdt: unable to {action} {path:?}: {cause}{status}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        cause: crate::errno::Errno,
        /// What resctrl says of it.
        status: String,
    },
}

/// A mounted resctrl.
#[derive(Debug)]
pub struct Resctrl {
    root: PathBuf,
}

/// A container's place in it, as its record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    root: PathBuf,
    group: PathBuf,
    /// Whether the group ends with the container.
    owned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    monitoring: Option<PathBuf>,
}

impl Resctrl {
    /// The one of this machine.
    pub fn mounted() -> Option<Self> {
        if statfs(USUAL_PLACE).is_ok_and(|stat| stat.f_type == FILE_SYSTEM_MAGIC) {
            return Some(Resctrl {
                root: USUAL_PLACE.into(),
            });
        }
        let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
        table.lines().find_map(place_in_mountinfo).map(|root| Resctrl { root })
    }

    /// Where a container is to be; nothing is made yet.
    pub fn plan(&self, wanted: &IntelRdt, id: &str) -> Result<Membership, IntelRdtError> {
        self.needs(
            "L3",
            !wanted.l3_cache_schema.is_empty(),
            "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT",
        )?;
        self.needs(
            "MB",
            !wanted.mem_bw_schema.is_empty(),
            "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA",
        )?;
        let group = match wanted.class.as_str() {
            "" => self.root.join(id),
            "/" => self.root.clone(),
            class => self.root.join(class),
        };
        let exists = group.is_dir();
        if !wanted.class.is_empty() {
            match wanted.lines().as_slice() {
                [] if !exists => return Err(IntelRdtError::NoClass(group)),
                lines if exists => compare(&group, lines)?,
                _ => {}
            }
        }
        Ok(Membership {
            root: self.root.clone(),
            owned: wanted.class.is_empty() && !exists,
            monitoring: wanted.enable_monitoring.then(|| group.join("mon_groups").join(id)),
            group,
        })
    }

    /// Refuses what the kernel has no directory of.
    pub fn needs(&self, resource: &str, wanted: bool, what: &'static str) -> Result<(), IntelRdtError> {
        match wanted && !self.root.join("info").join(resource).is_dir() {
            true => Err(IntelRdtError::Missing(what)),
            false => Ok(()),
        }
    }
}

impl Membership {
    /// Makes the groups and writes the lines.
    pub fn make(&self, lines: &[&str]) -> Result<(), IntelRdtError> {
        self.make_directory(&self.group)?;
        self.set(lines)?;
        self.monitoring
            .as_ref()
            .map_or(Ok(()), |path| self.make_directory(path))
    }

    /// Does what is left of an update that was killed when it had recorded a group of the container's own.
    pub fn complete(&self, init: i32) -> Result<(), IntelRdtError> {
        if !self.owned {
            return Ok(());
        }
        self.make_directory(&self.group)?;
        let tasks = fs::read_to_string(self.group.join("tasks")).unwrap_or_default();
        match tasks.lines().any(|task| task.parse() == Ok(init)) {
            true => Ok(()),
            false => self.adopt(init),
        }
    }

    /// Writes lines into the group's schemata. The kernel takes all of one write or none.
    pub fn set(&self, lines: &[&str]) -> Result<(), IntelRdtError> {
        if lines.is_empty() {
            return Ok(());
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.write(&self.group.join("schemata"), &text)
    }

    /// Whether the group is there.
    pub fn is_there(&self) -> bool {
        self.group.is_dir()
    }

    /// Moves a process in; its children are born there.
    pub fn adopt(&self, pid: i32) -> Result<(), IntelRdtError> {
        self.write(&self.group.join("tasks"), &pid.to_string())?;
        // A process is in one monitoring group of its class: entering the class has left the container's.
        match &self.monitoring {
            Some(path) => self.write(&path.join("tasks"), &pid.to_string()),
            None => Ok(()),
        }
    }

    /// Removes what was the container's alone. What is gone already is fine.
    pub fn remove(&self) -> Result<(), IntelRdtError> {
        let owned = self.owned.then_some(&self.group);
        for path in self.monitoring.iter().chain(owned) {
            match fs::remove_dir(path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(self.failure("remove", path, err)),
                _ => {}
            }
        }
        Ok(())
    }

    fn make_directory(&self, path: &Path) -> Result<(), IntelRdtError> {
        match fs::create_dir(path) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(self.failure("make", path, err)),
            _ => Ok(()),
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), IntelRdtError> {
        let opened = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        // In one piece: each write is an order of its own.
        opened
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|err| self.failure("write to", path, err))
    }

    fn failure(&self, action: &'static str, path: &Path, cause: io::Error) -> IntelRdtError {
        let status = fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        IntelRdtError::Kernel {
            action,
            path: path.into(),
            cause: cause.into(),
            status: match status.trim() {
                "" | "ok" => String::new(),
                status => format!(", last_cmd_status: {status}"),
            },
        }
    }
}

/// A class that is there must have the shares that the config says, for the caches and sockets that it speaks of.
fn compare(group: &Path, lines: &[&str]) -> Result<(), IntelRdtError> {
    let Ok(present) = fs::read_to_string(group.join("schemata")) else {
        return Ok(());
    };
    let present: Vec<(String, String, String)> = present.lines().flat_map(shares).collect();
    for line in lines {
        if shares(line).iter().any(|share| !present.contains(share)) {
            return Err(IntelRdtError::Mismatch(group.into(), (*line).into()));
        }
    }
    Ok(())
}

/// `L3:0=0ff;1=c0` as resource, id and share; leading zeros and the case of digits mean nothing.
fn shares(line: &str) -> Vec<(String, String, String)> {
    let Some((resource, rest)) = line.trim().split_once(':') else {
        return Vec::new();
    };
    let pairs = rest.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(id, share)| {
            let share = share.trim().to_ascii_lowercase();
            let share = share.trim_start_matches('0');
            (resource.trim().into(), id.trim().into(), share.into())
        })
        .collect()
}

/// The mount point of a line that is resctrl's; no path of its kind has characters that are escaped.
fn place_in_mountinfo(line: &str) -> Option<PathBuf> {
    let (mount, file_system) = line.split_once(" - ")?;
    let is_resctrl = file_system.split(' ').next() == Some("resctrl");
    is_resctrl.then(|| mount.split(' ').nth(4).map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with L3 shares alone, and a class `gold`.
    fn machine() -> (tempfile::TempDir, Resctrl) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        for directory in ["info/L3", "gold", "gold/mon_groups"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("gold/schemata"), "    L3:0=0ff;1=c0\n    MB:0=20\n").unwrap();
        fs::write(root.join("info/last_cmd_status"), "mask has non-consecutive 1-bits\n").unwrap();
        (folder, Resctrl { root })
    }

    fn wanted(json: &str) -> IntelRdt {
        serde_json::from_str(json).unwrap()
    }

    fn refusal(json: &str) -> String {
        let (_folder, resctrl) = machine();
        resctrl.plan(&wanted(json), "box").unwrap_err().to_string()
    }

    #[test]
    fn a_group_of_the_containers_own_comes_and_goes_with_it() {
        let (_folder, resctrl) = machine();
        let wanted = wanted(r#"{"l3CacheSchema": "L3:0=7f0", "schemata": ["L2:0=f"]}"#);
        let membership = resctrl.plan(&wanted, "box").unwrap();
        membership.make(&wanted.lines()).unwrap();
        membership.adopt(4711).unwrap();
        let group = resctrl.root.join("box");
        assert_eq!(
            fs::read_to_string(group.join("schemata")).unwrap(),
            "L3:0=7f0\nL2:0=f\n"
        );
        assert_eq!(fs::read_to_string(group.join("tasks")).unwrap(), "4711");
        // The kernel's files need not be removed, ours here do.
        fs::remove_file(group.join("schemata")).unwrap();
        fs::remove_file(group.join("tasks")).unwrap();
        membership.remove().unwrap();
        assert!(!group.exists());
        membership.remove().unwrap();
    }

    #[test]
    fn a_named_class_stays_and_a_monitoring_group_in_it_does_not() {
        let (_folder, resctrl) = machine();
        let wanted = wanted(r#"{"closID": "gold", "enableMonitoring": true}"#);
        let membership = resctrl.plan(&wanted, "box").unwrap();
        membership.make(&wanted.lines()).unwrap();
        membership.adopt(7).unwrap();
        let monitoring = resctrl.root.join("gold/mon_groups/box");
        assert_eq!(fs::read_to_string(monitoring.join("tasks")).unwrap(), "7");
        fs::remove_file(monitoring.join("tasks")).unwrap();
        membership.remove().unwrap();
        assert!(!monitoring.exists() && resctrl.root.join("gold").exists());
    }

    #[test]
    fn everybodys_class_is_the_root() {
        let (_folder, resctrl) = machine();
        let membership = resctrl.plan(&wanted(r#"{"closID": "/"}"#), "box").unwrap();
        assert_eq!(
            (membership.group.as_path(), membership.owned),
            (resctrl.root.as_path(), false)
        );
    }

    #[test]
    fn a_class_that_is_there_has_the_shares_that_are_asked_for() {
        let (_folder, resctrl) = machine();
        let same = wanted(r#"{"closID": "gold", "l3CacheSchema": "L3:1=0C0;0=ff"}"#);
        assert!(resctrl.plan(&same, "box").is_ok());
        assert!(refusal(r#"{"closID": "gold", "l3CacheSchema": "L3:0=f"}"#).contains("differ from the config's line"));
    }

    #[test]
    fn what_the_machine_does_not_share_out_is_named() {
        assert_eq!(
            refusal(r#"{"memBwSchema": "MB:0=20"}"#),
            "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled"
        );
        assert!(refusal(r#"{"closID": "absent"}"#).contains("must be pre-created"));
    }

    #[test]
    fn a_refusal_of_the_kernel_is_told_with_resctrls_reason() {
        let (_folder, resctrl) = machine();
        let wanted = wanted(r#"{"closID": "gold", "enableMonitoring": true}"#);
        let membership = resctrl.plan(&wanted, "box").unwrap();
        fs::remove_dir(resctrl.root.join("gold/mon_groups")).unwrap();
        let text = membership.make(&[]).unwrap_err().to_string();
        assert!(
            text.ends_with("last_cmd_status: mask has non-consecutive 1-bits"),
            "{text}"
        );
    }

    #[test]
    fn resctrl_may_be_mounted_elsewhere() {
        let line = "36 24 0:31 / /mnt/resctrl rw,relatime shared:9 - resctrl resctrl rw";
        assert_eq!(place_in_mountinfo(line), Some("/mnt/resctrl".into()));
        assert_eq!(place_in_mountinfo("36 24 0:31 / /tmp rw - tmpfs resctrl rw"), None);
    }
}
