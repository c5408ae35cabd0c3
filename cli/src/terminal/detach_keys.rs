//! The keys that leave a container without stopping it.

use std::str::FromStr;

use bytes::Bytes;

/// Watches typed bytes for the detach sequence, by default ctrl-p ctrl-q.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    sequence: Vec<u8>,
    matched: usize,
}

/// A sequence that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid detach keys ({text}): unknown character: '{part}'")]
pub struct DetachKeysError {
    text: String,
    part: String,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self {
            sequence: vec![0x10, 0x11],
            matched: 0,
        }
    }
}

impl FromStr for DetachKeys {
    type Err = DetachKeysError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = |part: &str| {
            key(part).ok_or_else(|| DetachKeysError {
                text: text.to_owned(),
                part: part.to_owned(),
            })
        };
        Ok(Self {
            sequence: text.split(',').map(key).collect::<Result<_, _>>()?,
            matched: 0,
        })
    }
}

/// `a` or `ctrl-a`.
fn key(part: &str) -> Option<u8> {
    if let &[byte] = part.as_bytes() {
        return Some(byte);
    }
    match part.strip_prefix("ctrl-")?.as_bytes() {
        &[letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        b"@" => Some(0),
        &[sign @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'[' + 27),
        _ => None,
    }
}

impl DetachKeys {
    /// Passes typed bytes on, holding back what may be the begin of the sequence. `true` when it is complete.
    pub fn pass(&mut self, typed: &[u8]) -> (Bytes, bool) {
        let mut passed = Vec::with_capacity(typed.len() + self.matched);
        for &byte in typed {
            if byte != self.sequence[self.matched] {
                // What was held back is typed text after all; this byte may begin the sequence anew.
                passed.extend_from_slice(&self.sequence[..self.matched]);
                self.matched = 0;
            }
            if byte != self.sequence[self.matched] {
                passed.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.sequence.len() {
                return (passed.into(), true);
            }
        }
        (passed.into(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: &str, typed: &[&[u8]], passed: &[u8], detached: bool) {
        let mut keys: DetachKeys = keys.parse().unwrap();
        let mut all = Vec::new();
        let mut end = false;
        for chunk in typed {
            let (bytes, now) = keys.pass(chunk);
            all.extend_from_slice(&bytes);
            end |= now;
        }
        assert_eq!((all.as_slice(), end), (passed, detached));
    }

    #[test]
    fn the_sequence_detaches_and_everything_else_passes() {
        check("ctrl-p,ctrl-q", &[b"ls\n\x10\x11rest"], b"ls\n", true);
        check("ctrl-p,ctrl-q", &[b"\x10", b"\x11"], b"", true);
        check("ctrl-p,ctrl-q", &[b"\x10", b"x"], b"\x10x", false);
        check("ctrl-p,ctrl-q", &[b"\x10\x10\x11"], b"\x10", true);
        check("a,b,c", &[b"abxabc"], b"abx", true);
        check("ctrl-@,ctrl-_", &[b"\0\x1f"], b"", true);
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for bad in ["", "ctrl-", "ctrl-A", "ctrl-p,,x", "ab", "ctrl-1"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad}");
        }
        assert_eq!("ctrl-p,ctrl-q".parse(), Ok(DetachKeys::default()));
    }
}
