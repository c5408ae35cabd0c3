//! The user's terminal: raw mode and its certain end, its size, the detach keys, and signals on their way to a container.

mod detach_keys;
mod raw_mode;
mod resize;
mod signals;

use std::io::IsTerminal;

pub use detach_keys::{DetachKeys, DetachKeysError};
pub use raw_mode::{RawMode, restore};
pub use resize::{Resizable, follow_size};
pub use signals::{Signals, last_one};

use crate::command_error::CommandError;

/// Rows and columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u16,
    /// Columns.
    pub columns: u16,
}

/// The size of the terminal at standard output, if there is one and it knows.
pub fn size() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Refuses a terminal for a process whose input would not come from one.
pub fn require(attach_stdin: bool, tty: bool) -> Result<(), CommandError> {
    if attach_stdin && tty && !stdin_is_terminal() {
        return Err(
            CommandError::user("the input device is not a TTY").hint("leave -t out, or run davit in a terminal")
        );
    }
    Ok(())
}
