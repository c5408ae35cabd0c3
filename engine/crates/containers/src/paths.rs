//! Where the engine keeps what.

use std::path::PathBuf;

use davit_vocabulary::{ContainerId, ExecId};

/// The engine's two folders and what lies in them.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `--data-root`: survives a reboot.
    pub data_root: PathBuf,
    /// `--exec-root`: does not.
    pub exec_root: PathBuf,
}

impl Paths {
    /// The store.
    pub fn store(&self) -> PathBuf {
        self.data_root.join("davit.db")
    }

    /// Folder of all containers' folders.
    pub fn containers(&self) -> PathBuf {
        self.data_root.join("containers")
    }

    /// A container's folder.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// A container's log; older ones have `.1`, `.2`, … appended.
    pub fn log(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join(format!("{id}-json.log"))
    }

    /// Folder of attach sockets.
    pub fn attach_sockets(&self) -> PathBuf {
        self.exec_root.join("a")
    }

    /// The attach socket of a container's first process. Short, for a socket's path has 107 bytes at most.
    pub fn attach(&self, id: &ContainerId) -> PathBuf {
        self.attach_sockets().join(shortened(id))
    }

    /// The attach socket of an exec.
    pub fn exec_attach(&self, id: &ExecId) -> PathBuf {
        self.attach_sockets().join(format!("e{}", shortened(id)))
    }

    /// The runtime's state.
    pub fn runtime_root(&self) -> PathBuf {
        self.exec_root.join("runc")
    }
}

fn shortened(id: &str) -> &str {
    id.get(..20).unwrap_or(id)
}
