//! `features`: what this runtime can do, in the specification's form.

use davit_seccomp::names;
use davit_spec::{CAPABILITY_NAMES, Config, MEMORY_POLICY_FLAGS, MEMORY_POLICY_MODES, NamespaceKind};
use serde_json::{Value, json};

use super::{CommandError, print};
use crate::{cli::version, rootfs::options};

const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

pub(super) fn run() -> Result<(), CommandError> {
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": version::SPEC,
        "hooks": HOOKS,
        "mountOptions": options::names(),
        "linux": {
            "namespaces": NamespaceKind::ALL.map(|kind| kind.to_string()),
            "capabilities": CAPABILITY_NAMES.as_slice(),
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true},
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
            "apparmor": {"enabled": true},
            "selinux": {"enabled": true},
            "intelRdt": {
                "enabled": is_accepted("intelRdt", &json!({"closID": "guaranteed"})),
                "schemata": true,
                "monitoring": true,
            },
            "mountExtensions": {"idmap": {"enabled": true}},
            "memoryPolicy": {"modes": MEMORY_POLICY_MODES.map(|(name, _)| name), "flags": MEMORY_POLICY_FLAGS.map(|(name, _)| name)},
            "netDevices": {"enabled": is_accepted("netDevices", &json!({"eth0": {}}))},
        },
        "annotations": {
            "davit.runtime.landlock": crate::program::landlock::ANNOTATION,
            "davit.runtime.version": env!("CARGO_PKG_VERSION"),
            "davit.runtime.commit": version::COMMIT,
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": ["org.criu.config"],
    });
    let text = serde_json::to_string_pretty(&features).expect("features are plain values");
    Ok(print(&format!("{text}\n"))?)
}

/// Whether a field of `linux` is, as who validates a config says.
fn is_accepted(field: &str, value: &Value) -> bool {
    let mut config: Value = serde_json::from_str(davit_spec::DEFAULT).expect("the example is JSON");
    config["linux"][field] = value.clone();
    Config::parse(config.to_string().as_bytes()).is_ok_and(|config| config.validate().is_ok())
}
