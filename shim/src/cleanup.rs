//! `delete`: cleans up after a shim that has died.

use std::{
    env, fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use davit_shim_api::{task_events::task::TaskExit, task_v3::shim::DeleteResponse};
use protobuf::Message;

use crate::{
    arguments::Identity,
    bundle::{Bundle, read_pid},
    convert,
    events::{self, Outbox},
    exit::{Exit, ExitRecord},
    oci::Oci,
    rootfs, socket,
    untold::{self, Owed},
};

/// The status of a process of which nobody can say how it has ended, as containerd has it.
const UNKNOWN: u32 = 255;

/// How long the manager may take for the events of a dead shim. It waits for this program meanwhile, and not for long.
const TELL: Duration = Duration::from_secs(2);

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

/// Kills and removes the container, unmounts its root file system, tells what the shim has not told, and answers how it ended.
pub fn run(identity: &Identity, bundle: Option<PathBuf>) -> Result<(), CleanupError> {
    let bundle = match bundle.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => path,
        None => env::current_dir().map_err(CleanupError::Bundle)?,
    };
    let bundle = Bundle::new(own_folder(&bundle, identity.id.as_str()));
    davit_fail_point::reach("shim.cleanup.begun");
    // Before the container is killed: who is dead now has ended by itself.
    let record = record(&bundle);
    let owed = settle(identity, &bundle);
    delete_from_runtime(identity, &bundle);
    davit_fail_point::reach("shim.cleanup.runtime-called");
    if let Err(error) = rootfs::unmount_all(&bundle.rootfs()) {
        complain(&format!("root file system: {error}"));
    }
    davit_fail_point::reach("shim.cleanup.unmounted");
    if let Err(error) = socket::remove_dead(bundle.path()) {
        complain(&format!("socket: {error}"));
    }
    davit_fail_point::reach("shim.cleanup.socket-removed");
    tell(identity, owed);
    davit_fail_point::reach("shim.cleanup.told");
    let answer = DeleteResponse {
        pid: record.pid,
        exit_status: record.exit.status,
        exited_at: Some(convert::timestamp(record.exit.at)).into(),
        ..Default::default()
    };
    let answer = answer
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

/// How init has ended.
fn record(bundle: &Bundle) -> ExitRecord {
    let pid = read_pid(&bundle.init_pid_file()).ok();
    recorded_or_now(&bundle.exit_file(), pid)
}

/// As recorded, else as killed. One that is dead without a record has ended in a way that nobody can say.
///
/// Recorded from now on, so that a manager that dies before it has told this exit gets the same one when it asks again.
fn recorded_or_now(path: &Path, pid: Option<u32>) -> ExitRecord {
    if let Some(record) = ExitRecord::read(path).ok().flatten() {
        return record;
    }
    let status = match pid {
        Some(pid) if !is_alive(pid) => UNKNOWN,
        _ => 128 + 9,
    };
    let record = ExitRecord {
        pid: pid.unwrap_or(0),
        exit: Exit::now(status),
    };
    if let Err(error) = record.write(path) {
        complain(&format!("exit record: {error}"));
    }
    record
}

/// Should the number be another's by now, it is called killed that has ended by itself.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything.
    let stat = String::from_utf8_lossy(&stat);
    let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest);
    after_name.is_some_and(|rest| !rest.starts_with(['Z', 'X']))
}

/// What the shim has not told, and the ends of execs, which end with their container.
fn settle(identity: &Identity, bundle: &Bundle) -> Owed {
    let mut owed = untold::owed(bundle.path()).unwrap_or_else(|error| {
        complain(&format!("events: {error}"));
        Owed::default()
    });
    for running in &owed.running {
        let Ok(exec) = running.exec.parse() else { continue };
        let record = recorded_or_now(&bundle.exec_file(&exec, "exit"), Some(running.pid));
        let exit = TaskExit {
            container_id: identity.id.to_string(),
            id: running.exec.clone(),
            pid: record.pid,
            exit_status: record.exit.status,
            exited_at: Some(convert::timestamp(record.exit.at)).into(),
            ..Default::default()
        };
        owed.ends
            .push(events::envelope(identity.namespace.as_str(), "/tasks/exit", &exit));
    }
    owed
}

/// Best effort: a manager that does not listen cannot be told.
fn tell(identity: &Identity, owed: Owed) {
    let envelopes = owed.envelopes();
    let address = env::var("TTRPC_ADDRESS").unwrap_or_default();
    if envelopes.is_empty() || address.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let told = runtime.map(|runtime| {
        let outbox = Outbox::new(identity.namespace.as_str(), Some(address));
        runtime.block_on(outbox.send_for_another(envelopes, TELL))
    });
    match told {
        Ok(true) => owed.is_told(),
        Ok(false) => complain("the manager does not take the events of a dead shim"),
        Err(error) => complain(&format!("events: {error}")),
    }
}

/// The manager logs stderr.
fn complain(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "{text}");
}
