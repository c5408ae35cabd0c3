//! davit-runtime: an OCI runtime with runc's command line.
//!
//! It is short-lived and has one thread: it forks, and the child goes on in ordinary code. In reading order:
//! [`cli`] and [`command`] are what a caller sees; [`container`] is what is kept between two invocations;
//! [`container::launch`] forks, [`init`] is the first process of a container and [`enter`] a further one;
//! [`rootfs`] makes its file system, [`program`] makes it what config.json says and executes; [`talk`] is how both
//! sides speak.
//!
//! What always holds: nothing is said to be done that was not (what is not supported is refused by name; a limit that only
//! cgroup v1 has, or that no kernel has any more, is passed over with a warning); no path of a container is
//! resolved but inside its root; no descriptor but the wanted ones reaches a program; and a container is known by its
//! process's pid *and* start time.

pub mod cli;
pub mod command;
pub mod console_socket;
pub mod container;
pub mod criu;
pub mod enter;
pub mod errno;
pub mod fail_point;
pub mod foreground;
pub mod hooks;
pub mod host_program;
pub mod inherited;
pub mod init;
pub mod intel_rdt;
pub mod log;
pub mod namespaces;
pub mod net_devices;
pub mod netlink;
pub mod notify_socket;
pub mod pidfd_socket;
pub mod poll;
pub mod procfs;
pub mod program;
pub mod rootfs;
pub mod rootless;
pub mod seal;
pub mod seccomp_agent;
pub mod state;
pub mod talk;
pub mod timestamp;
pub mod unix_socket;
pub mod user_namespace;

use std::{env, ffi::OsStr, process::ExitCode};

/// What the program exits with when it cannot begin.
const FAILURE: u8 = 1;

/// The whole program.
pub fn run() -> ExitCode {
    davit_sys::signals::keep_ended_children();
    if enters_a_container()
        && let Err(err) = seal::ensure().and_then(|()| seal::hide())
    {
        log::error(&format!(
            "cannot protect the runtime's binary from the container: {err}"
        ));
        return ExitCode::from(FAILURE);
    }
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(code) => return ExitCode::from(code),
    };
    if let Err(err) = log::begin(cli.log.as_deref(), cli.log_format, cli.debug) {
        log::error(&err.to_string());
        return ExitCode::from(FAILURE);
    }
    if cli.criu.is_some() {
        log::warn("--criu is ignored: the criu of $PATH is used");
    }
    match command::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(err) => {
            log::error(&err.to_string());
            ExitCode::from(err.exit_code())
        }
    }
}

/// Asked before the arguments are parsed, since the answer may be to begin anew. Too often yes does no harm.
fn enters_a_container() -> bool {
    env::args_os().any(|arg| ["create", "run", "exec"].iter().any(|name| arg == OsStr::new(name)))
}
