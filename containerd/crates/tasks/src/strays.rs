//! Shims of which nobody wrote down where they listen, because this daemon died while they were starting.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Bundle;

/// How long strays may take to be gone.
const LIMIT: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// What is known of a stray: the flags that every shim's process has, whatever it is written in.
pub(crate) struct Stray<'a> {
    /// The shim's program.
    pub(crate) binary: &'a Path,
    /// The daemon it belongs to.
    pub(crate) address: &'a Path,
    /// Where its container would have been.
    pub(crate) bundle: &'a Bundle,
}

impl Stray<'_> {
    /// Kills it. Only for a bundle whose task was never made.
    ///
    /// Until two looks in a row find none: the program that starts a shim may be at work still, and for a moment after it is
    /// executed a process has no command line to be known by.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let deadline = Instant::now() + LIMIT;
        let mut found_none = 0;
        while found_none < 2 && Instant::now() < deadline {
            match self.kill_once()? {
                0 => found_none += 1,
                _ => found_none = 0,
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn kill_once(&self) -> io::Result<usize> {
        let mut killed = 0;
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
                continue;
            };
            // The descriptor first: it stands for the process that is looked at, whatever becomes of its number.
            let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            if self.is_it(&line) && pidfd_send_signal(&descriptor, Signal::KILL).is_ok() {
                tracing::info!(id = %self.bundle.id, pid = pid.as_raw_nonzero(), "stray shim killed");
                killed += 1;
            }
        }
        Ok(killed)
    }

    fn is_it(&self, command_line: &[u8]) -> bool {
        let words: Vec<_> = command_line.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
        let flag_is = |flag: &str, value: &OsStr| words.windows(2).any(|pair| pair == [OsStr::new(flag), value]);
        words
            .first()
            .is_some_and(|program| Path::new(program).file_name() == self.binary.file_name())
            && flag_is("-namespace", OsStr::new(self.bundle.namespace.as_str()))
            && flag_is("-id", OsStr::new(self.bundle.id.as_str()))
            && flag_is("-address", self.address.as_os_str())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn start(namespace: &str, id: &str, address: &str) -> Child {
        let flags = ["-namespace", namespace, "-id", id, "-address", address];
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read forever"]).args(flags).stdin(Stdio::piped());
        shell.spawn().unwrap()
    }

    #[test]
    fn only_the_shim_of_this_container_and_this_daemon_is_killed() {
        let bundle = Bundle::at(
            Path::new("/r"),
            Path::new("/s"),
            &"n".parse().unwrap(),
            &"c".parse().unwrap(),
        );
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("c.sock");
        let own = address.to_str().unwrap();
        let mut stray = start("n", "c", own);
        let mut others = [
            start("n", "d", own),
            start("m", "c", own),
            start("n", "c", "/elsewhere"),
        ];
        let known = Stray {
            binary: Path::new("/bin/sh"),
            address: &address,
            bundle: &bundle,
        };
        known.kill().unwrap();
        assert!(!stray.wait().unwrap().success());
        for other in &mut others {
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }
}
