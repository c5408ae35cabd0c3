//! What the runtime does to a whole container: start, kill, pause, resume, update.

use std::{
    ffi::OsStr,
    sync::{Arc, atomic::Ordering},
};

use davit_shim_api::task_events::task::{TaskPaused, TaskResumed, TaskStart};
use rustix::process::Signal;

use super::Container;
use crate::{
    error::TaskError,
    oci::{CallStdio, OciError},
    process::Status,
};

impl Container {
    /// Lets init run, or has it restored.
    pub async fn start(self: &Arc<Self>) -> Result<u32, TaskError> {
        let _order = self.order.lock().await;
        match self.init.status() {
            Status::Created => {}
            Status::Running => return Err(TaskError::State("cannot start a running process".into())),
            Status::Stopped(_) => return Err(TaskError::State("cannot start a stopped process".into())),
        }
        match &self.checkpoint {
            Some(checkpoint) => self.restore(checkpoint).await?,
            None => {
                self.call("OCI runtime start failed", &["start"], CallStdio::Captured)
                    .await?;
            }
        }
        davit_fail_point::reach("shim.start.runtime-called");
        self.init.set_started();
        let pid = self.init.pid();
        let event = TaskStart {
            container_id: self.id.to_string(),
            pid,
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/start", &event);
        davit_fail_point::reach("shim.start.published");
        Ok(pid)
    }

    /// Sends a signal to init, or to all processes.
    ///
    /// Where the kernel does what the runtime would do, it is asked directly. The runtime knows better where a process is frozen,
    /// where init shares its pid namespace, and what a real-time signal's number is.
    pub async fn kill(&self, signal: u32, all: bool) -> Result<(), TaskError> {
        if let Status::Stopped(_) = self.init.status() {
            return Err(TaskError::Finished);
        }
        if self.is_unrestored() {
            return Err(TaskError::NoContainer(self.id.to_string()));
        }
        let is_plain = Signal::from_named_raw(signal as i32).is_some();
        if !all && is_plain && self.own_pids && !self.is_paused() {
            return self.init.kill(signal);
        }
        let number = signal.to_string();
        let all_flag: &[&str] = if all { &["--all"] } else { &[] };
        let mut arguments = vec!["kill"];
        arguments.extend(all_flag);
        self.call_with_id("unknown error after kill", &arguments, &[&number])
            .await
            .map_err(kill_error)
    }

    /// Freezes all processes.
    pub async fn pause(&self) -> Result<(), TaskError> {
        if self.init.status() != Status::Running || self.is_paused() {
            return Err(self.refuses("pause", "container"));
        }
        self.call("OCI runtime pause failed", &["pause"], CallStdio::Captured)
            .await?;
        self.paused.store(true, Ordering::Relaxed);
        let event = TaskPaused {
            container_id: self.id.to_string(),
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/paused", &event);
        Ok(())
    }

    /// Thaws them.
    pub async fn resume(&self) -> Result<(), TaskError> {
        if !self.is_paused() {
            return Err(self.refuses("resume", "process"));
        }
        self.call("OCI runtime resume failed", &["resume"], CallStdio::Captured)
            .await?;
        self.paused.store(false, Ordering::Relaxed);
        let event = TaskResumed {
            container_id: self.id.to_string(),
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/resumed", &event);
        Ok(())
    }

    /// Changes limits; `resources` is the JSON of LinuxResources.
    pub async fn update(&self, resources: Vec<u8>) -> Result<(), TaskError> {
        if let Status::Stopped(_) = self.init.status() {
            return Err(self.refuses("update", "container"));
        }
        self.call(
            "OCI runtime update failed",
            &["update", "--resources", "-"],
            CallStdio::Input(resources),
        )
        .await
    }

    /// That a call does not suit the state, in containerd's words; a running one is a `running`.
    pub(super) fn refuses(&self, verb: &str, running: &str) -> TaskError {
        TaskError::State(match self.init.status() {
            Status::Created => format!("cannot {verb} task in created state"),
            Status::Running if !self.is_paused() => format!("cannot {verb} a running {running}"),
            _ => format!("cannot {verb} a {} container", self.state_name()),
        })
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.init.status() {
            Status::Created => "created",
            Status::Running if self.is_paused() => "paused",
            Status::Running => "running",
            Status::Stopped(_) => "stopped",
        }
    }

    /// Calls the runtime with the container's id last.
    pub(super) async fn call(&self, what: &'static str, arguments: &[&str], stdio: CallStdio) -> Result<(), TaskError> {
        let mut all: Vec<&OsStr> = arguments.iter().map(|argument| argument.as_ref()).collect();
        all.push(self.id.as_ref().as_ref());
        Ok(self.oci.call(what, &self.bundle.runtime_log(), &all, stdio).await?)
    }

    /// Calls the runtime with more after the container's id.
    pub(super) async fn call_with_id(
        &self,
        what: &'static str,
        before: &[&str],
        after: &[&str],
    ) -> Result<(), OciError> {
        let id = [self.id.as_str()];
        let all: Vec<&OsStr> = before
            .iter()
            .chain(&id)
            .chain(after)
            .map(|argument| argument.as_ref())
            .collect();
        self.oci
            .call(what, &self.bundle.runtime_log(), &all, CallStdio::Captured)
            .await
    }
}

/// Runtimes have no codes for these; containerd reads the same words.
fn kill_error(error: OciError) -> TaskError {
    let text = error.message().to_lowercase();
    let gone = [
        "process already finished",
        "container not running",
        "no such process",
        "does not exist",
    ];
    if gone.iter().any(|words| text.contains(words)) {
        TaskError::Finished
    } else {
        error.into()
    }
}
