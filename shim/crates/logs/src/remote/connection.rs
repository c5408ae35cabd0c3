//! A connection to a peer.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpStream, UdpSocket, UnixDatagram, UnixStream},
};

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Unix(UnixStream),
    Unixgram(UnixDatagram),
}

impl Connection {
    /// Sends bytes: a datagram, or all of them into the stream.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => match socket.send(bytes).await {
                // What a datagram before this one met. Datagrams are sent whether or not somebody is there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => sent(socket.send(bytes).await),
                outcome => outcome.map(drop),
            },
            Self::Unixgram(socket) => socket.send(bytes).await.map(drop),
            Self::Tcp(stream) => {
                is_open(stream.try_read(&mut [0; 64]))?;
                stream.write_all(bytes).await
            }
            Self::Unix(stream) => {
                is_open(stream.try_read(&mut [0; 64]))?;
                stream.write_all(bytes).await
            }
        }
    }
}

impl Connection {
    /// Reads from a stream what the peer answers; 0 bytes at its end.
    pub async fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes).await,
            Self::Unix(stream) => stream.read(bytes).await,
            Self::Udp(_) | Self::Unixgram(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Connection {
    /// Sends a descriptor alone, as a datagram without bytes.
    pub async fn send_descriptor(&mut self, descriptor: OwnedFd) -> io::Result<()> {
        let Self::Unixgram(socket) = self else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let socket = &*socket;
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            sendmsg(socket, &[], &mut control, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        socket.async_io(Interest::WRITABLE, send).await
    }
}

fn sent(outcome: io::Result<usize>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
        _ => Ok(()),
    }
}

/// A peer that says nothing may have closed its side: who only writes would lose a record to it before he knows.
fn is_open(read: io::Result<usize>) -> io::Result<()> {
    match read {
        Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}
