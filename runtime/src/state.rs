//! The state of a container as the specification has it: for `state`, `list` and hooks.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use crate::container::{record::Record, status::Status};

/// Why a state cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the container's state as JSON: {0}")]
pub struct StateError(#[from] serde_json::Error);

/// What `state` prints, with runc's additions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: &'a str,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: &'a str,
}

/// The document for `state` and `list`; only the latter names an owner.
pub fn document<'a>(record: &'a Record, status: Status, name: &'a str, owner: &'a str) -> State<'a> {
    State {
        oci_version: &record.oci_version,
        id: &record.id,
        pid: pid(record, status),
        status: name,
        bundle: &record.bundle,
        rootfs: &record.rootfs,
        created: &record.created,
        annotations: &record.annotations,
        owner,
    }
}

/// A stopped container has no pid.
pub fn pid(record: &Record, status: Status) -> i32 {
    match status {
        Status::Stopped => 0,
        _ => record.init.pid,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HookState<'a> {
    oci_version: &'a str,
    id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// The document that a hook gets on its standard input.
pub fn for_hook(record: &Record, pid: i32, status: &str) -> Result<String, StateError> {
    Ok(serde_json::to_string(&hook_state(record, pid, status))?)
}

fn hook_state<'a>(record: &'a Record, pid: i32, status: &'a str) -> HookState<'a> {
    HookState {
        oci_version: &record.oci_version,
        id: &record.id,
        status,
        pid,
        bundle: &record.bundle,
        annotations: &record.annotations,
    }
}

/// The specification's container process state.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: HookState<'a>,
}

/// The document that a seccomp agent gets with the listener of the process `pid`, a container's first one or that of an
/// `exec` into it.
pub fn for_agent(record: &Record, status: &str, pid: i32, metadata: &str) -> Result<String, StateError> {
    let state = ProcessState {
        oci_version: &record.oci_version,
        fds: ["seccompFd"],
        pid,
        metadata,
        state: hook_state(record, record.init.pid, status),
    };
    Ok(serde_json::to_string(&state)?)
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}
