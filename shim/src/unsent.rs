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
        } else if self.sent > self.left().len() {
            // Nor does what is sent: there may always be something left. Each byte is moved once at most for one that is sent.
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_not_kept_although_something_is_always_left() {
        let mut unsent = Unsent::new(vec![0; 100]);
        let mut next = 0_u8;
        for _ in 0..10_000 {
            unsent.buffer().extend(std::iter::repeat_n(next, 100));
            unsent.advance(100);
            assert_eq!(unsent.left(), [next; 100]);
            assert!(unsent.bytes.len() <= 300, "{}", unsent.bytes.len());
            next = next.wrapping_add(1);
        }
        unsent.advance(100);
        assert_eq!((unsent.is_empty(), unsent.bytes.capacity()), (true, 0));
    }
}
