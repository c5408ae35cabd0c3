//! `create`: everything but the program.

use super::{CommandError, bundle, id, write_pid_file};
use crate::{
    cli::Create,
    container::{
        cgroup::CgroupChoice,
        launch::{CONFIG, Launch, launch},
        store::Store,
    },
    pidfd_socket,
};

/// What the options of `create` and `run` have in common.
pub(super) fn launch_of(command: &'static str, args: &Create, cgroup: CgroupChoice) -> Result<Launch, CommandError> {
    let bundle = bundle(command, &args.bundle)?;
    Ok(Launch {
        id: id(&args.id)?,
        config: args.config.clone().unwrap_or_else(|| bundle.join(CONFIG)),
        bundle,
        console_socket: args.console_socket.clone(),
        preserve_fds: args.preserve_fds,
        no_pivot: args.no_pivot,
        no_new_keyring: args.no_new_keyring,
        cgroup,
        wait_for_start: true,
        foreground: false,
    })
}

pub(super) fn run(store: &Store, args: &Create, cgroup: CgroupChoice) -> Result<(), CommandError> {
    let mut launched =
        launch(store, &launch_of("create", args, cgroup)?).map_err(|err| CommandError::Launch("create", err))?;
    let handed_over = args
        .pid_file
        .as_ref()
        .map_or(Ok(()), |path| write_pid_file(path, launched.record.init.pid))
        .and_then(|()| {
            args.pidfd_socket
                .as_ref()
                .map_or(Ok(()), |path| pidfd_socket::send(path, &launched.pidfd))
        });
    if let Err(err) = handed_over {
        launched.take_back();
        return Err(err.into());
    }
    launched.settle();
    Ok(())
}
