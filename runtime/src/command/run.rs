//! `run`: create, start, wait, delete.

use std::mem;

use rustix::process::{getpid, set_child_subreaper};

use super::{CommandError, create::launch_of, write_pid_file};
use crate::{
    cli::Run,
    container::{
        cgroup::CgroupChoice,
        destroy,
        launch::{Launch, Launched, launch},
        store::Store,
    },
    errno::Attempt,
    foreground, hooks, pidfd_socket, state,
};

pub(super) fn run(store: &Store, args: &Run, cgroup: CgroupChoice) -> Result<u8, CommandError> {
    let how = Launch {
        wait_for_start: false,
        foreground: !args.detach,
        ..launch_of("run", &args.create, cgroup)?
    };
    if !args.detach {
        foreground::hold_signals()?;
        if !args.no_subreaper {
            set_child_subreaper(Some(getpid())).attempt("become", "subreaper")?;
        }
    }
    let mut launched = launch(store, &how).map_err(|err| CommandError::Launch("run", err))?;
    match after_start(args, &launched).and_then(|()| attend(args, &mut launched)) {
        Ok(code) => {
            if !(args.detach || args.keep) {
                destroy::remove_ended(&launched.folder, &launched.record, &launched.hooks);
            }
            Ok(code)
        }
        Err(err) => {
            launched.take_back();
            Err(err)
        }
    }
}

fn after_start(args: &Run, launched: &Launched) -> Result<(), CommandError> {
    let pid = launched.record.init.pid;
    if let Some(path) = &args.create.pid_file {
        write_pid_file(path, pid)?;
    }
    if let Some(path) = &args.create.pidfd_socket {
        pidfd_socket::send(path, &launched.pidfd)?;
    }
    if !launched.hooks.poststart.is_empty() {
        hooks::run(
            "poststart",
            &launched.hooks.poststart,
            &state::for_hook(&launched.record, pid, "running")?,
        )?;
    }
    Ok(())
}

/// Stays as long as the caller wants to; the answer is the exit code.
fn attend(args: &Run, launched: &mut Launched) -> Result<u8, CommandError> {
    launched.settle();
    let pid = launched.record.init.pid;
    let notifications = launched.notifications.as_ref();
    if args.detach {
        if let Some(notifications) = notifications {
            notifications.forward_until_ready(pid, &launched.pidfd);
        }
        return Ok(0);
    }
    let streams = mem::take(&mut launched.streams);
    let record = &launched.record;
    let at_end = || {
        // What cannot be killed is said when the container cannot be removed.
        let _ = (!args.keep).then(|| destroy::kill_orphans(record));
    };
    Ok(foreground::wait_for(pid, &launched.pidfd, streams, notifications, at_end)? as u8)
}
