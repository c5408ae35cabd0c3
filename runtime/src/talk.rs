//! The talk between the runtime and the child it has forked: a socket pair and one enum each way.
//!
//! The socket closes when the child executes the container's program. So its end without a word is success, and
//! whatever goes wrong before is said in full, in the child's own words.

use std::{
    cell::Cell,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::{
    io::{Errno as Kernel, fcntl_dupfd_cloexec, read, retry_on_intr, write},
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    },
};

use crate::{log, poll::is_readable_within};

/// The longest text of a failure.
const MAX_TEXT: usize = 16 * 1024;

/// What the child says.
#[derive(Debug)]
pub enum FromChild {
    /// The namespaces exist and the mounts are made: the hooks that belong here may run. Waits for [`ToChild::Go`].
    HooksDue,
    /// It is in the container's user namespace, which is still to be mapped. Waits for [`ToChild::Go`].
    UserNamespaceDue,
    /// It has made the container's first process, which waits for [`ToChild::Go`].
    Init(i32, OwnedFd),
    /// It may not reach the source of this mount of the config. Waits for [`Channel::receive_source`].
    SourceDue(u32),
    /// The terminal's other end, for the runtime to copy to and from.
    Terminal(OwnedFd),
    /// A filter is in force that asks an agent, whose end is this. Waits for [`ToChild::Go`].
    Listener(Listener),
    /// All is set up; only the program is not executed yet.
    Ready,
    /// The kernel does not take the program, which is said on the program's own standard error.
    Unexecutable,
    /// It gave up, and why.
    Failed(String),
}

/// One message of the child's.
#[derive(Debug)]
pub enum Heard {
    /// Something that the runtime acts on; `None` is the end of the talk.
    Word(Option<FromChild>),
    /// Something for its log, which has it by now.
    Remark,
}

/// The agent's end of a seccomp filter.
#[derive(Debug)]
pub enum Listener {
    /// Itself.
    Sent(OwnedFd),
    /// Its number in the child.
    Number(RawFd),
}

/// What the runtime says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToChild {
    /// Go on.
    Go,
}

/// One end of the talk; the number counts words that came before they were waited for.
#[derive(Debug)]
pub struct Channel(OwnedFd, Cell<u32>);

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Channel(socket, Cell::new(0))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Channel {
    /// Both ends.
    pub fn pair() -> Result<(Channel, Channel), Kernel> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel::from(one), Channel::from(other)))
    }

    /// Says something to the runtime.
    pub fn tell(&self, message: FromChild) -> Result<(), Kernel> {
        match message {
            FromChild::HooksDue => send(self.0.as_fd(), b"h", None),
            FromChild::UserNamespaceDue => send(self.0.as_fd(), b"u", None),
            FromChild::Init(pid, pidfd) => send(self.0.as_fd(), &numbered(b'i', pid as u32), Some(pidfd.as_fd())),
            FromChild::SourceDue(index) => send(self.0.as_fd(), &numbered(b's', index), None),
            FromChild::Terminal(fd) => send(self.0.as_fd(), b"t", Some(fd.as_fd())),
            FromChild::Listener(Listener::Sent(fd)) => send(self.0.as_fd(), b"l", Some(fd.as_fd())),
            FromChild::Listener(Listener::Number(fd)) => self.write(&numbered(b'l', fd as u32)),
            FromChild::Ready => self.write(b"r"),
            FromChild::Unexecutable => self.write(b"x"),
            FromChild::Failed(text) => {
                let mut bytes = vec![b'f'];
                bytes.extend(text.as_bytes().iter().take(MAX_TEXT));
                self.write(&bytes)
            }
        }
    }

    /// Something for the runtime's log.
    pub fn remark(&self, text: &str) {
        let mut bytes = vec![b'd'];
        bytes.extend(text.as_bytes().iter().take(MAX_TEXT));
        // It helps somebody who looks for an error; without a reader it helps nobody.
        let _ = self.write(&bytes);
    }

    /// The same end once more.
    pub fn again(&self) -> Result<Channel, Kernel> {
        Ok(Channel::from(fcntl_dupfd_cloexec(&self.0, 3)?))
    }

    /// By write(2): the one call that a profile with an agent cannot ask about, see [`crate::seccomp_agent`].
    fn write(&self, bytes: &[u8]) -> Result<(), Kernel> {
        retry_on_intr(|| write(&self.0, bytes)).map(drop)
    }

    /// Whether the child says something, or goes away, within a limit.
    pub fn speaks_within(&self, limit: Duration) -> Result<bool, Kernel> {
        is_readable_within(self.0.as_fd(), limit)
    }

    /// What the child says next; `None` when it has executed the program, or is gone.
    pub fn hear(&self) -> Result<Option<FromChild>, Kernel> {
        loop {
            if let Heard::Word(word) = self.hear_one()? {
                return Ok(word);
            }
        }
    }

    /// The same for who waits before each message: a remark goes to the log.
    pub fn hear_one(&self) -> Result<Heard, Kernel> {
        let mut buffer = vec![0u8; MAX_TEXT + 1];
        let (length, fd) = receive(self.0.as_fd(), &mut buffer)?;
        Ok(Heard::Word(match (buffer[..length].split_first(), fd) {
            (None, _) => None,
            (Some((b'd', text)), _) => {
                log::debug(format_args!("{}", String::from_utf8_lossy(text)));
                return Ok(Heard::Remark);
            }
            (Some((b'h', _)), _) => Some(FromChild::HooksDue),
            (Some((b'u', _)), _) => Some(FromChild::UserNamespaceDue),
            (Some((b'i', pid)), Some(pidfd)) => Some(FromChild::Init(number(pid) as i32, pidfd)),
            (Some((b's', index)), _) => Some(FromChild::SourceDue(number(index))),
            (Some((b't', _)), Some(fd)) => Some(FromChild::Terminal(fd)),
            (Some((b'l', _)), Some(fd)) => Some(FromChild::Listener(Listener::Sent(fd))),
            (Some((b'l', fd)), None) => Some(FromChild::Listener(Listener::Number(number(fd) as RawFd))),
            (Some((b'r', _)), _) => Some(FromChild::Ready),
            (Some((b'x', _)), _) => Some(FromChild::Unexecutable),
            (Some((_, text)), _) => Some(FromChild::Failed(String::from_utf8_lossy(text).into_owned())),
        }))
    }

    /// Says something to the child.
    pub fn order(&self, message: ToChild) -> Result<(), Kernel> {
        match message {
            ToChild::Go => send(self.0.as_fd(), b"g", None),
        }
    }

    /// What the runtime says next; `None` when it is gone.
    pub fn obey(&self) -> Result<Option<ToChild>, Kernel> {
        if self.1.get() > 0 {
            self.1.set(self.1.get() - 1);
            return Ok(Some(ToChild::Go));
        }
        let length = retry_on_intr(|| read(&self.0, &mut [0u8; 8]))?;
        Ok((length > 0).then_some(ToChild::Go))
    }
}

impl Channel {
    /// Answers [`FromChild::SourceDue`].
    pub fn send_source(&self, source: Result<OwnedFd, i32>) -> Result<(), Kernel> {
        match source {
            Ok(fd) => send(self.0.as_fd(), b"s", Some(fd.as_fd())),
            Err(errno) => send(self.0.as_fd(), &numbered(b'e', errno as u32), None),
        }
    }

    /// The runtime's answer to [`FromChild::SourceDue`].
    pub fn receive_source(&self) -> Result<OwnedFd, Kernel> {
        loop {
            let mut buffer = [0u8; 8];
            let (length, fd) = receive(self.0.as_fd(), &mut buffer)?;
            match (buffer[..length].split_first(), fd) {
                (Some((b's', _)), Some(fd)) => return Ok(fd),
                (Some((b'e', errno)), _) => return Err(Kernel::from_raw_os_error(number(errno) as i32)),
                // Said early, for later.
                (Some((b'g', _)), _) => self.1.set(self.1.get() + 1),
                _ => return Err(Kernel::PIPE),
            }
        }
    }
}

fn numbered(letter: u8, number: u32) -> [u8; 5] {
    let [a, b, c, d] = number.to_le_bytes();
    [letter, a, b, c, d]
}

fn number(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

/// Sends a file descriptor and all of `bytes` over a stream.
pub fn send_all(socket: BorrowedFd, bytes: &[u8], fd: BorrowedFd) -> Result<(), Kernel> {
    let (mut sent, mut fd) = (0, Some(fd));
    while sent < bytes.len() {
        sent += match send_some(socket, &bytes[sent..], fd.take()) {
            // What the kernel says of a limit that is over.
            Err(Kernel::AGAIN) => return Err(Kernel::TIMEDOUT),
            result => result?,
        };
    }
    Ok(())
}

/// Sends bytes, and maybe a file descriptor, over a socket.
pub fn send(socket: BorrowedFd, bytes: &[u8], fd: Option<BorrowedFd>) -> Result<(), Kernel> {
    send_some(socket, bytes, fd).map(drop)
}

fn send_some(socket: BorrowedFd, bytes: &[u8], fd: Option<BorrowedFd>) -> Result<usize, Kernel> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Kernel::INTR) => {}
            result => return result,
        }
    }
}

fn receive(socket: BorrowedFd, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Kernel> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Kernel::INTR) => {}
            // The other process is gone and had not read everything that we said. What it said is still there to be
            // read: the kernel only reports the loss first.
            Err(Kernel::CONNRESET) => {}
            result => break result?.bytes,
        }
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((length, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_arrives_in_full_and_a_closed_end_is_silence() {
        let (parent, child) = Channel::pair().unwrap();
        child.tell(FromChild::Failed("exec: \"x\": not found".into())).unwrap();
        drop(child);
        assert!(matches!(parent.hear(), Ok(Some(FromChild::Failed(text))) if text == "exec: \"x\": not found"));
        assert!(matches!(parent.hear(), Ok(None)));
    }

    #[test]
    fn a_failure_is_heard_though_the_childs_orders_were_not() {
        let (parent, child) = Channel::pair().unwrap();
        parent.order(ToChild::Go).unwrap();
        child.tell(FromChild::Failed("why".into())).unwrap();
        drop(child);
        assert!(matches!(parent.hear(), Ok(Some(FromChild::Failed(text))) if text == "why"));
        assert!(matches!(parent.hear(), Ok(None)));
    }

    #[test]
    fn a_listener_travels_itself_or_by_its_number() {
        let (parent, child) = Channel::pair().unwrap();
        child.tell(FromChild::Listener(Listener::Number(1234567))).unwrap();
        assert!(matches!(
            parent.hear(),
            Ok(Some(FromChild::Listener(Listener::Number(1234567))))
        ));
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        child.tell(FromChild::Listener(Listener::Sent(fd))).unwrap();
        assert!(matches!(
            parent.hear(),
            Ok(Some(FromChild::Listener(Listener::Sent(_))))
        ));
    }

    #[test]
    fn a_terminal_travels_with_its_message() {
        let (parent, child) = Channel::pair().unwrap();
        child
            .tell(FromChild::Terminal(std::fs::File::open("/dev/null").unwrap().into()))
            .unwrap();
        assert!(matches!(parent.hear(), Ok(Some(FromChild::Terminal(_)))));
    }
}
