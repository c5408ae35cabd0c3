//! Image references: parsed once, canonical inside, familiar outside.
//!
//! The grammar is that of the distribution project; the familiar forms are Docker's (`busybox` is
//! `docker.io/library/busybox`).

use std::{fmt, str::FromStr};

use davit_vocabulary::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A repository, with a tag, a digest, both or neither.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a reference. The words are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Anything the grammar does not allow.
    #[error("invalid reference format")]
    Format,
    /// Upper-case letters in the repository.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// Looks like an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// More than 255 characters.
    #[error("repository name must not be more than {LONGEST_NAME} characters")]
    TooLong,
}

impl Reference {
    /// The registry: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in its registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The canonical repository: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as users write it: `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(official) if !official.contains('/') => official.into(),
            _ => self.path.clone(),
        }
    }

    /// As users write it, with tag and digest.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    /// With `:latest` where neither tag nor digest is given.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        if !is_tag(tag) {
            return Err(InvalidReference::Format);
        }
        Ok(Self {
            tag: Some(tag.into()),
            digest: None,
            ..self.clone()
        })
    }

    /// The same repository with this digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The key in the image store: a digest wins over a tag, and nothing means `latest`.
    pub fn store_name(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.name()),
            None => format!("{}:{}", self.name(), self.tag().unwrap_or("latest")),
        }
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if text.len() == 64 && text.bytes().all(is_hex) {
            return Err(InvalidReference::LooksLikeId(text.into()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| InvalidReference::Format)?)),
            None => (text, None),
        };
        let (domain, remote) = split_domain(rest);
        let (path, tag) = match remote.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remote.as_str(), None),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(InvalidReference::UpperCase(path.into()));
        }
        let well_formed = is_domain(&domain) && path.split('/').all(is_component) && tag.is_none_or(is_tag);
        if !well_formed {
            return Err(InvalidReference::Format);
        }
        if domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(InvalidReference::TooLong);
        }
        Ok(Self {
            path: path.into(),
            tag: tag.map(Into::into),
            domain,
            digest,
        })
    }
}

/// The registry and the rest. The first part is a registry where it could not be a user: it has a dot or a port, is
/// `localhost`, or has upper-case letters.
fn split_domain(text: &str) -> (String, String) {
    let (domain, remote) = match text.split_once('/') {
        Some((first, rest)) if names_registry(first) => (first, rest),
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DOMAIN {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !remote.contains('/') {
        return (domain.into(), format!("{OFFICIAL}{remote}"));
    }
    (domain.into(), remote.into())
}

fn names_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, after)) = rest.split_once(']') else {
                return false;
            };
            let is_address = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            return is_address && (after.is_empty() || after.strip_prefix(':').is_some_and(is_port));
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let starts_and_ends_well = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    starts_and_ends_well
        && separators
            .into_iter()
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(is_word)
        && bytes.len() <= LONGEST_TAG
        && bytes.iter().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, canonical: &str, familiar: &str) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.to_string(), canonical, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(canonical.parse::<Reference>().unwrap(), reference, "{text}");
    }

    #[test]
    fn familiar_names_become_canonical_and_come_back() {
        check("busybox", "docker.io/library/busybox", "busybox");
        check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
        check("me/web", "docker.io/me/web", "me/web");
        check("index.docker.io/me/web:x", "docker.io/me/web:x", "me/web:x");
        check("docker.io/busybox", "docker.io/library/busybox", "busybox");
        check("localhost/a", "localhost/a", "localhost/a");
        check(
            "localhost:5000/a/b__c:t",
            "localhost:5000/a/b__c:t",
            "localhost:5000/a/b__c:t",
        );
        check("ghcr.io/x/y-z", "ghcr.io/x/y-z", "ghcr.io/x/y-z");
        check("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a");
        check("Host/a", "Host/a", "Host/a");
        check("library/a", "docker.io/library/a", "a");
    }

    #[test]
    fn a_digest_wins_over_a_tag_as_the_name_in_the_store() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let both: Reference = format!("busybox:1@{digest}").parse().unwrap();
        assert_eq!(both.store_name(), format!("docker.io/library/busybox@{digest}"));
        assert_eq!(both.familiar(), format!("busybox:1@{digest}"));
        assert_eq!(
            "busybox".parse::<Reference>().unwrap().store_name(),
            "docker.io/library/busybox:latest"
        );
        assert_eq!(
            "busybox".parse::<Reference>().unwrap().or_latest().familiar(),
            "busybox:latest"
        );
    }

    #[test]
    fn texts_outside_the_grammar_are_refused_in_dockers_words() {
        for bad in [
            "",
            ":",
            "a:",
            "a:b:c",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a..b",
            "a___b",
            "a@sha256:00",
            "a b",
            "a/../b",
        ] {
            let error = bad.parse::<Reference>().unwrap_err();
            assert_eq!(error, InvalidReference::Format, "{bad:?}");
        }
        for bad in ["http://x/y", "a:-x", "ex ample.com/a", "é"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "Busybox".parse::<Reference>().unwrap_err().to_string(),
            "invalid reference format: repository name (library/Busybox) must be lowercase"
        );
        let id = "0".repeat(64);
        assert_eq!(
            id.parse::<Reference>().unwrap_err().to_string(),
            format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings")
        );
        assert_eq!(
            "a".repeat(256).parse::<Reference>().unwrap_err(),
            InvalidReference::TooLong
        );
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }
}
