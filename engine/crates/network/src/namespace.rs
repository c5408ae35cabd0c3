//! Network namespaces as bind-mounted files.
//!
//! A namespace belongs to threads, so whatever enters or makes one does so on a thread of its own, which ends with the
//! work: no thread of the runtime ever changes its namespace.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    thread,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, statfs},
};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{NetworkError, Result, error::file, links::Links};

/// The namespace of the thread that looks.
const OWN: &str = "/proc/thread-self/ns/net";

/// Makes a namespace with its loopback up and mounts it at `path`. On failure nothing is left there.
pub(crate) async fn create(path: &Path) -> Result<()> {
    let path = path.to_owned();
    on_own_thread(move |runtime| {
        let mounted = Mounted::new(&path)?;
        let _context = runtime.enter();
        runtime.block_on(async { Links::here()?.set_loopback_up().await })?;
        mounted.keep();
        Ok(())
    })
    .await
}

/// A netlink socket inside the namespace at `path`.
pub(crate) async fn enter(path: &Path) -> Result<Links> {
    let path = path.to_owned();
    on_own_thread(move |runtime| {
        let namespace = File::open(&path).map_err(file("open", &path))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(file("enter", &path))?;
        let _context = runtime.enter();
        Links::here()
    })
    .await
}

/// Whether a namespace is mounted at `path`: a mere file left by a crash is none.
pub(crate) fn is_mounted(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == NSFS_MAGIC)
}

/// Unmounts and removes what is at `path`, however much of it there is.
pub(crate) fn remove(path: &Path) -> Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH) {
            // Somebody may have mounted twice: look again.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => break,
            Err(error) => return Err(file("unmount", path)(error)),
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// This thread's new namespace at a path; taken back when dropped before [`Mounted::keep`].
struct Mounted<'a> {
    path: Option<&'a Path>,
}

impl<'a> Mounted<'a> {
    fn new(path: &'a Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)
                .map_err(file("create", folder))?;
        }
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o444)
            .open(path)
            .map_err(file("create", path))?;
        let mounted = Self { path: Some(path) };
        unshare(CloneFlags::CLONE_NEWNET).map_err(file("unshare the network for", path))?;
        mount(Some(OWN), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(file("mount", path))?;
        Ok(mounted)
    }

    fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.path.map(remove) {
            tracing::warn!(%error, "a namespace that failed could not be removed");
        }
    }
}

async fn on_own_thread<T: Send + 'static>(work: impl FnOnce(Handle) -> Result<T> + Send + 'static) -> Result<T> {
    let runtime = Handle::current();
    let (result, receiver) = oneshot::channel();
    let run = move || {
        // The caller may be gone: then nobody wants the result.
        let _ = result.send(work(runtime));
    };
    let spawned = thread::Builder::new().name("netns".into()).spawn(run);
    spawned.map_err(|cause| NetworkError::Thread { cause })?;
    receiver.await.unwrap_or_else(|_| {
        Err(NetworkError::Thread {
            cause: io::ErrorKind::Other.into(),
        })
    })
}
