//! Named steps at which a test lets the manager or a shim die, as a crash or the kernel's OOM killer would.
//!
//! A debug build looks for an order in `DAVIT_FAIL_POINT`: the name of a step, at which it kills itself, or `NAME:stop`, at which
//! it stops, so that a test can look at the moment between two steps. `@FILE` says that the order is in a file: it may be given
//! when the program runs already, counts for all programs with this variable, and is carried out once, by who takes the file
//! away. A release build has none of this.
//!
//! The part of a name before the first dot is the program, the part before the second what it is doing; the tests find the names in
//! the source. The runtime, which links nothing of this folder, has its own (`runtime/src/fail_point.rs`); its names have one dot, so
//! that a variable that is inherited by all means one program.

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

    let Ok(given) = std::env::var("DAVIT_FAIL_POINT") else {
        return;
    };
    let order = match given.strip_prefix('@') {
        None => is_stop(&given, name),
        Some(file) => is_stop(&std::fs::read_to_string(file).unwrap_or_default(), name)
            // Of all who read it one takes it away.
            .filter(|_| std::fs::remove_file(file).is_ok()),
    };
    if let Some(is_stop) = order {
        let signal = if is_stop { Signal::STOP } else { Signal::KILL };
        // An error would let the test fail.
        let _ = kill_process(getpid(), signal);
    }
}

/// Whether an order for the step of this name is to stop; `None` where it is for another.
#[cfg(debug_assertions)]
fn is_stop(order: &str, name: &str) -> Option<bool> {
    match order.trim_end().strip_prefix(name)? {
        "" => Some(false),
        ":stop" => Some(true),
        _ => None,
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_for_one_step_alone() {
        for (order, expected) in [
            ("a.b.c", Some(false)),
            ("a.b.c\n", Some(false)),
            ("a.b.c:stop", Some(true)),
            ("a.b.cd", None),
            ("a.b", None),
            ("", None),
        ] {
            assert_eq!(is_stop(order, "a.b.c"), expected, "{order}");
        }
    }
}
