//! Input from attached clients on its way to the process.

use std::{os::fd::OwnedFd, sync::Arc};

use tokio::io::unix::AsyncFd;

use super::Attach;
use crate::stdio::fd::write_all;

/// Input that the process has not taken.
#[derive(Debug)]
pub struct PendingInput {
    waiting: Vec<u8>,
    /// Bytes that were accepted from clients.
    received: u64,
    /// Bytes that the process's pipe has taken.
    taken: u64,
    /// No more will be accepted.
    closed: bool,
}

impl PendingInput {
    /// Nothing yet; where the process has no attached stdin, nothing ever.
    pub fn new(open: bool) -> Self {
        Self {
            waiting: Vec::new(),
            received: 0,
            taken: 0,
            closed: !open,
        }
    }

    /// Offset of the next byte.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// All before this offset is with the process.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many bytes wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Accepts input. What was accepted before is dropped, and so is what lies behind a gap: its sender has lost count.
    pub fn push(&mut self, offset: Option<u64>, bytes: &[u8]) {
        let offset = offset.unwrap_or(self.received);
        let Some(known) = self.received.checked_sub(offset) else {
            return;
        };
        let news = bytes.get(known as usize..).unwrap_or_default();
        if !self.closed {
            self.waiting.extend_from_slice(news);
        } else {
            self.taken += news.len() as u64;
        }
        self.received += news.len() as u64;
    }
}

impl Attach {
    /// No more input will be accepted.
    pub fn close_stdin(&self) {
        self.state().input.closed = true;
        self.changed.notify_waiters();
    }

    /// Feeds input to the process until it is closed. A process that has closed its stdin takes everything: nobody waits.
    pub(in crate::stdio) async fn feed_stdin(self: Arc<Self>, sink: Arc<AsyncFd<OwnedFd>>) {
        loop {
            self.until(|state| state.input.waiting() > 0 || state.input.closed)
                .await;
            let bytes = std::mem::take(&mut self.state().input.waiting);
            if bytes.is_empty() {
                return;
            }
            let written = write_all(&sink, &bytes).await;
            let mut state = self.state();
            state.input.taken += bytes.len() as u64;
            if written.is_err() {
                state.input.closed = true;
                state.input.taken = state.input.received;
                state.input.waiting = Vec::new();
            }
            drop(state);
            self.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_that_is_sent_again_counts_once_and_input_behind_a_gap_does_not_count() {
        let mut input = PendingInput::new(true);
        input.push(Some(0), b"abc");
        input.push(Some(1), b"bcd");
        input.push(Some(0), b"ab");
        input.push(Some(9), b"z");
        input.push(None, b"e");
        assert_eq!((input.waiting.as_slice(), input.received()), (&b"abcde"[..], 5));
    }

    #[test]
    fn input_for_a_closed_stdin_is_taken_at_once() {
        let mut input = PendingInput::new(false);
        input.push(None, b"abc");
        assert_eq!((input.waiting(), input.taken()), (0, 3));
    }
}
