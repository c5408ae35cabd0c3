//! Names of images in registries.

use std::{fmt, str::FromStr};

use davit_vocabulary::Digest;

/// The registry of names without a host.
const DEFAULT_HOST: &str = "docker.io";
/// The folder of names without one, at the default registry.
const DEFAULT_FOLDER: &str = "library";
/// The longest host and path together.
const LONGEST: usize = 255;

/// A full image name: `host[:port]/path[:tag][@digest]`, with a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// There is no host before the first slash.
    #[error("invalid reference {0:?}: hostname required")]
    NoHost(String),
    /// There is neither a tag nor a digest.
    #[error("invalid reference {0:?}: object required")]
    NoObject(String),
    /// A part of it breaks the grammar.
    #[error("invalid reference {name:?}: {problem}")]
    Malformed {
        /// The text.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
}

impl Reference {
    /// The registry, with its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The registry, without its port.
    pub fn host_name(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, _)) if !self.host.ends_with(']') => name,
            _ => &self.host,
        }
    }

    /// The repository at the registry.
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

    /// The name as people write it: without what [`Reference::parse_familiar`] adds, but with its tag.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full
            .strip_prefix("docker.io/library/")
            .filter(|rest| !rest.contains('/'));
        short
            .or_else(|| full.strip_prefix("docker.io/"))
            .unwrap_or(&full)
            .to_owned()
    }

    /// Parses a name as people write it: `busybox` is `docker.io/library/busybox:latest`.
    pub fn parse_familiar(text: &str) -> Result<Self, InvalidReference> {
        let (first, rest) = text.split_once('/').unwrap_or(("", text));
        let is_host =
            first == "localhost" || first.contains(['.', ':']) || first.chars().any(|c| c.is_ascii_uppercase());
        let mut full = match is_host {
            true if first == "index.docker.io" => format!("{DEFAULT_HOST}/{rest}"),
            true => text.to_owned(),
            false => format!("{DEFAULT_HOST}/{text}"),
        };
        if let Some(rest) = full.strip_prefix("docker.io/")
            && !rest.contains('/')
        {
            full = format!("{DEFAULT_HOST}/{DEFAULT_FOLDER}/{rest}");
        }
        let (mut parsed, object) = parse(&full)?;
        if !object {
            parsed.tag = Some("latest".into());
        }
        Ok(parsed)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    /// Parses a full name, as containerd's clients must give it.
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        match parse(text)? {
            (parsed, true) => Ok(parsed),
            (_, false) => Err(InvalidReference::NoObject(short(text))),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Parses a name with a host; whether it has a tag or a digest is told beside it.
fn parse(text: &str) -> Result<(Reference, bool), InvalidReference> {
    let malformed = |problem| InvalidReference::Malformed {
        name: short(text),
        problem,
    };
    let (name, digest) = match text.split_once('@') {
        None => (text, None),
        Some((name, digest)) => (name, Some(digest.parse().map_err(|_| malformed("bad digest"))?)),
    };
    let (host, rest) = name
        .split_once('/')
        .ok_or_else(|| InvalidReference::NoHost(short(text)))?;
    if host.is_empty() {
        return Err(InvalidReference::NoHost(short(text)));
    }
    let (path, tag) = match rest.rsplit_once(':') {
        None => (rest, None),
        Some((path, tag)) => (path, Some(tag)),
    };
    if !is_host(host) {
        return Err(malformed("bad host"));
    }
    if !path.split('/').all(is_path_part) || host.len() + path.len() > LONGEST {
        return Err(malformed("bad repository name"));
    }
    if !tag.is_none_or(is_tag) {
        return Err(malformed("bad tag"));
    }
    let has_object = tag.is_some() || digest.is_some();
    let reference = Reference {
        host: host.into(),
        path: path.into(),
        tag: tag.map(Into::into),
        digest,
    };
    Ok((reference, has_object))
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.split('.').all(is_label)
}

/// Runs of lower-case letters and digits, with `.`, `_`, `__` or dashes between them.
fn is_path_part(part: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| is_alphanumeric(*byte));
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return false;
    }
    bytes
        .split(|byte| is_alphanumeric(*byte))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = tag.as_bytes();
    let inner = bytes
        .iter()
        .skip(1)
        .all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'));
    bytes.first().is_some_and(|byte| is_word(*byte)) && inner && bytes.len() <= 128
}

fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn full_names_are_taken_apart() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let full = format!("localhost:5000/a/b.c__d:v1@{digest}");
        let parsed: Reference = full.parse().unwrap();
        assert_eq!(
            (parsed.host(), parsed.path(), parsed.tag()),
            ("localhost:5000", "a/b.c__d", Some("v1"))
        );
        assert_eq!(parsed.digest().unwrap().as_str(), digest);
        assert_eq!(parsed.to_string(), full);
        assert_eq!(parsed.host_name(), "localhost");
        assert_eq!("[::1]/a:1".parse::<Reference>().unwrap().host_name(), "[::1]");
    }

    #[test]
    fn names_that_are_not_full_are_refused() {
        let refused = |text: &str| text.parse::<Reference>().unwrap_err();
        assert!(matches!(refused("busybox"), InvalidReference::NoHost(_)));
        assert!(matches!(
            refused("docker.io/library/busybox"),
            InvalidReference::NoObject(_)
        ));
        for bad in [
            "docker.io/Library/x:1",
            "docker.io/a//b:1",
            "docker.io/../b:1",
            "docker.io/a:ü",
            "docker.io/a@sha256:1",
            "do cker.io/a:1",
            "/a:1",
            "host:99999/a:1",
            "docker.io/a._b:1",
            "docker.io/-a:1",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn familiar_names_are_completed() {
        let familiar = |text: &str| Reference::parse_familiar(text).unwrap().to_string();
        assert_eq!(familiar("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(familiar("me/app:1"), "docker.io/me/app:1");
        assert_eq!(familiar("localhost/app"), "localhost/app:latest");
        assert_eq!(familiar("host:5000/app"), "host:5000/app:latest");
        assert_eq!(familiar("docker.io/busybox:2"), "docker.io/library/busybox:2");
    }

    #[test]
    fn full_names_are_shortened_to_what_is_completed_to_them() {
        for familiar in ["busybox:1", "me/app:1", "localhost/app:1", "host:5000/a/b:c"] {
            assert_eq!(Reference::parse_familiar(familiar).unwrap().familiar(), familiar);
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_written_as_it_was_read(text in "[a-z.]{1,6}(:[0-9]{1,3})?/[a-z/._-]{1,12}(:[a-z.]{1,5})?") {
            if let Ok(parsed) = text.parse::<Reference>() {
                prop_assert_eq!(parsed.to_string(), text);
            }
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Reference>();
            let _ = Reference::parse_familiar(&text);
        }
    }
}
