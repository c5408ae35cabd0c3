//! bpf(2): just what a cgroup v2 device filter needs.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Hook of a program that decides over device access in a cgroup (`BPF_CGROUP_DEVICE`, Linux 4.15).
pub const CGROUP_DEVICE: u32 = 6;
/// Keep other programs of the same cgroup (`BPF_F_ALLOW_MULTI`).
pub const ALLOW_MULTI: u32 = 1 << 1;
/// Put the new program in the place of a given one (`BPF_F_REPLACE`, Linux 5.6).
const REPLACE: u32 = 1 << 2;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;

/// One eBPF instruction (`struct bpf_insn`), as the 64 bits the kernel reads.
pub type Instruction = u64;

#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct FdById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Loads a device program. A program that the verifier refuses fails with its last words in the error's text.
pub fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    match load(instructions, &mut []) {
        Err(err) if matches!(err.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => {
            let mut log = vec![0; 64 * 1024];
            load(instructions, &mut log).map_err(|err| explain(err, &log))
        }
        result => result,
    }
}

fn load(instructions: &[Instruction], log: &mut [u8]) -> io::Result<OwnedFd> {
    const LICENSE: &CStr = c"Apache-2.0";
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..Load::default()
    };
    if !log.is_empty() {
        attr.log_level = 1;
        attr.log_size = log.len() as u32;
        attr.log_buf = log.as_mut_ptr() as u64;
    }
    attr.prog_name[..13].copy_from_slice(b"davit_devices");
    // SAFETY: the instructions, the licence and the log live across the call; the kernel writes at most log_size bytes.
    let fd = unsafe { bpf(PROG_LOAD, &mut attr) }?;
    // SAFETY: PROG_LOAD answers with a fresh fd that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn explain(err: io::Error, log: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(log);
    match text.trim_end_matches('\0').trim_end().lines().last() {
        Some(line) if !line.is_empty() => io::Error::new(err.kind(), format!("{err}: {line}")),
        _ => err,
    }
}

/// Attaches `program` to `cgroup`, beside what is there or, with `replaces`, in the place of that program.
pub fn attach(cgroup: BorrowedFd, program: BorrowedFd, hook: u32, replaces: Option<BorrowedFd>) -> io::Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: hook,
        attach_flags: ALLOW_MULTI | if replaces.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: replaces.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    // SAFETY: attr is the attach layout and holds no pointers.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Detaches `program` from `cgroup`.
pub fn detach(cgroup: BorrowedFd, program: BorrowedFd, hook: u32) -> io::Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: hook,
        ..Attach::default()
    };
    // SAFETY: attr is the attach layout and holds no pointers.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// The ids of the programs attached to `cgroup` itself (not to its ancestors), in the order they run.
pub fn attached(cgroup: BorrowedFd, hook: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0u32; 64];
    loop {
        let mut attr = Query {
            target_fd: cgroup.as_raw_fd() as u32,
            attach_type: hook,
            prog_ids: ids.as_mut_ptr() as u64,
            prog_cnt: ids.len() as u32,
            ..Query::default()
        };
        // SAFETY: the kernel writes at most prog_cnt ids to the vector, which has room for so many.
        match unsafe { bpf(PROG_QUERY, &mut attr) } {
            Ok(_) => {
                ids.truncate(attr.prog_cnt as usize);
                return Ok(ids);
            }
            Err(err) if err.raw_os_error() == Some(libc::ENOSPC) => ids.resize(ids.len() * 2, 0),
            Err(err) => return Err(err),
        }
    }
}

/// Opens an attached program by its id; ENOENT when it is gone.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = FdById {
        prog_id: id,
        ..FdById::default()
    };
    // SAFETY: attr is the get-by-id layout and holds no pointers.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }?;
    // SAFETY: PROG_GET_FD_BY_ID answers with a fresh fd that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// SAFETY: `attr` must be the layout that `command` reads, and the pointers in it valid for what the kernel does with them.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // The verifier gives up with EAGAIN when a signal is pending; a flood of signals is no reason to spin.
    let mut attempts = 5;
    loop {
        // SAFETY: the size is that of the value the pointer points to; the rest is the caller's promise.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_mut(attr),
                std::mem::size_of::<T>(),
            )
        };
        if result >= 0 {
            return Ok(result);
        }
        let err = io::Error::last_os_error();
        attempts -= 1;
        if err.raw_os_error() != Some(libc::EAGAIN) || attempts == 0 {
            return Err(err);
        }
    }
}
