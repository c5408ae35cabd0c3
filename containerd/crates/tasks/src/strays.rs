//! Shims of which nobody wrote down where they listen, because this daemon died while they were starting.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
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

/// Kills the shims that work in a bundle. Only for one whose task was never made.
///
/// Until two looks in a row find none: the program that starts a shim may be at work still, and for a moment after it is
/// executed a process has no command line to be known by.
pub(crate) fn kill(bundle: &Bundle, binary: &Path) -> io::Result<()> {
    let deadline = Instant::now() + LIMIT;
    let mut found_none = 0;
    while found_none < 2 && Instant::now() < deadline {
        match kill_once(bundle, binary)? {
            0 => found_none += 1,
            _ => found_none = 0,
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn kill_once(bundle: &Bundle, binary: &Path) -> io::Result<usize> {
    let folder = fs::metadata(&bundle.path)?;
    let mut killed = 0;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        // The descriptor first: it stands for the process that is looked at, whatever becomes of its number.
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        if is_stray(pid, &folder, bundle, binary) && pidfd_send_signal(&descriptor, Signal::KILL).is_ok() {
            tracing::info!(namespace = %bundle.namespace, id = %bundle.id, pid = pid.as_raw_nonzero(), "stray shim killed");
            killed += 1;
        }
    }
    Ok(killed)
}

/// A process of the shim's program, for this container, in this bundle. The folder is compared by its inode, since its path
/// may read otherwise in the mount namespace of that process. A zombie has no folder.
fn is_stray(pid: Pid, folder: &fs::Metadata, bundle: &Bundle, binary: &Path) -> bool {
    let process = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    let is_here =
        fs::metadata(process.join("cwd")).is_ok_and(|cwd| (cwd.dev(), cwd.ino()) == (folder.dev(), folder.ino()));
    is_here && fs::read(process.join("cmdline")).is_ok_and(|line| is_shim_for(&line, bundle, binary))
}

fn is_shim_for(command_line: &[u8], bundle: &Bundle, binary: &Path) -> bool {
    let mut arguments = command_line.split(|byte| *byte == 0);
    let program = Path::new(std::ffi::OsStr::from_bytes(arguments.next().unwrap_or_default()));
    program.file_name() == binary.file_name() && arguments.any(|argument| argument == bundle.id.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_a_shim_of_this_container_in_this_bundle_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (namespace, id) = ("n".parse().unwrap(), "c".parse().unwrap());
        let bundle = Bundle::at(
            &folder.path().join("root"),
            &folder.path().join("state"),
            &namespace,
            &id,
        );
        bundle.create(None).unwrap();
        let start = |id: &str, folder: &Path| {
            let script = ["-c", "read forever", "-id", id];
            let mut shell = Command::new("/bin/sh");
            shell
                .args(script)
                .current_dir(folder)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let mut stray = start("c", &bundle.path);
        let mut of_another = start("d", &bundle.path);
        let mut elsewhere = start("c", folder.path());
        kill(&bundle, Path::new("/bin/sh")).unwrap();
        assert!(!stray.wait().unwrap().success());
        for child in [&mut of_another, &mut elsewhere] {
            assert!(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
