use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::SpecError;

/// `source:target[:options]` as `-v` takes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Path on the host; made as a folder where nothing is there.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Whether writes are refused.
    pub read_only: bool,
    /// `rprivate` and its kin; empty for the default.
    pub propagation: String,
    /// The options as the user wrote them, to be shown again.
    options: Option<String>,
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

impl FromStr for Bind {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let invalid = |why: &str| SpecError::invalid(format!("invalid volume specification: '{text}': {why}"));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts[..] {
            [source, target] => (source, target, None),
            [source, target, options] => (source, target, Some(options)),
            [_] => {
                return Err(SpecError::unsupported(format!(
                    "anonymous volume {text:?} (HostConfig.Binds)"
                )));
            }
            _ => return Err(invalid("expected source:target[:options]")),
        };
        if source.is_empty() || target.is_empty() {
            return Err(invalid("empty path"));
        }
        if !source.starts_with('/') {
            return Err(SpecError::unsupported(format!(
                "named volume {source:?} (HostConfig.Binds)"
            )));
        }
        check_target(target)?;
        let mut bind = Self {
            source: source.into(),
            target: target.into(),
            read_only: false,
            propagation: String::new(),
            options: options.map(str::to_owned),
        };
        for option in options
            .unwrap_or_default()
            .split(',')
            .filter(|option| !option.is_empty())
        {
            match option {
                "ro" | "readonly" => bind.read_only = true,
                // `z` and `Z` relabel for SELinux; where it is off, Docker takes them without effect too.
                "rw" | "z" | "Z" => {}
                _ if PROPAGATIONS.contains(&option) => bind.propagation = option.into(),
                _ => return Err(invalid(&format!("unknown option {option:?}"))),
            }
        }
        Ok(bind)
    }
}

/// A mount point must be an absolute path, and not the root itself.
pub fn check_target(target: &str) -> Result<(), SpecError> {
    if !target.starts_with('/') {
        let text = format!("invalid mount path: '{target}' mount path must be absolute");
        return Err(SpecError::invalid(text));
    }
    if target.split('/').all(|part| part.is_empty() || part == ".") {
        return Err(SpecError::invalid("invalid specification: destination can't be '/'"));
    }
    if target.split('/').any(|part| part == "..") {
        return Err(SpecError::invalid(format!(
            "invalid mount path: '{target}' contains '..'"
        )));
    }
    Ok(())
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.target)?;
        match &self.options {
            Some(options) => write!(f, ":{options}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_comes_back_as_the_user_wrote_it() {
        for text in ["/a:/b", "/a:/b:ro", "/a:/b:ro,rshared"] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
        assert!("/a:/b:ro,z".parse::<Bind>().unwrap().read_only);
    }

    #[test]
    fn volumes_and_malformed_binds_are_refused_by_name() {
        let check = |text: &str| text.parse::<Bind>().unwrap_err().to_string();
        assert!(check("data:/b").contains("named volume"));
        assert!(check("/b").contains("anonymous volume"));
        assert!(check("/a:/").contains("destination can't be '/'"));
        assert!(check("/a:b").contains("must be absolute"));
        assert!(check("/a:/../etc").contains(".."));
        assert!(check("/a:/b:nope").contains("nope"));
    }
}
