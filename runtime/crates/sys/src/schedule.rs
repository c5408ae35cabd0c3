//! Priorities of the calling process: I/O class, scheduling policy, execution domain.

use std::io;

/// Parameters of sched_setattr(2), the kernel's `struct sched_attr` (version 1).
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
    /// Bounds of utilisation, which the clamp flags read (Linux 5.3); config.json has no field for them.
    util_min: u32,
    util_max: u32,
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

/// Sets the NUMA memory policy (set_mempolicy(2), Linux 2.6.7) of the calling process: a mode with its flags, and nodes.
pub fn set_memory_policy(mode: u32, nodes: &[u32]) -> io::Result<()> {
    let bits = u64::BITS;
    let mut mask = vec![0u64; nodes.iter().max().map_or(0, |last| (last / bits) as usize + 1)];
    for node in nodes {
        mask[(node / bits) as usize] |= 1 << (node % bits);
    }
    // The kernel reads one bit less than it is told of, and counts no nodes where there is no mask.
    let (pointer, length) = match mask.len() {
        0 => (std::ptr::null(), 0),
        words => (mask.as_ptr(), words * bits as usize + 1),
    };
    // SAFETY: the kernel reads the bits that the vector holds, which lives across the call; none where it is null.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, length) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
