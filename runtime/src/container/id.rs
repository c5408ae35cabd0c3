//! The name of a container.

use std::{fmt, str::FromStr};

/// The longest id; it names a folder and a cgroup.
const MAX: usize = 250;

/// A container's id: letters, digits and `_ + - .`, beginning with none but a letter, a digit or `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerId(String);

/// An id that is no name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid container ID format: {0:?}: 1 to {MAX} of a-z, A-Z, 0-9, _ + - . and no dot in front")]
pub struct InvalidId(String);

impl ContainerId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        // A dot in front would be a hidden folder, which the store keeps for itself, or lead out of it.
        match text.chars().all(allowed) && !text.is_empty() && !text.starts_with('.') && text.len() <= MAX {
            true => Ok(ContainerId(text.into())),
            false => Err(InvalidId(text.into())),
        }
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_file_name() {
        assert!("0a-b_c.d+e".parse::<ContainerId>().is_ok());
        for bad in ["", ".", "..", "../x", "a/b", "a b", ".hidden", "ä", &"x".repeat(300)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }
}
