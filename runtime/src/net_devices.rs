//! Moving interfaces of the runtime's network namespace into the container's.
//!
//! The kernel drops the addresses of an interface that moves, so they are read before and given again; those that will
//! not last or are of a narrower scope belong to the old place. While the container is being made, that can be taken
//! back: when a namespace ends, the kernel returns what is hardware, without its addresses, and removes what is virtual.

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
    log,
    netlink::{Address, Netlink},
};

/// An interface that was not moved.
#[derive(Debug, thiserror::Error)]
#[error("move netDevice {name} to the container's network namespace: {cause}")]
pub struct NetDeviceError {
    /// The interface, as config.json names it.
    name: String,
    cause: CallError,
}

/// Interfaces that are in a container's network namespace. Dropped, they go back to where they were, as they were.
#[derive(Debug)]
pub struct Relocation {
    here: Place,
    /// It lasts as long as this, be there processes in it or not.
    there: Place,
    moved: Vec<Moved>,
}

/// A network namespace.
#[derive(Debug)]
struct Place {
    namespace: OwnedFd,
    /// A socket in there.
    netlink: Netlink,
}

#[derive(Debug)]
struct Moved {
    name_here: String,
    index_there: u32,
    addresses: Vec<Address>,
    was_up: bool,
}

/// Moves `devices`, if there are any, into the network namespace that the process `init` is in.
pub fn relocate(devices: &BTreeMap<String, NetDevice>, init: i32) -> Result<Option<Relocation>, NetDeviceError> {
    let Some(first) = devices.keys().next() else {
        return Ok(None);
    };
    let failed = |name: &str| {
        let name = name.to_owned();
        |cause| NetDeviceError { name, cause }
    };
    let mut relocation = Relocation::between("self", &init.to_string()).map_err(failed(first))?;
    for (name, device) in devices {
        relocation.relocate(name, device).map_err(failed(name))?;
    }
    Ok(Some(relocation))
}

impl Relocation {
    fn between(here: &str, there: &str) -> Result<Self, CallError> {
        let (here, there) = (namespace_of(here)?, namespace_of(there)?);
        let enter = |namespace: &OwnedFd| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .attempt("join namespace", "net")
        };
        let open = || Netlink::open().attempt("open", "netlink socket");
        // The process has one thread, which goes there and comes back.
        enter(&there)?;
        let netlink_there = open();
        enter(&here)?;
        Ok(Relocation {
            here: Place {
                namespace: here,
                netlink: open()?,
            },
            there: Place {
                namespace: there,
                netlink: netlink_there?,
            },
            moved: Vec::new(),
        })
    }

    /// Leaves them where they are.
    pub fn keep(mut self) {
        self.moved.clear();
    }

    fn relocate(&mut self, name: &str, device: &NetDevice) -> Result<(), CallError> {
        let inside = match device.name.is_empty() {
            true => name,
            false => &device.name,
        };
        let (here, there) = (&self.here.netlink, &self.there.netlink);
        let index = here.index(name).attempt("find", "link")?;
        let was_up = here.is_up(index).attempt("inspect", "link")?;
        let addresses = here.addresses(index).attempt("get", "ip addresses")?;
        let asked = here.relocate(index, inside, &self.there.namespace);
        let has_left = asked.is_ok() || here.index(name) != Ok(index);
        if has_left {
            let name_there = if asked.is_ok() { inside } else { name };
            self.moved.push(Moved {
                name_here: name.to_owned(),
                index_there: there.index(name_there).attempt("find moved link", name_there)?,
                addresses: addresses.clone(),
                was_up,
            });
        }
        asked.attempt("move link, which is to be called", inside)?;

        let index = there.index(inside).attempt("find moved link", inside)?;
        for address in addresses.iter().filter_map(Address::elsewhere) {
            there.add_address(index, &address).attempt("add address to", inside)?;
        }
        there.set_up(index).attempt("set up link", inside)
    }

    fn take_back(&self, moved: &Moved) -> Result<(), CallError> {
        let (here, name) = (&self.here.netlink, &moved.name_here);
        let there = &self.there.netlink;
        there
            .relocate(moved.index_there, name, &self.here.namespace)
            .attempt("move back", name)?;
        let index = here.index(name).attempt("find", "link")?;
        let add = |address| match here.add_address(index, address) {
            // The kernel was faster.
            Err(Kernel::EXIST) => Ok(()),
            added => added.attempt("add address to", name),
        };
        let added: Vec<_> = moved.addresses.iter().map(add).collect();
        if moved.was_up {
            here.set_up(index).attempt("set up link", name)?;
        }
        added.into_iter().collect()
    }
}

impl Drop for Relocation {
    fn drop(&mut self) {
        for moved in self.moved.iter().rev() {
            if let Err(err) = self.take_back(moved) {
                log::warn(&format!(
                    "netDevice {} is not what it was before: {err}",
                    moved.name_here
                ));
            }
        }
    }
}

fn namespace_of(process: &str) -> Result<OwnedFd, CallError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/{process}/ns/net"), flags, Mode::empty()).attempt("open namespace", "net")
}
