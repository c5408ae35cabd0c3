//! One container's task against its labels: what is to be done, and the doing of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use davit_metadata::{ContainerRecord, Database, StoreError, filter::Filters, namespaces};
use davit_shim_api::task_v3::task::Status;
use davit_snapshots::Overlay;
use davit_tasks::{CreateTask, TaskError, Tasks};
use davit_vocabulary::ErrorKind;
use futures::{StreamExt, stream};

use super::{
    Key, anew,
    anew::AnewError,
    labels::{self, Restart, State, Wish},
    unfinished::{Unfinished, UnfinishedError},
};
use crate::{
    containers::{Containers, updated},
    daemon::Daemon,
    events::EventBus,
    kept::RecordError,
    sandboxes::Sandboxes,
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
    /// The place of its task is taken: somebody makes one, or removes the old one.
    Refused,
}

/// What is known of a container before it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// How its task was heard to end.
    heard: Option<u32>,
    /// Its task was not started when a scan met it, and had this process id.
    not_started: Option<u32>,
    /// The restart that is under way was refused: a task that is there by now is somebody else's.
    is_refused: bool,
}

impl Known {
    pub(super) fn heard(exit_status: u32) -> Self {
        Self {
            heard: Some(exit_status),
            ..Self::default()
        }
    }

    /// What is known before the look that follows one with this outcome, during which a task has ended or not. `None` where none
    /// follows.
    pub(super) fn after(self, outcome: Outcome, ended: Option<u32>) -> Option<Self> {
        let before = match outcome {
            Outcome::Settled | Outcome::Started => ended.map(|_| Self::default())?,
            Outcome::Failed => self,
            Outcome::Refused => Self {
                is_refused: true,
                ..self
            },
        };
        Some(Self {
            heard: ended.or(before.heard),
            ..before
        })
    }
}

/// What a scan has found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The containers for which there is something to do.
    pub(super) wishes: Vec<(Key, Known, Wish)>,
    /// The tasks that were made and not started, and their process ids.
    pub(super) not_started: HashMap<Key, u32>,
}

impl Scan {
    fn with(mut self, (key, known, found): (Key, Known, Result<(State, Wish), TaskError>)) -> Self {
        match found {
            Ok((State::Created(pid), _)) => drop(self.not_started.insert(key, pid)),
            Ok((_, Wish::Nothing)) => {}
            Ok((_, wish)) => self.wishes.push((key, known, wish)),
            Err(error) => tracing::warn!(container = %key, %error, "state of a task"),
        }
        self
    }
}

/// Why a task could not be brought to what its labels ask for.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Container(#[from] RecordError),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Anew(#[from] AnewError),
    #[error(transparent)]
    Unfinished(#[from] UnfinishedError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("task does not end though it was killed")]
    Undying,
    #[error("labels ask for something else by now")]
    Unwanted,
}

impl ReconcileError {
    /// Whether the container is gone, or has other labels.
    fn is_settled(&self) -> bool {
        match self {
            Self::Container(error) => error.kind() == ErrorKind::NotFound,
            Self::Unwanted => true,
            _ => false,
        }
    }

    fn is_refusal(&self) -> bool {
        matches!(self, Self::Task(TaskError::Exists(_)))
    }
}

/// The parts of the daemon that are needed to look after containers.
pub(super) struct Reconciler {
    database: Arc<Database>,
    containers: Containers,
    sandboxes: Sandboxes,
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
            sandboxes: Sandboxes::new(daemon.database.clone()),
            overlay: daemon.storage.snapshots.clone(),
            tasks: daemon.tasks.clone(),
            events: daemon.events.clone(),
            unfinished: Unfinished::new(&daemon.config.state),
        }
    }

    /// Looks at all containers. `before` are the tasks that the last scan met made and not started.
    pub(super) async fn scan(&self, before: HashMap<Key, u32>) -> Scan {
        let containers = self.looked_after().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "list containers with a restart status");
            Vec::new()
        });
        let looks = stream::iter(containers)
            .map(async |(key, record)| {
                let known = Known {
                    not_started: before.get(&key).copied(),
                    ..Known::default()
                };
                let found = self.look(&key, known, &record).await;
                (key, known, found)
            })
            .buffer_unordered(ASKED_AT_ONCE);
        looks.fold(Scan::default(), async |scan, look| scan.with(look)).await
    }

    async fn looked_after(&self) -> Result<Vec<(Key, ContainerRecord)>, RecordError> {
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

    /// The state of the task, and what the labels ask for now. Labels that say nothing ask for nothing, and where there are none
    /// no shim is bothered.
    async fn look(&self, key: &Key, known: Known, record: &ContainerRecord) -> Result<(State, Wish), TaskError> {
        if !record.labels.contains_key(labels::STATUS) {
            return Ok((State::Unknown, Wish::Nothing));
        }
        let state = self.state(key, known).await?;
        let wish = labels::wish(&record.labels, state, self.unfinished.get(key));
        let wish = wish.unwrap_or_else(|error| {
            tracing::warn!(container = %key, %error, "container is not looked after");
            Wish::Nothing
        });
        Ok((state, wish))
    }

    async fn state(&self, key: &Key, known: Known) -> Result<State, TaskError> {
        let Ok(shim) = self.tasks.get(&key.namespace, key.id.as_str()) else {
            return Ok(self.state_without_shim(key, known));
        };
        match shim.state("").await {
            Ok(state) => Ok(match state.status.enum_value_or_default() {
                Status::RUNNING => State::Running,
                Status::PAUSED | Status::PAUSING => State::Paused,
                Status::STOPPED => State::Stopped(state.exit_status),
                Status::CREATED if self.is_half_made(key, known) => State::Abandoned,
                Status::CREATED if known.not_started == Some(state.pid) => State::Abandoned,
                Status::CREATED => State::Created(state.pid),
                Status::UNKNOWN => State::Unknown,
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(State::Missing(known.heard)),
            Err(error) => Err(error),
        }
    }

    fn state_without_shim(&self, key: &Key, known: Known) -> State {
        if self.tasks.is_returning(&key.namespace, &key.id) {
            State::Returning
        } else if self.tasks.is_coming(&key.namespace, &key.id) {
            State::Coming
        } else {
            State::Missing(known.heard)
        }
    }

    /// Whether a task that is there is one that was begun here and not finished.
    fn is_half_made(&self, key: &Key, known: Known) -> bool {
        !known.is_refused && self.unfinished.get(key).is_some()
    }

    /// Waits until it is known what has become of a shim of an earlier run.
    pub(super) async fn has_returned(&self, key: &Key) {
        self.tasks.has_returned(&key.namespace, &key.id).await;
    }

    /// Does what the labels ask for now.
    pub(super) async fn reconcile(&self, key: &Key, known: Known) -> Outcome {
        match self.apply(key, known).await {
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
                match error.is_refusal() {
                    true => Outcome::Refused,
                    false => Outcome::Failed,
                }
            }
        }
    }

    async fn apply(&self, key: &Key, known: Known) -> Result<Outcome, ReconcileError> {
        let record = match self.record(key).await {
            // Without its container nobody would ever remove it.
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_half_made(key, known) => {
                self.end(key).await?;
                return Ok(Outcome::Settled);
            }
            record => record?,
        };
        match self.look(key, known, &record).await? {
            (State::Abandoned, Wish::Nothing) if self.is_half_made(key, known) => self.end(key).await?,
            (_, Wish::Nothing | Wish::Wait) => {}
            (_, Wish::Stop) => {
                tracing::info!(container = %key, "task is ended, since it shall be stopped");
                self.end(key).await?;
            }
            (_, Wish::Start(restart)) => {
                self.restart(key, known, record, restart).await?;
                return Ok(Outcome::Started);
            }
        }
        Ok(Outcome::Settled)
    }

    /// Starts the task anew, and writes down how to go on where that fails.
    async fn restart(
        &self,
        key: &Key,
        known: Known,
        record: ContainerRecord,
        restart: Restart,
    ) -> Result<(), ReconcileError> {
        tracing::info!(container = %key, restart.exit_status, restart.number, "task is started anew");
        self.unfinished.begin(key, restart)?;
        davit_fail_point::reach("manager.restart.noted");
        let started = self.start(key, known, record, restart).await;
        if started.as_ref().is_err_and(|error| !error.is_refusal()) {
            self.unfinished.begin(key, restart.next())?;
        }
        started
    }

    async fn start(
        &self,
        key: &Key,
        known: Known,
        record: ContainerRecord,
        restart: Restart,
    ) -> Result<(), ReconcileError> {
        let task = self.task(key, record).await?;
        self.clear(key, known).await?;
        davit_fail_point::reach("manager.restart.cleared");
        // Before its task, since whoever hears of that looks at the number at once. One that cannot be made counts, too.
        self.count(key, restart).await?;
        davit_fail_point::reach("manager.restart.counted");
        let made = self.tasks.create(task).await;
        davit_fail_point::reach("manager.restart.made");
        if let Err(error @ TaskError::Exists(_)) = made {
            self.take_back_count(key, restart).await;
            return Err(error.into());
        }
        let started = async {
            // Making it takes its time: another may be wanted by now.
            if let Err(error) = self.is_asked_for(key, restart).await {
                self.take_back_count(key, restart).await;
                return Err(error);
            }
            made?;
            self.tasks.get(&key.namespace, key.id.as_str())?.start("").await?;
            davit_fail_point::reach("manager.restart.started");
            Ok(())
        };
        // Starting takes its time, too: the container may be gone by now, or stopped.
        let result = match started.await {
            Ok(()) if !self.is_wanted(key).await => Err(ReconcileError::Unwanted),
            started => started,
        };
        if result.is_err() {
            self.end(key).await?;
        }
        result
    }

    async fn is_wanted(&self, key: &Key) -> bool {
        match self.record(key).await {
            Ok(record) => labels::may_start(&record.labels),
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    async fn record(&self, key: &Key) -> Result<ContainerRecord, RecordError> {
        let (containers, key) = (self.containers.clone(), key.clone());
        blocking(move || containers.get(&key.namespace, key.id.as_str())).await
    }

    /// Refuses a restart that the labels ask for no more.
    async fn is_asked_for(&self, key: &Key, restart: Restart) -> Result<(), ReconcileError> {
        match labels::ask_for(&self.record(key).await?.labels, restart) {
            true => Ok(()),
            false => Err(ReconcileError::Unwanted),
        }
    }

    /// A restart that did not come about is none.
    async fn take_back_count(&self, key: &Key, restart: Restart) {
        let (containers, of) = (self.containers.clone(), key.clone());
        let taken_back = blocking(move || {
            containers.update(&of.namespace, of.id.as_str(), |record| {
                labels::take_back_count(&mut record.labels, restart.number);
                Ok::<_, RecordError>(())
            })
        });
        match taken_back.await {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(container = %key, %error, "a restart is counted that did not come about");
            }
            _ => {}
        }
    }

    /// Writes the number of the restart into the labels, where they ask for it still.
    async fn count(&self, key: &Key, restart: Restart) -> Result<(), ReconcileError> {
        let (containers, of) = (self.containers.clone(), key.clone());
        let record = blocking(move || {
            containers.update(&of.namespace, of.id.as_str(), |record| {
                if !labels::ask_for(&record.labels, restart) {
                    return Err(ReconcileError::Unwanted);
                }
                labels::set_count(&mut record.labels, restart.number);
                Ok(())
            })
        })
        .await?;
        let event = updated(key.id.to_string(), &record);
        self.events.publish(&key.namespace, "/containers/update", &event);
        Ok(())
    }

    async fn task(&self, key: &Key, record: ContainerRecord) -> Result<CreateTask, AnewError> {
        let (overlay, sandboxes, key) = (self.overlay.clone(), self.sandboxes.clone(), key.clone());
        blocking(move || anew::task(&overlay, &sandboxes, &key, record)).await
    }

    /// Makes room for a new task. One that somebody else has made meanwhile is not touched.
    async fn clear(&self, key: &Key, known: Known) -> Result<(), ReconcileError> {
        match self.state(key, known).await? {
            State::Missing(_) => Ok(()),
            State::Stopped(_) => self.remove(key).await,
            State::Abandoned => self.end(key).await,
            State::Coming | State::Returning | State::Unknown | State::Created(_) | State::Running | State::Paused => {
                Err(TaskError::Exists(key.id.to_string()).into())
            }
        }
    }

    /// Kills and removes the task, where there is one.
    async fn end(&self, key: &Key) -> Result<(), ReconcileError> {
        match self.state(key, Known::default()).await? {
            State::Missing(_) | State::Coming | State::Returning => return Ok(()),
            State::Stopped(_) => {}
            state => self.kill(key, state).await?,
        }
        self.remove(key).await
    }

    async fn remove(&self, key: &Key) -> Result<(), ReconcileError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_task_was_heard_to_end_is_known_until_a_look_has_settled_it() {
        let known = Known::heard(137);
        assert_eq!(known.after(Outcome::Settled, None), None);
        assert_eq!(known.after(Outcome::Started, None), None);
        assert_eq!(known.after(Outcome::Started, Some(3)), Some(Known::heard(3)));
        assert_eq!(known.after(Outcome::Failed, None), Some(known));
        assert_eq!(known.after(Outcome::Failed, Some(3)), Some(Known::heard(3)));
    }

    #[test]
    fn after_a_refusal_a_task_that_is_there_is_somebody_elses() {
        let refused = Known::heard(137).after(Outcome::Refused, Some(3)).unwrap();
        assert_eq!(
            refused,
            Known {
                is_refused: true,
                ..Known::heard(3)
            }
        );
        assert_eq!(refused.after(Outcome::Failed, None), Some(refused));
    }

    #[test]
    fn a_scan_remembers_what_was_not_started_and_tells_what_is_to_be_done() {
        let key = |id: &str| Key::of(&"n".parse().unwrap(), id).unwrap();
        let scan = Scan::default()
            .with((key("made"), Known::default(), Ok((State::Created(5), Wish::Nothing))))
            .with((key("runs"), Known::default(), Ok((State::Running, Wish::Nothing))))
            .with((key("stop"), Known::default(), Ok((State::Running, Wish::Stop))))
            .with((key("odd"), Known::default(), Err(TaskError::NotFound("odd".into()))));
        assert_eq!(scan.not_started, HashMap::from([(key("made"), 5)]));
        assert_eq!(scan.wishes, [(key("stop"), Known::default(), Wish::Stop)]);
    }
}
