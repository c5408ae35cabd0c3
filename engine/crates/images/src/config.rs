//! The image configuration with Docker's fields. What is written here is deterministic (sorted maps), for its digest is
//! the image's id; what was read from elsewhere keeps its own bytes in the content store.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// An OCI image configuration (image-spec, "config.md") with Docker's additions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// CPU architecture.
    #[serde(deserialize_with = "null_as_default")]
    pub architecture: String,
    /// CPU variant.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub variant: String,
    /// Operating system.
    #[serde(deserialize_with = "null_as_default")]
    pub os: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub author: String,
    /// Docker's: a comment of the last commit.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub comment: String,
    /// Docker's: the version that made the image.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub docker_version: String,
    /// How to run it.
    #[serde(deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    /// The layers.
    #[serde(deserialize_with = "null_as_default")]
    pub rootfs: RootFs,
    /// How it came about.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub history: Vec<History>,
}

/// The uncompressed layers, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type", deserialize_with = "null_as_default")]
    pub kind: String,
    /// Digest of each uncompressed layer.
    #[serde(deserialize_with = "null_as_default")]
    pub diff_ids: Vec<String>,
}

/// One step of the build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub created_by: String,
    /// Who.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub author: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// What a container made from the image runs, where nothing else is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub user: String,
    /// `80/tcp`, ….
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program and its fixed arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments, or the program where there is no entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Docker's: how it finds out whether the container is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<HealthConfig>,
    /// Paths that are volumes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_as_default")]
    pub volumes: BTreeMap<String, Empty>,
    /// Where the program starts.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// Labels; `None` where the image has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks the program to end.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "null_as_default")]
    pub stop_signal: String,
    /// Docker's: seconds to wait after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Docker's: the command was a single string (Windows).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Docker's: instructions for images built from this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Docker's: what interprets `RUN`, `CMD` and `ENTRYPOINT` in shell form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// Docker's health check; times are nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`; empty inherits.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Failures that do not count at the start.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks in the start period.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that mean unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// Go's `struct{}`: an object without members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Go writes `null` for an empty slice or map.
fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_read_as_nothing() {
        let text = r#"{"architecture":"amd64","os":"linux","author":null,"history":null,"rootfs":{"type":"layers","diff_ids":null},
            "config":{"User":null,"Env":null,"Volumes":null,"ExposedPorts":null,"Labels":null,"Cmd":["sh"],"Hostname":"x"}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(
            config.config,
            ContainerConfig {
                cmd: Some(vec!["sh".into()]),
                ..Default::default()
            }
        );
        let empty: ImageConfig = serde_json::from_str(r#"{"config":null,"rootfs":null}"#).unwrap();
        assert_eq!(empty, ImageConfig::default());
    }

    #[test]
    fn what_is_written_is_sorted_and_without_the_unset() {
        let mut config = ImageConfig {
            os: "linux".into(),
            ..Default::default()
        };
        let labels = ["b", "a"].map(|key| (key.to_owned(), String::new()));
        config.config.labels = Some(labels.into());
        insta::assert_snapshot!(
            serde_json::to_string(&config).unwrap(),
            @r#"{"architecture":"","os":"linux","config":{"Labels":{"a":"","b":""}},"rootfs":{"type":"","diff_ids":[]}}"#
        );
    }
}
