//! Whether `start` has lived to say where its serving process is reached.
//!
//! One that is killed in between leaves a process of which no manager knows. So the serving process gets the reading end of a pipe, as
//! its stdout, and serves only when `start` has written a byte into it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsFd,
    process::Stdio,
};

use rustix::{
    fs::FileType,
    pipe::{PipeFlags, pipe_with},
};

/// The end of the pipe that `start` holds.
#[derive(Debug)]
pub struct Confirmation(File);

impl Confirmation {
    /// The pipe, with its other end as a standard stream of the serving process.
    pub fn new() -> io::Result<(Self, Stdio)> {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self(writing.into()), reading.into()))
    }

    /// The manager knows of the serving process.
    pub fn give(mut self) -> io::Result<()> {
        self.0.write_all(b"1")
    }
}

/// For the serving process: waits until `start` has answered its manager, or died. Afterwards stdout is /dev/null.
pub fn is_given() -> io::Result<bool> {
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    if FileType::from_raw_mode(rustix::fs::fstat(&stdout)?.st_mode) != FileType::Fifo {
        // It was started by hand, or has replaced its own program.
        return Ok(true);
    }
    rustix::stdio::dup2_stdout(OpenOptions::new().write(true).open("/dev/null")?)?;
    Ok(File::from(stdout).read(&mut [0])? == 1)
}
