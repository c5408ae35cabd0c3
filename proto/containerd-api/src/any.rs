//! `google.protobuf.Any` as containerd uses it: the type URL of a protobuf message is its bare full name.

use prost::{DecodeError, Message, Name};
use prost_types::Any;

/// The type URL of the OCI runtime specification as JSON.
pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// The type URL of an OCI process as JSON.
pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The type URL of OCI resources as JSON.
pub const RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// Wraps a message under its bare full name.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::full_name(),
        value: message.encode_to_vec(),
    }
}

/// The message inside, where `any` holds an `M`; `None` where it holds something else.
///
/// A prefix before the last slash (`type.googleapis.com/`) is ignored, as clients in other languages write one.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Option<Result<M, DecodeError>> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    (name == M::full_name()).then(|| M::decode(any.value.as_slice()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::TaskStart;

    #[test]
    fn a_message_comes_back_under_its_bare_name() {
        let any = pack(&TaskStart {
            container_id: "c".into(),
            pid: 7,
        });
        assert_eq!(any.type_url, "containerd.events.TaskStart");
        assert_eq!(unpack::<TaskStart>(&any).unwrap().unwrap().pid, 7);
        assert!(unpack::<crate::events::TaskExit>(&any).is_none());
    }
}
