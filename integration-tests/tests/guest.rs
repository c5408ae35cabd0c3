//! The runtime where the virtual machine of `cargo xtask test vm` is needed: pure cgroup v2, AppArmor, SELinux, systemd, also on v1 hierarchies.
//!
//! A module's name decides in which start of the machine its tests run: the table in src/vm/plan.rs.

#[allow(dead_code, reason = "the runtime's own tests use the rest")]
#[path = "runtime/bundle.rs"]
mod bundle;

#[path = "guest/apparmor.rs"]
mod apparmor;
#[path = "guest/hybrid.rs"]
mod hybrid;
#[path = "guest/selinux.rs"]
mod selinux;
#[path = "guest/systemd.rs"]
mod systemd;
#[path = "guest/user_systemd.rs"]
mod user_systemd;
#[path = "guest/v2.rs"]
mod v2;
