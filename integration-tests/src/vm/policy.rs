//! The SELinux policy, which the guest compiles.

/// What it means.
const RULES: &str = include_str!("selinux.cil");

/// The contexts that the kernel names by number, in its order (security/selinux/include/initial_sid_to_string.h).
const INITIAL: [&str; 27] = [
    "kernel",
    "security",
    "unlabeled",
    "fs",
    "file",
    "file_labels",
    "init",
    "any_socket",
    "port",
    "netif",
    "netmsg",
    "node",
    "igmp_packet",
    "icmp_socket",
    "tcp_socket",
    "sysctl_modprobe",
    "sysctl",
    "sysctl_fs",
    "sysctl_kernel",
    "sysctl_net",
    "sysctl_net_unix",
    "sysctl_vm",
    "sysctl_dev",
    "kmod",
    "policy",
    "scmp_packet",
    "devnull",
];

/// The whole policy: the long lists, and the rules.
pub fn text() -> String {
    let categories: Vec<String> = (0..1024).map(|number| format!("c{number}")).collect();
    let mut text: String = categories.iter().map(|name| format!("(category {name})\n")).collect();
    let (categories, order) = (categories.join(" "), INITIAL.join(" "));
    text += &format!("(categoryorder ({categories}))\n(sidorder ({order}))\n");
    for name in INITIAL {
        let kind = if name == "kernel" { "kernel_t" } else { "file_t" };
        text += &format!("(sid {name})\n(sidcontext {name} (system_u system_r {kind} ((s0) (s0 (range c0 c1023)))))\n");
    }
    text + RULES
}
