//! Ways out of a container that some runtime once had, each shut. The names are those of the CVE lists.

#[path = "security/binary.rs"]
pub mod binary;
#[path = "security/capabilities.rs"]
mod capabilities;
#[path = "security/cgroups.rs"]
mod cgroups;
#[path = "security/descriptors.rs"]
mod descriptors;
#[path = "security/devices.rs"]
mod devices;
#[path = "security/limits.rs"]
mod limits;
#[path = "security/proc.rs"]
mod proc;
#[path = "security/races.rs"]
mod races;

use super::bundle::Bundle;

/// Starts the program of the config in the background.
fn start(bundle: &Bundle) {
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
}

/// The pid of a container's first process on this machine.
fn pid(bundle: &Bundle) -> String {
    bundle.state()["pid"].to_string()
}
