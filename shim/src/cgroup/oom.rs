//! Tells when the kernel kills a process of the container for want of memory.
//!
//! v1 signals an eventfd, v2 changes a file; both only say "look again". The count of kills decides, so that a cgroup's removal,
//! which signals too, is no kill.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use davit_luggage::{Fd, Packing, Unpacking};
use rustix::{
    event::EventfdFlags,
    fs::inotify::{CreateFlags, WatchFlags},
};
use tokio::{io::unix::AsyncFd, time};

use super::Cgroup;
use crate::stdio::fd;

/// How long after its signal a kill may be counted, and how often to look meanwhile.
const COUNTED_WITHIN: (Duration, u32) = (Duration::from_millis(20), 10);

/// A watch on one cgroup.
#[derive(Debug)]
pub struct OomWatch {
    cgroup: Cgroup,
    signal: AsyncFd<OwnedFd>,
    /// A signal may have been taken and its kill not counted yet.
    is_due: AtomicBool,
}

impl OomWatch {
    /// Begins to watch; `None` without a memory controller.
    pub fn new(cgroup: &Cgroup) -> io::Result<Option<Self>> {
        if cgroup.oom_kills().is_none() {
            return Ok(None);
        }
        let signal = if cgroup.is_v1() {
            eventfd(cgroup)?
        } else {
            inotify(cgroup)?
        };
        Ok(Some(Self {
            cgroup: cgroup.clone(),
            signal: fd::watch(signal)?,
            is_due: AtomicBool::new(false),
        }))
    }

    /// The watch's signal, for another program of ours.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<Fd> {
        packing.fd(&self.signal)
    }

    /// Goes on with the watch of another program of ours.
    pub fn unpack(cgroup: &Cgroup, signal: Fd, unpacking: &mut Unpacking) -> io::Result<Self> {
        Ok(Self {
            cgroup: cgroup.clone(),
            signal: fd::watch(unpacking.fd(signal)?)?,
            is_due: AtomicBool::new(true),
        })
    }

    /// Returns after a signal, when more than `seen` kills are counted or none will be; `None` when the cgroup has gone.
    pub async fn next(&self, seen: u64) -> io::Result<Option<()>> {
        if !self.is_due.swap(false, Ordering::Relaxed) {
            self.signal.readable().await?.clear_ready();
        }
        let mut buffer = [0; 512];
        while matches!(rustix::io::read(self.signal.get_ref(), &mut buffer), Ok(1..)) {}
        // v1 signals first and kills then.
        let (pause, times) = COUNTED_WITHIN;
        for _ in 0..times {
            match self.cgroup.oom_kills() {
                None => return Ok(None),
                Some(count) if count > seen => break,
                Some(_) => time::sleep(pause).await,
            }
        }
        Ok(Some(()))
    }
}

fn no_controller() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the cgroup has no memory controller")
}

fn eventfd(cgroup: &Cgroup) -> io::Result<OwnedFd> {
    let folder = cgroup.controller("memory").ok_or_else(no_controller)?;
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = File::open(folder.join("memory.oom_control"))?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    fs::write(folder.join("cgroup.event_control"), line)?;
    Ok(event)
}

fn inotify(cgroup: &Cgroup) -> io::Result<OwnedFd> {
    let folder = cgroup.v2.as_deref().ok_or_else(no_controller)?;
    let inotify = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    rustix::fs::inotify::add_watch(&inotify, folder.join("memory.events"), WatchFlags::MODIFY)?;
    Ok(inotify)
}
