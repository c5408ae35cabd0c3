//! Between the caller's streams and the pipes that the container has in their place. As with a terminal, all that may
//! take its time is waited for at once.
//!
//! The pipes outlive the process where others hold them, as a daemon does that an exec has left behind: its output is
//! the caller's, too, and is waited for. Input is nothing to wait for.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::sys::signalfd::SignalFd;
use rustix::{
    event::PollFlags,
    io::{Errno as Kernel, read, write},
    stdio::{stderr, stdin, stdout},
};

use super::{
    after_signal, all_signals,
    notified::{last_words, pass_on},
    outlet::Outlet,
    terminal::{PATIENCE, asks_to_end, take},
    watch::watch,
};
use crate::{errno::CallError, notify_socket::NotifySocket, program::pipes::RuntimeEnds};

/// What is copied at once. More would be little faster, and is memory that every foreground runtime would take.
const MOST: usize = 16 << 10;

/// Copies until the process has ended and all its output is written.
pub(super) fn serve(
    pid: i32,
    pidfd: &OwnedFd,
    ends: RuntimeEnds,
    notifications: Option<&NotifySocket>,
    at_end: impl Fn(),
) -> Result<i32, CallError> {
    let signals = all_signals()?;
    let mut pump = Pump::new(ends);
    let mut code = None;
    let mut in_a_hurry = false;
    loop {
        // Once the end was asked for, a reader who has come to a standstill is not waited for.
        let limit = (in_a_hurry && code.is_some()).then_some(PATIENCE);
        let ready = pump.wait(&signals, notifications, limit)?;
        if let Some(notifications) = notifications.filter(|_| ready.notification) {
            pass_on(notifications);
        }
        while let Some(signal) = ready.signal.then(|| take(&signals)).flatten() {
            if asks_to_end(signal) {
                if let Some(code) = code {
                    return Ok(code);
                }
                in_a_hurry = true;
            }
            if let Some(exit_code) = after_signal(signal, pid, pidfd) {
                code = Some(exit_code);
                at_end();
            }
        }
        pump.turn(&ready);
        if let Some(code) = code
            && (pump.is_done() || limit.is_some() && ready.is_nothing())
        {
            notifications.inspect(|notifications| last_words(notifications));
            return Ok(code);
        }
    }
}

struct Pump {
    input: Input,
    outputs: [Output; 2],
    buffer: Vec<u8>,
}

/// What can be done without waiting.
struct Ready {
    signal: bool,
    notification: bool,
    input: bool,
    outputs: [bool; 2],
}

impl Ready {
    fn is_nothing(&self) -> bool {
        !(self.signal || self.notification || self.input || self.outputs.contains(&true))
    }
}

impl Pump {
    fn new(ends: RuntimeEnds) -> Self {
        Pump {
            input: Input {
                pipe: Some(ends.stdin),
                pending: Vec::new(),
            },
            outputs: [
                Output::new(ends.stdout, Outlet::new(stdout())),
                Output::new(ends.stderr, Outlet::new(stderr())),
            ],
            buffer: vec![0; MOST],
        }
    }

    fn wait(
        &self,
        signals: &SignalFd,
        notifications: Option<&NotifySocket>,
        limit: Option<Duration>,
    ) -> Result<Ready, CallError> {
        let service = match notifications {
            Some(notifications) => (notifications.as_fd(), PollFlags::IN),
            None => (signals.as_fd(), PollFlags::empty()),
        };
        let [output, complaints] = &self.outputs;
        let wanted = [
            (signals.as_fd(), PollFlags::IN),
            service,
            self.input.wanted(),
            output.wanted(),
            complaints.wanted(),
        ];
        let [signal, notification, input, output, complaints] = watch(wanted, limit)?.map(|found| !found.is_empty());
        Ok(Ready {
            signal,
            notification,
            input,
            outputs: [output, complaints],
        })
    }

    fn turn(&mut self, ready: &Ready) {
        if ready.input {
            self.input.turn(&mut self.buffer);
        }
        for (output, ready) in self.outputs.iter_mut().zip(ready.outputs) {
            if ready {
                output.turn(&mut self.buffer);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.outputs.iter().all(Output::is_done)
    }
}

/// From the caller to the program.
struct Input {
    /// Until there is no more, or nobody wants it.
    pipe: Option<OwnedFd>,
    pending: Vec<u8>,
}

impl Input {
    fn wanted(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.pipe {
            None => (stdin(), PollFlags::empty()),
            Some(_) if self.pending.is_empty() => (stdin(), PollFlags::IN),
            Some(pipe) => (pipe.as_fd(), PollFlags::OUT),
        }
    }

    fn turn(&mut self, buffer: &mut [u8]) {
        if self.pending.is_empty() {
            match read(stdin(), &mut *buffer) {
                Ok(length) if length > 0 => self.pending.extend(&buffer[..length]),
                Err(Kernel::INTR | Kernel::AGAIN) => return,
                _ => self.pipe = None,
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        match write(pipe, &self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(Kernel::INTR | Kernel::AGAIN) => {}
            Err(_) => self.pipe = None,
        }
    }
}

/// From the program to the caller.
struct Output {
    /// Until there is no more, or nobody wants it: the program then hears of it, by SIGPIPE, as if it wrote itself.
    pipe: Option<OwnedFd>,
    outlet: Outlet,
}

impl Output {
    fn new(pipe: OwnedFd, outlet: Outlet) -> Self {
        let pipe = Some(pipe);
        Output { pipe, outlet }
    }

    fn wanted(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.pipe {
            _ if !self.outlet.is_empty() => (self.outlet.as_fd(), PollFlags::OUT),
            Some(pipe) => (pipe.as_fd(), PollFlags::IN),
            None => (self.outlet.as_fd(), PollFlags::empty()),
        }
    }

    fn turn(&mut self, buffer: &mut [u8]) {
        if self.outlet.is_empty() {
            self.take(buffer);
            if !self.outlet.takes_any() {
                return;
            }
        }
        if !self.outlet.is_empty() && !self.outlet.flush() {
            self.pipe = None;
        }
    }

    fn take(&mut self, buffer: &mut [u8]) {
        let Some(pipe) = &self.pipe else { return };
        let room = self.outlet.room().min(buffer.len());
        match read(pipe, &mut buffer[..room]) {
            Ok(length) if length > 0 => self.outlet.put(&buffer[..length]),
            Err(Kernel::INTR | Kernel::AGAIN) => {}
            _ => self.pipe = None,
        }
    }

    fn is_done(&self) -> bool {
        self.pipe.is_none() && self.outlet.is_empty()
    }
}
