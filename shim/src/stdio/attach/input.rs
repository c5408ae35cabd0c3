//! Input from attached clients on its way to the process.

use std::{io, os::fd::OwnedFd, sync::Arc};

use davit_luggage::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use super::Attach;
use crate::unsent::Unsent;

/// Input that the process has not taken.
#[derive(Debug)]
pub struct PendingInput {
    waiting: Unsent,
    /// Bytes that were accepted from clients.
    received: u64,
    /// Bytes that the process's pipe has taken.
    taken: u64,
    /// No more will be accepted.
    closed: bool,
}

/// Input on its way to another program of ours.
#[derive(Debug, Serialize, Deserialize)]
pub struct PendingInputState {
    waiting: Bytes,
    received: u64,
    taken: u64,
    closed: bool,
}

impl PendingInput {
    /// Nothing yet; where the process has no attached stdin, nothing ever.
    pub fn new(open: bool) -> Self {
        Self {
            waiting: Unsent::default(),
            received: 0,
            taken: 0,
            closed: !open,
        }
    }

    /// The input, for another program of ours.
    pub fn pack(&self) -> PendingInputState {
        PendingInputState {
            waiting: Bytes(self.waiting.left().to_vec()),
            received: self.received,
            taken: self.taken,
            closed: self.closed,
        }
    }

    /// The input of another program of ours.
    pub fn unpack(state: PendingInputState) -> Self {
        Self {
            waiting: Unsent::new(state.waiting.0),
            received: state.received,
            taken: state.taken,
            closed: state.closed,
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
        self.waiting.left().len()
    }

    /// Accepts input. What was accepted before is dropped, and so is what lies behind a gap: its sender has lost count.
    pub fn push(&mut self, offset: Option<u64>, bytes: &[u8]) {
        let offset = offset.unwrap_or(self.received);
        let Some(known) = self.received.checked_sub(offset) else {
            return;
        };
        let news = bytes.get(known as usize..).unwrap_or_default();
        if !self.closed {
            self.waiting.buffer().extend_from_slice(news);
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
            if self.state().input.waiting() == 0 {
                return;
            }
            let fed = match sink.writable().await {
                Ok(mut ready) => ready.try_io(|fd| self.state().input.feed(fd.get_ref())),
                Err(error) => Ok(Err(error)),
            };
            match fed {
                Ok(Ok(())) => self.changed.notify_waiters(),
                Ok(Err(_)) => {
                    self.state().input.give_up();
                    self.changed.notify_waiters();
                }
                Err(_would_block) => {}
            }
        }
    }
}

impl PendingInput {
    /// Writes what can be written without waiting.
    fn feed(&mut self, sink: &OwnedFd) -> io::Result<()> {
        match rustix::io::write(sink, self.waiting.left()) {
            Ok(length) => {
                self.waiting.advance(length);
                self.taken += length as u64;
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The process takes nothing any more.
    fn give_up(&mut self) {
        self.closed = true;
        self.taken = self.received;
        self.waiting = Unsent::default();
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
        assert_eq!((input.waiting.left(), input.received()), (&b"abcde"[..], 5));
    }

    #[test]
    fn input_for_a_closed_stdin_is_taken_at_once() {
        let mut input = PendingInput::new(false);
        input.push(None, b"abc");
        assert_eq!((input.waiting(), input.taken()), (0, 3));
    }
}
