//! A process known by more than its number.

use std::os::fd::OwnedFd;

use rustix::{
    io::Errno as Kernel,
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::{Deserialize, Serialize};

/// A pid and the moment its process began, in clock ticks since boot: a later process with the same pid is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessKey {
    /// Its pid, as the runtime sees it.
    pub pid: i32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
}

impl ProcessKey {
    /// The key of a process that exists.
    pub fn of(pid: i32) -> Option<Self> {
        let start_time = stat(pid)?.start_time;
        Some(ProcessKey { pid, start_time })
    }

    /// The key of the calling process; `None` where /proc says nothing of it.
    pub fn own() -> Option<Self> {
        Self::of(std::process::id() as i32)
    }

    /// Whether that process still runs. A zombie does not, unless only its first thread has ended.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|stat| {
            stat.start_time == self.start_time && (!matches!(stat.state, 'Z' | 'X') || stat.threads > 1)
        })
    }

    /// Whether it is kept from running by a signal or a tracer.
    pub fn is_stopped(self) -> bool {
        stat(self.pid).is_some_and(|stat| matches!(stat.state, 'T' | 't'))
    }

    /// A handle on that very process; `None` when it is gone.
    pub fn open(self) -> Result<Option<OwnedFd>, Kernel> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Checked after opening: the handle cannot pass to another process any more.
            Ok(pidfd) => Ok(self.is_alive().then_some(pidfd)),
            Err(Kernel::SRCH) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// Whether a process has executed a program since it was forked, be it alive or a zombie; `None` when nothing is left of
/// it.
///
/// The end of a connection that closes on execution does not say it: a process that is killed closes it as well.
pub fn has_executed(pid: i32) -> Option<bool> {
    /// `PF_FORKNOEXEC`, which execve clears before it closes any descriptor.
    const FORKED_ONLY: u64 = 0x40;
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let flags: u64 = fields(&stat)?.nth(6)?.parse().ok()?;
    Some(flags & FORKED_ONLY == 0)
}

/// What is asked of /proc/PID/stat.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    threads: u64,
    start_time: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 3, 20 and 22.
fn parse(stat: &[u8]) -> Option<Stat> {
    let mut fields = fields(stat)?;
    Some(Stat {
        state: fields.next()?.chars().next()?,
        threads: fields.nth(16)?.parse().ok()?,
        start_time: fields.nth(1)?.parse().ok()?,
    })
}

/// From the third field on, which is the state. The command's name, in parentheses, may contain any bytes: a process chooses its own, and one
/// that is no text must not make it look gone.
fn fields(stat: &[u8]) -> Option<std::str::Split<'_, char>> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    Some(std::str::from_utf8(stat.get(end + 2..)?).ok()?.split(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_fields() {
        let stat = b"7 (a) S (b) R 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 4711 1000 10 184467";
        let parsed = parse(stat).unwrap();
        assert_eq!((parsed.state, parsed.threads, parsed.start_time), ('R', 1, 4711));
    }

    #[test]
    fn a_name_that_is_no_text_does_not_hide_the_process() {
        let stat = b"7 (\xff\xfe) S 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 4711 1000 10 184467";
        assert_eq!(parse(stat).unwrap().start_time, 4711);
        assert_eq!(parse(b"7 (\xff)"), None);
    }

    #[test]
    fn a_program_that_was_executed_is_told_from_a_fork_also_when_it_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        while ProcessKey::of(pid).unwrap().is_alive() {}
        assert_eq!(has_executed(pid), Some(true));
        child.wait().unwrap();
        assert_eq!(has_executed(pid), None);
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_another_process() {
        let me = ProcessKey::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(
            !ProcessKey {
                start_time: me.start_time + 1,
                ..me
            }
            .is_alive()
        );
    }
}
