//! The socket that a shim serves on: one per manager, namespace and group of containers.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::{
        ffi::OsStringExt,
        fs::{DirBuilderExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::fs::Mode;
use sha2::{Digest, Sha256};

/// Where sockets go if the manager has no wish.
pub const DEFAULT_DIR: &str = "/run/davit/s";

/// The file in the bundle that names the socket of its shim.
pub const NOTE: &str = "shim-socket";

/// A bound socket, or one at which a shim serves already.
#[derive(Debug)]
pub enum Claim {
    /// Ours.
    Bound(UnixListener),
    /// Another shim serves there: that is how containers of a group share one.
    Served,
}

/// The socket's path. The name is a hash, since `sun_path` ends at 107 bytes.
pub fn path(dir: &Path, manager: &str, namespace: &str, group: &str) -> PathBuf {
    let mut hash = Sha256::new();
    for part in [manager, namespace, group] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let name: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    dir.join(name)
}

/// Binds the socket, unless a shim serves there. A socket that nobody listens on is a dead shim's and is replaced.
pub fn claim(path: &Path) -> io::Result<Claim> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    match listen(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        bound => return bound.map(Claim::Bound),
    }
    if UnixStream::connect(path).is_ok() {
        return Ok(Claim::Served);
    }
    fs::remove_file(path)?;
    listen(path).map(Claim::Bound)
}

/// The socket that a bundle names.
pub fn noted(bundle: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read(bundle.join(NOTE)) {
        Ok(bytes) => Ok(Some(OsString::from_vec(bytes).into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes down in a bundle where the socket of its shim is, or is about to be: whole or not at all.
pub fn note(bundle: &Path, socket: &Path) -> io::Result<()> {
    let draft = bundle.join(format!(".{NOTE}"));
    fs::write(&draft, socket.as_os_str().as_encoded_bytes())?;
    fs::rename(draft, bundle.join(NOTE))
}

/// Removes the socket that a bundle names, unless a shim serves there: one of a group may serve other containers.
pub fn remove_dead(bundle: &Path) -> io::Result<()> {
    let Some(path) = noted(bundle)? else { return Ok(()) };
    match UnixStream::connect(&path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Binds a socket that only its owner may connect to.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    // The mode must be right from the first moment; nothing else runs in this process meanwhile.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let bound = bound?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_name_cannot_run_into_each_other() {
        let dir = Path::new("/run/s");
        let of = |namespace, group| path(dir, "/c.sock", namespace, group);
        assert_eq!(of("a", "bc"), of("a", "bc"));
        assert_ne!(of("a", "bc"), of("ab", "c"));
        assert_eq!(of("a", "b").to_str().unwrap().len(), "/run/s/".len() + 64);
    }

    #[test]
    fn a_socket_is_shared_while_it_is_served_and_replaced_when_its_shim_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/s");
        let Claim::Bound(first) = claim(&path).unwrap() else {
            panic!("not bound")
        };
        assert!(matches!(claim(&path).unwrap(), Claim::Served));
        drop(first);
        assert!(matches!(claim(&path).unwrap(), Claim::Bound(_)));
        note(dir.path(), &path).unwrap();
        remove_dead(dir.path()).unwrap();
        assert!(!path.exists());
        remove_dead(dir.path()).unwrap();
        assert!(matches!(claim(&path).unwrap(), Claim::Bound(_)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
