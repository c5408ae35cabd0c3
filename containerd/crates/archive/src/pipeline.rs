//! Inflating on a thread of its own, so that it overlaps with hashing and writing.

use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use davit_vocabulary::Digest;
use sha2::{Digest as _, Sha256};

use crate::compression::decode;

const CHUNK: usize = 256 * 1024;
/// Chunks between the threads: memory is bounded, and short stalls of one side do not stop the other.
const AHEAD: usize = 8;

/// The plain bytes of a layer, counted and hashed as they are read.
pub struct PlainStream {
    chunks: Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    position: usize,
    hasher: Sha256,
    length: u64,
}

/// Runs `work` on the plain bytes of `source`; what `work` leaves unread is not hashed.
pub fn with_plain<R>(source: impl Read + Send, work: impl FnOnce(&mut PlainStream) -> R) -> R {
    thread::scope(|scope| {
        let (sender, chunks) = sync_channel(AHEAD);
        scope.spawn(move || inflate(source, &sender));
        let mut stream = PlainStream {
            chunks,
            current: Vec::new(),
            position: 0,
            hasher: Sha256::new(),
            length: 0,
        };
        // The stream is dropped before the scope joins, which ends an inflating thread that nobody reads any more.
        let result = work(&mut stream);
        drop(stream);
        result
    })
}

fn inflate(source: impl Read + Send, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut plain = match decode(source) {
        Ok(plain) => plain,
        Err(error) => return drop(sender.send(Err(error))),
    };
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = plain.by_ref().take(CHUNK as u64).read_to_end(&mut chunk);
        let is_end = chunk.is_empty();
        if !is_end && sender.send(Ok(chunk)).is_err() {
            return;
        }
        match read {
            Err(error) => return drop(sender.send(Err(error))),
            Ok(_) if is_end => return,
            Ok(_) => {}
        }
    }
}

impl PlainStream {
    /// Reads to the end, so that the digest covers the whole archive.
    pub fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(drop)
    }

    /// The digest of all bytes read, and their number.
    pub fn digest(&self) -> (Digest, u64) {
        (Digest::sha256(self.hasher.clone().finalize().into()), self.length)
    }
}

impl Read for PlainStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() {
            match self.chunks.recv() {
                Err(_) => return Ok(0),
                Ok(chunk) => {
                    self.current = chunk?;
                    self.position = 0;
                    self.hasher.update(&self.current);
                    self.length += self.current.len() as u64;
                }
            }
        }
        let left = &self.current[self.position..];
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.position += count;
        Ok(count)
    }
}
