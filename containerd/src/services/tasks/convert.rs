//! Between the messages of the tasks service and those of the shim's.

use std::borrow::Cow;

use davit_containerd_api::{
    services::tasks::v1::{CreateTaskRequest, DeleteResponse, ExecProcessRequest, UpdateTaskRequest},
    types::Mount,
    v1::types::{Process, ProcessInfo},
};
use davit_metadata::{AnyRecord, ContainerRecord, filter::Fields};
use davit_shim_api::task_v3::{mount::Mount as ShimMount, shim as api};
use davit_tasks::{Checkpoint, CreateTask, Exit, Shim, Stdio};
use davit_vocabulary::Namespace;
use prost_types::{Any, Timestamp};
use protobuf::well_known_types::{any::Any as ShimAny, timestamp::Timestamp as ShimTimestamp};
use tonic::Status;

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
) -> Result<CreateTask, Status> {
    if !request.task_api_address.is_empty() {
        return Err(Status::unimplemented(
            "task_api_address is not supported: not implemented",
        ));
    }
    let id = request
        .container_id
        .parse()
        .map_err(|error| Status::invalid_argument(format!("invalid task id: {error}: invalid argument")))?;
    let options = request.options.filter(|options| !options.value.is_empty());
    Ok(CreateTask {
        namespace,
        id,
        runtime: match request.runtime_path.as_str() {
            "" => container.runtime.name,
            path => path.into(),
        },
        spec: container.spec.map(|spec| spec.value.0),
        options: options
            .map(any_to_shim)
            .or(container.runtime.options.map(record_to_shim)),
        rootfs: request.rootfs.into_iter().map(mount).collect(),
        stdio: Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        },
        checkpoint,
    })
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

/// The `id` is the process's: that of the container for its first one.
pub(super) fn process(state: api::StateResponse) -> Process {
    let id = match state.exec_id.as_str() {
        "" => state.id.clone(),
        exec_id => exec_id.into(),
    };
    Process {
        container_id: state.id,
        id,
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

pub(super) fn time_to_wire(at: ShimTimestamp) -> Timestamp {
    Timestamp {
        seconds: at.seconds,
        nanos: at.nanos,
    }
}

pub(super) fn any_to_wire(any: ShimAny) -> Any {
    Any {
        type_url: any.type_url,
        value: any.value,
    }
}

pub(super) fn any_to_shim(any: Any) -> ShimAny {
    ShimAny {
        type_url: any.type_url,
        value: any.value,
        ..Default::default()
    }
}

fn record_to_shim(any: AnyRecord) -> ShimAny {
    ShimAny {
        type_url: any.type_url,
        value: any.value.0,
        ..Default::default()
    }
}

fn mount(mount: Mount) -> ShimMount {
    ShimMount {
        type_: mount.r#type,
        source: mount.source,
        target: mount.target,
        options: mount.options,
        ..Default::default()
    }
}
