//! One shim and the calls to it.

use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use davit_shim_api::task_v3::shim as api;
use protobuf::{
    Message, MessageField,
    well_known_types::{any::Any, empty::Empty, timestamp::Timestamp},
};
use tokio::sync::{Notify, watch};

use crate::{Bundle, CallError, Role, TaskError, Timeouts, checkpoint, connection::Connection, log_pipe::LogPipe};

/// The end of a process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exit {
    /// Its process id; 0 where it is not known any more.
    pub pid: u32,
    /// Its exit status; 128 and the signal's number where a signal ended it.
    pub status: u32,
    /// When.
    pub at: Option<Timestamp>,
}

/// What is known of a shim's life.
enum Life {
    /// It can be called.
    Connected(Connection),
    /// It is gone, and this was the exit of its task.
    Gone(Exit),
}

/// A shim that is known: the holder of one container, or of a sandbox. Containers of a group have one each, although the process
/// behind them is the same.
pub struct Shim {
    /// Its folder.
    pub bundle: Bundle,
    /// Its program.
    pub(crate) binary: PathBuf,
    /// Whether it was started for a sandbox, and is ended with that.
    is_in_sandbox: bool,
    life: watch::Sender<Life>,
    /// Whether somebody is taking it down already.
    ending: AtomicBool,
    /// That it has told its task's removal, or that its sandbox's end is told.
    removal: Notify,
    /// How its sandbox has ended.
    pub(crate) sandbox_exit: OnceLock<Exit>,
    pub(crate) timeouts: Timeouts,
    _log: LogPipe,
}

impl Shim {
    pub(crate) fn new(
        bundle: Bundle,
        binary: PathBuf,
        connection: Connection,
        log: LogPipe,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            is_in_sandbox: bundle.role == Role::Task && bundle.is_in_sandbox(),
            bundle,
            binary,
            life: watch::Sender::new(Life::Connected(connection)),
            ending: AtomicBool::new(false),
            removal: Notify::new(),
            sandbox_exit: OnceLock::new(),
            timeouts,
            _log: log,
        }
    }

    /// The connection, while the shim lives.
    pub(crate) fn connection(&self) -> Result<Connection, Exit> {
        match &*self.life.borrow() {
            Life::Connected(connection) => Ok(connection.clone()),
            Life::Gone(exit) => Err(exit.clone()),
        }
    }

    /// Replaces a broken connection.
    pub(crate) fn reconnected(&self, connection: Connection) {
        self.life.send_replace(Life::Connected(connection));
    }

    /// Says that the shim is gone. Whoever waits for its task gets this exit.
    pub(crate) fn gone(&self, exit: Exit) {
        self.life.send_replace(Life::Gone(exit));
    }

    /// Waits until the shim is known to be gone.
    pub(crate) async fn is_gone(&self) {
        let mut life = self.life.subscribe();
        // An error says that nobody can say so any more.
        let _ = life.wait_for(|life| matches!(life, Life::Gone(_))).await;
    }

    /// Claims the right to take the shim down; only one caller ever gets it.
    pub(crate) fn claim_end(&self) -> bool {
        !self.ending.swap(true, Ordering::SeqCst)
    }

    /// Says that the event of its task's removal has come, or that its sandbox's end is told.
    pub(crate) fn removal_is_told(&self) {
        self.removal.notify_one();
    }

    /// Waits for that event, which may have come before, and returns whether it has. containerd's shim answers a removal first and
    /// tells it then; one that is shut down in between never does.
    pub(crate) async fn told_removal(&self) -> bool {
        let told = tokio::time::timeout(self.timeouts.told, self.removal.notified()).await;
        if told.is_err() {
            tracing::debug!(id = %self.bundle.id, "the shim does not tell that its task was removed");
        }
        told.is_ok()
    }

    /// Waits, after a broken connection, until there is a new one or the shim is known to be gone.
    pub(crate) async fn fate(&self) -> Option<Exit> {
        let mut life = self.life.subscribe();
        let settled = |life: &Life| match life {
            Life::Connected(connection) => !connection.is_closed(),
            Life::Gone(_) => true,
        };
        match life.wait_for(settled).await.as_deref() {
            Ok(Life::Gone(exit)) => Some(exit.clone()),
            Ok(Life::Connected(_)) | Err(_) => None,
        }
    }

    /// A call. A shim that dies of it, or has died before, has no task any more.
    async fn call<Q: Message, A: Message>(&self, method: &'static str, request: &Q) -> Result<A, TaskError> {
        let Ok(connection) = self.connection() else {
            return Err(self.not_found());
        };
        match connection.call(method, request).await {
            Err(CallError::Closed) => match self.fate().await {
                Some(_) => Err(self.not_found()),
                None => Err(CallError::Closed.into()),
            },
            result => Ok(result?),
        }
    }

    pub(crate) fn not_found(&self) -> TaskError {
        TaskError::NotFound(self.bundle.id.to_string())
    }

    pub(crate) fn id(&self) -> String {
        self.bundle.id.to_string()
    }

    /// Makes the task, without starting it, and returns its process id.
    pub(crate) async fn create(&self, request: &api::CreateTaskRequest) -> Result<u32, CallError> {
        let connection = self.connection().map_err(|_| CallError::Closed)?;
        let response: api::CreateTaskResponse = connection.call_negotiated("Create", request).await?;
        Ok(response.pid)
    }

    /// The state of the task, or of one of its additional processes.
    pub async fn state(&self, exec_id: &str) -> Result<api::StateResponse, TaskError> {
        let request = api::StateRequest {
            id: self.id(),
            exec_id: exec_id.into(),
            ..Default::default()
        };
        match tokio::time::timeout(self.timeouts.state, self.call("State", &request)).await {
            Ok(result) => result,
            Err(_) => Err(CallError::Late("State").into()),
        }
    }

    /// Starts the task, or an additional process, and returns its process id.
    pub async fn start(&self, exec_id: &str) -> Result<u32, TaskError> {
        let request = api::StartRequest {
            id: self.id(),
            exec_id: exec_id.into(),
            ..Default::default()
        };
        let response: api::StartResponse = self.call("Start", &request).await?;
        davit_fail_point::reach("manager.start.started");
        if exec_id.is_empty() {
            checkpoint::remove(&self.bundle).await;
        }
        Ok(response.pid)
    }

    /// Removes the ended task, or an additional process, from the shim. A shim that dies meanwhile has removed its task too.
    pub async fn delete(&self, exec_id: &str) -> Result<Exit, TaskError> {
        let request = api::DeleteRequest {
            id: self.id(),
            exec_id: exec_id.into(),
            ..Default::default()
        };
        let result: Result<api::DeleteResponse, TaskError> = self.call("Delete", &request).await;
        match (result, self.connection()) {
            (Ok(response), _) => Ok(Exit {
                pid: response.pid,
                status: response.exit_status,
                at: response.exited_at.into_option(),
            }),
            (Err(_), Err(exit)) if exec_id.is_empty() => Ok(exit),
            (Err(error), _) => Err(error),
        }
    }

    /// Waits for the end of the task, or of an additional process.
    pub async fn wait(&self, exec_id: &str) -> Result<Exit, TaskError> {
        let request = api::WaitRequest {
            id: self.id(),
            exec_id: exec_id.into(),
            ..Default::default()
        };
        loop {
            let connection = match self.connection() {
                Ok(connection) => connection,
                Err(exit) if exec_id.is_empty() => return Ok(exit),
                Err(_) => return Err(self.not_found()),
            };
            let result: Result<api::WaitResponse, _> = connection.call("Wait", &request).await;
            match result {
                Ok(response) => {
                    return Ok(Exit {
                        pid: 0,
                        status: response.exit_status,
                        at: response.exited_at.into_option(),
                    });
                }
                Err(CallError::Closed) => drop(self.fate().await),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Signals the task or an additional process; with `all`, every process of the container.
    pub async fn kill(&self, exec_id: &str, signal: u32, all: bool) -> Result<(), TaskError> {
        let request = api::KillRequest {
            id: self.id(),
            exec_id: exec_id.into(),
            signal,
            all,
            ..Default::default()
        };
        self.call::<_, Empty>("Kill", &request).await.map(drop)
    }

    /// Adds a process, without starting it.
    pub async fn exec(&self, mut request: api::ExecProcessRequest) -> Result<(), TaskError> {
        request.id = self.id();
        self.call::<_, Empty>("Exec", &request).await.map(drop)
    }

    /// Sets the size of a terminal, in characters.
    pub async fn resize(&self, exec_id: &str, width: u32, height: u32) -> Result<(), TaskError> {
        let request = api::ResizePtyRequest {
            id: self.id(),
            exec_id: exec_id.into(),
            width,
            height,
            ..Default::default()
        };
        self.call::<_, Empty>("ResizePty", &request).await.map(drop)
    }

    /// Ends the standard input of a process.
    pub async fn close_stdin(&self, exec_id: &str) -> Result<(), TaskError> {
        let request = api::CloseIORequest {
            id: self.id(),
            exec_id: exec_id.into(),
            stdin: true,
            ..Default::default()
        };
        self.call::<_, Empty>("CloseIO", &request).await.map(drop)
    }

    /// Freezes the container.
    pub async fn pause(&self) -> Result<(), TaskError> {
        let request = api::PauseRequest {
            id: self.id(),
            ..Default::default()
        };
        self.call::<_, Empty>("Pause", &request).await.map(drop)
    }

    /// Thaws the container.
    pub async fn resume(&self) -> Result<(), TaskError> {
        let request = api::ResumeRequest {
            id: self.id(),
            ..Default::default()
        };
        self.call::<_, Empty>("Resume", &request).await.map(drop)
    }

    /// Writes the task's state into a folder; the options are those of the runtime.
    pub async fn checkpoint(&self, folder: &Path, options: Option<Any>) -> Result<(), TaskError> {
        let request = api::CheckpointTaskRequest {
            id: self.id(),
            path: folder.to_string_lossy().into_owned(),
            options: options.into(),
            ..Default::default()
        };
        self.call::<_, Empty>("Checkpoint", &request).await.map(drop)
    }

    /// The processes of the container.
    pub async fn pids(&self) -> Result<api::PidsResponse, TaskError> {
        let request = api::PidsRequest {
            id: self.id(),
            ..Default::default()
        };
        self.call("Pids", &request).await
    }

    /// Changes the limits of the container.
    pub async fn update(&self, mut request: api::UpdateTaskRequest) -> Result<(), TaskError> {
        request.id = self.id();
        self.call::<_, Empty>("Update", &request).await.map(drop)
    }

    /// A sample of what the container uses, in a message whose type depends on the cgroup version.
    pub async fn stats(&self) -> Result<Option<Any>, TaskError> {
        let request = api::StatsRequest {
            id: self.id(),
            ..Default::default()
        };
        let response: api::StatsResponse = self.call("Stats", &request).await?;
        Ok(MessageField::into_option(response.stats))
    }

    /// Asks the shim to end, if it has no task left. That of a sandbox is not asked: it ends with the sandbox.
    pub(crate) async fn shutdown(&self) -> Result<(), CallError> {
        if self.is_in_sandbox {
            return Ok(());
        }
        let Ok(connection) = self.connection() else {
            return Ok(());
        };
        let request = api::ShutdownRequest {
            id: self.id(),
            ..Default::default()
        };
        match connection
            .call_within::<_, Empty>(self.timeouts.shutdown, "Shutdown", &request)
            .await
        {
            Ok(_) | Err(CallError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
