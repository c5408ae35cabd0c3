//! How a user and signals get away from a container that one is attached to.

use clap::{ArgAction, Args};

use crate::terminal::DetachKeys;

/// Flags of everything that attaches.
#[derive(Debug, Args)]
pub struct LeaveFlags {
    /// Keys that leave the container without stopping it
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    pub detach_keys: DetachKeys,
    /// Forward signals to the container
    #[arg(
        long,
        value_name = "BOOL",
        action = ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub sig_proxy: bool,
}
