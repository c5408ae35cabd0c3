//! The state of a container as the specification has it: for `state`, `list` and hooks.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use crate::container::{record::Record, status::Status};

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

/// The document for `state` and `list`. A stopped container has no pid.
pub fn document<'a>(record: &'a Record, status: Status, name: &'a str) -> State<'a> {
    State {
        oci_version: &record.oci_version,
        id: &record.id,
        pid: if status == Status::Stopped { 0 } else { record.init.pid },
        status: name,
        bundle: &record.bundle,
        rootfs: &record.rootfs,
        created: &record.created,
        annotations: &record.annotations,
        owner: "",
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
pub fn for_hook(record: &Record, pid: i32, status: &str) -> String {
    let state = HookState {
        oci_version: &record.oci_version,
        id: &record.id,
        status,
        pid,
        bundle: &record.bundle,
        annotations: &record.annotations,
    };
    serde_json::to_string(&state).expect("a state is made of text and numbers")
}

fn is_zero(pid: &i32) -> bool {
    *pid == 0
}
