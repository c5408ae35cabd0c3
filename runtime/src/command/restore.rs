//! `restore`: an image becomes a running container.

use std::mem;

use rustix::process::{getpid, set_child_subreaper};

use super::{CommandError, bundle, checkpoint::warn_if_rootless, id, write_pid_file};
use crate::{
    cli::Restore as Args,
    container::{
        cgroup::CgroupChoice,
        destroy,
        launch::{CONFIG, Launch, Launched},
        restore::{Restore, restore},
        store::Store,
    },
    criu::options::Options,
    errno::{Attempt, CallError},
    foreground,
};

pub(super) fn run(store: &Store, args: &Args, cgroup: CgroupChoice) -> Result<u8, CommandError> {
    warn_if_rootless("restore");
    let bundle = bundle("restore", &args.bundle)?;
    let wish = Restore {
        launch: Launch {
            id: id(&args.id)?,
            config: bundle.join(CONFIG),
            bundle,
            console_socket: args.console_socket.clone(),
            preserve_fds: 0,
            no_pivot: args.no_pivot,
            no_new_keyring: true,
            cgroup,
            wait_for_start: false,
            foreground: !args.detach,
        },
        options: Options::read(&args.criu).map_err(CommandError::Usage)?,
        tcp_close: args.tcp_close,
        lsm_profile: args.lsm_profile.clone(),
        lsm_mount_context: args.lsm_mount_context.clone(),
    };
    if !args.detach {
        foreground::hold_signals()?;
        if !args.no_subreaper {
            set_child_subreaper(Some(getpid())).attempt("become", "subreaper")?;
        }
    }
    let mut restored = restore(store, &wish)?;
    match attend(args, &mut restored) {
        Ok(code) => {
            if !args.detach {
                destroy::remove_ended(&restored.folder, &restored.record, &restored.hooks);
            }
            Ok(code)
        }
        Err(err) => {
            restored.take_back();
            Err(err.into())
        }
    }
}

/// Says which process it is, and stays as long as the caller wants to; the answer is the exit code.
fn attend(args: &Args, restored: &mut Launched) -> Result<u8, CallError> {
    let pid = restored.record.init.pid;
    if let Some(path) = &args.pid_file {
        write_pid_file(path, pid)?;
    }
    if args.detach {
        return Ok(0);
    }
    let streams = mem::take(&mut restored.streams);
    Ok(foreground::wait_for(pid, &restored.pidfd, streams, None, || ())? as u8)
}
