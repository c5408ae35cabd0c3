//! Freezing: asked for in one file, reported in another.

use std::{
    fs::File,
    io::{Read, Seek},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{CgroupError, Result, control_file, control_file::value_of};

const EVENTS: &str = "cgroup.events";
/// A process in the middle of an uninterruptible sleep freezes only afterwards.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn freeze(dir: &Path) -> Result<()> {
    let result = control_file::write(dir, "cgroup.freeze", "1").and_then(|()| wait_until_frozen(dir));
    if result.is_err() {
        // Half frozen is the one state to leave nobody in.
        let _ = thaw(dir);
    }
    result
}

pub(super) fn thaw(dir: &Path) -> Result<()> {
    control_file::write(dir, "cgroup.freeze", "0")
}

/// Whether all have stopped, or are about to.
pub(super) fn is_frozen(dir: &Path) -> Result<bool> {
    let asked = control_file::read_if_exists(dir, "cgroup.freeze")?.is_some_and(|value| value == "1");
    // A frozen ancestor shows only in the events.
    let events = control_file::read_if_exists(dir, EVENTS)?.unwrap_or_default();
    Ok(asked || value_of(&events, "frozen") == Some(1))
}

fn wait_until_frozen(dir: &Path) -> Result<()> {
    let failed = |source| CgroupError::Read {
        path: dir.join(EVENTS),
        source,
    };
    let mut file = File::open(dir.join(EVENTS)).map_err(failed)?;
    let start = Instant::now();
    loop {
        let mut text = String::new();
        file.rewind()
            .and_then(|()| file.read_to_string(&mut text))
            .map_err(failed)?;
        if value_of(&text, "frozen") == Some(1) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(CgroupError::FreezeTimeout(dir.into()));
        }
        // The kernel wakes us at each change of the file; now and then a look does no harm.
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        match poll(&mut [PollFd::new(&file, PollFlags::PRI)], Some(&tick)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(err) => return Err(failed(err.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_cannot_be_frozen_is_not_left_half_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let asked = dir.path().join("cgroup.freeze");
        fs::write(&asked, "0").unwrap();
        // Nothing tells whether it has come to pass.
        assert!(freeze(dir.path()).is_err());
        assert_eq!(fs::read_to_string(&asked).unwrap(), "0");
        fs::write(dir.path().join(EVENTS), "populated 1\nfrozen 1\n").unwrap();
        freeze(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&asked).unwrap(), "1");
    }
}
