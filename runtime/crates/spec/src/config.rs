//! The root of config.json.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Hooks, IdMapping, Linux, Process, SpecError, null::or_default, spelling};

/// A whole config.json.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// The version of the runtime specification that the file follows.
    #[serde(deserialize_with = "or_default")]
    pub oci_version: String,
    /// The program of the container.
    pub process: Option<Process>,
    /// The root file system.
    pub root: Option<Root>,
    /// The host name in the container's UTS namespace.
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    /// The NIS domain name in the container's UTS namespace.
    #[serde(deserialize_with = "or_default")]
    pub domainname: String,
    /// What to mount, in this order.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// Programs to run at points of the container's life.
    #[serde(deserialize_with = "or_default")]
    pub hooks: Hooks,
    /// Free-form notes, handed to hooks and shown by `state`.
    #[serde(deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
    /// All that is particular to Linux.
    #[serde(deserialize_with = "or_default")]
    pub linux: Linux,
}

/// The root file system.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Root {
    /// A directory, relative to the bundle or absolute.
    #[serde(deserialize_with = "or_default")]
    pub path: PathBuf,
    /// Whether the container sees it read-only.
    #[serde(deserialize_with = "or_default")]
    pub readonly: bool,
}

/// One mount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// Where, as a path in the container.
    pub destination: String,
    /// The file system type; ignored for binds.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// A device, a path on the host (relative to the bundle), or a name of no meaning.
    #[serde(deserialize_with = "or_default")]
    pub source: String,
    /// Options as in fstab.
    #[serde(deserialize_with = "or_default")]
    pub options: Vec<String>,
    /// How the user ids of its files are shown (a bind only).
    #[serde(deserialize_with = "or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// How the group ids of its files are shown.
    #[serde(deserialize_with = "or_default")]
    pub gid_mappings: Vec<IdMapping>,
}

impl Config {
    /// Reads a config.json; it is not validated yet.
    pub fn parse(json: &[u8]) -> Result<Self, SpecError> {
        spelling::from_slice(json).map_err(SpecError::Json)
    }

    /// Adds a new namespace to a config.json.
    pub fn with_namespace(json: &[u8], kind: &str) -> Result<Vec<u8>, SpecError> {
        let mut config = spelling::tree(json).map_err(SpecError::Json)?;
        if let Some(Value::Array(namespaces)) = config.pointer_mut("/linux/namespaces") {
            namespaces.push(json!({"type": kind}));
        }
        serde_json::to_vec(&config).map_err(SpecError::Json)
    }
}
