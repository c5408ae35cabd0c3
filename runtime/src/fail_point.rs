//! Named steps at which a test can let the runtime die, as a crash or the kernel's OOM killer would.
//!
//! A debug build looks for the name of the step in `DAVIT_FAIL_POINT` and kills itself there; `NAME:stop` stops it
//! instead, so that a test can look at the moment between two steps. A release build has none of this. The part of the
//! name before the dot is the command whose step it is; the test finds the names in the source.

/// The process is at the step of this name.
#[inline(always)]
pub fn reach(name: &str) {
    #[cfg(debug_assertions)]
    obey(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
fn obey(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};

    let Ok(wanted) = std::env::var("DAVIT_FAIL_POINT") else {
        return;
    };
    let signal = match wanted.strip_prefix(name) {
        Some("") => Signal::KILL,
        Some(":stop") => Signal::STOP,
        _ => return,
    };
    let _ = kill_process(getpid(), signal);
    if signal == Signal::KILL {
        // The first process of a pid namespace is deaf to its own signals.
        davit_sys::clone::exit_now(137);
    }
}
