//! Between the messages of the tasks service and those of the shim's.

use std::borrow::Cow;

use davit_containerd_api::{
    any,
    services::tasks::v1::{CreateTaskRequest, DeleteResponse, ExecProcessRequest, UpdateTaskRequest},
    v1::types::{Process, ProcessInfo, Status as WireStatus},
};
use davit_metadata::{AnyRecord, ContainerRecord, filter::Fields};
use davit_shim_api::task_v3::shim as api;
use davit_tasks::{Checkpoint, CreateTask, Exit, Sandboxed, Shim, Stdio};
use davit_vocabulary::{ContainerId, Namespace};
use prost_types::{Any, Timestamp};
use protobuf::well_known_types::{any::Any as ShimAny, timestamp::Timestamp as ShimTimestamp};
use serde::de::IgnoredAny;
use tonic::Status;

use crate::{
    containers::task::{mount, recorded},
    services::mounts::mounts,
};

/// A task as the filters of a metrics call see it.
pub(super) struct Filtered<'a>(pub(super) &'a Shim);

impl Fields for Filtered<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        match path.first()?.as_str() {
            "id" => Some(Cow::Borrowed(self.0.bundle.id.as_str())),
            "namespace" => Some(Cow::Borrowed(self.0.bundle.namespace.as_str())),
            _ => None,
        }
    }
}

/// What is asked for, on the ground of the container's record. What is not offered here is refused by its name.
pub(super) fn task(
    namespace: Namespace,
    request: CreateTaskRequest,
    container: ContainerRecord,
    checkpoint: Option<Checkpoint>,
    sandbox: Option<ContainerId>,
) -> Result<CreateTask, Status> {
    let address =
        (!request.task_api_address.is_empty()).then_some((request.task_api_address, request.task_api_version));
    let sandbox = match (sandbox, address) {
        (Some(id), address) => Some(Sandboxed { id, address }),
        (None, None) => None,
        (None, Some((address, _))) => {
            let text = format!("task_api_address {address:?} for a container of no known sandbox: invalid argument");
            return Err(Status::invalid_argument(text));
        }
    };
    let id = request
        .container_id
        .parse()
        .map_err(|error| Status::invalid_argument(format!("invalid task id: {error}: invalid argument")))?;
    check_spec(&id, container.spec.as_ref())?;
    let recorded = recorded(namespace, id, container);
    let options = request.options.filter(|options| !options.value.is_empty());
    Ok(CreateTask {
        runtime: match request.runtime_path.as_str() {
            "" => recorded.runtime,
            path => path.into(),
        },
        options: options.map(any_to_shim).or(recorded.options),
        rootfs: mounts(request.rootfs).into_iter().map(mount).collect(),
        stdio: Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        checkpoint,
        sandbox,
        ..recorded
    })
}

/// Whether a container's record has a specification that a shim could read, in containerd's words where it has another than that.
fn check_spec(id: &ContainerId, spec: Option<&AnyRecord>) -> Result<(), Status> {
    let Some(spec) = spec else {
        return Err(Status::invalid_argument(format!(
            "container {id} has no specification: invalid argument"
        )));
    };
    if spec.type_url != any::SPEC {
        let text = "failed to validate OCI runtime features: unmarshal spec: type with url";
        return Err(Status::unknown(format!("{text} {}: not found", spec.type_url)));
    }
    match serde_json::from_slice::<IgnoredAny>(&spec.value.0) {
        Ok(_) => Ok(()),
        Err(error) if error.is_eof() => Err(Status::unknown("unexpected end of JSON input")),
        Err(error) => Err(Status::unknown(format!("specification of container {id}: {error}"))),
    }
}

pub(super) fn exec(request: ExecProcessRequest) -> api::ExecProcessRequest {
    api::ExecProcessRequest {
        exec_id: request.exec_id,
        terminal: request.terminal,
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        spec: request.spec.map(any_to_shim).into(),
        ..Default::default()
    }
}

pub(super) fn update(request: UpdateTaskRequest) -> api::UpdateTaskRequest {
    api::UpdateTaskRequest {
        resources: request.resources.map(any_to_shim).into(),
        annotations: request.annotations,
        ..Default::default()
    }
}

/// The `id` is the process's: that of the container for its first one. What the shim says of both is not asked: containerd's own
/// calls an exec by its name alone.
pub(super) fn process(container: &ContainerId, exec_id: &str, state: api::StateResponse) -> Process {
    let id = if exec_id.is_empty() {
        container.as_str()
    } else {
        exec_id
    };
    Process {
        container_id: container.to_string(),
        id: id.into(),
        pid: state.pid,
        status: state.status.value(),
        stdin: state.stdin,
        stdout: state.stdout,
        stderr: state.stderr,
        terminal: state.terminal,
        exit_status: state.exit_status,
        exited_at: state.exited_at.into_option().map(time_to_wire),
    }
}

/// The first process of a container whose shim does not say how it is.
pub(super) fn unknown(container: &ContainerId) -> Process {
    Process {
        container_id: container.to_string(),
        id: container.to_string(),
        status: WireStatus::Unknown.into(),
        ..Default::default()
    }
}

pub(super) fn pids(response: api::PidsResponse) -> Vec<ProcessInfo> {
    let process = |process: davit_shim_api::task_v3::task::ProcessInfo| ProcessInfo {
        pid: process.pid,
        info: process.info.into_option().map(any_to_wire),
    };
    response.processes.into_iter().map(process).collect()
}

pub(super) fn deleted(id: String, exit: Exit) -> DeleteResponse {
    DeleteResponse {
        id,
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: exit.at.map(time_to_wire),
    }
}

pub(in crate::services) fn time_to_wire(at: ShimTimestamp) -> Timestamp {
    Timestamp {
        seconds: at.seconds,
        nanos: at.nanos,
    }
}

pub(in crate::services) fn any_to_wire(any: ShimAny) -> Any {
    Any {
        type_url: any.type_url,
        value: any.value,
    }
}

pub(in crate::services) fn any_to_shim(any: Any) -> ShimAny {
    ShimAny {
        type_url: any.type_url,
        value: any.value,
        ..Default::default()
    }
}
