//! What a driver is handed: one line of output, or a piece of a long one.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;

/// The stream that a piece of output came from, under its name in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Source {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line without its newline, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub source: Source,
    /// When the line began.
    pub time: Timestamp,
    pub line: Cow<'a, [u8]>,
    /// Set where the line is cut.
    pub partial: Option<Partial>,
}

impl Record<'_> {
    pub fn into_owned(self) -> Record<'static> {
        Record {
            line: self.line.into_owned().into(),
            ..self
        }
    }

    /// Whether a newline stood behind it.
    pub fn ends_line(&self) -> bool {
        self.partial.is_none_or(|partial| partial.last)
    }
}

/// The place of a piece in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Shared by all pieces of the line.
    pub id: RandomId,
    /// Counted from 1.
    pub ordinal: u32,
    /// The newline stood behind this piece. A line that the end of its stream cuts off has no last piece, as in Docker.
    pub last: bool,
}

/// Tells lines, or runs of a driver, from all others. Printed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RandomId([u8; 32]);

impl RandomId {
    pub fn new() -> Self {
        let mut bytes = [0; 32];
        // It fails only before the kernel's pool is ready, that is, never where containers run; nothing secret hangs on it.
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The id of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first bytes, for ids that are shorter.
    pub fn short(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }
}

impl fmt::Display for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
