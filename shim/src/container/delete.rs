//! Deleting processes that have ended, and containers with them.

use std::{fs, sync::atomic::Ordering};

use davit_shim_api::task_events::task::TaskDelete;
use davit_vocabulary::ExecId;

use super::{Container, Deleted};
use crate::{
    convert,
    error::TaskError,
    exit::Exit,
    oci::{CallStdio, OciError},
    process::Status,
    rootfs,
};

impl Container {
    /// Forgets an exec that has ended or was never started.
    pub async fn delete_exec(&self, id: &ExecId) -> Result<Deleted, TaskError> {
        let process = self
            .execs()
            .get(id)
            .cloned()
            .ok_or_else(|| TaskError::NoProcess(id.to_string()))?;
        let exit = match process.status() {
            Status::Stopped(exit) => exit,
            Status::Created if process.is_being_made() => {
                return Err(TaskError::State("cannot delete a process that is being started".into()));
            }
            Status::Created if process.live().is_none() => Exit::now(0),
            _ => return Err(TaskError::State("cannot delete a running process".into())),
        };
        process.close().await;
        davit_fail_point::reach("shim.delete-exec.closed");
        self.execs().remove(id);
        for what in ["exit", "process"] {
            // Whatever is left goes with the bundle.
            let _ = fs::remove_file(self.bundle.exec_file(id, what));
        }
        davit_fail_point::reach("shim.delete-exec.removed");
        Ok(Deleted {
            pid: process.pid(),
            exit,
        })
    }

    /// Deletes the container from the runtime and unmounts its root file system.
    pub async fn delete(&self) -> Result<Deleted, TaskError> {
        let exit = match self.init.status() {
            Status::Stopped(exit) => exit,
            Status::Running => return Err(TaskError::State("cannot delete a running process".into())),
            Status::Created if self.is_unrestored() => self.forgo().await?,
            Status::Created => {
                // It waits for its start in vain. It may have ended by itself.
                let _ = self.init.kill(9);
                self.init.wait().await
            }
        };
        let _order = self.order.lock().await;
        if self.deleted.load(Ordering::Relaxed) {
            return Err(TaskError::NoContainer(self.id.to_string()));
        }
        self.init.close().await;
        let execs: Vec<_> = self.execs().values().cloned().collect();
        for exec in execs {
            exec.close().await;
        }
        davit_fail_point::reach("shim.delete.closed");
        self.delete_from_runtime().await?;
        davit_fail_point::reach("shim.delete.runtime-called");
        rootfs::unmount_all(&self.bundle.rootfs())?;
        davit_fail_point::reach("shim.delete.unmounted");
        self.deleted.store(true, Ordering::Relaxed);
        let pid = self.init.pid();
        let event = TaskDelete {
            container_id: self.id.to_string(),
            pid,
            exit_status: exit.status,
            exited_at: Some(convert::timestamp(exit.at)).into(),
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/delete", &event);
        davit_fail_point::reach("shim.delete.published");
        tracing::info!(id = %self.id, "deleted");
        Ok(Deleted { pid, exit })
    }

    /// A runtime that knows nothing of the container any more has nothing to delete.
    async fn delete_from_runtime(&self) -> Result<(), TaskError> {
        match self
            .call("failed to delete task", &["delete"], CallStdio::Captured)
            .await
        {
            Err(TaskError::Oci(OciError::Failed { message, .. })) if message.contains("does not exist") => Ok(()),
            outcome => outcome,
        }
    }
}
