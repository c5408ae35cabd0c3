//! The task that is made anew, on the ground of the container's record alone.

use davit_metadata::{ContainerRecord, Scope};
use davit_shim_api::task_v3::mount::Mount;
use davit_snapshots::{NAME, Overlay, SnapshotError};
use davit_tasks::{CreateTask, Sandboxed, Stdio};
use serde::Deserialize;

use super::{Key, labels};
use crate::{
    containers::task::{mount, recorded},
    kept::RecordError,
    sandboxes::Sandboxes,
};

/// Why a record is no ground for a task.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnewError {
    #[error("snapshotter {0:?} is not offered, only {NAME:?} is")]
    Snapshotter(String),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Sandbox(#[from] RecordError),
    #[error("specification of the container: {0}")]
    Spec(serde_json::Error),
}

/// What of an OCI specification says how its task is made.
#[derive(Deserialize)]
struct Spec {
    process: Option<Process>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    terminal: bool,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default, rename = "mountLabel")]
    mount_label: String,
}

/// The task of this record. Blocks on the disk.
pub(super) fn task(
    overlay: &Overlay,
    sandboxes: &Sandboxes,
    key: &Key,
    record: ContainerRecord,
) -> Result<CreateTask, AnewError> {
    let json = record.spec.as_ref().map_or(&[][..], |spec| &spec.value.0);
    let spec: Spec = serde_json::from_slice(json).map_err(AnewError::Spec)?;
    let rootfs = mounts(overlay, key, &record, &spec)?;
    let stdio = stdio(&spec, labels::log_uri(&record.labels));
    let sandbox = sandboxes.known(&key.namespace, &record.sandbox)?;
    Ok(CreateTask {
        rootfs,
        stdio,
        sandbox: sandbox.map(|id| Sandboxed { id, address: None }),
        ..recorded(key.namespace.clone(), key.id.clone(), record)
    })
}

fn mounts(overlay: &Overlay, key: &Key, record: &ContainerRecord, spec: &Spec) -> Result<Vec<Mount>, AnewError> {
    if record.snapshot_key.is_empty() {
        return Ok(Vec::new());
    }
    if record.snapshotter != NAME {
        return Err(AnewError::Snapshotter(record.snapshotter.clone()));
    }
    let mut mounts = overlay.mounts(&Scope::new(key.namespace.clone()), &record.snapshot_key)?;
    let label = spec.linux.as_ref().map_or("", |linux| &linux.mount_label);
    if !label.is_empty() {
        for mount in &mut mounts {
            mount.options.push(format!("context=\"{label}\""));
        }
    }
    Ok(mounts.into_iter().map(mount).collect())
}

/// A log takes all output; without one there are no streams. A terminal has one output alone.
fn stdio(spec: &Spec, log: &str) -> Stdio {
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    Stdio {
        stdin: String::new(),
        stdout: log.into(),
        stderr: if terminal { String::new() } else { log.into() },
        terminal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_takes_both_streams_or_the_terminal() {
        let with = |json: &str, log| {
            let stdio = stdio(&serde_json::from_str(json).unwrap(), log);
            (stdio.stdout, stdio.stderr, stdio.terminal)
        };
        let log = "file:///l";
        assert_eq!(with("{}", ""), (String::new(), String::new(), false));
        assert_eq!(with(r#"{"process":{"args":[]}}"#, log), (log.into(), log.into(), false));
        assert_eq!(
            with(r#"{"process":{"terminal":true}}"#, log),
            (log.into(), String::new(), true)
        );
    }
}
