//! What the daemon works with: its places, its sockets, its limits of time, and what it does with itself.
//!
//! [`file`] has the keys, [`load`] finds and merges the files. A key that nobody knows is an error that names it: a setting that
//! is silently ignored is worse than none. One of containerd's that has no effect here is named in the log, so that
//! containerd's own file can be used; one whose effect would be missed is refused.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use davit_tasks::Timeouts;

pub mod file;
pub mod load;
mod timeouts;

pub use file::{File, Format, Owner, Personality};
pub use load::{ConfigError, load};

/// The longest path of a unix socket, without the closing zero (`sun_path`, unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The length of a shim's socket name: a SHA-256 in hexadecimal digits.
const SOCKET_NAME: usize = 64;

/// A socket and who may use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Where it lies.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Owner,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// off, error, warn, info, debug or trace.
    pub level: String,
    /// Lines for people or for programs.
    pub format: Format,
}

/// Where metrics are served, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where to listen.
    pub address: SocketAddr,
    /// Whether the times of gRPC calls are among them.
    pub grpc_histogram: bool,
}

/// The settings of a daemon, every one of them valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What must survive a reboot.
    pub root: PathBuf,
    /// What may go with a reboot: bundles and sockets.
    pub state: PathBuf,
    /// The gRPC socket.
    pub grpc: Socket,
    /// The ttrpc socket, on which shims forward their events.
    pub ttrpc: Socket,
    /// What is logged.
    pub log: Log,
    /// The daemon's own `oom_score_adj`; 0 leaves it.
    pub oom_score: i32,
    /// The cgroup that the daemon puts itself into, relative to each hierarchy's root; empty leaves it where it is.
    pub cgroup: String,
    /// How long shims may take.
    pub timeouts: Timeouts,
    /// Where metrics are served, if anywhere.
    pub metrics: Option<Metrics>,
    /// The debug socket, if there is one.
    pub debug: Option<Socket>,
    /// How often the restart monitor looks at every container; `None` where it is disabled.
    pub restart_interval: Option<Duration>,
}

impl Config {
    /// The folder in which shims make their sockets: below `state`, unless a socket's path would be too long there.
    pub fn socket_dir(&self) -> PathBuf {
        let ours = self.state.join("s");
        if ours.as_os_str().len() + 1 + SOCKET_NAME <= LONGEST_SOCKET {
            ours
        } else {
            PathBuf::from("/run/davit/s")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn shim_sockets_go_elsewhere_where_their_paths_would_be_too_long() {
        let at = |state: &str| {
            let mut config = File::of(Personality::Davit).into_config().unwrap().0;
            config.state = state.into();
            config.socket_dir()
        };
        assert_eq!(at("/run/x"), Path::new("/run/x/s"));
        assert_eq!(at(&format!("/{}", "x".repeat(60))), Path::new("/run/davit/s"));
    }
}
