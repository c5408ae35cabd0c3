//! Additional processes in running containers. Known only while the engine lives, as in Docker.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use davit_engine_spec::{self as spec, Attach, ExecInput, Identity, user};
use davit_stdio::STDIN_ATTACHED;
use davit_vocabulary::{ContainerId, ExecId};
use tokio::sync::watch;

use crate::{
    actor::classify, attach::Connection, container::Container, containerd::Streams, containers::Containers,
    error::ContainerError, id, record::Record, rootfs::Rootfs, streams,
};

type Result<T> = std::result::Result<T, ContainerError>;

/// How long an exec that has ended can be asked for; Docker's time.
const KEPT: Duration = Duration::from_secs(5 * 60);

/// What a user wants to run.
#[derive(Clone, Debug, Default)]
pub struct ExecConfig {
    /// Command line.
    pub cmd: Vec<String>,
    /// Beyond the container's environment.
    pub env: Vec<String>,
    /// Empty for the container's.
    pub user: String,
    /// Empty for the container's.
    pub working_dir: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether it has all capabilities.
    pub privileged: bool,
    /// Streams that the user wants.
    pub attach: Attach,
    /// Keys that end an attached session.
    pub detach_keys: String,
    /// Height and width of the user's terminal.
    pub console_size: [u64; 2],
}

/// Where an exec is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecState {
    /// Whether someone started it.
    pub started: bool,
    /// Whether it runs.
    pub running: bool,
    /// How it ended, or why it could not start.
    pub exit_code: Option<i32>,
    /// Its pid on this host.
    pub pid: u32,
    ended_at: Option<Instant>,
}

impl ExecState {
    fn end(&mut self, code: i32) {
        self.running = false;
        self.exit_code = Some(code);
        self.ended_at = Some(Instant::now());
    }

    /// Whether it ended so long ago that nobody will ask for its exit code any more.
    fn is_stale(&self) -> bool {
        self.ended_at.is_some_and(|at| at.elapsed() > KEPT)
    }
}

/// An additional process.
#[derive(Debug)]
pub struct Exec {
    /// Its id.
    pub id: ExecId,
    /// The container it runs in.
    pub container: ContainerId,
    /// What runs.
    pub config: ExecConfig,
    state: watch::Sender<ExecState>,
}

impl Exec {
    /// Where it is now.
    pub fn state(&self) -> ExecState {
        *self.state.borrow()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let mut state = self.state.subscribe();
        let _ = state.wait_for(|state| state.started && !state.running).await;
    }
}

/// All execs that this engine has made, until their container ends and is looked at again.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<HashMap<ExecId, Arc<Exec>>>);

impl Execs {
    fn map(&self) -> MutexGuard<'_, HashMap<ExecId, Arc<Exec>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Containers {
    /// Makes an exec in a running container.
    pub async fn create_exec(&self, container: &Container, config: ExecConfig) -> Result<Arc<Exec>> {
        let record = running(container)?;
        if config.cmd.is_empty() {
            return Err(ContainerError::Invalid("No exec command specified".into()));
        }
        if !config.user.is_empty() {
            // Refused now, not in the stream of an exec that never ran.
            let user = config.user.clone();
            blocking(move || identify(&record, &user)).await?;
        }
        let exec = Arc::new(Exec {
            id: id::exec(),
            container: container.id.clone(),
            config,
            state: watch::Sender::default(),
        });
        let mut execs = self.execs.map();
        // Those of containers that are gone can never be asked for again; a busy container must not gather those that ended.
        execs.retain(|_, exec| !exec.state().is_stale() && self.context.by_id(&exec.container).is_some());
        execs.insert(exec.id.clone(), exec.clone());
        drop(execs);
        let action = format!("exec_create: {}", exec.config.cmd.join(" "));
        let record = container.record();
        self.context
            .events
            .container(&record, &action, &[("execID", exec.id.to_string())]);
        Ok(exec)
    }

    /// An exec by its id.
    pub fn exec(&self, id: &str) -> Result<Arc<Exec>> {
        let missing = || ContainerError::NoSuchExec(id.into());
        let exec = self.execs.map().get(id).cloned().ok_or_else(missing)?;
        if self.context.by_id(&exec.container).is_none() {
            return Err(missing());
        }
        Ok(exec)
    }

    /// Ids of a container's execs that run.
    pub fn running_execs(&self, container: &ContainerId) -> Vec<ExecId> {
        let execs = self.execs.map();
        let own = execs
            .values()
            .filter(|exec| exec.container == *container && exec.state().running);
        own.map(|exec| exec.id.clone()).collect()
    }

    /// Checks that an exec can be started, and marks it so: only one caller may.
    pub fn claim_exec(&self, exec: &Exec) -> Result<()> {
        let container = self.find(&exec.container)?;
        running(&container)?;
        let mut claimed = false;
        exec.state.send_modify(|state| {
            claimed = !state.started;
            state.running |= claimed;
            state.started = true;
        });
        if claimed {
            Ok(())
        } else {
            let text = format!("Error: Exec command {} has already run", exec.id);
            Err(ContainerError::Conflict(text))
        }
    }

    /// Starts a claimed exec. With `attach` the streams are connected before its first byte.
    pub async fn start_exec(&self, exec: &Arc<Exec>, tty_size: [u64; 2], attach: bool) -> Result<Option<Connection>> {
        let result = self.bring_up_exec(exec, tty_size, attach).await;
        let Err(error) = result else { return result };
        let containerd = &self.context.containerd;
        let _ = containerd.delete_exec(&exec.container, &exec.id).await;
        let (error, code) = explain(error);
        exec.state.send_modify(|state| state.end(code));
        Err(error)
    }

    async fn bring_up_exec(&self, exec: &Arc<Exec>, tty_size: [u64; 2], attach: bool) -> Result<Option<Connection>> {
        let container = self.find(&exec.container)?;
        let record = running(&container)?;
        let process = self.describe_exec(record.clone(), exec.clone(), tty_size).await?;
        let socket = self.context.paths.exec_attach(&exec.id);
        let output = streams::output(None, socket.clone())?;
        let streams = Streams {
            stdin: if exec.config.attach.stdin && attach {
                STDIN_ATTACHED.into()
            } else {
                String::new()
            },
            stdout: output.clone(),
            stderr: output,
            terminal: exec.config.tty,
        };
        let containerd = &self.context.containerd;
        containerd.exec(&exec.container, &exec.id, process, streams).await?;
        let connection = match attach {
            true => Some(Connection::open(&socket, Some(0)).await?),
            false => None,
        };
        let pid = containerd.start(&exec.container, &exec.id).await?;
        exec.state.send_modify(|state| state.pid = pid);
        let action = format!("exec_start: {}", exec.config.cmd.join(" "));
        self.context
            .events
            .container(&record, &action, &[("execID", exec.id.to_string())]);
        self.watch_exec(exec.clone(), record);
        Ok(connection)
    }

    async fn describe_exec(&self, record: Arc<Record>, exec: Arc<Exec>, tty_size: [u64; 2]) -> Result<Vec<u8>> {
        let machine = self.context.machine.clone();
        let work = move || {
            let config = &exec.config;
            let wanted = if config.user.is_empty() {
                &record.config.user
            } else {
                &config.user
            };
            let identity = identify(&record, wanted)?;
            let size = if tty_size == [0, 0] {
                config.console_size
            } else {
                tty_size
            };
            let process = spec::exec_process(ExecInput {
                config: &record.config,
                host: &record.host,
                identity: &identity,
                args: config.cmd.clone(),
                env: &config.env,
                working_dir: &config.working_dir,
                tty: config.tty,
                privileged: config.privileged,
                console_size: size,
                machine: &machine,
            });
            serde_json::to_vec(&process).map_err(|error| ContainerError::Store(error.to_string()))
        };
        blocking(work).await
    }

    fn watch_exec(&self, exec: Arc<Exec>, record: Arc<Record>) {
        let context = self.context.clone();
        tokio::spawn(async move {
            let exit = streams::wait_patiently(&context.containerd, &exec.container, &exec.id).await;
            exec.state.send_modify(|state| state.end(exit.code));
            let own = [("execID", exec.id.to_string()), ("exitCode", exit.code.to_string())];
            context.events.container(&record, "exec_die", &own);
            let _ = context.containerd.delete_exec(&exec.container, &exec.id).await;
        });
    }

    /// Sets the size of an exec's terminal.
    pub async fn resize_exec(&self, exec: &Exec, height: u32, width: u32) -> Result<()> {
        self.context
            .containerd
            .resize(&exec.container, &exec.id, height, width)
            .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(ContainerError::ShuttingDown))
}

/// Who a user is by the files of a running container.
fn identify(record: &Record, user: &str) -> Result<Identity> {
    let unreadable = |error| ContainerError::Invalid(format!("reading the container's users: {error}"));
    let root = Rootfs::of_process(record.state.pid).map_err(unreadable)?;
    let passwd = root.read_text("etc/passwd").map_err(unreadable)?;
    let group = root.read_text("etc/group").map_err(unreadable)?;
    Ok(user::resolve(user, &record.host.group_add, &passwd, &group)?)
}

fn running(container: &Container) -> Result<Arc<Record>> {
    let record = container.record();
    if record.state.is_running() {
        Ok(record)
    } else {
        Err(ContainerError::NotRunning(record.id.to_string()))
    }
}

/// The runtime's words in Docker's form, and the exit code that they mean.
fn explain(error: ContainerError) -> (ContainerError, i32) {
    let ContainerError::Containerd { status, .. } = &error else {
        return (error, 126);
    };
    let (text, code) = classify(status.message().to_owned());
    let code = if code == 128 { 126 } else { code };
    (ContainerError::Start { text, code }, code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_is_forgotten_some_time_after_its_end_and_not_before() {
        let mut state = ExecState::default();
        assert!(!state.is_stale());
        state.end(3);
        assert_eq!(
            (state.running, state.exit_code, state.is_stale()),
            (false, Some(3), false)
        );
        state.ended_at = Instant::now().checked_sub(KEPT + Duration::from_secs(1));
        assert!(state.is_stale());
    }
}
