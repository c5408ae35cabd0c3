//! One container's task against its labels: what is to be done, and the doing of it.

use std::{sync::Arc, time::Duration};

use davit_metadata::{ContainerRecord, Database, filter::Filters, namespaces};
use davit_shim_api::task_v3::task::Status;
use davit_snapshots::Overlay;
use davit_tasks::{CreateTask, TaskError, Tasks};
use davit_vocabulary::ErrorKind;
use futures::{StreamExt, stream};

use super::{
    Key, anew,
    anew::AnewError,
    labels::{self, State, Wish},
    unfinished::{Unfinished, UnfinishedError},
};
use crate::{
    containers::{ContainerError, Containers, updated},
    daemon::Daemon,
    events::EventBus,
    services::blocking,
};

/// How many shims a scan asks at the same time.
const ASKED_AT_ONCE: usize = 16;
/// How long a killed task may take to end.
const KILL: Duration = Duration::from_secs(10);
/// The signal, as the task service takes it.
const SIGKILL: u32 = 9;

/// What has become of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is nothing to do for it, or nothing any more.
    Settled,
    /// Its task was started.
    Started,
    /// Its task should have been started or ended, but was not.
    Failed,
}

/// Why a task could not be brought to what its labels ask for.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Container(#[from] ContainerError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Anew(#[from] AnewError),
    #[error(transparent)]
    Unfinished(#[from] UnfinishedError),
    #[error("task does not end though it was killed")]
    Undying,
}

impl ReconcileError {
    /// Whether the container is gone, or somebody else has made its task meanwhile.
    fn is_settled(&self) -> bool {
        match self {
            Self::Container(error) => error.kind() == ErrorKind::NotFound,
            Self::Task(error) => matches!(error, TaskError::Exists(_)),
            Self::Anew(_) | Self::Unfinished(_) | Self::Undying => false,
        }
    }
}

/// The parts of the daemon that are needed to look after containers.
pub(super) struct Reconciler {
    database: Arc<Database>,
    containers: Containers,
    overlay: Overlay,
    tasks: Arc<Tasks>,
    events: EventBus,
    pub(super) unfinished: Unfinished,
}

impl Reconciler {
    pub(super) fn new(daemon: &Daemon) -> Self {
        Self {
            database: daemon.database.clone(),
            containers: Containers::new(daemon.database.clone()),
            overlay: daemon.storage.snapshots.clone(),
            tasks: daemon.tasks.clone(),
            events: daemon.events.clone(),
            unfinished: Unfinished::new(&daemon.config.state),
        }
    }

    /// All containers for which there is something to do.
    pub(super) async fn scan(&self) -> Vec<(Key, Wish)> {
        let containers = self.looked_after().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "list containers with a restart status");
            Vec::new()
        });
        stream::iter(containers)
            .map(async |(key, record)| {
                let wish = self.wish(&key, &record).await;
                let wish = wish.inspect_err(|error| tracing::warn!(container = %key, %error, "state of a task"));
                (key, wish.unwrap_or(Wish::Nothing))
            })
            .buffer_unordered(ASKED_AT_ONCE)
            .filter(|(_, wish)| std::future::ready(*wish != Wish::Nothing))
            .collect()
            .await
    }

    async fn looked_after(&self) -> Result<Vec<(Key, ContainerRecord)>, ContainerError> {
        let (database, containers) = (self.database.clone(), self.containers.clone());
        blocking(move || {
            let mut found = Vec::new();
            let has_status =
                Filters::parse(&[format!("labels.{:?}", labels::STATUS)]).expect("the filter is well-formed");
            for (name, _) in database.read(namespaces::list)? {
                let Ok(namespace) = name.parse() else { continue };
                let records = containers.list(&namespace, &has_status)?;
                let known = records.into_iter();
                found.extend(known.filter_map(|(id, record)| Some((Key::of(&namespace, &id)?, record))));
            }
            Ok(found)
        })
        .await
    }

    /// What the labels ask for now. Labels that say nothing ask for nothing, and where there are none no shim is bothered.
    async fn wish(&self, key: &Key, record: &ContainerRecord) -> Result<Wish, TaskError> {
        if !record.labels.contains_key(labels::STATUS) {
            return Ok(Wish::Nothing);
        }
        let state = self.state(key).await?;
        let wish = labels::wish(&record.labels, state, self.unfinished.get(key));
        Ok(wish.unwrap_or_else(|error| {
            tracing::warn!(container = %key, %error, "container is not looked after");
            Wish::Nothing
        }))
    }

    async fn state(&self, key: &Key) -> Result<State, TaskError> {
        let Ok(shim) = self.tasks.get(&key.namespace, key.id.as_str()) else {
            let is_coming = self.tasks.is_coming(&key.namespace, &key.id);
            return Ok(if is_coming { State::Coming } else { State::Missing });
        };
        match shim.state("").await {
            Ok(state) => Ok(match state.status.enum_value_or_default() {
                Status::RUNNING => State::Running,
                Status::PAUSED | Status::PAUSING => State::Paused,
                Status::STOPPED => State::Stopped(state.exit_status),
                Status::CREATED | Status::UNKNOWN => State::Created,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::Missing),
            Err(error) => Err(error),
        }
    }

    /// Does what the labels ask for now.
    pub(super) async fn reconcile(&self, key: &Key) -> Outcome {
        match self.apply(key).await {
            Ok(outcome) => {
                self.unfinished.end(key);
                outcome
            }
            Err(error) if error.is_settled() => {
                self.unfinished.end(key);
                Outcome::Settled
            }
            Err(error) => {
                tracing::warn!(container = %key, %error, "restart monitor");
                Outcome::Failed
            }
        }
    }

    async fn apply(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let record = self.record(key).await?;
        match self.wish(key, &record).await? {
            Wish::Nothing => Ok(Outcome::Settled),
            Wish::Stop => {
                tracing::info!(container = %key, "task is ended, since it shall be stopped");
                self.end(key).await?;
                Ok(Outcome::Settled)
            }
            Wish::Start(restart) => {
                tracing::info!(container = %key, restart.exit_status, restart.number, "task is started anew");
                self.unfinished.begin(key, restart)?;
                let started = self.start(key, restart.number).await;
                if started.is_err() {
                    self.unfinished.begin(key, restart.next())?;
                }
                started.map(|()| Outcome::Started)
            }
        }
    }

    async fn start(&self, key: &Key, number: i64) -> Result<(), ReconcileError> {
        let record = self.count(key, number).await?;
        let task = self.task(key, record).await?;
        self.end(key).await?;
        self.tasks.create(task).await?;
        let shim = self.tasks.get(&key.namespace, key.id.as_str())?;
        shim.start("").await?;
        // Making a task takes its time: the container may be gone by now, or stopped.
        match self.is_wanted(key).await {
            true => Ok(()),
            false => self.end(key).await,
        }
    }

    async fn is_wanted(&self, key: &Key) -> bool {
        match self.record(key).await {
            Ok(record) => labels::may_start(&record.labels),
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    async fn record(&self, key: &Key) -> Result<ContainerRecord, ContainerError> {
        let (containers, key) = (self.containers.clone(), key.clone());
        blocking(move || containers.get(&key.namespace, key.id.as_str())).await
    }

    /// Writes the number of the restart into the labels.
    async fn count(&self, key: &Key, number: i64) -> Result<ContainerRecord, ContainerError> {
        let (containers, of) = (self.containers.clone(), key.clone());
        let record = blocking(move || {
            containers.update(&of.namespace, of.id.as_str(), |record| {
                labels::set_count(&mut record.labels, number);
                Ok(())
            })
        })
        .await?;
        let event = updated(key.id.to_string(), &record);
        self.events.publish(&key.namespace, "/containers/update", &event);
        Ok(record)
    }

    async fn task(&self, key: &Key, record: ContainerRecord) -> Result<CreateTask, AnewError> {
        let (overlay, key) = (self.overlay.clone(), key.clone());
        blocking(move || anew::task(&overlay, &key, record)).await
    }

    /// Kills and removes the task, where there is one.
    async fn end(&self, key: &Key) -> Result<(), ReconcileError> {
        match self.state(key).await? {
            State::Missing | State::Coming => return Ok(()),
            State::Stopped(_) => {}
            state => self.kill(key, state).await?,
        }
        match self.tasks.delete(&key.namespace, key.id.as_str()).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn kill(&self, key: &Key, state: State) -> Result<(), ReconcileError> {
        let shim = self.tasks.get(&key.namespace, key.id.as_str())?;
        match shim.kill("", SIGKILL, true).await {
            // It has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            killed => killed?,
        }
        // One that is frozen cannot die.
        if state == State::Paused
            && let Err(error) = shim.resume().await
        {
            tracing::debug!(container = %key, %error, "thaw a killed task");
        }
        let ended = tokio::time::timeout(KILL, shim.wait("")).await;
        ended
            .map_err(|_| ReconcileError::Undying)?
            .map(drop)
            .map_err(Into::into)
    }
}
