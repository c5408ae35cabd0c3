//! Places and the configuration file.
//!
//! The file has containerd's keys, as far as they mean something here. A key that is not known is an error that names it: a
//! setting that is silently ignored is worse than none.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

/// The longest path of a unix socket, without the closing zero (`sun_path`, unix(7)).
const LONGEST_SOCKET: usize = 107;

/// The length of a shim's socket name: a SHA-256 in hexadecimal digits.
const SOCKET_NAME: usize = 64;

/// Where a daemon keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What must survive a reboot.
    pub root: PathBuf,
    /// What may go with a reboot: bundles and sockets.
    pub state: PathBuf,
    /// The gRPC socket. The ttrpc socket for shims lies beside it, with `.ttrpc` appended.
    pub address: PathBuf,
    /// What is logged: off, error, warn, info, debug or trace.
    pub log_level: String,
    /// How often the restart monitor looks at all its containers; zero stands for its default.
    pub restart_interval: Duration,
}

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("read config {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or has a key that is not known.
    #[error("config {path}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why, with the key and its line.
        source: Box<toml::de::Error>,
    },
    /// It is of a generation with other keys.
    #[error("config {path}: version {version} is not supported, expected 2 or 3")]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: i64,
    },
}

/// The configuration file: the keys of containerd's that are known here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    version: Option<i64>,
    /// [`Config::root`].
    pub root: Option<PathBuf>,
    /// [`Config::state`].
    pub state: Option<PathBuf>,
    /// The section `[grpc]`.
    #[serde(default)]
    pub grpc: Grpc,
    /// The section `[debug]`.
    #[serde(default)]
    pub debug: Debug,
}

/// The section `[grpc]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// [`Config::address`].
    pub address: Option<PathBuf>,
}

/// The section `[debug]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debug {
    /// [`Config::log_level`].
    pub level: Option<String>,
}

impl File {
    /// Reads `path`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let file: Self = toml::from_str(text).map_err(|source| ConfigError::Parse {
            path: path.into(),
            source: source.into(),
        })?;
        match file.version {
            None | Some(2 | 3) => Ok(file),
            Some(version) => Err(ConfigError::Version {
                path: path.into(),
                version,
            }),
        }
    }
}

impl Config {
    /// The socket on which shims forward their events.
    pub fn ttrpc_address(&self) -> PathBuf {
        let mut address = self.address.clone().into_os_string();
        address.push(".ttrpc");
        address.into()
    }

    /// The folder in which shims make their sockets: below `state`, unless a socket's path would be too long there.
    pub fn socket_dir(&self) -> PathBuf {
        let ours = self.state.join("s");
        if ours.as_os_str().len() + 1 + SOCKET_NAME <= LONGEST_SOCKET {
            ours
        } else {
            PathBuf::from("/run/davit/s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, ConfigError> {
        File::parse(Path::new("c.toml"), text)
    }

    #[test]
    fn known_keys_are_taken() {
        let file = parse("version = 3\nroot = '/a'\nstate = '/b'\n[grpc]\naddress = '/c'\n").unwrap();
        assert_eq!(file.root, Some("/a".into()));
        assert_eq!(file.grpc.address, Some("/c".into()));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let ConfigError::Parse { source, .. } = parse("rooot = '/a'\n").unwrap_err() else {
            panic!("expected a parse error");
        };
        assert!(source.to_string().contains("rooot"), "{source}");
        assert!(parse("[grpc]\nuid = 0\n").is_err());
        assert!(parse("version = 9\n").is_err());
    }

    #[test]
    fn shim_sockets_go_elsewhere_where_their_paths_would_be_too_long() {
        let at = |state: &str| Config {
            root: "/r".into(),
            state: state.into(),
            address: "/a".into(),
            log_level: String::new(),
            restart_interval: Duration::ZERO,
        };
        assert_eq!(at("/run/x").socket_dir(), Path::new("/run/x/s"));
        assert_eq!(
            at(&format!("/{}", "x".repeat(60))).socket_dir(),
            Path::new("/run/davit/s")
        );
    }
}
