use std::{borrow::Borrow, fmt, ops::Deref, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest identifier in bytes; a bundle path that holds two of them stays a valid path.
const LONGEST: usize = 76;

/// Why a text is not an identifier. The words are containerd's, since its clients read them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    /// Empty text.
    #[error("identifier must not be empty")]
    Empty,
    /// More than 76 bytes.
    #[error("identifier {0:?} greater than maximum length (76 characters)")]
    TooLong(String),
    /// Other characters than letters and digits, with single `.`, `_` or `-` between them.
    #[error("identifier {0:?} must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$")]
    Malformed(String),
}

/// Checks containerd's rule: runs of ASCII letters and digits, joined by single `.`, `_` or `-`.
fn check(text: &str) -> Result<(), InvalidIdentifier> {
    if text.is_empty() {
        return Err(InvalidIdentifier::Empty);
    }
    if text.len() > LONGEST {
        return Err(InvalidIdentifier::TooLong(text.into()));
    }
    let runs_are_alphanumeric = text
        .split(['.', '_', '-'])
        .all(|run| !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if !runs_are_alphanumeric {
        return Err(InvalidIdentifier::Malformed(text.into()));
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidIdentifier;

            fn from_str(text: &str) -> Result<Self, InvalidIdentifier> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidIdentifier;

            fn try_from(text: String) -> Result<Self, InvalidIdentifier> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// The id of a container, unique in its namespace. Never contains `/` or `..`: it is safe as a file name.
    ContainerId,
    check
);
identifier!(
    /// The id of an additional process, unique in its container.
    ExecId,
    check
);
identifier!(
    /// A containerd namespace.
    Namespace,
    check
);

/// A snapshot's key may be any text but the empty one: clients put spaces and digests in it.
fn check_key(text: &str) -> Result<(), InvalidIdentifier> {
    if text.is_empty() {
        Err(InvalidIdentifier::Empty)
    } else {
        Ok(())
    }
}

identifier!(
    /// The key or name of a snapshot, unique in its namespace and snapshotter. Not safe as a file name.
    SnapshotKey,
    check_key
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_runs_of_letters_and_digits_with_single_separators() {
        for good in ["a", "A9", "web-1", "a.b_c-d", &"x".repeat(76)] {
            assert!(good.parse::<ContainerId>().is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "-a",
            "a-",
            "a--b",
            "a/b",
            "../a",
            "a b",
            "ä",
            &"x".repeat(77),
        ] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}
