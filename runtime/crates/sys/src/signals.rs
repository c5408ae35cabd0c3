//! Signals of the calling process: what a program must find as it would after a login.

use std::{io, mem::MaybeUninit, ptr};

/// Blocks every signal; what arrives stays pending until it is taken or the mask is lifted.
pub fn block_all() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set; sigprocmask reads it.
    check(unsafe {
        libc::sigfillset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut())
    })
}

/// Blocks none.
pub fn unblock_all() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; sigprocmask reads it.
    check(unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut())
    })
}

/// Lets a command begin with no signal blocked, whatever its caller has blocked for itself: a child inherits the mask.
pub fn unblocked(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;

    // SAFETY: between fork and execve only async-signal-safe calls are made: sigemptyset and sigprocmask are such.
    unsafe { command.pre_exec(unblock_all) }
}

/// Gives every signal its default action back: an ignored one stays so across execve. Rust's start-up ignores SIGPIPE, a
/// caller may ignore others (nohup), and a C library that posix_spawn was not careful with even its own 32 and 33.
pub fn default_all() {
    const LAST: libc::c_int = 64;
    const SET_SIZE: usize = 8;
    /// `struct sigaction` of the kernel: handler, flags, restorer and mask; zero is SIG_DFL and no flag.
    const DEFAULT: [u64; 4] = [0; 4];
    for signal in 1..=LAST {
        let nothing: *mut u64 = ptr::null_mut();
        // SAFETY: SIG_DFL installs no handler; the kernel reads its sigaction, which is not longer than the constant. By
        // the raw call, since the C library keeps 32 and 33 to itself. SIGKILL and SIGSTOP answer EINVAL.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), nothing, SET_SIZE) };
    }
}

/// Lets a child that has ended wait until it is asked for. A caller that ignores SIGCHLD (`trap '' CHLD`) leaves that to
/// us, and the kernel then sends no signal and forgets the child's exit status.
pub fn keep_ended_children() {
    // SAFETY: SIG_DFL installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Makes the usual requests to end (SIGHUP, SIGINT, SIGQUIT, SIGTERM) end the process at once, with 128 and the number as
/// exit code, until the next execve. The kernel keeps them from the first process of a pid namespace otherwise.
pub fn end_on_request() {
    extern "C" fn end(signal: libc::c_int) {
        crate::clone::exit_now(128 + signal)
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler only calls _exit, which may be called at any time.
        unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
    }
}

/// What a signal is called: `bad system call`.
pub fn describe(signal: i32) -> String {
    // SAFETY: strsignal answers with a string of its own, which no other call changes in a process with one thread.
    let text = unsafe {
        let text = libc::strsignal(signal);
        if text.is_null() {
            return format!("signal {signal}");
        }
        std::ffi::CStr::from_ptr(text)
    };
    text.to_string_lossy().to_lowercase()
}

/// Takes one pending signal, waiting for it; all signals must be blocked.
pub fn wait() -> io::Result<i32> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    loop {
        // SAFETY: sigwaitinfo reads the set and may be given no place for details.
        let signal = unsafe { libc::sigwaitinfo(set.as_ptr(), ptr::null_mut()) };
        if signal >= 0 {
            return Ok(signal);
        }
        // No mask keeps SIGSTOP from us, and being continued after it interrupts the wait.
        let err = io::Error::last_os_error();
        if err.kind() != io::ErrorKind::Interrupted {
            return Err(err);
        }
    }
}

/// Sends `signal` to the process behind `pidfd`. Real-time signals included, which is why the number is plain.
pub fn send(pidfd: std::os::fd::BorrowedFd, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let nothing: *const libc::siginfo_t = ptr::null();
    // SAFETY: a null siginfo is allowed and means the usual one.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, nothing, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
