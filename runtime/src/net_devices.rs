//! Moving interfaces of the runtime's network namespace into the container's.
//!
//! The kernel drops the addresses of an interface that moves, so they are read before and given again; those that will
//! not last or are of a narrower scope belong to the old place. Nothing is moved back on failure: when the container's
//! namespace ends the kernel itself returns what is hardware, and removes what is virtual.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, OwnedFd},
};

use davit_spec::NetDevice;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno as Kernel,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    errno::{Attempt, CallError},
    netlink::Netlink,
};

/// An interface that was not moved.
#[derive(Debug, thiserror::Error)]
#[error("move netDevice {name} to the container's network namespace: {cause}")]
pub struct NetDeviceError {
    /// The interface, as config.json names it.
    name: String,
    cause: CallError,
}

/// Moves `devices` into the network namespace that the process `init` is in.
pub fn relocate(devices: &BTreeMap<String, NetDevice>, init: i32) -> Result<(), NetDeviceError> {
    for (name, device) in devices {
        relocate_one(name, device, init).map_err(|cause| NetDeviceError {
            name: name.clone(),
            cause,
        })?;
    }
    Ok(())
}

fn relocate_one(name: &str, device: &NetDevice, init: i32) -> Result<(), CallError> {
    let inside = match device.name.is_empty() {
        true => name,
        false => &device.name,
    };
    let here = Netlink::open().attempt("open", "netlink socket")?;
    let index = here.index(name).attempt("find", "link")?;
    here.set_up(index, false).attempt("set", "link down")?;
    let addresses = here.addresses(index).attempt("get", "ip addresses")?;
    here.relocate(index, inside, init)
        .attempt("move link, which is to be called", inside)?;

    let there = open_in(init)?;
    let index = there.index(inside).attempt("find moved link", inside)?;
    for address in &addresses {
        there.add_address(index, address).attempt("add address to", inside)?;
    }
    there.set_up(index, true).attempt("set up link", inside)
}

/// A socket of the other namespace; the process has one thread, which goes there and comes back.
fn open_in(init: i32) -> Result<Netlink, CallError> {
    let open = |path: &str| openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let own = open("/proc/self/ns/net").attempt("open namespace", "net")?;
    let there = open(&format!("/proc/{init}/ns/net")).attempt("open namespace", "net")?;
    let enter = |namespace: &OwnedFd| -> Result<(), Kernel> {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
    };
    enter(&there).attempt("join namespace", "net")?;
    let netlink = Netlink::open();
    enter(&own).attempt("join namespace", "net")?;
    netlink.attempt("open", "netlink socket")
}
