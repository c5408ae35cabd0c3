//! A terminal of the container's own as the program's standard streams.

use std::os::fd::{AsFd, OwnedFd};

use davit_spec::{ConsoleSize, User};
use rustix::{
    fs::{CWD, FileType, Gid, Mode, OFlags, Uid, fchown, fstat, fstatfs, makedev, openat},
    io::Errno as Kernel,
    process::ioctl_tiocsctty,
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout},
    termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize},
};

use crate::{
    errno::{Attempt, CallError},
    rootfs::{
        gate::{Gate, Kind},
        mount::{attach, copy},
        options::Tree,
    },
    talk::{Channel, FromChild, send},
};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Why there is no terminal.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// A kernel call failed.
    #[error("set up console: {0}")]
    Call(#[from] CallError),
    /// The image has something else at /dev/pts/ptmx.
    #[error("set up console: /dev/pts/ptmx of the container is not a terminal multiplexer")]
    NotPtmx,
}

/// Where the terminal's master goes.
#[derive(Debug)]
pub enum Console {
    /// To whoever listens at `--console-socket`.
    Socket(OwnedFd),
    /// To the runtime itself, which stays in the foreground. The terminal is as large as the caller's.
    Runtime(Winsize),
}

/// Makes a terminal in the container's devpts, sends its master away, and makes it the standard streams and the
/// controlling terminal of the calling process, which must lead a session.
pub fn set_up(
    gate: &Gate,
    console: Console,
    channel: &Channel,
    size: Option<ConsoleSize>,
    user: &User,
) -> Result<OwnedFd, TerminalError> {
    let master = open_master(gate)?;
    unlockpt(&master).attempt("unlock", "terminal")?;
    // By ioctl and not by the name in /dev/pts, which an image or a race could redirect (CVE-2025-52565).
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).attempt("open", "terminal")?;
    if let Some(size) = size.filter(|size| *size != ConsoleSize::default()) {
        resize(&master, size.height, size.width)?;
    }
    fchown(&slave, Some(Uid::from_raw(user.uid)), None::<Gid>).attempt("change owner of", "terminal")?;
    match console {
        // The receiver shows this name to people; the terminal itself is the descriptor.
        Console::Socket(socket) => send(socket.as_fd(), b"/dev/pts/ptmx", Some(master.as_fd())),
        Console::Runtime(size) => {
            fit_to_caller(&slave, size)?;
            channel.tell(FromChild::Terminal(master))
        }
    }
    .attempt("send", "terminal")?;
    dup2_stdin(&slave).attempt("set", "standard input")?;
    dup2_stdout(&slave).attempt("set", "standard output")?;
    dup2_stderr(&slave).attempt("set", "standard error")?;
    ioctl_tiocsctty(&slave).attempt("set", "controlling terminal")?;
    Ok(slave)
}

/// For a terminal inside the caller's: as large as that one, and without making CR LF of a line's end. The caller's
/// terminal does that for itself, and a file or a pipe should have none.
fn fit_to_caller(slave: &OwnedFd, size: Winsize) -> Result<(), CallError> {
    resize(slave, size.ws_row, size.ws_col)?;
    let mut modes = tcgetattr(slave).attempt("inspect", "terminal")?;
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(slave, OptionalActions::Now, &modes).attempt("set up", "terminal")
}

/// How large the caller's terminal is: the first of the standard streams that is one, since each may be redirected, or
/// the one that controls the caller. To be asked for before the session is left.
pub fn callers_size() -> Result<Winsize, CallError> {
    let streams = [stdin(), stdout(), stderr()];
    if let Some(size) = streams.into_iter().find_map(|stream| tcgetwinsize(stream).ok()) {
        return Ok(size);
    }
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = openat(CWD, "/dev/tty", flags, Mode::empty()).attempt("open", "/dev/tty")?;
    tcgetwinsize(terminal).attempt("inspect", "/dev/tty")
}

fn resize(terminal: &OwnedFd, rows: u16, columns: u16) -> Result<(), CallError> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).attempt("resize", "terminal")
}

/// Shows the terminal at /dev/console.
pub fn bind_console(gate: &Gate, slave: &OwnedFd) -> Result<(), TerminalError> {
    let (dev, name) = gate.ensure_parent("/dev/console").attempt("open", "/dev")?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(&dev, name, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(Kernel::EXIST) => {}
        Err(errno) => Err(errno).attempt("make", "/dev/console")?,
    }
    let place = gate.ensure("/dev", Kind::Directory).attempt("open", "/dev")?;
    let place = openat(
        &place,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .attempt("open", "/dev/console")?;
    let tree = copy(slave.as_fd(), Tree::Single).attempt("bind", "terminal")?;
    Ok(attach(tree.as_fd(), place.as_fd()).attempt("bind", "/dev/console")?)
}

fn open_master(gate: &Gate) -> Result<OwnedFd, TerminalError> {
    let master = gate
        .open("/dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY)
        .attempt("open", "/dev/pts/ptmx")?;
    let stat = fstat(&master).attempt("inspect", "/dev/pts/ptmx")?;
    let file_system = fstatfs(&master).attempt("inspect", "/dev/pts/ptmx")?.f_type;
    let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(5, 2);
    match is_ptmx && file_system == DEVPTS_SUPER_MAGIC {
        true => Ok(master),
        false => Err(TerminalError::NotPtmx),
    }
}
