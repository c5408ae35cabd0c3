//! The API's listening socket.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::Path,
};

use anyhow::{Context as _, bail};
use tokio::net::UnixListener;

/// Listens. A socket that a dead engine left behind is replaced; one that answers is another engine's.
pub fn listen(path: &Path, group: Option<&str>) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(folder);
        made.with_context(|| folder.display().to_string())?;
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("{} is in use by another engine", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => fs::remove_file(path).with_context(|| path.display().to_string())?,
    }
    let listener = bind_closed(path).with_context(|| path.display().to_string())?;
    let mode = match group {
        Some(group) => {
            let found = nix::unistd::Group::from_name(group)?;
            let gid = found.with_context(|| format!("group {group:?} does not exist"))?.gid;
            std::os::unix::fs::chown(path, None, Some(gid.as_raw()))?;
            0o660
        }
        None => 0o600,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Nobody may connect before owner and mode are set.
fn bind_closed(path: &Path) -> io::Result<UnixListener> {
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(before);
    listener
}

/// Removes the socket when the engine ends in order.
pub fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "the socket cannot be removed");
    }
}
