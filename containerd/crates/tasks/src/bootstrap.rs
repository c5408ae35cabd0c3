//! What a shim's program is told at its start, and what it answers.
//!
//! Three generations are in use: protobuf both ways (containerd 2.3), a JSON answer (1.7), and a bare address (before). What
//! is sent suits all of them, for an older one reads its flags and its environment; the answer is tried in that order.

use std::path::PathBuf;

use davit_shim_api::bootstrap::bootstrap::{BootstrapParams, BootstrapResult, Extension, LogLevel};
use protobuf::{EnumOrUnknown, Message, well_known_types::any::Any};
use serde::{Deserialize, Serialize};

use crate::{Bundle, Launcher, TaskError};

/// The newest generation of the task service that is spoken here.
pub(crate) const NEWEST: u32 = 3;

/// Where and how a shim is reached. Its JSON form is the bundle's bootstrap.json, as containerd writes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    /// The generation of the task service.
    pub(crate) version: u32,
    /// `unix://` and a path, or the name of an abstract socket.
    pub(crate) address: String,
    /// What is spoken there: `ttrpc`.
    pub(crate) protocol: String,
}

/// An answer of a shim's program that is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidReply {
    #[error("shim gave no address")]
    NoAddress,
    #[error("unsupported shim version ({0}): not implemented")]
    Version(u32),
    #[error("unexpected protocol: {0:?}")]
    Protocol(String),
    #[error("failed to create TTRPC connection: unsupported protocol: {0}")]
    Transport(String),
}

impl Endpoint {
    /// Reads what a shim's program printed, or a bootstrap.json.
    pub(crate) fn parse(reply: &[u8]) -> Result<Self, InvalidReply> {
        let endpoint = from_protobuf(reply)
            .or_else(|| from_json(reply))
            .or_else(|| from_address(reply))
            .ok_or(InvalidReply::NoAddress)?;
        if endpoint.version > NEWEST {
            return Err(InvalidReply::Version(endpoint.version));
        }
        if !endpoint.protocol.eq_ignore_ascii_case("ttrpc") {
            return Err(InvalidReply::Protocol(endpoint.protocol));
        }
        match endpoint.address.split_once("://") {
            Some((scheme, _)) if scheme != "unix" => Err(InvalidReply::Transport(scheme.into())),
            _ => Ok(endpoint),
        }
    }

    /// What a client that knows a sandbox says of its shim: protocol, plus sign, address.
    pub(crate) fn of_sandbox(address: &str, version: u32) -> Result<Self, TaskError> {
        let path = address.strip_prefix("ttrpc+");
        let path = path.filter(|address| address.starts_with("unix:///"));
        let path = path.ok_or_else(|| TaskError::Address(address.chars().take(200).collect()))?;
        Ok(Self {
            version,
            address: path.into(),
            protocol: "ttrpc".into(),
        })
    }

    /// The same for a client to be.
    pub(crate) fn for_clients(&self) -> String {
        format!("{}+{}", self.protocol, self.address)
    }

    /// The path to connect to; an abstract socket's begins with a zero byte.
    pub(crate) fn socket(&self) -> PathBuf {
        match self.address.strip_prefix("unix://") {
            Some(path) => path.into(),
            None => format!("\0{}", self.address).into(),
        }
    }
}

fn from_protobuf(reply: &[u8]) -> Option<Endpoint> {
    let result = BootstrapResult::parse_from_bytes(reply).ok()?;
    let version = u32::try_from(result.version).ok()?;
    (version >= 1 && !result.address.is_empty()).then_some(Endpoint {
        version,
        address: result.address,
        protocol: result.protocol,
    })
}

fn from_json(reply: &[u8]) -> Option<Endpoint> {
    let endpoint: Endpoint = serde_json::from_slice(reply).ok()?;
    (endpoint.version >= 2 && !endpoint.address.is_empty()).then_some(endpoint)
}

fn from_address(reply: &[u8]) -> Option<Endpoint> {
    let address = std::str::from_utf8(reply).ok()?.trim();
    let is_address = !address.is_empty() && !address.contains(char::is_whitespace) && !address.starts_with('{');
    is_address.then(|| Endpoint {
        version: 2,
        address: address.into(),
        protocol: "ttrpc".into(),
    })
}

/// The bytes for the standard input of a shim's `start`.
pub(crate) fn parameters(launcher: &Launcher, bundle: &Bundle, options: Option<&Any>) -> Vec<u8> {
    let mut parameters = BootstrapParams::new();
    parameters.instance_id = bundle.id.to_string();
    parameters.namespace = bundle.namespace.to_string();
    parameters.log_level = EnumOrUnknown::new(match launcher.debug {
        true => LogLevel::LOG_LEVEL_DEBUG,
        false => LogLevel::LOG_LEVEL_INFO,
    });
    parameters.containerd_version = launcher.version.clone();
    parameters.containerd_ttrpc_address = launcher.ttrpc_address.to_string_lossy().into_owned();
    parameters.containerd_grpc_address = launcher.address.to_string_lossy().into_owned();
    parameters.containerd_binary = launcher.program.to_string_lossy().into_owned();
    parameters.socket_dir = Some(launcher.socket_dir.to_string_lossy().into_owned());
    parameters.extensions = options
        .map(|options| Extension {
            value: Some(options.clone()).into(),
            ..Default::default()
        })
        .into_iter()
        .collect();
    parameters
        .write_to_bytes()
        .expect("a message without required fields is always written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(version: u32) -> Endpoint {
        Endpoint {
            version,
            address: "unix:///run/s/0a".into(),
            protocol: "ttrpc".into(),
        }
    }

    #[test]
    fn all_three_generations_of_answers_are_read() {
        let mut result = BootstrapResult::new();
        result.version = 3;
        result.address = "unix:///run/s/0a".into();
        result.protocol = "ttrpc".into();
        assert_eq!(Endpoint::parse(&result.write_to_bytes().unwrap()), Ok(endpoint(3)));
        let json = br#"{"version":3,"address":"unix:///run/s/0a","protocol":"ttrpc"}"#;
        assert_eq!(Endpoint::parse(json), Ok(endpoint(3)));
        assert_eq!(Endpoint::parse(b"unix:///run/s/0a\n"), Ok(endpoint(2)));
    }

    #[test]
    fn what_is_kept_in_the_bundle_is_read_back() {
        let kept = serde_json::to_vec(&endpoint(3)).unwrap();
        assert_eq!(Endpoint::parse(&kept), Ok(endpoint(3)));
    }

    #[test]
    fn answers_of_no_use_are_refused_by_name() {
        for nothing in ["", "\n", "panic: it went wrong", "{}", "{\"version\":2}"] {
            assert_eq!(
                Endpoint::parse(nothing.as_bytes()),
                Err(InvalidReply::NoAddress),
                "{nothing}"
            );
        }
        let json = br#"{"version":9,"address":"unix:///a","protocol":"ttrpc"}"#;
        assert_eq!(Endpoint::parse(json), Err(InvalidReply::Version(9)));
        let json = br#"{"version":3,"address":"unix:///a","protocol":"grpc"}"#;
        assert_eq!(Endpoint::parse(json), Err(InvalidReply::Protocol("grpc".into())));
        let address = b"vsock://3:1024";
        assert_eq!(Endpoint::parse(address), Err(InvalidReply::Transport("vsock".into())));
    }

    #[test]
    fn a_client_names_a_sandbox_by_protocol_and_address() {
        let parsed = Endpoint::of_sandbox("ttrpc+unix:///run/s/0a", 3).unwrap();
        assert_eq!(parsed, endpoint(3));
        assert_eq!(parsed.for_clients(), "ttrpc+unix:///run/s/0a");
        for refused in [
            "",
            "unix:///run/s",
            "grpc+unix:///run/s",
            "ttrpc+vsock://3:1024",
            "ttrpc+unix://s",
        ] {
            let error = Endpoint::of_sandbox(refused, 3).unwrap_err();
            assert!(matches!(error, TaskError::Address(_)), "{refused}");
        }
    }

    #[test]
    fn an_address_without_a_scheme_is_an_abstract_socket() {
        let path = |address: &str| {
            Endpoint {
                address: address.into(),
                ..endpoint(2)
            }
            .socket()
        };
        assert_eq!(path("unix:///run/x"), PathBuf::from("/run/x"));
        assert_eq!(path("/containerd-shim/x"), PathBuf::from("\0/containerd-shim/x"));
    }
}
