//! The keys that end an attached session and leave the process running.

use crate::error::ApiError;

/// ctrl-p, ctrl-q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Watches input for the detach sequence. What may still become the sequence is held back until it cannot.
#[derive(Debug)]
pub struct DetachKeys {
    keys: Vec<u8>,
    seen: usize,
}

impl DetachKeys {
    /// Docker's default.
    pub fn standard() -> Self {
        Self {
            keys: DEFAULT.to_vec(),
            seen: 0,
        }
    }

    /// Parses `ctrl-p,ctrl-q` and the like; empty is Docker's default.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text.is_empty() {
            return Ok(Self::standard());
        }
        let keys = text.split(',').map(key).collect::<Option<_>>();
        let invalid = || ApiError::invalid(format!("Invalid detach keys ({text}) provided"));
        Ok(Self {
            keys: keys.ok_or_else(invalid)?,
            seen: 0,
        })
    }

    /// The bytes to pass on, and whether the sequence is complete.
    pub fn filter(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(input.len());
        for &byte in input {
            if byte == self.keys[self.seen] {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(byte == self.keys[0]);
            if self.seen == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

fn key(text: &str) -> Option<u8> {
    if let [only] = text.as_bytes() {
        return Some(*only);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        b"[" => Some(27),
        b"\\" => Some(28),
        b"]" => Some(29),
        b"^" => Some(30),
        b"_" => Some(31),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_ends_the_session_and_parts_of_it_are_passed_on() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.filter(b"ab"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(&[0x10]), (vec![], false));
        assert_eq!(keys.filter(b"x"), (vec![0x10, b'x'], false));
        assert_eq!(keys.filter(&[b'y', 0x10, 0x11, b'z']), (vec![b'y'], true));
    }

    #[test]
    fn keys_are_letters_or_ctrl_and_one() {
        let mut keys = DetachKeys::parse("ctrl-a,d").unwrap();
        assert_eq!(keys.filter(&[1, b'd']), (vec![], true));
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b"] {
            assert!(DetachKeys::parse(bad).is_err(), "{bad}");
        }
    }
}
