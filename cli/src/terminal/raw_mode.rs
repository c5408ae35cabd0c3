//! Raw mode: every key goes to the container.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// The state to go back to. It is global so that a panic, which runs no destructor in a release build, can use it too.
static COOKED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode while it lives.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes the terminal at standard input raw.
    pub fn enter() -> io::Result<Self> {
        let cooked = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = cooked.clone();
        raw.make_raw();
        *COOKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(cooked);
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal its old state back, once.
pub fn restore() {
    let cooked = COOKED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(cooked) = cooked {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &cooked);
    }
}
