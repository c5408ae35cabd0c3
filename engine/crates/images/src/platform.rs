//! Which platform of an image is this machine's.

use serde::Deserialize;

use crate::{Platform, manifest::Descriptor};

/// A platform as an index describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Described {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

impl Platform {
    /// This machine's, in the words of the OCI.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
        }
    }
}

impl std::str::FromStr for Platform {
    type Err = crate::ImageError;

    /// `os/architecture[/variant]`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(well_formed) {
            return Err(crate::ImageError::InvalidArgument(format!(
                "invalid platform {text:?}: os/architecture[/variant]"
            )));
        }
        let (os, architecture, variant) = match parts[..] {
            ["linux"] => return Ok(Self::host()),
            [architecture] => ("linux", architecture, ""),
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => {
                return Err(crate::ImageError::InvalidArgument(format!(
                    "invalid platform {text:?}: too many parts"
                )));
            }
        };
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Ok(Self {
            os: os.to_lowercase(),
            architecture: architecture.to_lowercase(),
            variant: variant.to_lowercase(),
        })
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// The children of an index, the best for this machine first. Those for no platform (attestations) are left out.
pub(crate) fn by_preference(children: Vec<Descriptor>) -> Vec<Descriptor> {
    let host = Platform::host();
    let mut ranked: Vec<(u8, Descriptor)> = children
        .into_iter()
        .filter_map(|child| Some((rank(&host, child.platform.as_ref())?, child)))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, child)| child).collect()
}

/// Smaller is better. A child without a platform may be for this machine; one for `unknown` is no image.
fn rank(host: &Platform, described: Option<&Described>) -> Option<u8> {
    let Some(described) = described else { return Some(2) };
    if described.os == "unknown" {
        return None;
    }
    if described.os != host.os || described.architecture != host.architecture {
        return Some(3);
    }
    Some(if described.variant == host.variant { 0 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(os: &str, architecture: &str) -> Descriptor {
        let json = format!(
            r#"{{"digest":"sha256:{}","platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
            "0".repeat(64)
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn this_machines_platform_comes_first_and_attestations_never() {
        let host = Platform::host();
        let children = vec![
            descriptor("linux", "s390x"),
            descriptor("unknown", "unknown"),
            descriptor("linux", &host.architecture),
        ];
        let sorted = by_preference(children);
        let architectures: Vec<_> = sorted
            .iter()
            .map(|it| it.platform.as_ref().unwrap().architecture.as_str())
            .collect();
        assert_eq!(architectures, [host.architecture.as_str(), "s390x"]);
    }

    #[test]
    fn platforms_parse_as_docker_writes_them() {
        let check = |text: &str, shown: &str| assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown);
        check("linux/arm64/v8", "linux/arm64/v8");
        check("arm64", "linux/arm64");
        check("linux/x86_64", "linux/amd64");
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/arm 64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
