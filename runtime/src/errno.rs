//! Kernel answers, in the words that Docker and containerd look for in an error's text.

use std::{fmt, io};

/// An errno that prints like `no such file or directory`: lower case, no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(i32);

impl Errno {
    /// Whether it is the given one.
    pub fn is(self, errno: rustix::io::Errno) -> bool {
        self.0 == errno.raw_os_error()
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = io::Error::from_raw_os_error(self.0).to_string();
        let text = text.rsplit_once(" (os error").map_or(text.as_str(), |(text, _)| text);
        let mut chars = text.chars();
        if let Some(first) = chars.next() {
            write!(f, "{}{}", first.to_ascii_lowercase(), chars.as_str())?;
        }
        Ok(())
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno(errno.raw_os_error())
    }
}

impl From<Errno> for rustix::io::Errno {
    fn from(errno: Errno) -> Self {
        rustix::io::Errno::from_raw_os_error(errno.0)
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Self {
        Errno(errno as i32)
    }
}

impl From<io::Error> for Errno {
    fn from(err: io::Error) -> Self {
        Errno(err.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()))
    }
}

/// A kernel call that failed: what was tried, on what, and the answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{action} {subject}: {errno}")]
pub struct CallError {
    /// What was tried.
    pub action: &'static str,
    /// On what.
    pub subject: String,
    /// The kernel's answer.
    pub errno: Errno,
}

/// Says what a call was for, when it fails.
pub trait Attempt<T> {
    /// Turns the bare answer into a [`CallError`].
    fn attempt(self, action: &'static str, subject: impl fmt::Display) -> Result<T, CallError>;
}

impl<T, E: Into<Errno>> Attempt<T> for Result<T, E> {
    fn attempt(self, action: &'static str, subject: impl fmt::Display) -> Result<T, CallError> {
        self.map_err(|err| CallError {
            action,
            subject: subject.to_string(),
            errno: err.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_as_docker_expects_it() {
        let text = |errno: rustix::io::Errno| Errno::from(errno).to_string();
        assert_eq!(text(rustix::io::Errno::NOENT), "no such file or directory");
        assert_eq!(text(rustix::io::Errno::ACCESS), "permission denied");
        assert_eq!(text(rustix::io::Errno::NOEXEC), "exec format error");
    }
}
