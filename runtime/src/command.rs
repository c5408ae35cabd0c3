//! One file per command.

mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod restore;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

use davit_cgroup::Driver;
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{
    cli::{CgroupManager, Cli, Command, version},
    container::{
        cgroup::CgroupChoice,
        destroy::DestroyError,
        id::{ContainerId, InvalidId},
        launch::LaunchError,
        store::{Store, StoreError},
    },
    errno::{Attempt, CallError},
    program::lookup::LookupError,
    rootless,
    state::StateError,
};

/// What a failed `exec` exits with, to be told from most programs' own codes.
const EXEC_FAILURE: u8 = 255;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A value on the command line.
    #[error("{0}")]
    Usage(String),
    /// An id that is no name.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// The container cannot be found.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// `create` or `run`.
    #[error("{program} {0} failed: {1}", program = version::program())]
    Launch(&'static str, LaunchError),
    /// `exec`.
    #[error("exec failed: {0}")]
    Exec(exec::ExecError),
    /// `start`, with the words of the container's first process.
    #[error("unable to start container process: {0}")]
    Start(String),
    /// The container is in the wrong state for this.
    #[error("{0}")]
    State(String),
    /// It could not be removed.
    #[error(transparent)]
    Destroy(#[from] DestroyError),
    /// Its cgroup could not be read or changed.
    #[error(transparent)]
    Cgroup(#[from] davit_cgroup::CgroupError),
    /// No image was written.
    #[error(transparent)]
    Checkpoint(#[from] crate::container::checkpoint::CheckpointError),
    /// `restore`.
    #[error(transparent)]
    Restore(#[from] crate::container::restore::RestoreError),
    /// A share of the caches or of the memory bandwidth.
    #[error(transparent)]
    IntelRdt(#[from] crate::intel_rdt::IntelRdtError),
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] crate::hooks::HookError),
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The state cannot be told.
    #[error(transparent)]
    Untold(#[from] StateError),
    /// There is no such program.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl CommandError {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            CommandError::Exec(_) => EXEC_FAILURE,
            _ => 1,
        }
    }
}

/// Runs a command; the answer is the exit code.
pub fn run(cli: Cli) -> Result<u8, CommandError> {
    let Some(rootless) = rootless::is_without_cgroup_rights(&cli.rootless) else {
        let flag = &cli.rootless;
        return Err(CommandError::Usage(format!(
            "--rootless {flag:?}: must be true, false or auto"
        )));
    };
    let cgroup = CgroupChoice {
        driver: driver(&cli)?,
        rootless,
        auto: matches!(cli.rootless.as_str(), "" | "auto"),
    };
    let root = match &cli.root {
        Some(root) => absolute(root)?,
        None => rootless::default_root().map_err(CommandError::Usage)?,
    };
    let store = Store::new(root);
    match cli.command {
        Command::Checkpoint(args) => checkpoint::run(&store, &args).map(|()| 0),
        Command::Create(args) => create::run(&store, &args, cgroup).map(|()| 0),
        Command::Delete(args) => delete::run(&store, &args).map(|()| 0),
        Command::Events(args) => events::run(&store, &args).map(|()| 0),
        Command::Exec(args) => exec::run(&store, &args).map_err(CommandError::Exec),
        Command::Features => features::run().map(|()| 0),
        Command::Kill(args) => kill::run(&store, &args).map(|()| 0),
        Command::List(args) => list::run(&store, &args, cli.root.is_some()).map(|()| 0),
        Command::Pause(args) => pause::pause(&store, &args).map(|()| 0),
        Command::Ps(args) => ps::run(&store, &args).map(|()| 0),
        Command::Restore(args) => restore::run(&store, &args, cgroup),
        Command::Resume(args) => pause::resume(&store, &args).map(|()| 0),
        Command::Run(args) => run::run(&store, &args, cgroup),
        Command::Spec(args) => spec::run(&args).map(|()| 0),
        Command::Start(args) => start::run(&store, &args).map(|()| 0),
        Command::State(args) => state::run(&store, &args).map(|()| 0),
        Command::Update(args) => update::run(&store, &args).map(|()| 0),
    }
}

fn driver(cli: &Cli) -> Result<Driver, CommandError> {
    match (cli.cgroup_manager, cli.systemd_cgroup) {
        (None | Some(CgroupManager::Systemd), true) | (Some(CgroupManager::Systemd), false) => Ok(Driver::Systemd),
        (None | Some(CgroupManager::Cgroupfs), false) => Ok(Driver::Cgroupfs),
        (Some(CgroupManager::Disabled), false) => Ok(Driver::Disabled),
        (Some(_), true) => Err(CommandError::Usage(
            "--systemd-cgroup and another --cgroup-manager exclude each other".into(),
        )),
    }
}

fn id(text: &str) -> Result<ContainerId, CommandError> {
    Ok(text.parse()?)
}

/// A path that means the same from any directory, and that can be told in JSON: a container's record and the state that
/// its hooks get name it.
fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    let path = std::path::absolute(path).attempt("resolve", path.display())?;
    match path.to_str() {
        Some(_) => Ok(path),
        None => Err(CommandError::Usage(format!(
            "invalid path {path:?}: a container's bundle and the root of its state must be valid UTF-8"
        ))),
    }
}

/// A bundle's own path, whatever links and detours lead there.
fn bundle(command: &'static str, path: &Path) -> Result<PathBuf, CommandError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = openat(CWD, path, flags, Mode::empty())
        .attempt("chdir", path.display())
        .map_err(|err| CommandError::Launch(command, err.into()))
        .and_then(|folder| {
            let link = format!("/proc/self/fd/{}", folder.as_raw_fd());
            Ok(fs::read_link(link).attempt("resolve", path.display())?)
        });
    absolute(&own?)
}

/// Writes a pid for others to read: whole or not there.
fn write_pid_file(path: &Path, pid: i32) -> Result<(), CallError> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let aside = path.with_file_name(name);
    // What an earlier call has left, or somebody has put there.
    let _ = fs::remove_file(&aside);
    write_new(&aside, &pid.to_string()).attempt("write pid file", path.display())?;
    fs::rename(&aside, path).attempt("write pid file", path.display())
}

/// Where another user can write, too, a link of theirs might lead to any file of ours.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::from_raw_mode(0o666))?;
    File::from(file).write_all(text.as_bytes())
}

fn print(text: &str) -> Result<(), CallError> {
    io::stdout()
        .write_all(text.as_bytes())
        .attempt("write to", "standard output")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_beside_a_pid_file_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside, other) = (
            folder.path().join("pid"),
            folder.path().join(".pid"),
            folder.path().join("other"),
        );
        fs::write(&other, "precious").unwrap();
        symlink(&other, &aside).unwrap();
        write_pid_file(&path, 7).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_to_string(&path).unwrap(), "7");
        assert!(!fs::exists(aside).unwrap());
    }

    #[test]
    fn a_pid_file_is_written_over_the_leftovers_of_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        fs::write(folder.path().join(".pid"), "12345").unwrap();
        write_pid_file(&path, 7).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "7");
    }
}
