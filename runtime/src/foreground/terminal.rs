//! Between the caller's terminal and the container's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::{
    signal::SigSet,
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno as Kernel, ioctl_fionbio, read, write},
    process::Signal,
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr, tcsetwinsize},
};

use super::{after_signal, notified::pass_on};
use crate::{
    errno::{Attempt, CallError},
    notify_socket::NotifySocket,
    program::terminal::callers_size,
};

const CHUNK: usize = 8192;

/// Copies both ways until the process has ended and all its output is written.
pub fn serve(
    pid: i32,
    pidfd: &OwnedFd,
    master: OwnedFd,
    notifications: Option<&NotifySocket>,
) -> Result<i32, CallError> {
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .attempt("open", "signalfd")?;
    let _raw = Raw::new();
    ioctl_fionbio(&master, true).attempt("set up", "terminal")?;
    let mut pump = Pump {
        master,
        pending: Vec::new(),
        input_open: true,
        output_open: true,
    };
    loop {
        let ready = pump.wait(signals.as_fd(), notifications)?;
        if let Some(notifications) = notifications.filter(|_| ready.notification) {
            pass_on(notifications);
        }
        if ready.signal {
            while let Ok(Some(info)) = signals.read_signal() {
                let signal = info.ssi_signo as i32;
                if signal == Signal::WINCH.as_raw() {
                    copy_size(&pump.master);
                } else if let Some(code) = after_signal(signal, pid, pidfd) {
                    pump.drain();
                    return Ok(code);
                }
            }
        }
        pump.turn(&ready);
    }
}

/// The caller's terminal in raw mode, for as long as this lives.
struct Raw(Option<Termios>);

impl Raw {
    fn new() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else {
            return Raw(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        // The output stays as it is: what the container's terminal leaves alone, this one still has to work on.
        raw.output_modes = before.output_modes;
        let changed = tcsetattr(&stdin, OptionalActions::Now, &raw).is_ok();
        Raw(changed.then_some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

struct Pump {
    master: OwnedFd,
    /// Input that the container has not taken yet.
    pending: Vec<u8>,
    input_open: bool,
    output_open: bool,
}

/// What can be done without waiting.
struct Ready {
    signal: bool,
    notification: bool,
    input: bool,
    output: bool,
    space: bool,
}

impl Pump {
    fn wait(&self, signals: BorrowedFd, notifications: Option<&NotifySocket>) -> Result<Ready, CallError> {
        let stdin = std::io::stdin();
        let wants = |wanted, flags| if wanted { flags } else { PollFlags::empty() };
        let master = wants(self.output_open, PollFlags::IN) | wants(!self.pending.is_empty(), PollFlags::OUT);
        let mut fds = vec![PollFd::from_borrowed_fd(signals, PollFlags::IN)];
        if self.output_open {
            fds.push(PollFd::new(&self.master, master));
        }
        if self.input_open && self.pending.is_empty() {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        fds.extend(notifications.map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Kernel::INTR) => {}
            Err(errno) => return Err(errno).attempt("poll", "terminal"),
        }
        let notification = notifications.is_some() && fds.pop().is_some_and(|fd| !fd.revents().is_empty());
        let got = |at: usize| fds.get(at).map_or(PollFlags::empty(), PollFd::revents);
        let (master, input) = match self.output_open {
            true => (got(1), got(2)),
            false => (PollFlags::empty(), got(1)),
        };
        Ok(Ready {
            signal: !got(0).is_empty(),
            notification,
            input: !input.is_empty(),
            output: master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            space: master.contains(PollFlags::OUT),
        })
    }

    fn turn(&mut self, ready: &Ready) {
        if ready.output {
            self.output();
        }
        if ready.input {
            self.input();
        }
        if ready.space || ready.input {
            self.flush();
        }
    }

    fn input(&mut self) {
        let mut buffer = [0u8; CHUNK];
        match read(std::io::stdin(), &mut buffer) {
            Ok(0) => self.input_open = false,
            Ok(length) => self.pending.extend(&buffer[..length]),
            Err(Kernel::INTR | Kernel::AGAIN) => {}
            Err(_) => self.input_open = false,
        }
    }

    fn flush(&mut self) {
        match write(&self.master, &self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(Kernel::INTR | Kernel::AGAIN) => {}
            Err(_) => self.pending.clear(),
        }
    }

    /// Copies one piece of output; false when there is none.
    fn output(&mut self) -> bool {
        let mut buffer = [0u8; CHUNK];
        match read(&self.master, &mut buffer) {
            Ok(length) if length > 0 => write_all(&buffer[..length]),
            Err(Kernel::INTR) => true,
            Err(Kernel::AGAIN) => false,
            // EIO: nobody has the other end open. Somebody may open it again, but only while the process lives.
            _ => {
                self.output_open = false;
                false
            }
        }
    }

    fn drain(&mut self) {
        while self.output() {}
    }
}

fn write_all(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(std::io::stdout(), bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Kernel::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

fn copy_size(master: &OwnedFd) {
    if let Some(size) = callers_size() {
        let _ = tcsetwinsize(master, size);
    }
}
