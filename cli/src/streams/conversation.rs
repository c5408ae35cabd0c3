//! A user's terminal or pipes, talking to a process in a container.

use std::future;

use super::{End, Pump};
use crate::{
    client::{Client, Hijacked},
    command_error::CommandError,
    terminal::{self, DetachKeys, RawMode, Resizable, Signals},
};

/// How a process is talked to.
#[derive(Debug)]
pub struct Conversation<'a> {
    /// The engine.
    pub client: &'a Client,
    /// Whether standard input is sent.
    pub stdin: bool,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// The keys that end the conversation.
    pub detach_keys: DetachKeys,
    /// Whose terminal follows the size of ours.
    pub target: Resizable,
    /// The signals, where a container gets them; else they end this program.
    pub signals: Option<&'a mut Signals>,
}

impl Conversation<'_> {
    /// Talks until the process says no more or the user leaves. The terminal is as it was when this returns.
    pub async fn hold(self, hijacked: Hijacked) -> Result<End, CommandError> {
        let keyboard = self.stdin && self.tty && terminal::stdin_is_terminal();
        let raw = keyboard.then(RawMode::enter).transpose()?;
        let pump = Pump {
            stdin: self.stdin,
            detach_keys: keyboard.then_some(self.detach_keys),
        };
        let end = tokio::select! {
            end = pump.run(hijacked) => end,
            () = follow_size(self.client, &self.target, self.tty) => Ok(End::Detached),
            error = forward(self.client, self.signals) => Err(error),
        };
        drop(raw);
        end
    }
}

async fn follow_size(client: &Client, target: &Resizable, tty: bool) {
    if tty && terminal::stdout_is_terminal() {
        terminal::follow_size(client, target).await;
    }
    future::pending().await
}

async fn forward(client: &Client, signals: Option<&mut Signals>) -> CommandError {
    match signals {
        Some(signals) => match signals.forward(client).await {},
        None => CommandError::signal(terminal::last_one().await),
    }
}
