//! The stdio URIs that tell our shim where output goes, and the patience that outlasts a manager's restart.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use davit_stdio::{LogDetails, LogDriver, LogTarget, Stdio};
use jiff::Timestamp;

use crate::{
    containerd::{Containerd, Exit},
    error::ContainerError,
};

/// What Docker reports of a process that nobody knows any more.
const LOST: i32 = 255;

/// The URI of stdout and stderr: a json-file and its options, or no log; and the attach socket in any case.
pub(crate) fn output(
    log: Option<(PathBuf, &BTreeMap<String, String>)>,
    attach: PathBuf,
) -> Result<String, ContainerError> {
    let target = match log {
        Some((path, options)) => LogTarget {
            driver: LogDriver::JsonFile,
            path,
            attach,
            options: options
                .iter()
                .filter(|(key, _)| *key != "mode")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            details: LogDetails::default(),
        },
        None => LogTarget {
            driver: LogDriver::None,
            path: PathBuf::new(),
            attach,
            options: BTreeMap::new(),
            details: LogDetails::default(),
        },
    };
    let uri = target.to_string();
    // The crate's own rules decide, the length of a socket's path among them.
    uri.parse::<Stdio>()
        .map_err(|error| ContainerError::Invalid(error.to_string()))?;
    Ok(uri)
}

/// Waits for a process to end; while the manager is away, for the manager.
pub(crate) async fn wait_patiently(containerd: &Containerd, id: &str, exec: &str) -> Exit {
    let mut pause = Duration::from_millis(20);
    loop {
        match containerd.wait(id, exec).await {
            Ok(exit) => return exit,
            Err(error) if error.is_gone() => {
                return Exit {
                    code: LOST,
                    at: Timestamp::now(),
                };
            }
            Err(error) => {
                tracing::debug!(container = id, exec, %error, "waiting for the manager");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}
