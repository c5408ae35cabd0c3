//! `kill`: a signal for a container.

use std::os::fd::AsFd;

use super::{CommandError, id};
use crate::{cli::Kill, container::store::Store, errno::Attempt};

const SIGKILL: i32 = 9;
/// Real-time signals are counted from here, as glibc does: the kernel's first two are its own.
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

pub(super) fn run(store: &Store, args: &Kill) -> Result<(), CommandError> {
    let signal = signal(if args.signal.is_empty() { "TERM" } else { &args.signal })
        .ok_or_else(|| CommandError::Usage(format!("unknown signal {:?}", args.signal)))?;
    let (_, record) = store.find(&id(&args.id)?)?;
    let cgroup = record.cgroup()?;
    let init = record.init.open().attempt("open", "container init")?;
    let everyone = args.all || (signal == SIGKILL && !record.own_pids);
    match init {
        // Processes of a shared pid namespace outlive the first one.
        _ if everyone && cgroup.exists() => cgroup.kill_all(signal)?,
        None if args.all => {}
        None => return Err(CommandError::State("container not running".into())),
        Some(init) => davit_sys::signals::send(init.as_fd(), signal).attempt("kill", "container init")?,
    }
    if signal == SIGKILL && cgroup.exists() {
        cgroup.kill_frozen()?;
    }
    Ok(())
}

/// `0` (which only asks), `9`, `KILL`, `SIGKILL`, `RTMIN+1`, in any case.
fn signal(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=SIGRTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return real_time(SIGRTMIN, offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return real_time(SIGRTMAX, offset);
    }
    format!("SIG{name}")
        .parse::<nix::sys::signal::Signal>()
        .ok()
        .map(|signal| signal as i32)
}

fn real_time(base: i32, offset: &str) -> Option<i32> {
    let number = match offset {
        "" => base,
        offset => base.checked_add(offset.parse().ok()?)?,
    };
    (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals_have_numbers_and_names() {
        for (text, number) in [
            ("0", 0),
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigusr1", 10),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(signal(text), Some(number), "{text}");
        }
        for text in ["65", "-1", "SIGNONE", "", "RTMIN+99"] {
            assert_eq!(signal(text), None, "{text}");
        }
    }
}
