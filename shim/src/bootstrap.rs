//! What comes in on the stdin of `start` and goes out on its stdout, in each of the protocol's three generations.
//!
//! Since containerd 2.3 both are protobuf messages of their own. Before, stdin held the runtime's options or nothing, and stdout
//! took JSON (from 1.7) or a bare address. Options can happen to decode as parameters, so parameters count only where they name
//! the same container as the command line.

use davit_shim_api::{
    Packed,
    bootstrap::bootstrap::{BootstrapParams, BootstrapResult, LogLevel},
    options::oci::Options,
};
use protobuf::{Message, well_known_types::any::Any};
use serde::Serialize;

use crate::arguments::Identity;

/// The version that `start` answers with where it is understood: with it a manager does not execute the shim for the containers
/// of a sandbox that it knows.
///
/// It is understood wherever protobuf is, and by whoever makes a bundle for a sandbox. Who reads JSON may be containerd 1.7, which
/// refuses it; for that the two generations of the task service are as good as each other, and grouping is the shim's.
const VERSION: i32 = 3;
const OLD_VERSION: i32 = 2;

const OPTIONS_TYPE: &str = Options::FULL_NAME;

/// What containerd's clients give for a sandbox without options.
const EMPTY_TYPE: &str = "google.protobuf.Empty";

/// How `start` must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Generation {
    Protobuf,
    Json,
    Address,
}

/// What `start` was given on stdin.
#[derive(Debug)]
pub struct Bootstrap {
    generation: Generation,
    /// Options of the runtime, where there are any.
    pub options: Option<Options>,
    /// Where to put the socket, if the manager has a wish.
    pub socket_dir: Option<String>,
    /// The manager's gRPC address.
    pub grpc_address: String,
    /// Where events go, if it was said.
    pub ttrpc_address: Option<String>,
    /// More to log.
    pub debug: bool,
}

/// A stdin that is neither parameters nor options.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// Options of a type that is not runc's.
    #[error("unsupported runtime options {0:?}: expected {OPTIONS_TYPE}")]
    OptionsType(String),
    /// Bytes that do not decode.
    #[error("cannot decode the runtime options: {0}")]
    Options(protobuf::Error),
}

impl Bootstrap {
    /// Reads stdin. `legacy_json` says that the manager sets `MAX_SHIM_VERSION`, as those do that read JSON.
    pub fn read(input: &[u8], identity: &Identity, legacy_json: bool) -> Result<Self, BootstrapError> {
        if let Some(params) = parameters(input, identity) {
            return Self::from_parameters(params, identity);
        }
        Ok(Self {
            generation: if legacy_json {
                Generation::Json
            } else {
                Generation::Address
            },
            options: read_options(input)?,
            socket_dir: None,
            grpc_address: identity.address.clone(),
            ttrpc_address: None,
            debug: identity.debug,
        })
    }

    fn from_parameters(params: BootstrapParams, identity: &Identity) -> Result<Self, BootstrapError> {
        let options = params
            .extensions
            .iter()
            .filter_map(|extension| extension.value.as_ref())
            .find(|any| is_options(any))
            .map(|any| Options::parse_from_bytes(&any.value).map_err(BootstrapError::Options))
            .transpose()?;
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let level = params.log_level.enum_value_or_default();
        Ok(Self {
            generation: Generation::Protobuf,
            options,
            socket_dir: params.socket_dir.as_deref().and_then(some),
            grpc_address: some(&params.containerd_grpc_address).unwrap_or_else(|| identity.address.clone()),
            ttrpc_address: some(&params.containerd_ttrpc_address),
            debug: identity.debug || matches!(level, LogLevel::LOG_LEVEL_DEBUG | LogLevel::LOG_LEVEL_TRACE),
        })
    }

    /// The answer for stdout.
    pub fn reply(&self, address: &str, is_of_sandbox: bool) -> Vec<u8> {
        match self.generation {
            Generation::Address => address.into(),
            Generation::Json => {
                let reply = JsonReply {
                    version: if is_of_sandbox { VERSION } else { OLD_VERSION },
                    address,
                    protocol: "ttrpc",
                };
                serde_json::to_vec(&reply).expect("strings and numbers serialize")
            }
            Generation::Protobuf => {
                let reply = BootstrapResult {
                    version: VERSION,
                    address: address.into(),
                    protocol: "ttrpc".into(),
                    ..Default::default()
                };
                reply
                    .write_to_bytes()
                    .expect("a message without required fields serializes")
            }
        }
    }
}

#[derive(Serialize)]
struct JsonReply<'a> {
    version: i32,
    address: &'a str,
    protocol: &'a str,
}

fn parameters(input: &[u8], identity: &Identity) -> Option<BootstrapParams> {
    let params = BootstrapParams::parse_from_bytes(input).ok()?;
    let same = params.instance_id == identity.id.as_str() && params.namespace == identity.namespace.as_str();
    same.then_some(params)
}

fn is_options(any: &Any) -> bool {
    is_a(any, OPTIONS_TYPE)
}

fn is_a(any: &Any, kind: &str) -> bool {
    any.type_url.rsplit('/').next() == Some(kind)
}

/// The options in an `Any` as bytes; `None` where there are no bytes.
pub fn read_options(input: &[u8]) -> Result<Option<Options>, BootstrapError> {
    let any = Any::parse_from_bytes(input).map_err(BootstrapError::Options)?;
    options_of(&any)
}

/// The options in an `Any`; `None` where it is empty.
pub fn options_of(any: &Any) -> Result<Option<Options>, BootstrapError> {
    if any.value.is_empty() && (any.type_url.is_empty() || is_a(any, EMPTY_TYPE)) {
        return Ok(None);
    }
    if !is_options(any) {
        return Err(BootstrapError::OptionsType(any.type_url.clone()));
    }
    Options::parse_from_bytes(&any.value)
        .map(Some)
        .map_err(BootstrapError::Options)
}

#[cfg(test)]
mod tests {
    use davit_shim_api::bootstrap::bootstrap::Extension;

    use super::*;

    fn identity() -> Identity {
        Identity {
            id: "c1".parse().unwrap(),
            namespace: "ns".parse().unwrap(),
            address: "/run/c.sock".into(),
            debug: false,
        }
    }

    fn options() -> Any {
        let options = Options {
            binary_name: "crun".into(),
            root: "/r".into(),
            ..Default::default()
        };
        Any {
            type_url: OPTIONS_TYPE.into(),
            value: options.write_to_bytes().unwrap(),
            ..Default::default()
        }
    }

    #[test]
    fn parameters_for_this_container_are_answered_in_protobuf() {
        let params = BootstrapParams {
            instance_id: "c1".into(),
            namespace: "ns".into(),
            containerd_ttrpc_address: "/run/c.sock.ttrpc".into(),
            extensions: vec![Extension {
                value: Some(options()).into(),
                ..Default::default()
            }],
            socket_dir: Some("/run/s".into()),
            ..Default::default()
        };
        let bootstrap = Bootstrap::read(&params.write_to_bytes().unwrap(), &identity(), true).unwrap();
        assert_eq!(bootstrap.socket_dir.as_deref(), Some("/run/s"));
        assert_eq!(bootstrap.options.as_ref().unwrap().binary_name, "crun");
        let reply = BootstrapResult::parse_from_bytes(&bootstrap.reply("unix:///s", false)).unwrap();
        assert_eq!(
            (reply.version, reply.address.as_str(), reply.protocol.as_str()),
            (3, "unix:///s", "ttrpc")
        );
    }

    #[test]
    fn options_or_nothing_are_answered_in_json_or_with_the_bare_address() {
        let bytes = options().write_to_bytes().unwrap();
        let json = Bootstrap::read(&bytes, &identity(), true).unwrap();
        assert_eq!(json.options.as_ref().unwrap().root, "/r");
        let expected = br#"{"version":2,"address":"unix:///s","protocol":"ttrpc"}"#;
        assert_eq!(json.reply("unix:///s", false), expected);
        let of_sandbox = br#"{"version":3,"address":"unix:///s","protocol":"ttrpc"}"#;
        assert_eq!(json.reply("unix:///s", true), of_sandbox);
        let bare = Bootstrap::read(b"", &identity(), false).unwrap();
        assert!(bare.options.is_none());
        assert_eq!(bare.reply("unix:///s", false), b"unix:///s");
    }

    #[test]
    fn the_empty_options_of_a_sandbox_are_none() {
        let empty = Any {
            type_url: "google.protobuf.Empty".into(),
            ..Default::default()
        };
        assert_eq!(options_of(&empty).unwrap(), None);
        assert_eq!(read_options(&empty.write_to_bytes().unwrap()).unwrap(), None);
    }

    #[test]
    fn bytes_that_are_neither_are_refused() {
        assert!(Bootstrap::read(b"\xff\xff", &identity(), true).is_err());
        let other = Any {
            type_url: "a.b.Options".into(),
            value: vec![1],
            ..Default::default()
        };
        let refused = Bootstrap::read(&other.write_to_bytes().unwrap(), &identity(), true).unwrap_err();
        assert!(refused.to_string().contains("a.b.Options"), "{refused}");
    }
}
