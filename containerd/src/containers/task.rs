//! What a container's record says of its task.

use davit_metadata::{AnyRecord, ContainerRecord};
use davit_shim_api::task_v3::mount::Mount as ShimMount;
use davit_snapshots::Mount;
use davit_tasks::{CreateTask, Stdio};
use davit_vocabulary::{ContainerId, Namespace};
use protobuf::well_known_types::any::Any;

/// The task of a container as far as its record says it: without mounts and streams, which are given anew each time.
pub(crate) fn recorded(namespace: Namespace, id: ContainerId, record: ContainerRecord) -> CreateTask {
    CreateTask {
        namespace,
        id,
        runtime: record.runtime.name,
        spec: record.spec.map(|spec| spec.value.0),
        options: record.runtime.options.map(options),
        rootfs: Vec::new(),
        stdio: Stdio::default(),
        checkpoint: None,
        sandbox: None,
    }
}

fn options(any: AnyRecord) -> Any {
    Any {
        type_url: any.type_url,
        value: any.value.0,
        ..Default::default()
    }
}

/// A mount as a shim takes it.
pub(crate) fn mount(mount: Mount) -> ShimMount {
    ShimMount {
        type_: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..Default::default()
    }
}
