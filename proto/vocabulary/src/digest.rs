use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The hash of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: 64 hexadecimal digits.
    Sha256,
    /// SHA-512: 128 hexadecimal digits.
    Sha512,
}

impl Algorithm {
    /// The name as it stands before the colon, and as the folder in a content store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// `algorithm:hex` (OCI image-spec, descriptor, "Digests"), in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    text: String,
}

/// A text that is not a digest of a known algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid digest {0:?}: expected sha256: or sha512: and its lower-case hexadecimal digits")]
pub struct InvalidDigest(pub String);

impl InvalidDigest {
    /// What is wrong with it, in the words of the Go library that containerd's clients and containerd itself use.
    pub fn reason(&self) -> &'static str {
        let Some((name, hex)) = self
            .0
            .split_once(':')
            .filter(|(name, hex)| !name.is_empty() && !hex.is_empty())
        else {
            return FORMAT;
        };
        let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let digits = match name {
            "sha256" => Algorithm::Sha256.digits(),
            "sha512" => Algorithm::Sha512.digits(),
            name if is_algorithm(name) && hex.bytes().all(is_encoded) => return "unsupported digest algorithm",
            _ => return FORMAT,
        };
        if hex.len() != digits {
            "invalid checksum digest length"
        } else if is_hex {
            // It was cut for the message.
            "invalid checksum digest"
        } else {
            FORMAT
        }
    }
}

const FORMAT: &str = "invalid checksum digest format";

/// `[a-z0-9]+([.+_-][a-z0-9]+)*` (OCI image-spec, descriptor, "Digests").
fn is_algorithm(name: &str) -> bool {
    name.split(['.', '+', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')))
}

fn is_encoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b'_' | b'-')
}

impl Digest {
    /// A SHA-256 digest of these 32 bytes.
    pub fn sha256(hash: [u8; 32]) -> Self {
        let mut text = String::from("sha256:");
        for byte in hash {
            text.push_str(&format!("{byte:02x}"));
        }
        Self {
            algorithm: Algorithm::Sha256,
            text,
        }
    }

    /// The hash used.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits alone: safe as a file name.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.name().len() + 1..]
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest(text.chars().take(200).collect());
        let (name, hex) = text.split_once(':').ok_or_else(invalid)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(invalid()),
        };
        let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if hex.len() != algorithm.digits() || !is_hex {
            return Err(invalid());
        }
        Ok(Self {
            algorithm,
            text: text.into(),
        })
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_digests_of_known_algorithms_parse() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().hex(), "0a".repeat(32));
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:00",
            &good.to_uppercase(),
            &format!("md5:{}", "0".repeat(32)),
            "sha256:../x",
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_digest_is_said_in_the_words_of_its_go_library() {
        for (text, reason) in [
            ("", "invalid checksum digest format"),
            ("sha256:", "invalid checksum digest format"),
            (":00", "invalid checksum digest format"),
            ("SHA256:00", "invalid checksum digest format"),
            ("sha256:../x", "invalid checksum digest length"),
            (&format!("sha256:{}", "G".repeat(64)), "invalid checksum digest format"),
            ("sha1:da39", "unsupported digest algorithm"),
        ] {
            assert_eq!(text.parse::<Digest>().unwrap_err().reason(), reason, "{text}");
        }
    }
}
