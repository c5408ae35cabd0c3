//! What a profile may say, by name: for `features`.

use libseccomp::ScmpVersion;
use oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};

use crate::compile::scmp_arch;

const ACTIONS: [LinuxSeccompAction; 9] = [
    LinuxSeccompAction::ScmpActAllow,
    LinuxSeccompAction::ScmpActErrno,
    LinuxSeccompAction::ScmpActKill,
    LinuxSeccompAction::ScmpActKillProcess,
    LinuxSeccompAction::ScmpActKillThread,
    LinuxSeccompAction::ScmpActLog,
    LinuxSeccompAction::ScmpActNotify,
    LinuxSeccompAction::ScmpActTrace,
    LinuxSeccompAction::ScmpActTrap,
];
const OPERATORS: [LinuxSeccompOperator; 7] = [
    LinuxSeccompOperator::ScmpCmpEq,
    LinuxSeccompOperator::ScmpCmpGe,
    LinuxSeccompOperator::ScmpCmpGt,
    LinuxSeccompOperator::ScmpCmpLe,
    LinuxSeccompOperator::ScmpCmpLt,
    LinuxSeccompOperator::ScmpCmpMaskedEq,
    LinuxSeccompOperator::ScmpCmpNe,
];
const FLAGS: [LinuxSeccompFilterFlag; 4] = [
    LinuxSeccompFilterFlag::SeccompFilterFlagLog,
    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
    LinuxSeccompFilterFlag::SeccompFilterFlagTsync,
    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv,
];
/// Those that the specification names; libseccomp may not know all.
const ARCHITECTURES: [Arch; 21] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

/// Actions of a rule.
pub fn actions() -> Vec<String> {
    ACTIONS.iter().map(ToString::to_string).collect()
}

/// Comparisons of an argument.
pub fn operators() -> Vec<String> {
    OPERATORS.iter().map(ToString::to_string).collect()
}

/// Flags of a filter.
pub fn flags() -> Vec<String> {
    FLAGS.iter().map(ToString::to_string).collect()
}

/// Architectures that a profile can be compiled for.
pub fn architectures() -> Vec<String> {
    let known = |arch: &&Arch| scmp_arch(**arch).is_ok();
    ARCHITECTURES.iter().filter(known).map(ToString::to_string).collect()
}

/// The version of libseccomp that compiles the filters.
pub fn library_version() -> String {
    ScmpVersion::current().map_or_else(|_| "unknown".into(), |version| version.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_profile_may_say_whatever_is_named() {
        for action in actions() {
            let profile = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "flags": flags(),
                "syscalls": operators().iter().map(|op| json!({
                    "names": ["personality"],
                    "action": action,
                    "args": [{"index": 0, "value": 1, "valueTwo": 1, "op": op}],
                })).collect::<Vec<_>>(),
            });
            let profile = serde_json::from_value(profile).unwrap();
            // The default action of a rule is no rule.
            let compiled = crate::compile(&profile);
            assert!(compiled.is_ok(), "{action}: {compiled:?}");
        }
    }

    #[test]
    fn this_machine_is_among_the_architectures() {
        let own = std::env::consts::ARCH.to_uppercase();
        assert!(architectures().contains(&format!("SCMP_ARCH_{own}")));
    }
}
