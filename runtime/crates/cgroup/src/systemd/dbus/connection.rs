//! One connection to a bus, with an end to every wait.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with},
};

use super::{
    address,
    authentication::authenticate,
    message::{Call, ERROR, HEAD, METHOD_RETURN, Message, SIGNAL},
    value::Value,
    wire::Reader,
};

/// How many signals are kept for later; more than that are not about us.
const SIGNALS: usize = 4096;

/// What can go wrong between a bus and us.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No socket, or nobody behind it.
    #[error("connect to {address:?}: {source}")]
    Connect { address: String, source: io::Error },
    /// It does not want to talk with us.
    #[error("the bus rejects us: {0:?}")]
    Rejected(String),
    /// It has closed the connection.
    #[error("the bus has closed the connection")]
    Closed,
    /// It does not answer.
    #[error("no answer from the bus within {} seconds", .0.as_secs_f32())]
    Silent(Duration),
    /// What it says is no D-Bus.
    #[error("the bus talks nonsense: {0}")]
    Nonsense(&'static str),
    /// The other side's refusal.
    #[error("{text} ({name})")]
    Refused { name: String, text: String },
    /// A kernel call failed.
    #[error("talk with the bus: {0}")]
    Call(#[from] io::Error),
}

impl BusError {
    /// Whether the other side has answered with this error.
    pub(crate) fn is(&self, name: &str) -> bool {
        matches!(self, BusError::Refused { name: found, .. } if found == name)
    }
}

/// A signal that has come in.
pub(in crate::systemd) struct Signal(Message);

impl Signal {
    pub(in crate::systemd) fn is(&self, interface: &str, member: &str) -> bool {
        self.0.interface == interface && self.0.member == member
    }

    /// `JobRemoved(u id, o job, s unit, s result)` as (job, result).
    pub(in crate::systemd) fn removed_job(&self) -> Option<(String, String)> {
        let mut body = self.0.body();
        body.number()?;
        let job = body.text()?;
        body.text()?;
        Some((job, body.text()?))
    }
}

/// A method's answer.
pub(in crate::systemd) struct Answer(Message);

impl Answer {
    /// The one text, or object path, that it consists of.
    pub(in crate::systemd) fn text(&self) -> Result<String, BusError> {
        self.read(|body| body.text())
    }

    /// The one text in a variant.
    pub(in crate::systemd) fn property(&self) -> Result<String, BusError> {
        self.read(|body| body.variant_of_text())
    }

    /// The one number, or the bytes, in a variant.
    pub(in crate::systemd) fn limit(&self) -> Result<Value, BusError> {
        self.read(|body| body.variant_of_limit())
    }

    fn read<T>(&self, read: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T, BusError> {
        read(&mut self.0.body()).ok_or(BusError::Nonsense("an answer of another type"))
    }
}

/// A socket, and the moment when waiting for it ends.
pub(super) struct Link {
    socket: OwnedFd,
    limit: Duration,
    deadline: Instant,
}

impl Link {
    pub(super) fn send(&mut self, mut bytes: &[u8]) -> Result<(), BusError> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(BusError::Closed),
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Ok(())
    }

    pub(super) fn receive(&mut self, mut space: &mut [u8]) -> Result<(), BusError> {
        while !space.is_empty() {
            match recv(&self.socket, &mut *space, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => return Err(BusError::Closed),
                Ok((count, _)) => space = &mut space[count..],
                Err(Errno::AGAIN) => self.wait(PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io::Error::from(errno).into()),
            }
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags) -> Result<(), BusError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(BusError::Silent(self.limit));
        }
        let timeout = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.socket, what)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }
}

/// One connection.
pub(in crate::systemd) struct Connection {
    link: Link,
    serial: u32,
    signals: VecDeque<Signal>,
}

impl Connection {
    /// Connects to the first socket of `address` that takes us, and authenticates.
    pub(in crate::systemd) fn open(address: &str, limit: Duration) -> Result<Self, BusError> {
        let failed = |source| BusError::Connect {
            address: address.into(),
            source,
        };
        let deadline = Instant::now() + limit;
        let mut last = failed(io::Error::other("not the address of a unix socket"));
        for target in address::sockets(address) {
            match connected(&target, deadline) {
                Ok(socket) => {
                    let mut link = Link {
                        socket,
                        limit,
                        deadline,
                    };
                    authenticate(&mut link)?;
                    return Ok(Connection {
                        link,
                        serial: 0,
                        signals: VecDeque::new(),
                    });
                }
                Err(errno) => last = failed(errno.into()),
            }
        }
        Err(last)
    }

    /// Calls a method and waits for its answer; signals that come before it are kept.
    pub(in crate::systemd) fn call(&mut self, call: &Call, limit: Duration) -> Result<Answer, BusError> {
        self.serial += 1;
        self.patience(limit);
        self.link.send(&call.encode(self.serial))?;
        loop {
            let message = self.next()?;
            match message.kind {
                SIGNAL => self.keep(message),
                METHOD_RETURN if message.reply_to == Some(self.serial) => return Ok(Answer(message)),
                ERROR if message.reply_to == Some(self.serial) => {
                    return Err(BusError::Refused {
                        text: message.body().text().unwrap_or_default(),
                        name: message.error,
                    });
                }
                _ => {}
            }
        }
    }

    /// The next signal, whether it has come already or not.
    pub(in crate::systemd) fn signal(&mut self, deadline: Instant) -> Result<Signal, BusError> {
        self.link.deadline = deadline;
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let message = self.next()?;
            if message.kind == SIGNAL {
                self.keep(message);
            }
        }
    }

    /// For a bus with a daemon: takes a name, without which it delivers nothing.
    pub(in crate::systemd) fn hello(&mut self, limit: Duration) -> Result<(), BusError> {
        self.ask_daemon("Hello", Vec::new(), limit)
    }

    /// Asks the bus's daemon for the signals that match.
    pub(in crate::systemd) fn listen_for(&mut self, rule: &str, limit: Duration) -> Result<(), BusError> {
        self.ask_daemon("AddMatch", vec![Value::text(rule)], limit)
    }

    fn ask_daemon(&mut self, member: &str, arguments: Vec<Value>, limit: Duration) -> Result<(), BusError> {
        let call = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            arguments,
        };
        self.call(&call, limit).map(drop)
    }

    fn patience(&mut self, limit: Duration) {
        self.link.limit = limit;
        self.link.deadline = Instant::now() + limit;
    }

    fn keep(&mut self, message: Message) {
        if self.signals.len() < SIGNALS {
            self.signals.push_back(Signal(message));
        }
    }

    fn next(&mut self) -> Result<Message, BusError> {
        // A peer that never stops talking is as bad as a silent one.
        if Instant::now() >= self.link.deadline {
            return Err(BusError::Silent(self.link.limit));
        }
        let mut bytes = vec![0; HEAD];
        self.link.receive(&mut bytes)?;
        let length = Message::length(&bytes).ok_or(BusError::Nonsense("no message begins like that"))?;
        bytes.resize(length, 0);
        self.link.receive(&mut bytes[HEAD..])?;
        Message::decode(&bytes).ok_or(BusError::Nonsense("a damaged message"))
    }
}

/// A bus whose queue of connections is full says EAGAIN, and is asked again.
fn connected(target: &rustix::net::SocketAddrUnix, deadline: Instant) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match connect(&socket, target) {
            Err(Errno::AGAIN) if Instant::now() < deadline => sleep(Duration::from_millis(5)),
            Err(Errno::INTR) => {}
            result => return result.map(|()| socket),
        }
    }
}

#[cfg(test)]
mod tests;
