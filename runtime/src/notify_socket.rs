//! sd_notify(3) for a service in a container: NOTIFY_SOCKET of the caller, seen from inside.
//!
//! The container gets a folder of its own with a socket in it, and what its service says there is passed on: as the
//! runtime itself, since that is whom the service manager started and believes. With it goes MAINPID: the container's
//! first process where the runtime leaves, the runtime where it stays. Only assignments that speak of the service's
//! state are passed on; who is the main process and which descriptors the manager keeps is not a container's to say.
//!
//! ```text
//! <root>/<id>/notify/              mounted read-only at /run/notify
//! <root>/<id>/notify/notify.sock   there from the start of the program on
//! ```

use std::{
    env,
    ffi::OsString,
    fs,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use davit_spec::{Config, Mount};
use rustix::{
    event::{PollFd, PollFlags},
    fs::{CWD, Mode, OFlags, openat},
    io::Errno as Kernel,
    net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, socket_with},
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    container::store::Folder,
    errno::{Attempt, CallError},
    log,
    poll::{is_readable_within, poll},
    talk, unix_socket,
};

const FOLDER: &str = "notify";
const NAME: &str = "notify.sock";
const INSIDE: &str = "/run/notify";
/// What a service says of its state.
const STATES: [&str; 8] = [
    "READY=",
    "RELOADING=",
    "STOPPING=",
    "STATUS=",
    "ERRNO=",
    "WATCHDOG=1",
    "EXTEND_TIMEOUT_USEC=",
    "MONOTONIC_USEC=",
];
const LONGEST_MESSAGE: usize = 4096;
/// How long a manager may take to say that it has read everything.
const BARRIER_PATIENCE: Duration = Duration::from_secs(30);

/// How long a manager may leave a message unread: meanwhile we hear no signals.
const MANAGER_PATIENCE: Duration = Duration::from_secs(1);

/// The socket of one container, and the one of its manager.
#[derive(Debug)]
pub struct NotifySocket {
    inside: OwnedFd,
    manager: OsString,
}

/// The address in the caller's environment.
pub fn manager() -> Option<OsString> {
    env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}

/// Tells a container that is to be kept in `place` of the socket, where the caller has a manager, which is returned.
pub fn announce(config: &mut Config, place: &Path) -> Option<OsString> {
    let manager = manager()?;
    config.mounts.push(mount(place));
    if let Some(process) = &mut config.process {
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{NAME}"));
    }
    Some(manager)
}

/// How a container that is kept in `place` sees the folder of the socket.
pub fn mount(place: &Path) -> Mount {
    Mount {
        destination: INSIDE.into(),
        source: place.join(FOLDER).display().to_string(),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).into(),
        ..Mount::default()
    }
}

/// Makes the folder that was announced.
pub fn make_folder(folder: &Folder) -> Result<(), CallError> {
    let place = folder.path().join(FOLDER);
    let made = fs::DirBuilder::new().mode(0o755).create(&place);
    made.attempt("make", place.display())
}

impl NotifySocket {
    /// Begins to listen in a container's folder; `None` where the container was made without one.
    pub fn listen(folder: &Folder, manager: OsString) -> Result<Option<Self>, CallError> {
        let place = folder.path().join(FOLDER);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match openat(CWD, &place, flags, Mode::empty()) {
            Err(Kernel::NOENT) => return Ok(None),
            directory => directory.attempt("open", place.display())?,
        };
        // A socket's path has at most 107 bytes, a folder's may have more. Made under a name of its own and then moved: a `start` that
        // died, or gave a frozen container up, has left its socket behind.
        let own = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let path = PathBuf::from(format!("{own}/.{NAME}.{}", std::process::id()));
        let _ = fs::remove_file(&path);
        let inside = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        let inside = inside.attempt("make", NAME)?;
        SocketAddrUnix::new(&path)
            .and_then(|address| bind(&inside, &address))
            .attempt("listen at", place.join(NAME).display())?;
        // Whoever the service runs as.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).attempt("open up", place.join(NAME).display())?;
        fs::rename(&path, format!("{own}/{NAME}")).attempt("put in place", place.join(NAME).display())?;
        Ok(Some(NotifySocket { inside, manager }))
    }

    /// Passes on what comes until the service is ready or its process, behind `pidfd`, is gone. Then the manager has been
    /// told that `pid` is the main process, and has read it all.
    pub fn forward_until_ready(&self, pid: i32, pidfd: &OwnedFd) {
        loop {
            let mut fds = [
                PollFd::new(&self.inside, PollFlags::IN),
                PollFd::new(pidfd, PollFlags::IN),
            ];
            if poll(&mut fds, None).is_err() {
                return;
            }
            if !fds[0].revents().is_empty() {
                if self.forward(pid) == Some(true) {
                    self.wait_for_manager();
                    return;
                }
            } else if !fds[1].revents().is_empty() {
                return;
            }
        }
    }

    /// Passes one message on, if there is one; whether it said that the service is ready, of which `pid` is the main process.
    pub fn forward(&self, pid: i32) -> Option<bool> {
        let mut buffer = [0u8; LONGEST_MESSAGE];
        let (_, length) = recv(&self.inside, &mut buffer[..], RecvFlags::DONTWAIT).ok()?;
        let (mut message, is_ready) = passed_on(&buffer[..length]);
        if is_ready {
            message.push_str(&format!("MAINPID={pid}\n"));
        }
        if !message.is_empty()
            && let Err(errno) = self.tell(message.as_bytes(), None)
        {
            log::warn(&format!("cannot pass a notification on to NOTIFY_SOCKET: {errno}"));
        }
        Some(is_ready)
    }

    /// sd_notify_barrier(3): the manager closes what it is sent when it has read what came before. It looks at the sender
    /// for that, which is about to end.
    fn wait_for_manager(&self) {
        let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC) else {
            return;
        };
        if self.tell(b"BARRIER=1", Some(writer.as_fd())).is_err() {
            return;
        }
        drop(writer);
        if let Ok(false) = is_readable_within(reader.as_fd(), BARRIER_PATIENCE) {
            log::warn("Timeout after waiting 30s for barrier. Ignored.");
        }
    }

    fn tell(&self, message: &[u8], fd: Option<BorrowedFd>) -> Result<(), Kernel> {
        let socket = unix_socket::connect(SocketType::DGRAM, &self.manager, MANAGER_PATIENCE)?;
        talk::send(socket.as_fd(), message, fd)
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }
}

/// The lines of a message that are a container's to say, and whether one of them is READY=1.
fn passed_on(message: &[u8]) -> (String, bool) {
    let text = String::from_utf8_lossy(message);
    let lines = text
        .lines()
        .filter(|line| STATES.iter().any(|state| line.starts_with(state)));
    let mut is_ready = false;
    let message = lines.fold(String::new(), |message, line| {
        is_ready |= line == "READY=1";
        message + line + "\n"
    });
    (message, is_ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_speaks_of_its_state_and_of_nothing_else() {
        for (said, passed, ready) in [
            ("READY=1", "READY=1\n", true),
            ("STATUS=busy\nREADY=1\n", "STATUS=busy\nREADY=1\n", true),
            ("MAINPID=1\nSTOPPING=1\nFDSTORE=1", "STOPPING=1\n", false),
            ("MAINPID=1", "", false),
            ("BARRIER=1", "", false),
            ("WATCHDOG=trigger", "", false),
            ("\u{0}", "", false),
        ] {
            assert_eq!(passed_on(said.as_bytes()), (passed.to_owned(), ready), "{said:?}");
        }
        assert_eq!(passed_on(b"\xff\xfe\nREADY=1"), ("READY=1\n".into(), true));
    }
}
