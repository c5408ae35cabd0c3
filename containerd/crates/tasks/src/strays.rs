//! Shims of which nobody wrote down where they listen, because this daemon died while they were starting, or their start failed;
//! and those that hang when they should end.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Bundle, Tasks};

/// How long strays may take to be gone.
const LIMIT: Duration = Duration::from_secs(2);
/// How inexact the start of a process and the time of a file are.
const SLACK: Duration = Duration::from_millis(500);
/// What the kernel tells times to programs in, on every machine (time(7)).
const TICKS_PER_SECOND: f64 = 100.0;
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

impl Tasks {
    /// Cleans up after a start that did not come to its end: the program may have started a shim by then.
    pub(crate) async fn clean_up_start(&self, binary: &Path, bundle: &Bundle) {
        self.kill_strays(binary, bundle).await;
        davit_fail_point::reach("manager.create.strays-killed");
        self.clean_up(binary, bundle).await;
        davit_fail_point::reach("manager.create.cleaned-up");
    }

    /// Kills the shims of a bundle, and the programs that start one.
    pub(crate) async fn kill_strays(&self, binary: &Path, bundle: &Bundle) {
        let (bundle_of, binary_of, address) = (bundle.clone(), binary.to_owned(), self.launcher.address.clone());
        let kill = move || {
            let stray = Stray {
                binary: &binary_of,
                address: &address,
                bundle: &bundle_of,
            };
            stray.kill()
        };
        let result = tokio::task::spawn_blocking(kill).await;
        if let Err(error) = result.expect("killing strays does not panic") {
            tracing::warn!(%error, "kill stray shims");
        }
    }
}

impl Stray<'_> {
    /// Kills it. Only for a bundle whose task was never made, or is removed.
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
            if self.is_it(&line) && self.is_as_young(pid) && pidfd_send_signal(&descriptor, Signal::KILL).is_ok() {
                tracing::info!(id = %self.bundle.id, pid = pid.as_raw_nonzero(), "stray shim killed");
                killed += 1;
            }
        }
        Ok(killed)
    }

    /// Whether it was started for this bundle. One that is older holds the other containers of a group, of which this one was the
    /// first and is being made anew.
    fn is_as_young(&self, pid: Pid) -> bool {
        // A sandbox may have no specification; the link is as old.
        let made = fs::metadata(self.bundle.file("config.json"))
            .or_else(|_| fs::symlink_metadata(self.bundle.file("work")))
            .and_then(|made| made.modified());
        match (made, started(pid)) {
            (Ok(made), Some(started)) => started + SLACK >= made,
            // The bundle, or the process, has gone.
            _ => false,
        }
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

/// When a process was started, by today's clock (proc_pid_stat(5), field 22).
fn started(pid: Pid) -> Option<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name in parentheses may hold anything.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let ticks: u64 = after_name.split(' ').nth(19)?.parse().ok()?;
    let up = fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = up.split(' ').next()?.parse().ok()?;
    let age = up - ticks as f64 / TICKS_PER_SECOND;
    SystemTime::now().checked_sub(Duration::try_from_secs_f64(age.max(0.0)).ok()?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        process::{Child, Command, Stdio},
    };

    use super::*;

    fn start(namespace: &str, id: &str, address: &str) -> Child {
        let flags = ["-namespace", namespace, "-id", id, "-address", address];
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read forever"]).args(flags).stdin(Stdio::piped());
        shell.spawn().unwrap()
    }

    #[test]
    fn only_the_shim_of_this_container_and_this_daemon_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, state) = (folder.path().join("r"), folder.path().join("s"));
        let bundle = Bundle::at(&root, &state, &"n".parse().unwrap(), &"c".parse().unwrap());
        bundle.create(Some(b"{}")).unwrap();
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
        // One that is older than the bundle holds other containers.
        let config = File::options().write(true).open(bundle.file("config.json")).unwrap();
        config
            .set_modified(SystemTime::now() + Duration::from_secs(60))
            .unwrap();
        known.kill().unwrap();
        assert!(stray.try_wait().unwrap().is_none());
        config.set_modified(SystemTime::now()).unwrap();
        known.kill().unwrap();
        assert!(!stray.wait().unwrap().success());
        for other in &mut others {
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }
    }
}
