use std::{sync::Arc, time::Duration};

use davit_vocabulary::ContainerId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{attach::Connection, containerd::Exit, error::ContainerError, record::Record};

type Result<T> = std::result::Result<T, ContainerError>;

/// Where an actor sends its answer.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// All that can be asked of a container's actor. It does one after the other.
pub(crate) enum Command {
    /// Start it, for a user.
    Start { reply: Reply<()> },
    /// Signal its first process; `stops` if that is meant to end it for good.
    Signal { signal: u32, stops: bool, reply: Reply<()> },
    /// Connect to its streams: now if it runs, else when it starts.
    Attach { reply: Reply<Connection> },
    /// Give it another name.
    Rename { name: String, reply: Reply<()> },
    /// Remove it; it must not run.
    Remove { reply: Reply<()> },
    /// Set whether its end removes it, and tell how that was before.
    AutoRemove { on: bool, reply: Reply<bool> },
    /// Its first process ended, in this run.
    Ended { run: u64, exit: Exit },
    /// The kernel killed for want of memory.
    OutOfMemory,
}

/// What others see of a container.
#[derive(Clone, Debug)]
pub struct View {
    /// Its record, as it is on disk or about to be.
    pub record: Arc<Record>,
    /// How often it ended since this engine started.
    pub exits: u64,
    /// How it ended last.
    pub last_exit: Option<Exit>,
    /// Whether it is gone.
    pub removed: bool,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run; at once where that is so.
    #[default]
    NotRunning,
    /// Its next end.
    NextExit,
    /// That it is gone.
    Removed,
}

/// A container: the way to its actor, and what the actor shows.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) view: watch::Receiver<View>,
}

impl Container {
    /// The record as of now.
    pub fn record(&self) -> Arc<Record> {
        self.view.borrow().record.clone()
    }

    /// Starts it.
    pub async fn start(&self) -> Result<()> {
        self.ask(|reply| Command::Start { reply }).await
    }

    /// Sends a signal to its first process. `stops`: no restart policy acts on the end that follows.
    pub async fn signal(&self, signal: u32, stops: bool) -> Result<()> {
        self.ask(|reply| Command::Signal { signal, stops, reply }).await
    }

    /// Gives it another name, which the index has reserved.
    pub(crate) async fn rename(&self, name: String) -> Result<()> {
        self.ask(|reply| Command::Rename { name, reply }).await
    }

    /// Removes it; it must not run.
    pub(crate) async fn remove(&self) -> Result<()> {
        self.ask(|reply| Command::Remove { reply }).await
    }

    /// Sets whether its end removes it; the answer is how that was before. Kept in memory: only a restart asks, and it sets it back.
    pub(crate) async fn set_auto_remove(&self, on: bool) -> Result<bool> {
        self.ask(|reply| Command::AutoRemove { on, reply }).await
    }

    /// Asks for its streams. The answer comes when it runs; the asking is done when this returns.
    pub async fn attach(&self) -> Result<PendingAttach> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Attach { reply }).await;
        sent.map_err(|_| ContainerError::NoSuchContainer(self.id.to_string()))?;
        Ok(PendingAttach(answer))
    }

    /// Sees what the actor shows from now on.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Begins to wait. What happens after this call is not missed, however late the future is polled.
    pub fn wait(&self, condition: WaitCondition) -> impl Future<Output = Exit> + Send + use<> {
        let mut view = self.view.clone();
        let exits = view.borrow_and_update().exits;
        async move {
            loop {
                let now = view.borrow_and_update().clone();
                let over = match condition {
                    WaitCondition::NotRunning => !now.record.state.is_running() || now.removed,
                    WaitCondition::NextExit => now.exits > exits || now.removed,
                    WaitCondition::Removed => now.removed,
                };
                if over || view.changed().await.is_err() {
                    return exit_of(&now);
                }
            }
        }
    }

    /// Waits until it does not run, at most this long (`None`: for ever); whether that came true.
    pub(crate) async fn stopped_within(&self, limit: Option<Duration>) -> bool {
        let stopped = self.wait(WaitCondition::NotRunning);
        match limit {
            Some(limit) => tokio::time::timeout(limit, stopped).await.is_ok(),
            None => {
                stopped.await;
                true
            }
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let gone = || ContainerError::NoSuchContainer(self.id.to_string());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// Streams that come when the container runs.
#[derive(Debug)]
pub struct PendingAttach(oneshot::Receiver<Result<Connection>>);

impl PendingAttach {
    /// Waits for the container to run; `None` if it goes without having run.
    pub async fn connected(self) -> Result<Option<Connection>> {
        self.0.await.ok().transpose()
    }
}

fn exit_of(view: &View) -> Exit {
    let state = &view.record.state;
    view.last_exit.unwrap_or(Exit {
        code: state.exit_code,
        at: state.finished_at.unwrap_or_default(),
    })
}
