//! Connecting to a socket that another program listens at.
//!
//! Whoever listens need not accept, nor read: a connection is waited for as long as is said, and so is room for what is
//! sent on it.

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    time::Duration,
};

use rustix::{
    io::Errno as Kernel,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as connect_to, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

/// Connects to the socket of that kind at a path; `@name` is one of the abstract names.
pub fn connect(kind: SocketType, path: &OsStr, patience: Duration) -> Result<OwnedFd, Kernel> {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(path)?,
    };
    match connect_to(&socket, &address) {
        // What the kernel says of a limit that is over.
        Err(Kernel::AGAIN) => Err(Kernel::TIMEDOUT),
        connected => connected.map(|()| socket),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::net::UnixStream, time::Instant};

    use rustix::net::{bind, listen};

    use super::*;

    #[test]
    fn neither_a_connection_nor_room_for_a_message_is_waited_for_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        listen(&listener, 0).unwrap();
        let (begun, patience) = (Instant::now(), Duration::from_millis(100));
        let connect = || connect(SocketType::STREAM, path.as_os_str(), patience);
        let mut first = UnixStream::from(connect().unwrap());
        assert_eq!(connect().unwrap_err(), Kernel::TIMEDOUT);
        assert!(first.write_all(&[0; 10_000_000]).is_err());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
