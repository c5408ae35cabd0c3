use std::fmt;

use serde::{Deserialize, Serialize};

/// What files are for: an operating system and a processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the processor: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// The generation of the processor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Self {
        Self {
            os: "linux".into(),
            architecture: std::env::consts::ARCH.into(),
            variant: String::new(),
        }
        .normalized()
    }

    /// Whether files for `other` are what was asked for; different spellings are the same.
    pub fn matches(&self, other: &Self) -> bool {
        self.clone().normalized() == other.clone().normalized()
    }

    /// The spelling that containerd normalizes to.
    pub fn normalized(self) -> Self {
        let (architecture, variant) = match (
            self.architecture.to_lowercase().as_str(),
            self.variant.to_lowercase().as_str(),
        ) {
            ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64".into(), String::new()),
            ("x86_64" | "x86-64", variant) => ("amd64".into(), variant.into()),
            ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64".into(), String::new()),
            ("aarch64", variant) => ("arm64".into(), variant.into()),
            ("armhf", _) => ("arm".into(), "v7".into()),
            ("armel", _) => ("arm".into(), "v6".into()),
            ("arm", "" | "7") => ("arm".into(), "v7".into()),
            ("arm", variant @ ("5" | "6" | "8")) => ("arm".into(), format!("v{variant}")),
            ("i386" | "i686" | "x86", _) => ("386".into(), String::new()),
            (architecture, variant) => (architecture.to_owned(), variant.to_owned()),
        };
        Self {
            os: self.os.to_lowercase(),
            architecture,
            variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(a: (&str, &str), b: (&str, &str), expected: bool) {
        let platform = |(architecture, variant): (&str, &str)| Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
        };
        assert_eq!(platform(a).matches(&platform(b)), expected, "{a:?} {b:?}");
    }

    #[test]
    fn spellings_of_one_processor_match() {
        check(("amd64", ""), ("x86_64", "v1"), true);
        check(("arm64", "v8"), ("aarch64", ""), true);
        check(("arm", ""), ("arm", "v7"), true);
        check(("arm", "v6"), ("arm", "v7"), false);
        check(("amd64", ""), ("amd64", "v3"), false);
        check(("amd64", ""), ("386", ""), false);
    }
}
