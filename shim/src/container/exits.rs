//! What happens when a process ends: its exit is recorded, its output taken, and then everybody told.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use davit_shim_api::task_events::task::{TaskExit, TaskOOM};
use davit_vocabulary::ExecId;

use super::Container;
use crate::{
    cgroup::OomWatch,
    convert,
    events::OOM,
    exit::{Exit, ExitRecord},
    process::Process,
    reaper::ExitReceiver,
};

impl Container {
    /// Waits for an exec.
    pub(super) async fn await_exec(self: Arc<Self>, id: ExecId, process: Arc<Process>, exit: ExitReceiver) {
        let exit = exit.await.unwrap_or_else(|_| Exit::now(255));
        davit_fail_point::reach("shim.exec-exit.seen");
        record(&self.bundle.exec_file(&id, "exit"), process.pid(), exit);
        davit_fail_point::reach("shim.exec-exit.recorded");
        self.finish(id.as_str(), &process, exit).await;
        davit_fail_point::reach("shim.exec-exit.published");
        self.busy_execs.send_modify(|busy| *busy -= 1);
    }

    /// Waits for init.
    pub(super) async fn await_init(self: Arc<Self>, exit: ExitReceiver) {
        let exit = exit.await.unwrap_or_else(|_| Exit::now(255));
        davit_fail_point::reach("shim.exit.seen");
        // At once, before anything is waited for: from now on nobody else could say it.
        record(&self.bundle.exit_file(), self.init.pid(), exit);
        davit_fail_point::reach("shim.exit.recorded");
        self.init_ended.store(true, Ordering::Relaxed);
        let _order = self.order.lock().await;
        if !self.own_pids {
            self.kill_the_rest().await;
        }
        let mut busy = self.busy_execs.subscribe();
        // The sender is ours.
        let _ = busy.wait_for(|busy| *busy == 0).await;
        self.check_oom();
        self.finish(self.id.as_str(), &self.init, exit).await;
        davit_fail_point::reach("shim.exit.published");
    }

    async fn kill_the_rest(&self) {
        // runc takes --all only where it must; both words are understood by all runtimes.
        if let Err(error) = self
            .call_with_id("cannot kill what is left", &["kill", "--all"], &["9"])
            .await
        {
            tracing::debug!(%error, id = %self.id, "nothing is left to kill");
        }
    }

    async fn finish(&self, id: &str, process: &Process, exit: Exit) {
        let pid = process.pid();
        if let Some(live) = process.live() {
            live.streams.process_ended().await;
        }
        process.set_exit(exit);
        tracing::info!(container = %self.id, id, pid, status = exit.status, "exited");
        let event = TaskExit {
            container_id: self.id.to_string(),
            id: id.to_owned(),
            pid,
            exit_status: exit.status,
            exited_at: Some(convert::timestamp(exit.at)).into(),
            ..Default::default()
        };
        self.host.outbox.publish("/tasks/exit", &event);
    }

    /// Reports kills for want of memory while the container lives.
    pub(super) fn begin_reporting(self: &Arc<Self>, watch: OomWatch) {
        let watch = Arc::new(watch);
        // A container is watched once.
        let _ = self.oom_watch.set(Arc::downgrade(&watch));
        tokio::spawn(self.clone().report_oom(watch));
    }

    async fn report_oom(self: Arc<Self>, watch: Arc<OomWatch>) {
        while let Ok(Some(())) = watch.next(self.oom_kills.load(Ordering::Relaxed)).await {
            self.check_oom();
            if self.deleted.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Publishes kills that were not published yet. At init's end this comes before its exit.
    fn check_oom(&self) {
        let count = self.cgroup().and_then(|cgroup| cgroup.oom_kills()).unwrap_or(0);
        if count <= self.oom_kills.fetch_max(count, Ordering::Relaxed) {
            return;
        }
        let event = TaskOOM {
            container_id: self.id.to_string(),
            ..Default::default()
        };
        self.host.outbox.publish(OOM, &event);
    }
}

/// Writes an exit into the bundle.
fn record(path: &Path, pid: u32, exit: Exit) {
    if let Err(error) = (ExitRecord { pid, exit }).write(path) {
        tracing::error!(%error, path = %path.display(), "cannot record an exit");
    }
}
