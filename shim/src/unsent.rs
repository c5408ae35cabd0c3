//! Bytes on their way to somebody who takes them when it suits him.

/// Bytes to send, some of them sent.
#[derive(Debug, Default)]
pub struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
}

impl Unsent {
    /// These bytes, none of them sent.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    /// What is to be sent.
    pub fn left(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.left().is_empty()
    }

    /// A buffer to add bytes to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// So many more bytes are sent.
    pub fn advance(&mut self, length: usize) {
        self.sent += length;
        if self.is_empty() {
            // What is idle holds no memory.
            *self = Self::default();
        }
    }
}
