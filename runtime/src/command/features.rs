//! `features`: what this runtime can do, in the specification's form.

use clap::ValueEnum;
use davit_seccomp::names;
use davit_spec::{CAPABILITY_NAMES, Config, MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, NamespaceKind};
use serde_json::{Value, json};

use super::{CommandError, print};
use crate::{
    cli::{CgroupManager, version},
    rootfs::options::{self, MountOptions},
};

const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// What lets a config do more than its other fields say: a name, or the beginning of names.
const UNSAFE_ANNOTATIONS: [&str; 3] = ["bundle", "org.systemd.property.", "org.criu.config"];

pub(super) fn run() -> Result<(), CommandError> {
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": version::SPEC,
        "hooks": HOOKS,
        "mountOptions": options::names(),
        "linux": {
            "namespaces": NamespaceKind::ALL.map(|kind| kind.to_string()),
            "capabilities": CAPABILITY_NAMES.as_slice(),
            "cgroup": cgroup(),
            "seccomp": {
                "enabled": true,
                "actions": names::actions(),
                "operators": names::operators(),
                "archs": names::architectures(),
                "knownFlags": names::flags(),
                // Those that any filter can be given: the kernel takes this one beside a listener alone.
                "supportedFlags": names::flags().into_iter()
                    .filter(|flag| flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV").collect::<Vec<_>>(),
            },
            "apparmor": {"enabled": is_understood(&["process", "apparmorProfile"], json!("x"))},
            "selinux": {"enabled": is_understood(&["process", "selinuxLabel"], json!("x"))},
            "intelRdt": {
                "enabled": is_understood(&["linux", "intelRdt", "closID"], json!("guaranteed")),
                "schemata": is_understood(&["linux", "intelRdt", "schemata"], json!(["L3:0=f"])),
                "monitoring": is_understood(&["linux", "intelRdt", "enableMonitoring"], json!(true)),
            },
            "mountExtensions": {"idmap": {"enabled": MountOptions::parse(&["idmap".into()]).idmap.is_some()}},
            "memoryPolicy": {"modes": MEMORY_POLICY_MODES.map(|(name, _)| name), "flags": MEMORY_POLICY_FLAGS.map(|(name, _)| name)},
            "netDevices": {"enabled": is_understood(&["linux", "netDevices", "eth0"], json!({}))},
        },
        "annotations": {
            "davit.runtime.landlock": crate::program::landlock::ANNOTATION,
            "davit.runtime.version": env!("CARGO_PKG_VERSION"),
            "davit.runtime.commit": version::COMMIT,
            "io.github.seccomp.libseccomp.version": names::library_version(),
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": UNSAFE_ANNOTATIONS,
    });
    let text = serde_json::to_string_pretty(&features).expect("features are plain values");
    Ok(print(&format!("{text}\n"))?)
}

/// Both versions are in every build; who else may manage them is what the command line takes.
fn cgroup() -> Value {
    let systemd = CgroupManager::from_str("systemd", false).is_ok();
    let rdma = is_understood(&["linux", "resources", "rdma", "device"], json!({"hcaHandles": 1}));
    json!({"v1": true, "v2": true, "systemd": systemd, "systemdUser": systemd, "rdma": rdma})
}

/// Whether a field of a config is, as who reads and validates one says: this value passes, and one that no field can have
/// does not. A field that is not known could have any.
fn is_understood(field: &[&str], value: Value) -> bool {
    let passes = |value: Value| {
        let mut config: Value = serde_json::from_str(davit_spec::DEFAULT).expect("the example is JSON");
        let place = field.iter().fold(&mut config, |place, name| &mut place[*name]);
        *place = value;
        Config::parse(config.to_string().as_bytes()).is_ok_and(|config| config.validate().is_ok())
    };
    passes(value) && !passes(json!(-1.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_understood_that_refuses_nonsense() {
        assert!(is_understood(&["hostname"], json!("box")));
        assert!(!is_understood(&["hostname"], json!(5)));
        assert!(!is_understood(&["linux", "notInvented"], json!("x")));
    }
}
