//! freezer: stopping all processes at once, as far as v1 can.
//!
//! A cgroup whose processes fork all the time may never get from FREEZING to FROZEN: the kernel looks only when the
//! state is written or read. So it is asked again and again, with thaws in between, which let the fork finish.

use std::{path::Path, thread::sleep, time::Duration};

use rustix::{fd::BorrowedFd, io::Errno};

use crate::{CgroupError, Result, control_file, walk};

const STATE: &str = "freezer.state";
const THAWED: &str = "THAWED";
const ATTEMPTS: u32 = 1000;

pub(super) fn freeze(dir: &Path) -> Result<()> {
    let result = try_to_freeze(dir);
    if result.is_err() {
        // Half frozen is the one state to leave nobody in.
        let _ = thaw(dir);
    }
    result
}

pub(super) fn thaw(dir: &Path) -> Result<()> {
    control_file::write(dir, STATE, THAWED)
}

/// Lets them run on in the cgroups below, too, which a container may have frozen itself. Parents first: a cgroup below
/// one that is frozen stays so.
pub(super) fn thaw_tree(dir: &Path) -> Result<()> {
    let thaw = |cgroup: BorrowedFd<'_>| match control_file::write_at(cgroup, STATE, THAWED) {
        // Removed under our hands.
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        result => result,
    };
    walk::visit(dir, thaw).map_err(|err| CgroupError::Write {
        path: dir.join(STATE),
        value: THAWED.into(),
        source: err.into(),
    })
}

/// Whether it or a cgroup below is frozen.
pub(super) fn is_tree_frozen(dir: &Path) -> Result<bool> {
    let mut frozen = false;
    let look = |cgroup: BorrowedFd<'_>| match control_file::read_at(cgroup, STATE) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        state => {
            frozen |= state?.trim() != THAWED;
            Ok(())
        }
    };
    walk::visit(dir, look).map_err(|err| CgroupError::Read {
        path: dir.join(STATE),
        source: err.into(),
    })?;
    Ok(frozen)
}

pub(super) fn is_frozen(dir: &Path) -> Result<bool> {
    // A frozen parent says FROZEN here too, and thawing this one would not help.
    Ok(control_file::read_if_exists(dir, STATE)?.is_some_and(|state| state != THAWED))
}

fn try_to_freeze(dir: &Path) -> Result<()> {
    for attempt in 0..ATTEMPTS {
        if attempt % 50 == 49 {
            thaw(dir)?;
            sleep(Duration::from_millis(10));
        }
        control_file::write(dir, STATE, "FROZEN")?;
        if attempt % 25 == 24 {
            sleep(Duration::from_micros(10));
        }
        match control_file::read(dir, STATE)?.as_str() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => {
                return Err(CgroupError::Contents {
                    path: dir.join(STATE),
                    contents: other.into(),
                });
            }
        }
    }
    Err(CgroupError::FreezeTimeout(dir.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_cannot_be_frozen_is_not_left_half_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join(STATE);
        // A plain file keeps what is longer than what is written, so that it is never FROZEN.
        fs::write(&state, "THAWED, as if").unwrap();
        assert!(freeze(dir.path()).is_err());
        assert_eq!(fs::read_to_string(&state).unwrap(), "THAWED, as if");
        fs::write(&state, "").unwrap();
        freeze(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(&state).unwrap(), "FROZEN");
    }
}
