//! Device nodes and the device cgroup.

use std::{
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::{
    error::SpecError,
    host::{DeviceRequest, Host},
};

/// Nodes to make and rules to set.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// Beyond those that every runtime makes.
    pub nodes: Vec<LinuxDevice>,
    /// In order; a later rule wins.
    pub rules: Vec<LinuxDeviceCgroup>,
}

/// What a container may open. Reads /dev for what the user passes through.
pub(crate) fn devices(host: &Host) -> Result<Devices, SpecError> {
    if host.privileged {
        let nodes = nodes_below(Path::new("/dev"), Path::new("/dev"));
        return Ok(Devices {
            nodes,
            rules: vec![rule(true, None, None, None, "rwm")],
        });
    }
    let mut devices = Devices {
        nodes: Vec::new(),
        rules: default_rules(),
    };
    for request in &host.devices {
        devices.add(request)?;
    }
    for text in &host.device_cgroup_rules {
        devices.rules.push(parse_rule(text)?);
    }
    Ok(devices)
}

impl Devices {
    fn add(&mut self, request: &DeviceRequest) -> Result<(), SpecError> {
        let path = Path::new(&request.host_path);
        let gone = |why: &str| {
            let text = format!(
                "error gathering device information while adding custom device \"{}\": {why}",
                request.host_path
            );
            SpecError::invalid(text)
        };
        let target = PathBuf::from(&request.container_path);
        let metadata = std::fs::metadata(path).map_err(|_| gone("no such file or directory"))?;
        let nodes = match node(path, target.clone()) {
            Some(node) => vec![node],
            None if metadata.is_dir() => nodes_below(path, &target),
            None => return Err(gone("not a device node")),
        };
        for node in nodes {
            self.rules.push(rule(
                true,
                Some(node.typ()),
                Some(node.major()),
                Some(node.minor()),
                &request.permissions,
            ));
            self.nodes.push(node);
        }
        Ok(())
    }
}

/// Nothing but null, zero, full, random, urandom, tty, console; the runtime itself adds terminals.
fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = vec![rule(false, None, None, None, "rwm")];
    for (major, minor) in [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)] {
        rules.push(rule(true, Some(LinuxDeviceType::C), Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(false, Some(LinuxDeviceType::C), Some(10), Some(229), "rwm"));
    rules
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).access(access);
    if let Some(kind) = kind {
        rule = rule.typ(kind);
    }
    if let Some(major) = major {
        rule = rule.major(major);
    }
    if let Some(minor) = minor {
        rule = rule.minor(minor);
    }
    rule.build().expect("allow is set")
}

/// `c 1:3 rwm`, `*` for any number.
pub(crate) fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup, SpecError> {
    let invalid = || SpecError::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let fields: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = fields[..] else {
        return Err(invalid());
    };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(invalid()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ => text
            .parse::<u32>()
            .map(|number| Some(i64::from(number)))
            .map_err(|_| invalid()),
    };
    if access.is_empty() || !access.bytes().all(|letter| b"rwm".contains(&letter)) {
        return Err(invalid());
    }
    Ok(rule(true, Some(kind), number(major)?, number(minor)?, access))
}

fn node(path: &Path, target: PathBuf) -> Option<LinuxDevice> {
    let metadata = std::fs::metadata(path).ok()?;
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_char_device() => LinuxDeviceType::C,
        () if kind.is_block_device() => LinuxDeviceType::B,
        () => return None,
    };
    let device = metadata.rdev();
    let node = LinuxDeviceBuilder::default()
        .path(target)
        .typ(kind)
        .major(i64::from(rustix::fs::major(device)))
        .minor(i64::from(rustix::fs::minor(device)))
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid());
    Some(node.build().expect("path, type and numbers are set"))
}

/// All devices in a folder and below, but for what a container has of its own.
fn nodes_below(folder: &Path, target: &Path) -> Vec<LinuxDevice> {
    const OWN: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut nodes = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let (path, target) = (entry.path(), target.join(&name));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && !OWN.iter().any(|own| name == *own) => {
                nodes.extend(nodes_below(&path, &target))
            }
            Ok(kind) if kind.is_symlink() || kind.is_dir() || name == "console" => {}
            Ok(_) => nodes.extend(node(&path, target)),
            Err(_) => {}
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_rules_parse_and_malformed_ones_are_refused() {
        let rule = parse_rule("c 10:* rw").unwrap();
        assert_eq!(
            (rule.major(), rule.minor(), rule.access().as_deref()),
            (Some(10), None, Some("rw"))
        );
        for text in ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 q", "c -1:3 r"] {
            assert!(parse_rule(text).is_err(), "{text}");
        }
    }
}
