//! One task a container: it owns the record, does one thing after the other, and shows the result.
//!
//! A change of the record is on disk before anyone sees it, with one exception: an end may be seen at once, for the manager
//! keeps it until the task is deleted, which comes after the record is written.

mod exit;
mod remove;
mod start;

pub(crate) use start::classify;

use std::{sync::Arc, time::Duration};

use davit_containerd_api::types::Mount;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::warn;

use crate::{
    attach::Connection,
    container::{Command, Container, Reply, View},
    context::Context,
    error::ContainerError,
    record::{Change, Record, Status},
};

type Result<T> = std::result::Result<T, ContainerError>;

/// The first wait of a restart policy; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

pub(crate) struct Actor {
    context: Arc<Context>,
    record: Record,
    view: watch::Sender<View>,
    queue: mpsc::Receiver<Command>,
    /// For those who report to this actor. Weak, so that the queue closes with the last handle.
    own: mpsc::WeakSender<Command>,
    /// The writable layer's mounts, where they are known from its creation.
    mounts: Option<Vec<Mount>>,
    /// Who waits for streams of the next run.
    waiting: Vec<Reply<Connection>>,
    /// Number of the run, so that a late report of an earlier one is told apart.
    run: u64,
    /// When the restart policy acts.
    restart_at: Option<Instant>,
    backoff: Duration,
    removed: bool,
}

/// What was found of a container when the engine started.
pub(crate) enum Found {
    /// Nothing to take over.
    AtRest,
    /// Its task runs or has ended unseen.
    Task,
}

/// Starts a container's actor and returns the way to it.
pub(crate) fn spawn(
    context: &Arc<Context>,
    record: Record,
    mounts: Option<Vec<Mount>>,
    found: Found,
) -> Arc<Container> {
    let (commands, queue) = mpsc::channel(32);
    let (view, seen) = watch::channel(View {
        record: Arc::new(record.clone()),
        exits: 0,
        last_exit: None,
        removed: false,
    });
    let container = Arc::new(Container {
        id: record.id.clone(),
        commands: commands.clone(),
        view: seen,
    });
    let mut actor = Actor {
        context: context.clone(),
        record,
        view,
        queue,
        own: commands.downgrade(),
        mounts,
        waiting: Vec::new(),
        run: 0,
        restart_at: None,
        backoff: FIRST_BACKOFF,
        removed: false,
    };
    if let Found::Task = found {
        actor.watch_exit();
    }
    tokio::spawn(actor.serve());
    container
}

impl Actor {
    async fn serve(mut self) {
        while !self.removed {
            let restart_at = self.restart_at;
            let restart = async {
                match restart_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = self.queue.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                () = restart => self.restart_by_policy().await,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        // Who asked may have gone away; what was asked is done all the same.
        match command {
            Command::Start { reply } => drop(reply.send(self.start().await)),
            Command::Signal { signal, stops, reply } => drop(reply.send(self.signal(signal, stops).await)),
            Command::Attach { reply } => self.attach(reply).await,
            Command::Rename { name, reply } => drop(reply.send(self.rename(name).await)),
            Command::Remove { reply } => drop(reply.send(self.remove().await)),
            Command::AutoRemove { on, reply } => {
                let before = std::mem::replace(&mut self.record.host.auto_remove, on);
                let _ = reply.send(Ok(before));
            }
            Command::Ended { run, exit } if run == self.run => self.ended(exit).await,
            Command::Ended { .. } => {}
            Command::OutOfMemory => self.out_of_memory().await,
        }
    }

    async fn signal(&mut self, signal: u32, stops: bool) -> Result<()> {
        if stops && self.record.state.status == Status::Restarting {
            self.restart_at = None;
            self.record.state.transition(Change::StopAsked);
            self.persist().await?;
            self.show();
            return Ok(());
        }
        if !self.record.state.is_running() {
            return Err(ContainerError::NotRunning(self.record.id.to_string()));
        }
        if stops && !self.record.state.stopped_by_hand {
            // Must be known after a crash, or a policy would start what the user has stopped. Only policies ask.
            self.record.state.transition(Change::StopAsked);
            if self.has_policy() {
                self.persist().await?;
            }
        }
        match self.context.containerd.kill(&self.record.id, "", signal, false).await {
            // Ended meanwhile: the report is on its way.
            Err(error) if error.is_gone() => {}
            result => result?,
        }
        self.publish("kill", &[("signal", signal.to_string())]);
        Ok(())
    }

    async fn attach(&mut self, reply: Reply<Connection>) {
        if !self.record.state.is_running() {
            self.waiting.push(reply);
            return;
        }
        let path = self.context.paths.attach(&self.record.id);
        let _ = reply.send(Connection::open(&path, None).await);
    }

    async fn rename(&mut self, name: String) -> Result<()> {
        let old = std::mem::replace(&mut self.record.name, name);
        if let Err(error) = self.persist().await {
            self.record.name = old;
            return Err(error);
        }
        self.show();
        self.publish("rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }

    async fn out_of_memory(&mut self) {
        self.record.state.transition(Change::OutOfMemory);
        self.persist_or_warn().await;
        self.show();
        self.publish("oom", &[]);
    }

    fn has_policy(&self) -> bool {
        self.record.host.restart != davit_engine_spec::RestartPolicy::No
    }

    async fn persist(&self) -> Result<()> {
        self.context.store.put(&self.record).await
    }

    /// For changes that have happened whether or not they can be written.
    async fn persist_or_warn(&self) {
        if let Err(error) = self.persist().await {
            warn!(container = %self.record.id, %error, "a change of a container is not stored");
        }
    }

    fn show(&self) {
        let record = Arc::new(self.record.clone());
        self.view.send_modify(|view| view.record = record);
    }

    fn publish(&self, action: &str, own: &[(&str, String)]) {
        self.context.events.container(&self.record, action, own);
    }
}
