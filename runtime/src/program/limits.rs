//! Resource limits, priorities and the execution domain.

use davit_spec::{IoPriority, MemoryPolicy, Personality, Process, Rlimit, Scheduler};
use davit_sys::schedule::{SchedAttr, set_io_priority, set_memory_policy, set_personality, set_scheduler};
use rustix::{
    io::Errno as Kernel,
    process::{Resource, Rlimit as Limits, getrlimit, setrlimit},
};

use crate::{
    errno::{Attempt, CallError},
    log,
    procfs::ProcFs,
};

const RLIM_INFINITY: u64 = u64::MAX;

/// Why a limit or a priority could not be set.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// A name that Linux does not have, in runc's words.
    #[error("{problem}: {name}")]
    Unknown {
        /// What it would be the name of.
        problem: &'static str,
        /// The name.
        name: String,
    },
    /// The kernel refused.
    #[error("error setting rlimit type {0}: {1}")]
    Rlimit(String, crate::errno::Errno),
    /// The kernel refused something else.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Applies what the config says of the process itself.
pub fn apply(process: &Process) -> Result<(), LimitError> {
    process.rlimits.iter().try_for_each(rlimit)?;
    if let Some(priority) = &process.io_priority {
        io_priority(priority)?;
    }
    if let Some(scheduler) = &process.scheduler {
        schedule(scheduler)?;
    }
    Ok(())
}

/// Raises the caller's hard limits to what the process is to have, where the caller may. Its child in a user namespace inherits
/// them, and could not raise them itself: that takes CAP_SYS_RESOURCE in the host's.
pub fn raise_hard(rlimits: &[Rlimit]) {
    for limit in rlimits {
        let Some(resource) = resource(&limit.kind) else {
            continue;
        };
        let own = getrlimit(resource);
        let wanted = (limit.hard != RLIM_INFINITY).then_some(limit.hard);
        let lower = own.maximum.is_some_and(|own| wanted.is_none_or(|wanted| own < wanted));
        if lower {
            // Refused is no matter yet: the child says what it cannot have.
            let _ = setrlimit(resource, Limits { maximum: wanted, ..own });
        }
    }
}

/// Sets the score adjustment of the out-of-memory killer, through the host's /proc.
pub fn oom_score(adjustment: Option<i32>) -> Result<(), LimitError> {
    match adjustment {
        None => Ok(()),
        Some(value) => {
            let written = ProcFs::open().and_then(|proc| proc.write("self/oom_score_adj", value.to_string()));
            Ok(written.attempt("write oom_score_adj", value)?)
        }
    }
}

/// Says that flags of the execution domain have no effect: the specification defines none.
pub fn warn_of_flags(personality: Option<&Personality>) {
    if let Some(Personality { flags, .. }) = personality.filter(|personality| !personality.flags.is_empty()) {
        log::warn(&format!(
            "ignoring unsupported personality flags: [{}] because personality flag has not supported at this time",
            flags.join(" ")
        ));
    }
}

/// Sets from which memory nodes the pages of the process come.
pub fn memory_policy(policy: Option<&MemoryPolicy>) -> Result<(), LimitError> {
    let Some(policy) = policy else {
        return Ok(());
    };
    Ok(set_memory_policy(policy.mode, &policy.nodes).attempt(
        "set_mempolicy",
        format_args!("{} on nodes {:?}", policy.name, policy.nodes),
    )?)
}

/// Sets the execution domain.
pub fn personality(personality: &Personality) -> Result<(), LimitError> {
    let domain = match personality.domain.as_str() {
        "LINUX" => 0,
        "LINUX32" => 0x0008,
        name => {
            return Err(LimitError::Unknown {
                problem: "invalid personality domain",
                name: name.into(),
            });
        }
    };
    Ok(set_personality(domain).attempt("set personality", &personality.domain)?)
}

fn rlimit(limit: &Rlimit) -> Result<(), LimitError> {
    let resource = resource(&limit.kind).ok_or_else(|| LimitError::Unknown {
        problem: "wrong rlimit value",
        name: limit.kind.clone(),
    })?;
    let value = |value| (value != RLIM_INFINITY).then_some(value);
    let wanted = Limits {
        current: value(limit.soft),
        maximum: value(limit.hard),
    };
    match setrlimit(resource, wanted) {
        // Unprivileged and without need: the limit is already what it should be.
        Err(Kernel::PERM) if getrlimit(resource) == wanted => Ok(()),
        Err(errno) => Err(LimitError::Rlimit(limit.kind.clone(), errno.into())),
        Ok(()) => Ok(()),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

fn io_priority(priority: &IoPriority) -> Result<(), LimitError> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        name => {
            return Err(LimitError::Unknown {
                problem: "invalid io priority class",
                name: name.into(),
            });
        }
    };
    let level = u32::try_from(priority.priority)
        .ok()
        .filter(|level| *level < 8)
        .ok_or_else(|| LimitError::Unknown {
            problem: "invalid io priority",
            name: priority.priority.to_string(),
        })?;
    Ok(set_io_priority(class, level).attempt("set I/O priority", &priority.class)?)
}

fn schedule(scheduler: &Scheduler) -> Result<(), LimitError> {
    Ok(set_scheduler(attributes(scheduler)?).attempt("set scheduler", &scheduler.policy)?)
}

/// In the kernel's numbers.
fn attributes(scheduler: &Scheduler) -> Result<SchedAttr, LimitError> {
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        name => {
            return Err(LimitError::Unknown {
                problem: "invalid scheduler policy",
                name: name.into(),
            });
        }
    };
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            name => {
                return Err(LimitError::Unknown {
                    problem: "invalid scheduler flag",
                    name: name.into(),
                });
            }
        };
    }
    let mut attr = SchedAttr::default();
    (attr.policy, attr.flags) = (policy, flags);
    (attr.nice, attr.priority) = (scheduler.nice, scheduler.priority as u32);
    (attr.runtime, attr.deadline, attr.period) = (scheduler.runtime, scheduler.deadline, scheduler.period);
    Ok(attr)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(policy: &str, flags: &[&str]) -> Result<(u32, u64), String> {
        let scheduler = Scheduler {
            policy: policy.into(),
            flags: flags.iter().map(|flag| (*flag).into()).collect(),
            ..Scheduler::default()
        };
        let attr = attributes(&scheduler).map_err(|err| err.to_string())?;
        Ok((attr.policy, attr.flags))
    }

    #[test]
    fn policies_and_their_flags_have_the_kernels_numbers() {
        // linux/sched.h
        let policies = [
            ("SCHED_OTHER", 0),
            ("SCHED_FIFO", 1),
            ("SCHED_RR", 2),
            ("SCHED_BATCH", 3),
            ("SCHED_ISO", 4),
            ("SCHED_IDLE", 5),
            ("SCHED_DEADLINE", 6),
        ];
        for (policy, number) in policies {
            assert_eq!(scheduler(policy, &[]), Ok((number, 0)), "{policy}");
        }
        let flags = [
            "SCHED_FLAG_RESET_ON_FORK",
            "SCHED_FLAG_RECLAIM",
            "SCHED_FLAG_DL_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS",
            "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ];
        for (bit, flag) in flags.iter().enumerate() {
            assert_eq!(scheduler("SCHED_OTHER", &[flag]), Ok((0, 1 << bit)), "{flag}");
        }
        assert_eq!(scheduler("SCHED_DEADLINE", &flags), Ok((6, 0x7f)));
    }

    #[test]
    fn what_the_kernel_does_not_know_is_named() {
        assert_eq!(
            scheduler("SCHED_X", &[]),
            Err("invalid scheduler policy: SCHED_X".into())
        );
        assert_eq!(
            scheduler("SCHED_OTHER", &["SCHED_FLAG_X"]),
            Err("invalid scheduler flag: SCHED_FLAG_X".into())
        );
    }
}
