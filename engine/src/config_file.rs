//! The configuration file: daemon.json's keys, as far as this engine has what they set.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use ipnet::Ipv4Net;
use serde::Deserialize;

/// What the file may set. A key that is not here is an error that names it and those that are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ConfigFile {
    pub hosts: Vec<String>,
    pub data_root: Option<PathBuf>,
    pub exec_root: Option<PathBuf>,
    pub containerd: Option<PathBuf>,
    pub debug: Option<bool>,
    pub log_level: Option<String>,
    pub group: Option<String>,
    pub bridge: Option<String>,
    pub bip: Option<Ipv4Net>,
    pub pidfile: Option<PathBuf>,
    pub insecure_registries: Vec<String>,
    pub default_runtime: Option<String>,
    pub runtimes: BTreeMap<String, Runtime>,
}

/// A runtime by its program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Runtime {
    pub path: PathBuf,
}

impl ConfigFile {
    /// Reads the file that was named, or the default one where that exists.
    pub fn read(named: Option<&Path>, default: &str) -> anyhow::Result<Self> {
        let path = named.unwrap_or(Path::new(default));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("configuration file {}", path.display())),
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(&text).with_context(|| format!("configuration file {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::ConfigFile;

    #[test]
    fn an_unknown_key_is_named_with_those_that_are_known() {
        let error = serde_json::from_str::<ConfigFile>(r#"{"data-rot":"/x"}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("data-rot") && error.contains("data-root"), "{error}");
    }
}
