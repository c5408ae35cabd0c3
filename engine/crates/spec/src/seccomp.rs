//! The seccomp profile: Docker's default as a table of our own, and profiles that users bring in Docker's format.

mod allowed;
mod profile;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

pub(crate) use profile::check_profile;
use profile::from_profile;

use crate::{error::SpecError, security::SeccompChoice};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// All `CLONE_NEW…` flags but the time namespace's, which clone(2) cannot make.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

const AF_VSOCK: u64 = 40;

/// Execution domains that personality(2) may choose: Linux, with or without ADDR_NO_RANDOMIZE-free variants, and "ask".
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// System calls that a capability makes harmless to allow, for it is checked by the kernel.
const BY_CAPABILITY: [(&str, &str); 13] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    (
        "CAP_SYS_PTRACE",
        "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    ),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    (
        "CAP_SYS_NICE",
        "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    ),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
];

/// The filter for a process with these capabilities; `None` for no filter.
pub(crate) fn filter(choice: &SeccompChoice, capabilities: &[&str]) -> Result<Option<LinuxSeccomp>, SpecError> {
    match choice {
        SeccompChoice::Unconfined => Ok(None),
        SeccompChoice::Default => Ok(Some(default_filter(capabilities))),
        SeccompChoice::Profile(json) => from_profile(json, capabilities).map(Some),
    }
}

fn default_filter(capabilities: &[&str]) -> LinuxSeccomp {
    let has = |name: &str| capabilities.contains(&name);
    let mut rules = vec![
        allow(allowed::ALLOWED),
        // ptrace could escape the filter before 4.8; we require newer kernels.
        allow("process_vm_readv process_vm_writev ptrace"),
        allow_where("socket", argument(0, AF_VSOCK, LinuxSeccompOperator::ScmpCmpNe)),
    ];
    for domain in PERSONALITIES {
        rules.push(allow_where(
            "personality",
            argument(0, domain, LinuxSeccompOperator::ScmpCmpEq),
        ));
    }
    rules.extend(architecture_rules());
    if !has("CAP_SYS_ADMIN") {
        let no_namespaces = argument(0, NAMESPACE_FLAGS, LinuxSeccompOperator::ScmpCmpMaskedEq);
        rules.push(allow_where("clone", no_namespaces));
        // Flags of clone3 lie in memory that a filter cannot read: ENOSYS makes libc fall back to clone.
        rules.push(refuse("clone3", ENOSYS));
    }
    for (capability, names) in BY_CAPABILITY {
        if has(capability) {
            rules.push(allow(names));
        }
    }
    if has("CAP_PERFMON") {
        rules.push(allow("perf_event_open"));
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(architectures())
        .syscalls(rules)
        .build()
        .expect("every field has a default")
}

/// The filter's architectures: the machine's own and those whose programs it also runs.
fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "aarch64") {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    } else {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
    }
}

fn architecture_rules() -> Vec<LinuxSyscall> {
    if cfg!(target_arch = "aarch64") {
        let names = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
        vec![allow(names)]
    } else {
        vec![allow("arch_prctl"), allow("modify_ldt")]
    }
}

fn rule(names: &str, action: LinuxSeccompAction) -> LinuxSyscallBuilder {
    let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    LinuxSyscallBuilder::default().names(names).action(action)
}

fn allow(names: &str) -> LinuxSyscall {
    let rule = rule(names, LinuxSeccompAction::ScmpActAllow);
    rule.build().expect("names and action are set")
}

fn allow_where(name: &str, condition: LinuxSeccompArg) -> LinuxSyscall {
    let rule = rule(name, LinuxSeccompAction::ScmpActAllow).args([condition]);
    rule.build().expect("names and action are set")
}

fn refuse(name: &str, errno: u32) -> LinuxSyscall {
    let rule = rule(name, LinuxSeccompAction::ScmpActErrno).errno_ret(errno);
    rule.build().expect("names and action are set")
}

fn argument(index: usize, value: u64, operator: LinuxSeccompOperator) -> LinuxSeccompArg {
    let argument = LinuxSeccompArgBuilder::default().index(index).value(value).op(operator);
    argument.build().expect("index, value and operator are set")
}
