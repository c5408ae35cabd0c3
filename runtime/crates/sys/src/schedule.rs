//! Priorities of the calling process: I/O class, scheduling policy, execution domain.

use std::io;

/// Parameters of sched_setattr(2), the kernel's `struct sched_attr` (version 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedAttr {
    size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the time-sharing policies.
    pub nice: i32,
    /// For the real-time policies.
    pub priority: u32,
    /// Deadline: nanoseconds of work per period.
    pub runtime: u64,
    /// Deadline: nanoseconds within which the work is done.
    pub deadline: u64,
    /// Deadline: nanoseconds of a period.
    pub period: u64,
}

/// Applies a scheduling policy to the calling process.
pub fn set_scheduler(attr: SchedAttr) -> io::Result<()> {
    let attr = SchedAttr {
        size: std::mem::size_of::<SchedAttr>() as u32,
        ..attr
    };
    // SAFETY: attr is the kernel's layout, carries its own size and lives across the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attr), 0) })
}

/// Applies an I/O class (1 real time, 2 best effort, 3 idle) and a level of 0 to 7 to the calling process.
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_long = 1;
    const CLASS_SHIFT: u32 = 13;
    // SAFETY: three integers.
    check(unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            (class << CLASS_SHIFT) | level,
        )
    })
}

/// Sets the execution domain (personality(2)) of the calling process.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: one integer.
    check(unsafe { libc::personality(domain) }.into())
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
