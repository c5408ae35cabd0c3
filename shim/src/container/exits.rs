//! What happens when a process ends: its output is taken, its exit recorded, and then everybody told.

use std::sync::{Arc, atomic::Ordering};

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
        self.finish(id.as_str(), &process, exit, self.bundle.exec_file(&id, "exit"))
            .await;
        self.busy_execs.send_modify(|busy| *busy -= 1);
    }

    /// Waits for init.
    pub(super) async fn await_init(self: Arc<Self>, exit: ExitReceiver) {
        let exit = exit.await.unwrap_or_else(|_| Exit::now(255));
        self.init_ended.store(true, Ordering::Relaxed);
        let _order = self.order.lock().await;
        if !self.own_pids {
            self.kill_the_rest().await;
        }
        let mut busy = self.busy_execs.subscribe();
        // The sender is ours.
        let _ = busy.wait_for(|busy| *busy == 0).await;
        self.check_oom();
        self.finish(self.id.as_str(), &self.init, exit, self.bundle.exit_file())
            .await;
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

    async fn finish(&self, id: &str, process: &Process, exit: Exit, record: std::path::PathBuf) {
        let pid = process.pid();
        if let Some(live) = process.live() {
            live.streams.process_ended().await;
        }
        if let Err(error) = (ExitRecord { pid, exit }).write(&record) {
            tracing::error!(%error, path = %record.display(), "cannot record an exit");
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
