//! Between the wire's sandbox, the record, and the shim's messages.

use std::time::SystemTime;

use davit_containerd_api::{
    services::sandbox::v1::{
        ControllerCreateRequest, ControllerStartResponse, ControllerStatusResponse, ControllerWaitResponse,
    },
    types::{Metric, Mount, Platform, Sandbox, sandbox::Runtime},
};
use davit_metadata::{AnyRecord, RuntimeRecord, SandboxRecord};
use davit_shim_api::sandbox as shim;
use davit_tasks::{CreateSandbox, Exit, StartedSandbox};
use davit_vocabulary::{ContainerId, Namespace};
use prost_types::Any;
use protobuf::well_known_types::any::Any as ShimAny;
use tonic::Status;

use crate::services::{
    records::{any_from_wire, any_to_wire, extensions_from_wire, extensions_to_wire},
    tasks::{any_to_shim, shim_any_to_wire, time_to_wire},
};

pub(super) fn from_wire(sandbox: Sandbox, now: SystemTime) -> (String, SandboxRecord) {
    let runtime = sandbox.runtime.unwrap_or_default();
    let record = SandboxRecord {
        labels: sandbox.labels.into_iter().collect(),
        runtime: RuntimeRecord {
            name: runtime.name,
            options: runtime.options.map(any_from_wire),
        },
        spec: sandbox.spec.map(any_from_wire),
        created_at: now,
        updated_at: now,
        extensions: extensions_from_wire(sandbox.extensions),
        sandboxer: sandbox.sandboxer,
    };
    (sandbox.sandbox_id, record)
}

pub(super) fn to_wire(id: String, record: SandboxRecord) -> Sandbox {
    Sandbox {
        sandbox_id: id,
        runtime: Some(Runtime {
            name: record.runtime.name,
            options: record.runtime.options.map(any_to_wire),
        }),
        spec: record.spec.map(any_to_wire),
        labels: record.labels.into_iter().collect(),
        created_at: Some(record.created_at.into()),
        updated_at: Some(record.updated_at.into()),
        extensions: extensions_to_wire(record.extensions),
        sandboxer: record.sandboxer,
    }
}

/// The sandbox that a request is about.
pub(super) fn id(request: &ControllerCreateRequest) -> Result<ContainerId, Status> {
    let given = request.sandbox.as_ref().map(|sandbox| sandbox.sandbox_id.as_str());
    let id = match (request.sandbox_id.as_str(), given) {
        ("", Some(given)) => given,
        (id, None | Some("")) => id,
        (id, Some(given)) if id == given => id,
        (id, Some(given)) => {
            let text = format!("sandbox id {id:?} is not that of the sandbox, {given:?}: invalid argument");
            return Err(Status::invalid_argument(text));
        }
    };
    id.parse()
        .map_err(|error| Status::invalid_argument(format!("invalid sandbox id {id}: {error}: invalid argument")))
}

/// A sandbox as it is recorded.
pub(super) fn to_make(namespace: Namespace, id: ContainerId, record: SandboxRecord) -> CreateSandbox {
    CreateSandbox {
        namespace,
        id,
        runtime: record.runtime.name,
        spec: record.spec.map(|spec| spec.value.0),
        runtime_options: record.runtime.options.map(recorded_any),
        rootfs: Vec::new(),
        options: None,
        netns: String::new(),
        annotations: Default::default(),
    }
}

/// The same with what no record has.
pub(super) fn with(sandbox: CreateSandbox, request: ControllerCreateRequest) -> CreateSandbox {
    let options = request
        .options
        .filter(|any| !any.type_url.is_empty() || !any.value.is_empty());
    CreateSandbox {
        rootfs: request.rootfs.into_iter().map(mount).collect(),
        options: options.map(any_to_shim),
        netns: request.netns_path,
        annotations: request.annotations,
        ..sandbox
    }
}

fn recorded_any(any: AnyRecord) -> ShimAny {
    any_to_shim(any_to_wire(any))
}

fn mount(mount: Mount) -> shim::mount::Mount {
    shim::mount::Mount {
        type_: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..Default::default()
    }
}

pub(super) fn started(sandbox_id: String, started: StartedSandbox) -> ControllerStartResponse {
    ControllerStartResponse {
        sandbox_id,
        pid: started.pid,
        created_at: started.created_at.map(time_to_wire),
        address: started.address,
        version: started.version,
        ..Default::default()
    }
}

pub(super) fn platform(platform: shim::platform::Platform) -> Platform {
    Platform {
        os: platform.os,
        architecture: platform.architecture,
        variant: platform.variant,
        os_version: platform.os_version,
        os_features: platform.os_features,
    }
}

pub(super) fn waited(exit: Exit) -> ControllerWaitResponse {
    ControllerWaitResponse {
        exit_status: exit.status,
        exited_at: exit.at.map(time_to_wire),
    }
}

pub(super) fn status(
    status: shim::sandbox::SandboxStatusResponse,
    (address, version): (String, u32),
) -> ControllerStatusResponse {
    let extra = status.extra.into_option().map(shim_any_to_wire);
    ControllerStatusResponse {
        sandbox_id: status.sandbox_id,
        pid: status.pid,
        state: status.state,
        info: status.info,
        created_at: status.created_at.into_option().map(time_to_wire),
        exited_at: status.exited_at.into_option().map(time_to_wire),
        // containerd's clients take its absence for a fault.
        extra: Some(extra.unwrap_or_default()),
        address,
        version,
    }
}

pub(super) fn without_status(sandbox_id: String) -> ControllerStatusResponse {
    ControllerStatusResponse {
        sandbox_id,
        exited_at: Some(SystemTime::now().into()),
        extra: Some(Any::default()),
        ..Default::default()
    }
}

pub(super) fn metric(metric: shim::metrics::Metric) -> Metric {
    Metric {
        timestamp: metric.timestamp.into_option().map(time_to_wire),
        id: metric.id,
        data: metric.data.into_option().map(shim_any_to_wire),
    }
}
