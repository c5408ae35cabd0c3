//! What the ids of a user namespace are outside: written by the runtime, from outside.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use davit_spec::{IdMapping, Linux, NamespaceKind, id_mappings_from_table, id_mappings_to_table};
use rustix::{io::Errno as Kernel, process::getegid};

use crate::{
    errno::{Attempt, CallError},
    host_program::{self, End},
    log,
    procfs::ProcFs,
    rootless::is_rootless,
};

/// How long newuidmap or newgidmap may take. They write a line; but who has which ids they may have to ask a server for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a user namespace could not be mapped, or is not the one that the config describes.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A kernel call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The kernel lets an ordinary user map nobody but themselves.
    #[error("{map} {table:?}: operation not permitted, and {tool} is not in PATH (Debian's package uidmap has it)")]
    NoTool {
        /// The kernel's file.
        map: &'static str,
        /// What was to be written to it.
        table: String,
        /// Who may write it.
        tool: &'static str,
    },
    /// newuidmap or newgidmap refused.
    #[error("{tool} refused {table:?}: {reason} (are the ids granted in /etc/subuid and /etc/subgid?)")]
    Refused {
        /// Which of them.
        tool: &'static str,
        /// The mappings.
        table: String,
        /// What it said.
        reason: String,
    },
    /// newuidmap or newgidmap has not come to an end.
    #[error("{0} has not ended within {patience} seconds", patience = PATIENCE.as_secs())]
    Unending(&'static str),
    /// A namespace to join that is mapped otherwise.
    #[error(
        "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one"
    )]
    Different,
}

/// Maps the new user namespace that process `pid` is in, or checks the one that it has joined.
pub fn settle(pid: i32, linux: &Linux) -> Result<(), MapError> {
    match linux.has_new(NamespaceKind::User) {
        true => write(pid, linux),
        false => compare(pid, linux),
    }
}

fn write(pid: i32, linux: &Linux) -> Result<(), MapError> {
    let proc = ProcFs::open().attempt("open", "/proc")?;
    // Who maps no group but their own gets by without help, once the namespace can never change groups.
    if is_rootless() && maps_own_group_only(&linux.gid_mappings) {
        proc.write(&format!("{pid}/setgroups"), "deny")
            .attempt("deny", "setgroups")?;
    }
    write_one(&proc, pid, "uid_map", "newuidmap", &linux.uid_mappings)?;
    write_one(&proc, pid, "gid_map", "newgidmap", &linux.gid_mappings)
}

fn maps_own_group_only(map: &[IdMapping]) -> bool {
    matches!(map, [only] if only.size == 1 && only.host_id == getegid().as_raw())
}

fn write_one(
    proc: &ProcFs,
    pid: i32,
    map: &'static str,
    tool: &'static str,
    mappings: &[IdMapping],
) -> Result<(), MapError> {
    if mappings.is_empty() {
        return Ok(());
    }
    let table = id_mappings_to_table(mappings);
    match proc.write(&format!("{pid}/{map}"), &table) {
        Err(errno) if errno.is(Kernel::PERM) && is_rootless() => ask(tool, map, pid, table),
        written => Ok(written.attempt("write", format_args!("{map} {:?}", table.trim_end()))?),
    }
}

/// Has a helper with the privilege write the map, if /etc/subuid or /etc/subgid allow it.
fn ask(tool: &'static str, map: &'static str, pid: i32, table: String) -> Result<(), MapError> {
    let Some(path) = find(tool) else {
        return Err(MapError::NoTool { map, table, tool });
    };
    log::debug(format_args!("{} writes {map} of process {pid}", path.display()));
    let mut said = host_program::memory().attempt("make", "file in memory")?;
    let mut command = Command::new(path);
    command
        .arg(pid.to_string())
        .args(table.split_ascii_whitespace())
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone().attempt("duplicate", "file in memory")?);
    let mut child = davit_sys::signals::unblocked(&mut command)
        .spawn()
        .attempt("execute", tool)?;
    match host_program::wait(&mut child, Some(PATIENCE), None).attempt("wait for", tool)? {
        End::Exited(status) if status.success() => Ok(()),
        End::Exited(_) => Err(MapError::Refused {
            tool,
            table,
            reason: host_program::text(&mut said),
        }),
        End::TimedOut | End::Abandoned => Err(MapError::Unending(tool)),
    }
}

fn find(tool: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(tool))
        .find(|path| path.is_file())
}

fn compare(pid: i32, linux: &Linux) -> Result<(), MapError> {
    if linux.uid_mappings.is_empty() && linux.gid_mappings.is_empty() {
        return Ok(());
    }
    let proc = ProcFs::open().attempt("open", "/proc")?;
    let actual = |map: &'static str| {
        let table = proc.read(&format!("{pid}/{map}")).attempt("read", map);
        table.map(|table| id_mappings_from_table(&table))
    };
    if actual("uid_map")? != linux.uid_mappings || actual("gid_map")? != linux.gid_mappings {
        return Err(MapError::Different);
    }
    log::warn("config.json has both a user namespace to join and the mappings that it has: one of them is enough");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_of_the_own_group_alone_needs_no_help() {
        let own = IdMapping {
            container_id: 0,
            host_id: getegid().as_raw(),
            size: 1,
        };
        assert!(maps_own_group_only(&[own]));
        assert!(!maps_own_group_only(&[own, IdMapping { container_id: 1, ..own }]));
        assert!(!maps_own_group_only(&[IdMapping { size: 2, ..own }]));
        assert!(!maps_own_group_only(&[]));
    }

    #[test]
    fn a_tool_is_found_where_the_caller_looks_for_programs() {
        assert!(find("sh").is_some());
        assert!(find("no-such-tool").is_none());
    }
}
