//! Named steps at which a test can let the daemon die, as a crash would.
//!
//! A debug build kills itself at the step whose name is in `DAVIT_FAIL_POINT`; a release build has none of this.

/// The process is at the step of this name.
#[inline(always)]
pub(crate) fn reach(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os("DAVIT_FAIL_POINT").is_some_and(|wanted| wanted == name) {
        // An error would let the test fail.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
