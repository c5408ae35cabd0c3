//! Messages that travel inside an `Any`, and the names that they go by there.
//!
//! The generated types know their short names alone: they are made without descriptors, which each shim would hold in memory for
//! nothing but these few names.

use protobuf::{Message, well_known_types::any::Any};

use crate::{cgroups_v1::metrics as v1, cgroups_v2::metrics as v2, options::oci, task_events::task};

/// A message with its full name, package and all.
pub trait Packed: Message {
    /// As it stands in `type_url`, where containerd puts no host before it.
    const FULL_NAME: &str;
}

macro_rules! packed {
    ($package:literal: $module:ident { $($name:ident),+ }) => {
        $(impl Packed for $module::$name {
            const FULL_NAME: &str = concat!($package, ".", stringify!($name));
        })+
    };
}

packed!("containerd.events": task {
    TaskCheckpointed, TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskOOM, TaskPaused, TaskResumed, TaskStart
});
packed!("io.containerd.cgroups.v1": v1 { Metrics });
packed!("io.containerd.cgroups.v2": v2 { Metrics });
packed!("containerd.runc.v1": oci { CheckpointOptions, Options });

/// Puts a message into an `Any`.
pub fn pack<M: Packed>(message: &M) -> Any {
    Any {
        type_url: M::FULL_NAME.to_owned(),
        value: message
            .write_to_bytes()
            .expect("a message without required fields serializes"),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_message_goes_by_its_full_name() {
        let start = task::TaskStart {
            container_id: "c1".into(),
            pid: 7,
            ..Default::default()
        };
        let any = pack(&start);
        assert_eq!(any.type_url, "containerd.events.TaskStart");
        assert_eq!(task::TaskStart::parse_from_bytes(&any.value).unwrap(), start);
        assert_eq!(pack(&v2::Metrics::new()).type_url, "io.containerd.cgroups.v2.Metrics");
    }
}
