//! The closed sets behind the texts of `HostConfig`: each parses Docker's text and prints it again.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::SpecError;

/// `--network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// The default bridge.
    #[default]
    Bridge,
    /// A namespace with nothing but loopback.
    None,
    /// The host's network namespace.
    Host,
}

impl FromStr for NetworkMode {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "" | "default" | "bridge" => Ok(Self::Bridge),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            _ if text.starts_with("container:") => Err(SpecError::unsupported("HostConfig.NetworkMode container:…")),
            _ => Err(SpecError::NetworkNotFound(text.into())),
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::None => "none",
            Self::Host => "host",
        })
    }
}

macro_rules! shared_or_private {
    ($(#[$doc:meta])* $name:ident, $field:literal, $private:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            /// A namespace of its own.
            #[default]
            Private,
            /// The host's namespace.
            Host,
        }

        impl FromStr for $name {
            type Err = SpecError;

            fn from_str(text: &str) -> Result<Self, SpecError> {
                match text {
                    "" | "private" => Ok(Self::Private),
                    "host" => Ok(Self::Host),
                    _ => Err(SpecError::unsupported(format!(concat!("HostConfig.", $field, " {:?}"), text))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    Self::Private => $private,
                    Self::Host => "host",
                })
            }
        }
    };
}

shared_or_private!(
    /// `--ipc`.
    IpcMode, "IpcMode", "private"
);
shared_or_private!(
    /// `--pid`.
    PidMode, "PidMode", ""
);
shared_or_private!(
    /// `--uts`.
    UtsMode, "UTSMode", ""
);
shared_or_private!(
    /// `--cgroupns`.
    CgroupMode, "CgroupnsMode", "private"
);

/// `--restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whatever the exit status, unless stopped by hand; also when the engine starts.
    Always,
    /// On an exit status other than 0.
    OnFailure {
        /// How often in a row; 0 for no bound.
        retries: i64,
    },
    /// As `Always`, but a container stopped by hand stays so when the engine starts.
    UnlessStopped,
}

impl RestartPolicy {
    /// Parses name and count as they stand in the API.
    pub fn parse(name: &str, retries: i64) -> Result<Self, SpecError> {
        let policy = match name {
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure { retries },
            _ => {
                let known = "use one of \"no\", \"always\", \"on-failure\", or \"unless-stopped\"";
                return Err(SpecError::invalid(format!(
                    "invalid restart policy: unknown policy '{name}'; {known}"
                )));
            }
        };
        if retries < 0 {
            return Err(SpecError::invalid(
                "invalid restart policy: maximum retry count cannot be negative",
            ));
        }
        if retries != 0 && !matches!(policy, Self::OnFailure { .. }) {
            let text = "invalid restart policy: maximum retry count can only be used with 'on-failure'";
            return Err(SpecError::invalid(text));
        }
        Ok(policy)
    }

    /// Name and count as they stand in the API.
    pub fn to_parts(self) -> (&'static str, i64) {
        match self {
            Self::No => ("no", 0),
            Self::Always => ("always", 0),
            Self::UnlessStopped => ("unless-stopped", 0),
            Self::OnFailure { retries } => ("on-failure", retries),
        }
    }
}

/// `--log-driver` and `--log-opt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The driver.
    pub driver: LogDriver,
    /// Its options, checked.
    pub options: BTreeMap<String, String>,
}

/// Where output is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// Docker's json-file.
    #[default]
    JsonFile,
    /// Nowhere.
    None,
}

impl LogConfig {
    /// Checks driver and options as they stand in the API.
    pub fn parse(driver: &str, options: BTreeMap<String, String>) -> Result<Self, SpecError> {
        let driver = match driver {
            "" | "json-file" => LogDriver::JsonFile,
            "none" => LogDriver::None,
            _ => {
                let text = format!("error looking up logging plugin {driver}: plugin \"{driver}\" not found");
                return Err(SpecError::invalid(text));
            }
        };
        for (key, value) in &options {
            check_log_option(driver, key, value)?;
        }
        Ok(Self { driver, options })
    }

    /// The driver's name.
    pub fn driver_name(&self) -> &'static str {
        match self.driver {
            LogDriver::JsonFile => "json-file",
            LogDriver::None => "none",
        }
    }
}

fn check_log_option(driver: LogDriver, key: &str, value: &str) -> Result<(), SpecError> {
    let invalid = |text: String| Err(SpecError::invalid(text));
    match (driver, key) {
        (LogDriver::JsonFile, "max-size") => match parse_size(value) {
            Some(size) if size > 0 => Ok(()),
            _ => invalid(format!("invalid value for log opt 'max-size': '{value}'")),
        },
        (LogDriver::JsonFile, "max-file") => match value.parse::<u32>() {
            Ok(count) if count > 0 => Ok(()),
            _ => invalid(format!("invalid value for log opt 'max-file': '{value}'")),
        },
        (LogDriver::JsonFile, "mode") if value == "blocking" => Ok(()),
        (
            LogDriver::JsonFile,
            "mode" | "max-buffer-size" | "compress" | "labels" | "labels-regex" | "env" | "env-regex" | "tag",
        ) => Err(SpecError::unsupported(format!("log opt {key}={value}"))),
        (LogDriver::JsonFile, _) => invalid(format!("unknown log opt '{key}' for json-file log driver")),
        (LogDriver::None, _) => invalid(format!("unknown log opt '{key}' for none log driver")),
    }
}

/// Docker's sizes: digits and an optional unit (`10m`, `1GiB`), powers of 1024.
pub fn parse_size(text: &str) -> Option<i64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit
        .trim()
        .to_ascii_lowercase()
        .trim_end_matches('b')
        .trim_end_matches('i')
    {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * 1024f64.powi(power);
    (bytes.is_finite() && bytes < i64::MAX as f64).then_some(bytes as i64)
}
