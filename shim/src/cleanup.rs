//! `delete`: cleans up after a shim that has died.

use std::{
    env, io,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use davit_shim_api::task_v3::shim::DeleteResponse;
use protobuf::Message;

use crate::{
    arguments::Identity,
    bundle::{Bundle, read_pid},
    convert,
    exit::{Exit, ExitRecord},
    oci::Oci,
    rootfs, socket,
};

/// A cleanup that cannot even begin.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// No bundle.
    #[error("cannot find the bundle: {0}")]
    Bundle(io::Error),
    /// stdout.
    #[error("cannot write the answer: {0}")]
    Answer(io::Error),
}

/// Kills and removes the container, unmounts its root file system, and answers how it ended: as recorded, else as killed.
pub fn run(identity: &Identity, bundle: Option<PathBuf>) -> Result<(), CleanupError> {
    let bundle = match bundle.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => path,
        None => env::current_dir().map_err(CleanupError::Bundle)?,
    };
    let bundle = Bundle::new(own_folder(&bundle, identity.id.as_str()));
    delete_from_runtime(identity, &bundle);
    if let Err(error) = rootfs::unmount_all(&bundle.rootfs()) {
        complain(&format!("root file system: {error}"));
    }
    if let Err(error) = socket::remove_dead(bundle.path()) {
        complain(&format!("socket: {error}"));
    }
    let answer = answer(&bundle)
        .write_to_bytes()
        .expect("a message without required fields serializes");
    io::stdout().write_all(&answer).map_err(CleanupError::Answer)
}

/// Of a group, the shim's working directory may be another container's bundle.
fn own_folder(path: &Path, id: &str) -> PathBuf {
    match path.parent() {
        Some(parent) if path.file_name().is_some_and(|name| name != id) && parent.join(id).is_dir() => parent.join(id),
        _ => path.into(),
    }
}

fn delete_from_runtime(identity: &Identity, bundle: &Bundle) {
    let options = bundle.stored_options().unwrap_or_else(|error| {
        complain(&format!("stored options: {error}"));
        Default::default()
    });
    let mut command: Command = Oci::deletion(&options, identity.namespace.as_str(), identity.id.as_str());
    let outcome = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status();
    match outcome {
        Ok(status) if status.success() => {}
        Ok(status) => complain(&format!("the runtime's delete ended with {status}")),
        Err(error) => complain(&format!("the runtime's delete: {error}")),
    }
}

fn answer(bundle: &Bundle) -> DeleteResponse {
    let record = ExitRecord::read(&bundle.exit_file()).ok().flatten();
    let record = record.unwrap_or_else(|| killed(bundle));
    DeleteResponse {
        pid: record.pid,
        exit_status: record.exit.status,
        exited_at: Some(convert::timestamp(record.exit.at)).into(),
        ..Default::default()
    }
}

/// Recorded, so that a manager that dies before it has told this exit gets the same one when it asks again.
fn killed(bundle: &Bundle) -> ExitRecord {
    let record = ExitRecord {
        pid: read_pid(&bundle.init_pid_file()).unwrap_or(0),
        exit: Exit::now(128 + 9),
    };
    if let Err(error) = record.write(&bundle.exit_file()) {
        complain(&format!("exit record: {error}"));
    }
    record
}

/// The manager logs stderr.
fn complain(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
