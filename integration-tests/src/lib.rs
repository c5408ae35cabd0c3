//! What the black-box tests and `cargo xtask` stand on: the built programs, the real peers, isolated roots and their clean-up.
//!
//! Nothing here links a crate of the engine, the manager, the shim or the runtime: tests meet them as users do, over sockets and
//! command lines. Every test makes one [`Scratch`], which has folders, names and a subnet of its own and leaves no process,
//! mount, network namespace, cgroup, bridge or rule behind, even when the test fails.

/// Says what a test does not show on this machine, and why. Unlike `eprintln!` it is seen though the test passes.
#[macro_export]
macro_rules! skipped {
    ($($why:tt)*) => {{
        use std::io::Write as _;
        let why = format!($($why)*);
        let _ = writeln!(std::io::stderr(), "not shown: {why}");
    }};
}

pub mod command;
pub mod criu;
pub mod daemon;
pub mod http;
pub mod image;
pub mod packages;
pub mod peers;
pub mod program;
pub mod registry;
pub mod scratch;
pub mod sweep;
pub mod wait;
pub mod workspace;

pub use command::{Finished, Run};
pub use daemon::{Containerd, Dockerd, Engine, Manager};
pub use registry::Registry;
pub use scratch::Scratch;
