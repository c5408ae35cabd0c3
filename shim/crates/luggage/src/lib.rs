//! What a shim takes along when it becomes another program: bytes in its state, and descriptors beside it.
//!
//! The state is JSON. A descriptor is in it by its place among those that are sent, as SCM_RIGHTS, into a socket that the other program
//! finds as its stdin. So nothing but that socket stays open over `execve`, and where it fails nothing is to be undone.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The most descriptors in one message; the kernel's SCM_MAX_FD is 253.
const IN_ONE: usize = 128;

/// A descriptor, by its place among those that go over.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Fd(usize);

/// Bytes of the state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Descriptors that are to go over.
#[derive(Debug, Default)]
pub struct Packing(Vec<OwnedFd>);

/// Descriptors that have come over.
#[derive(Debug)]
pub struct Unpacking(Vec<OwnedFd>);

impl Packing {
    /// Adds a descriptor. It stays open here, too.
    pub fn fd(&mut self, fd: impl AsFd) -> io::Result<Fd> {
        self.0.push(fd.as_fd().try_clone_to_owned()?);
        Ok(Fd(self.0.len() - 1))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sends all into a socket, in as many messages as it takes; the first byte of each is whether another follows.
    pub fn send(&self, socket: impl AsFd) -> io::Result<()> {
        let mut parts = self.0.chunks(IN_ONE).peekable();
        while let Some(part) = parts.next() {
            let fds: Vec<BorrowedFd<'_>> = part.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(IN_ONE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let more = [u8::from(parts.peek().is_some())];
            // Nobody reads yet: what does not fit must not wait.
            sendmsg(&socket, &[IoSlice::new(&more)], &mut control, SendFlags::DONTWAIT)?;
        }
        Ok(())
    }
}

impl Unpacking {
    /// Receives what was sent.
    pub fn receive(socket: impl AsFd) -> io::Result<Self> {
        let mut all = Vec::new();
        let mut more = [1];
        while more == [1] {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(IN_ONE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let received = recvmsg(&socket, &mut [IoSliceMut::new(&mut more)], &mut control, flags)?;
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if received.flags.contains(ReturnFlags::CTRUNC) {
                return Err(rustix::io::Errno::MFILE.into());
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    all.extend(fds);
                }
            }
        }
        Ok(Self(all))
    }

    /// A descriptor of our own. The one that came over stays until this is dropped, so that the way back is open.
    pub fn fd(&mut self, fd: Fd) -> io::Result<OwnedFd> {
        let missing = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("descriptor {} did not come over", fd.0),
            )
        };
        self.0.get(fd.0).ok_or_else(missing)?.try_clone()
    }

    /// Takes the last one away.
    pub fn last(&mut self) -> io::Result<OwnedFd> {
        self.0.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Sends them on, each in its place.
    pub fn into_packing(self) -> Packing {
        Packing(self.0)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use super::*;

    #[test]
    fn any_number_of_descriptors_goes_over_and_on() {
        for count in [1, IN_ONE, 3 * IN_ONE + 1] {
            let (here, there) = UnixStream::pair().unwrap();
            let mut packing = Packing::default();
            let mut readers = Vec::new();
            let mut places = Vec::new();
            for _ in 0..count {
                let (reader, writer) = std::io::pipe().unwrap();
                places.push(packing.fd(&writer).unwrap());
                readers.push(reader);
            }
            packing.send(&here).unwrap();
            drop((packing, here));
            let (here, further) = UnixStream::pair().unwrap();
            Unpacking::receive(&there).unwrap().into_packing().send(&here).unwrap();
            let mut unpacking = Unpacking::receive(&further).unwrap();
            for (number, place) in places.iter().enumerate() {
                let mut writer = File::from(unpacking.fd(*place).unwrap());
                writer.write_all(&number.to_be_bytes()).unwrap();
            }
            assert!(unpacking.fd(Fd(count)).is_err());
            drop(unpacking);
            for (number, mut reader) in readers.into_iter().enumerate() {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes, number.to_be_bytes());
            }
        }
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        let bytes = Bytes((0..=255).collect());
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), bytes);
        assert!(serde_json::from_str::<Bytes>("\"*\"").is_err());
    }
}
