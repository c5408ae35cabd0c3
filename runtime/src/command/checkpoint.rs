//! `checkpoint`: a running container becomes an image.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{OFlags, fcntl_getfl},
    process::geteuid,
};

use super::{CommandError, id};
use crate::{
    cli::Checkpoint as Args,
    container::{
        checkpoint::{Checkpoint, checkpoint},
        destroy,
        status::Status,
        store::Store,
    },
    criu::options::{Options, check_parent, make_folder, page_server},
    errno::Errno,
    fail_point, log,
};

pub(super) fn run(store: &Store, args: &Args) -> Result<(), CommandError> {
    // Before anything of our own is open and could have that number.
    let status = status_fd(args).map_err(CommandError::Usage)?;
    warn_if_rootless("checkpoint");
    let (folder, record) = store.find(&id(&args.id)?)?;
    match Status::of(&folder, &record) {
        status @ (Status::Creating | Status::Created | Status::Stopped) => {
            return Err(CommandError::State(format!(
                "Container cannot be checkpointed in {status} state"
            )));
        }
        Status::Running | Status::Paused => {}
    }
    let options = Options::read(&args.criu).map_err(CommandError::Usage)?;
    if let Some(parent) = &args.parent_path {
        make_folder(&options.images)?;
        check_parent(&options.images, parent).map_err(CommandError::Usage)?;
    }
    let wish = Checkpoint {
        options,
        parent: args.parent_path.clone(),
        leave_running: args.leave_running,
        tcp_skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        page_server: args
            .page_server
            .as_deref()
            .map(page_server)
            .transpose()
            .map_err(CommandError::Usage)?,
        pre_dump: args.pre_dump,
    };
    checkpoint(&folder, &record, &wish, status)?;
    if args.leave_running || args.pre_dump {
        return Ok(());
    }
    fail_point::reach("checkpoint.dumped");
    // The image is whole: what is left of the container does not make the command a failure.
    let hooks = folder.config().map(|config| config.hooks).unwrap_or_default();
    let removed = destroy::kill(&record).and_then(|()| destroy::remove_with(&folder, &record, &hooks));
    removed.unwrap_or_else(|err| log::warn(&err.to_string()));
    Ok(())
}

/// The descriptor that is told of the page server, where there is to be one.
fn status_fd(args: &Args) -> Result<Option<OwnedFd>, String> {
    let number = args.status_fd;
    if number == -1 || !args.criu.lazy_pages {
        return Ok(None);
    }
    let refused = |why: String| format!("invalid --status-fd argument {number}: {why}");
    let fd = match number {
        // The standard streams stay open for others, too.
        ..3 => davit_sys::fds::duplicate(number),
        _ => davit_sys::fds::take(number),
    };
    let fd = fd.map_err(|err| refused(Errno::from(err).to_string()))?;
    let flags = fcntl_getfl(&fd).map_err(|errno| refused(Errno::from(errno).to_string()))?;
    match flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        true => Ok(Some(fd)),
        false => Err(refused("not writable".into())),
    }
}

/// criu can do some of it without privileges, and nobody has tried that here.
pub(super) fn warn_if_rootless(command: &str) {
    if !geteuid().is_root() {
        log::warn(&format!("davit-runtime {command} is untested with rootless containers"));
    }
}
