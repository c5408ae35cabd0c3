//! Pipes as a program's standard streams, with the runtime between them and its caller's.
//!
//! So a program in the foreground holds nothing of its caller's: what it opens anew through /dev/stdout is not truncated
//! for somebody else, what it is given for its own is a pipe, and a terminal of the host is out of its reach.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    io::{Errno as Kernel, ioctl_fionbio},
    pipe::{PipeFlags, pipe_with},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use crate::errno::{Attempt, CallError};

/// The program's ends: standard input, output and error.
#[derive(Debug)]
pub struct ProgramEnds([OwnedFd; 3]);

/// The runtime's ends, which never block.
#[derive(Debug)]
pub struct RuntimeEnds {
    /// Where the program's input is written to.
    pub stdin: OwnedFd,
    /// Where its output is read from.
    pub stdout: OwnedFd,
    /// Where its complaints are read from.
    pub stderr: OwnedFd,
}

/// Makes the three pipes; to be called before the process is forked.
pub fn make() -> Result<(ProgramEnds, RuntimeEnds), CallError> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let all = || Ok::<_, Kernel>([pipe()?, pipe()?, pipe()?]);
    let [(input, stdin), (stdout, output), (stderr, complaints)] = all().attempt("make", "pipes")?;
    for own in [&stdin, &stdout, &stderr] {
        ioctl_fionbio(own, true).attempt("set up", "pipe")?;
    }
    Ok((
        ProgramEnds([input, output, complaints]),
        RuntimeEnds { stdin, stdout, stderr },
    ))
}

impl ProgramEnds {
    /// Makes them the standard streams of the calling process.
    pub fn take_their_places(self) -> Result<(), CallError> {
        let [input, output, complaints] = &self.0;
        dup2_stdin(input).attempt("set", "standard input")?;
        dup2_stdout(output).attempt("set", "standard output")?;
        dup2_stderr(complaints).attempt("set", "standard error")
    }

    /// All three.
    pub fn each(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }
}
