//! Descriptors that the program gets from whoever called the runtime.

use davit_sys::fds::{close_inherited_from, is_open};

/// The first descriptor that is not a standard stream.
const FIRST: u32 = 3;

/// A descriptor that was promised and is not there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unable to preserve fd {0} (it is not open): check --preserve-fds and LISTEN_FDS")]
pub struct InheritedError(u32);

/// Closes all descriptors that are not to be passed on: what a careless caller left open must not be within reach when
/// a path of config.json is resolved (CVE-2024-21626). To be called while nothing of our own is
/// open.
pub fn close_others(preserve: u32) {
    if let Ok((kept, _)) = count(preserve, |name| std::env::var(name).ok()) {
        // Without close_range (before Linux 5.9) nothing else here would work either.
        let _ = close_inherited_from(FIRST + kept);
    }
}

/// How many descriptors from 3 on to pass on, and how many of them are listening sockets (sd_listen_fds(3)): those
/// that LISTEN_FDS counts, if LISTEN_PID names this process, and `preserve` after them.
pub fn count(preserve: u32, variable: impl Fn(&str) -> Option<String>) -> Result<(u32, u32), InheritedError> {
    let for_us = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    let listen = variable("LISTEN_FDS")
        .filter(|_| for_us)
        .and_then(|count| count.parse().ok())
        .unwrap_or(0);
    let total = preserve.saturating_add(listen);
    match (FIRST..FIRST.saturating_add(total)).find(|fd| !is_open(*fd as i32)) {
        Some(fd) => Err(InheritedError(fd)),
        None => Ok((total, listen)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_passed_on_unasked() {
        assert_eq!(count(0, |_| None), Ok((0, 0)));
        let of_nobody = |name: &str| (name == "LISTEN_FDS").then(|| "5".to_owned());
        assert_eq!(count(0, of_nobody), Ok((0, 0)));
        let of_another = |name: &str| Some(if name == "LISTEN_PID" { "1" } else { "5" }.to_owned());
        assert_eq!(count(0, of_another), Ok((0, 0)));
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_named() {
        assert!(count(100_000, |_| None).is_err());
    }
}
