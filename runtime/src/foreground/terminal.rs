//! Between the caller's terminal and the container's. All that may take its time is waited for at once: so a signal
//! arrives whoever does not read or write.

use std::{
    iter,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::sys::signalfd::SignalFd;
use rustix::{
    event::PollFlags,
    io::{Errno as Kernel, ioctl_fionbio, read, retry_on_intr, write},
    process::Signal,
    stdio::{stdin, stdout},
    termios::{OptionalActions, Termios, tcgetattr, tcsetattr, tcsetwinsize},
};

use super::{
    after_signal, all_signals,
    notified::{last_words, pass_on},
    outlet::{Outlet, PIECE},
    watch::watch,
};
use crate::{
    errno::{Attempt, CallError},
    notify_socket::NotifySocket,
    program::terminal::callers_size,
};

/// How long a terminal that nobody has open is left alone.
const REST: Duration = Duration::from_millis(100);
/// How much is still read of a terminal whose process has ended: more than the kernel keeps in one, which is what the
/// process can have left there.
const LAST_WORDS: usize = 64 << 10;
/// How long somebody may take to read the rest when the end was asked for.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// What asks for the end, and ends the wait for a reader. Not SIGHUP, by which many a service reads its configuration.
const REQUESTS_TO_END: [Signal; 3] = [Signal::INT, Signal::QUIT, Signal::TERM];

/// Copies both ways until the process has ended and, where somebody reads it, its output is written.
pub(super) fn serve(
    pid: i32,
    pidfd: &OwnedFd,
    master: OwnedFd,
    notifications: Option<&NotifySocket>,
) -> Result<i32, CallError> {
    let signals = all_signals()?;
    let raw = Raw::new();
    let mut pump = Pump::new(master)?;
    // A reader is waited for as long as nobody is in a hurry.
    let mut patience = None;
    loop {
        let ready = pump.wait(&signals, notifications)?;
        if let Some(notifications) = notifications.filter(|_| ready.notification) {
            pass_on(notifications);
        }
        if ready.signal {
            while let Some(signal) = take(&signals) {
                if signal == Signal::WINCH.as_raw() {
                    copy_size(&pump.master);
                } else if let Some(code) = after_signal(signal, pid, pidfd) {
                    // Keys make signals again, which end the wait for a reader.
                    drop(raw);
                    notifications.inspect(|notifications| last_words(notifications));
                    pump.drain(&signals, patience);
                    return Ok(code);
                } else if asks_to_end(signal) {
                    patience = Some(PATIENCE);
                }
            }
        }
        pump.turn(&ready);
    }
}

pub(super) fn take(signals: &SignalFd) -> Option<i32> {
    let info = signals.read_signal().ok().flatten()?;
    Some(info.ssi_signo as i32)
}

/// The caller's terminal in raw mode, for as long as this lives.
struct Raw(Option<Termios>);

impl Raw {
    fn new() -> Self {
        let Ok(before) = tcgetattr(stdin()) else {
            return Raw(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        // The output stays as it is: what the container's terminal leaves alone, this one still has to work on.
        raw.output_modes = before.output_modes;
        let changed = tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok();
        Raw(changed.then_some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

struct Pump {
    master: OwnedFd,
    /// Input that the container has not taken yet.
    pending: Vec<u8>,
    /// Output that the caller has not taken yet.
    outlet: Outlet,
    input_open: bool,
    /// Whether the master is left alone for a while: it has nothing to say but that nobody has the other end open.
    rests: bool,
}

/// What can be done without waiting.
struct Ready {
    signal: bool,
    notification: bool,
    input: bool,
    output: bool,
    space: bool,
    outlet: bool,
}

impl Pump {
    fn new(master: OwnedFd) -> Result<Self, CallError> {
        ioctl_fionbio(&master, true).attempt("set up", "terminal")?;
        Ok(Pump {
            master,
            pending: Vec::new(),
            outlet: Outlet::new(stdout()),
            input_open: true,
            rests: false,
        })
    }

    /// Waits until something can be done.
    fn wait(&mut self, signals: &SignalFd, notifications: Option<&NotifySocket>) -> Result<Ready, CallError> {
        let when = |wanted, flags| if wanted { flags } else { PollFlags::empty() };
        let speaks = self.outlet.is_empty() && !self.rests;
        let is_fed = !self.pending.is_empty() && !self.rests;
        let service = notifications.map_or(signals.as_fd(), NotifySocket::as_fd);
        let wanted = [
            (signals.as_fd(), PollFlags::IN),
            (service, when(notifications.is_some(), PollFlags::IN)),
            (
                self.master.as_fd(),
                when(speaks, PollFlags::IN) | when(is_fed, PollFlags::OUT),
            ),
            (stdin(), when(self.input_open && self.pending.is_empty(), PollFlags::IN)),
            (self.outlet.as_fd(), when(!self.outlet.is_empty(), PollFlags::OUT)),
        ];
        let [signal, notification, master, input, outlet] = watch(wanted, self.rests.then_some(REST))?;
        // That nobody has the other end open is said whatever is asked.
        self.rests = !speaks && master.contains(PollFlags::HUP);
        Ok(Ready {
            signal: !signal.is_empty(),
            notification: !notification.is_empty(),
            input: !input.is_empty(),
            output: speaks && master.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            space: master.contains(PollFlags::OUT),
            outlet: !outlet.is_empty(),
        })
    }

    fn turn(&mut self, ready: &Ready) {
        if ready.outlet {
            let _ = self.outlet.flush();
        }
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
        let mut buffer = [0u8; PIECE];
        match read(stdin(), &mut buffer) {
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

    /// Takes the next piece of output, for which there must be room; says how much that is.
    fn output(&mut self) -> usize {
        let mut buffer = [0u8; PIECE];
        match retry_on_intr(|| read(&self.master, &mut buffer)) {
            Ok(length) if length > 0 => {
                self.outlet.put(&buffer[..length]);
                length
            }
            Err(Kernel::AGAIN) => 0,
            // EIO: nobody has the other end open. Somebody may open it again: an init system does so with its console.
            _ => {
                self.rests = true;
                0
            }
        }
    }

    /// Copies what the ended process has left. Whoever else has its terminal open may write for ever, and is not waited
    /// for; whoever reads is, but no longer than `patience` and until a signal asks us to end.
    fn drain(&mut self, signals: &SignalFd, patience: Option<Duration>) {
        let end = patience.map(|patience| Instant::now() + patience);
        let mut left = LAST_WORDS;
        while self.is_read(signals, end) && left > 0 {
            match self.output() {
                0 => return,
                length => left = left.saturating_sub(length),
            }
        }
    }

    /// Waits until all output is taken; false where that is not to be waited for any longer.
    fn is_read(&mut self, signals: &SignalFd, end: Option<Instant>) -> bool {
        while !self.outlet.is_empty() {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            let wanted = [(signals.as_fd(), PollFlags::IN), (self.outlet.as_fd(), PollFlags::OUT)];
            match watch(wanted, left) {
                Ok(_) if iter::from_fn(|| take(signals)).any(asks_to_end) => return false,
                Ok([_, outlet]) if !outlet.is_empty() => {
                    let _ = self.outlet.flush();
                }
                Ok(_) if left != Some(Duration::ZERO) => {}
                _ => return false,
            }
        }
        true
    }
}

pub(super) fn asks_to_end(signal: i32) -> bool {
    REQUESTS_TO_END.iter().any(|request| request.as_raw() == signal)
}

fn copy_size(master: &OwnedFd) {
    if let Ok(size) = callers_size() {
        let _ = tcsetwinsize(master, size);
    }
}
