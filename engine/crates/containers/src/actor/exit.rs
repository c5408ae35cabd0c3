//! The end of a run, and what the restart policy makes of it.

use std::time::Duration;

use davit_engine_spec::{NetworkMode, RestartPolicy};
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Actor, FIRST_BACKOFF};
use crate::{containerd::Exit, record::Change};

const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A run of this length lets the backoff begin anew.
const HEALTHY_RUN: Duration = Duration::from_secs(10);

/// How long a killed process may take to go.
const KILL_TIME: Duration = Duration::from_secs(5);

const SIGKILL: u32 = 9;

impl Actor {
    /// A run has ended.
    pub(super) async fn ended(&mut self, exit: Exit) {
        let restarts = self.restarts_after(exit.code);
        self.note_length_of_run(exit.at);
        self.record.state.transition(Change::Ended {
            code: exit.code,
            at: exit.at,
            restarts,
        });
        info!(container = %self.record.id, name = %self.record.name, code = exit.code, "ended");
        let auto_remove = self.record.host.auto_remove && !restarts;
        if !auto_remove {
            self.persist_or_warn().await;
        }
        self.show_end(exit);
        self.publish("die", &[("exitCode", exit.code.to_string())]);
        self.tear_down().await;
        if auto_remove {
            self.remove_all().await;
        } else if restarts {
            self.restart_at = Some(Instant::now() + self.next_backoff());
        }
    }

    /// After a start by the policy has failed: waits longer, as after an end.
    pub(super) async fn schedule_restart(&mut self, exit: Exit) {
        if self.removed || !self.restarts_after(exit.code) {
            return;
        }
        self.record.state.transition(Change::Ended {
            code: exit.code,
            at: exit.at,
            restarts: true,
        });
        self.persist_or_warn().await;
        self.show();
        self.restart_at = Some(Instant::now() + self.next_backoff());
    }

    fn show_end(&self, exit: Exit) {
        let record = std::sync::Arc::new(self.record.clone());
        self.view.send_modify(|view| {
            view.record = record;
            view.exits += 1;
            view.last_exit = Some(exit);
        });
    }

    fn restarts_after(&self, code: i32) -> bool {
        if self.record.state.stopped_by_hand {
            return false;
        }
        match self.record.host.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { retries } => {
                code != 0 && (retries == 0 || i64::from(self.record.state.restart_count) < retries)
            }
        }
    }

    fn note_length_of_run(&mut self, end: Timestamp) {
        let length = self
            .record
            .state
            .started_at
            .map(|start| end.duration_since(start).unsigned_abs());
        if length.is_some_and(|length| length >= HEALTHY_RUN) {
            self.backoff = FIRST_BACKOFF;
        }
    }

    fn next_backoff(&mut self) -> Duration {
        let now = self.backoff;
        self.backoff = (now * 2).min(LONGEST_BACKOFF);
        now
    }

    /// Takes down what a run left with the manager and on the network. Whatever is not there is fine; what cannot be
    /// taken down is found again when the engine starts.
    pub(super) async fn tear_down(&self) {
        let (containerd, id) = (&self.context.containerd, &self.record.id);
        if let Err(first) = containerd.delete_task(id).await {
            // A task that was made and never started still has its process.
            let killed = containerd.kill(id, "", SIGKILL, true).await;
            let ended = tokio::time::timeout(KILL_TIME, containerd.wait(id, "")).await;
            if let Err(error) = containerd.delete_task(id).await {
                warn!(container = %id, %first, %error, ?killed, timely = ended.is_ok(), "a task cannot be deleted");
            }
        }
        // Nothing of this depends on the other.
        tokio::join!(self.forget_run(), self.leave_network());
    }

    async fn forget_run(&self) {
        if let Err(error) = self.context.containerd.delete_container(&self.record.id).await {
            warn!(container = %self.record.id, %error, "the manager's record of a container cannot be deleted");
        }
    }

    async fn leave_network(&self) {
        if self.record.host.network == NetworkMode::Bridge
            && let Err(error) = self.context.network.remove(&self.record.id).await
        {
            warn!(container = %self.record.id, %error, "a container's network cannot be removed");
        }
    }
}
