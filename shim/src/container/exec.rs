//! Additional processes.

use std::{ffi::OsStr, fs, sync::Arc};

use davit_shim_api::task_events::task::{TaskExecAdded, TaskExecStarted};
use davit_vocabulary::ExecId;

use super::Container;
use crate::{
    bundle::process_spec,
    error::TaskError,
    exit::Exit,
    process::{Live, Process, Status},
    reaper::ExitReceiver,
    stdio::{Place, Prepared, StdioRequest},
};

impl Container {
    /// Describes an exec and opens its streams; `spec` is the JSON of its process.
    pub async fn add_exec(&self, id: ExecId, spec: &[u8], stdio: StdioRequest) -> Result<(), TaskError> {
        if self.is_unrestored() {
            return Err(TaskError::State(
                "cannot exec in a container that is not restored yet".into(),
            ));
        }
        self.is_there_for_execs()?;
        if self.execs().contains_key(&id) {
            return Err(TaskError::Exists(id.to_string()));
        }
        let spec = process_spec(spec, stdio.terminal)
            .map_err(|error| TaskError::Invalid(format!("cannot read the exec's process: {error}")))?;
        let place = Place {
            container: self.id.as_str(),
            namespace: &self.host.namespace,
            sockets: &self.host.sockets,
            owner: self.owner,
            reaper: &self.host.reaper,
        };
        let prepared = Prepared::open(&stdio, &place).await?;
        if self.execs().contains_key(&id) {
            // Somebody was faster while the streams were opened.
            prepared.discard();
            return Err(TaskError::Exists(id.to_string()));
        }
        if let Err(error) = self.is_there_for_execs() {
            prepared.discard();
            return Err(error);
        }
        // The id is ours from here on: nothing waits between the look and the entry.
        davit_fail_point::reach("shim.exec.streams-open");
        if let Err(error) = fs::write(self.bundle.exec_file(&id, "process"), spec) {
            prepared.discard();
            return Err(TaskError::io("cannot write the exec's process")(error));
        }
        davit_fail_point::reach("shim.exec.described");
        self.execs()
            .insert(id.clone(), Arc::new(Process::new(stdio, Some(prepared))));
        let event = TaskExecAdded {
            container_id: self.id.to_string(),
            exec_id: id.to_string(),
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/exec-added", &event);
        davit_fail_point::reach("shim.exec.published");
        Ok(())
    }

    /// No exec is told of after init's end is told. Until then init runs, for all that anybody knows.
    fn is_there_for_execs(&self) -> Result<(), TaskError> {
        match self.init.status() {
            Status::Stopped(_) => Err(TaskError::State("cannot exec in a stopped state".into())),
            Status::Created | Status::Running => Ok(()),
        }
    }

    /// Runs an exec.
    pub async fn start_exec(self: &Arc<Self>, id: &ExecId) -> Result<u32, TaskError> {
        if self.has_init_ended() {
            return Err(TaskError::State(format!(
                "container {} init process is not running",
                self.id
            )));
        }
        let process = self
            .execs()
            .get(id)
            .cloned()
            .ok_or_else(|| TaskError::NoProcess(id.to_string()))?;
        let prepared = process
            .take_prepared()
            .ok_or_else(|| TaskError::State(format!("exec {id} has been started before")))?;
        self.busy_execs.send_modify(|busy| *busy += 1);
        match self.make_exec(id, prepared).await {
            Ok((live, exit)) => {
                let pid = live.pid;
                process.made(live);
                process.set_started();
                self.exec_started(id, process, exit);
                Ok(pid)
            }
            Err(error) => {
                process.set_exit(Exit::now(255));
                self.busy_execs.send_modify(|busy| *busy -= 1);
                Err(error)
            }
        }
    }

    fn exec_started(self: &Arc<Self>, id: &ExecId, process: Arc<Process>, exit: ExitReceiver) {
        let (container_id, exec_id) = (self.id.to_string(), id.to_string());
        let event = TaskExecStarted {
            container_id,
            exec_id,
            pid: process.pid(),
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/exec-started", &event);
        davit_fail_point::reach("shim.start-exec.published");
        if self.has_init_ended() {
            // Without a pid namespace of its own it would outlive its container. It may have ended by itself.
            let _ = process.kill(9);
        }
        tokio::spawn(self.clone().await_exec(id.clone(), process, exit));
    }

    async fn make_exec(&self, id: &ExecId, mut prepared: Prepared) -> Result<(Live, ExitReceiver), TaskError> {
        let births = self.host.reaper.births();
        let called = self.call_exec(id, &mut prepared).await;
        davit_fail_point::reach("shim.start-exec.runtime-called");
        let made = Live::take_over(called, &self.bundle.exec_file(id, "pid"), &births, prepared).await;
        for what in ["process", "pid", "log"] {
            // Whatever is left goes with the bundle.
            let _ = fs::remove_file(self.bundle.exec_file(id, what));
        }
        made
    }

    async fn call_exec(&self, id: &ExecId, prepared: &mut Prepared) -> Result<(), TaskError> {
        let process = self.bundle.exec_file(id, "process");
        let pid_file = self.bundle.exec_file(id, "pid");
        let stdio = prepared.call_stdio();
        let mut arguments: Vec<&OsStr> = vec!["exec".as_ref(), "--process".as_ref(), process.as_os_str()];
        arguments.extend(["--pid-file".as_ref(), pid_file.as_os_str(), "--detach".as_ref()]);
        if let Some(path) = prepared.console_path() {
            arguments.extend(["--console-socket".as_ref(), path.as_os_str()]);
        }
        arguments.push(self.id.as_ref().as_ref());
        let log = self.bundle.exec_file(id, "log");
        Ok(self
            .oci
            .call("OCI runtime exec failed", &log, &arguments, stdio)
            .await?)
    }
}
