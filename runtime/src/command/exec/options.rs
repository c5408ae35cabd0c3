//! What to execute: a process.json, or the container's own process with changes.

use std::fs;

use davit_spec::{Process, User};

use super::ExecError;
use crate::{cli::Exec, errno::Attempt};

/// The process that the command line describes. `own` is the container's.
pub(super) fn process(args: &Exec, own: Process) -> Result<Process, ExecError> {
    if let Some(path) = &args.process {
        let json = fs::read(path).attempt("open", path.display())?;
        return Ok(completed(Process::parse(&json)?, own));
    }
    if args.command.is_empty() {
        return Err(ExecError::Usage("exec args cannot be empty".into()));
    }
    let mut process = Process {
        args: args.command.clone(),
        terminal: args.tty,
        ..own
    };
    process.env.extend(args.env.iter().cloned());
    process.user.additional_gids.extend(&args.additional_gids);
    if let Some(cwd) = &args.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some(profile) = &args.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &args.process_label {
        process.selinux_label.clone_from(label);
    }
    if let Some(user) = &args.user {
        let (uid, gid) =
            user_and_group(user).ok_or_else(|| ExecError::Usage(format!("bad user {user:?}: UID[:GID]")))?;
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.no_new_privileges = args.no_new_privs.unwrap_or(process.no_new_privileges);
    add_capabilities(&mut process, &args.cap);
    Ok(process)
}

/// What a process.json leaves open is as in the container; no_new_privs, the identity and, as with runc, the limits
/// excepted.
fn completed(process: Process, own: Process) -> Process {
    let or = |said: String, own: String| if said.is_empty() { own } else { said };
    Process {
        capabilities: process.capabilities.or(own.capabilities),
        apparmor_profile: or(process.apparmor_profile, own.apparmor_profile),
        selinux_label: or(process.selinux_label, own.selinux_label),
        io_priority: process.io_priority.or(own.io_priority),
        scheduler: process.scheduler.or(own.scheduler),
        exec_cpu_affinity: process.exec_cpu_affinity.or(own.exec_cpu_affinity),
        oom_score_adj: process.oom_score_adj.or(own.oom_score_adj),
        user: User {
            umask: process.user.umask.or(own.user.umask),
            ..process.user
        },
        ..process
    }
}

fn user_and_group(text: &str) -> Option<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Some((uid.parse().ok()?, Some(gid.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

/// The inheritable set stays as it is: a program's file could else add to what was asked for (CVE-2022-29162). The
/// ambient one grows, as with runc, where the container has something inheritable; without that it could not.
fn add_capabilities(process: &mut Process, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let sets = process.capabilities.get_or_insert_default();
    for name in names {
        sets.bounding.add(name);
        sets.effective.add(name);
        sets.permitted.add(name);
        if sets.inheritable.bits != 0 {
            sets.ambient.add(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_number_with_or_without_a_group() {
        assert_eq!(user_and_group("7"), Some((7, None)));
        assert_eq!(user_and_group("7:8"), Some((7, Some(8))));
        assert_eq!(user_and_group("bob"), None);
        assert_eq!(user_and_group("7:"), None);
    }

    #[test]
    fn a_process_json_is_completed_by_the_containers_own() {
        let own = Process::parse(
            br#"{"noNewPrivileges": true, "oomScoreAdj": 5, "capabilities": {"bounding": ["CAP_KILL"]}, "env": ["A=1"],
                 "user": {"uid": 7, "umask": 63}, "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]}"#,
        );
        let process = completed(
            Process::parse(br#"{"args": ["true"], "oomScoreAdj": 6}"#).unwrap(),
            own.unwrap(),
        );
        assert_eq!((process.oom_score_adj, process.rlimits.len()), (Some(6), 0));
        assert_eq!((process.user.uid, process.user.umask), (0, Some(0o77)));
        assert_eq!(process.capabilities.unwrap().bounding.bits, 1 << 5);
        assert!(!process.no_new_privileges && process.env.is_empty());
    }

    #[test]
    fn an_added_capability_is_not_inheritable() {
        let mut process = Process::default();
        add_capabilities(&mut process, &["CAP_SYS_ADMIN".into()]);
        let sets = process.capabilities.unwrap();
        assert_eq!(sets.bounding.bits, 1 << 21);
        assert_eq!(sets.inheritable.bits | sets.ambient.bits, 0);
    }
}
