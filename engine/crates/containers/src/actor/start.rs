//! From a record to a running process.

use std::net::Ipv4Addr;

use davit_containerd_api::types::Mount;
use davit_engine_spec::{self as spec, Host, Identity, LogDriver, NetworkMode, user};
use davit_stdio::STDIN_ATTACHED;
use jiff::Timestamp;
use tracing::info;

use super::{Actor, Result};
use crate::{
    attach::Connection,
    container::Command,
    containerd::{Exit, Streams},
    error::{ContainerError, file},
    files,
    record::{Change, Record, Status, StoredEndpoint},
    rootfs::Rootfs,
    streams,
};

impl Actor {
    /// Starts for a user.
    pub(super) async fn start(&mut self) -> Result<()> {
        match self.record.state.status {
            Status::Running => return Err(ContainerError::NotModified),
            Status::Removing => return Err(ContainerError::MarkedForRemoval),
            Status::Created | Status::Exited | Status::Restarting => {}
        }
        self.record.state.transition(Change::StartAsked);
        self.backoff = super::FIRST_BACKOFF;
        self.begin_run().await
    }

    /// Starts because the policy says so.
    pub(super) async fn restart_by_policy(&mut self) {
        if let Err(error) = self.begin_run().await {
            tracing::warn!(container = %self.record.id, %error, "a container could not be restarted");
            self.schedule_restart(Exit {
                code: self.record.state.exit_code,
                at: Timestamp::now(),
            })
            .await;
        }
    }

    async fn begin_run(&mut self) -> Result<()> {
        self.restart_at = None;
        let result = self.bring_up().await;
        let Err(error) = result else {
            info!(container = %self.record.id, name = %self.record.name, pid = self.record.state.pid, "started");
            self.show();
            self.watch_exit();
            self.publish("start", &[]);
            return Ok(());
        };
        self.tear_down().await;
        let (error, code) = explain(error);
        self.record.state.transition(Change::StartFailed {
            error: error.to_string(),
            code,
        });
        self.waiting.clear();
        if self.record.host.auto_remove {
            self.remove_all().await;
        } else {
            self.persist_or_warn().await;
            self.show();
        }
        Err(error)
    }

    async fn bring_up(&mut self) -> Result<()> {
        let context = self.context.clone();
        let id = self.record.id.clone();
        let runtime = context.runtimes.choose(&self.record.host.runtime)?;
        let mounts = match self.mounts.take() {
            Some(mounts) => mounts,
            None => context.containerd.mounts(&id).await?,
        };
        let (netns, endpoint) = self.connect_network().await?;
        let bundle = self
            .describe(
                mounts.clone(),
                netns,
                endpoint.as_ref().map(|endpoint| endpoint.address),
            )
            .await?;
        let containerd = &context.containerd;
        containerd
            .create_container(&id, &self.record.config.image, &runtime, bundle)
            .await?;
        let pid = containerd
            .create_task(&id, mounts, self.streams()?, &runtime)
            .await
            .map_err(in_create)?;
        self.connect_waiting().await;
        // On disk before the process runs: after a crash in between, the manager's truth decides.
        self.record.state.transition(Change::Started {
            pid,
            at: Timestamp::now(),
            endpoint,
        });
        self.persist().await?;
        containerd.start(&id, "").await?;
        Ok(())
    }

    async fn connect_network(&self) -> Result<(Option<std::path::PathBuf>, Option<StoredEndpoint>)> {
        match self.record.host.network {
            // The runtime makes a namespace with nothing but loopback, faster than anyone else.
            NetworkMode::None | NetworkMode::Host => Ok((None, None)),
            NetworkMode::Bridge => {
                let network = &self.context.network;
                let path = network.create_namespace(&self.record.id).await?;
                let endpoint = network.connect(&self.record.id).await?;
                let stored = StoredEndpoint {
                    address: endpoint.address,
                    prefix: endpoint.prefix,
                    gateway: endpoint.gateway,
                    mac: endpoint.mac.to_string(),
                };
                Ok((Some(path), Some(stored)))
            }
        }
    }

    /// Files under /etc, the user, and the specification as JSON. File work: on a blocking thread.
    async fn describe(
        &self,
        mounts: Vec<Mount>,
        netns: Option<std::path::PathBuf>,
        address: Option<Ipv4Addr>,
    ) -> Result<Vec<u8>> {
        let (context, record) = (self.context.clone(), self.record.clone());
        let work = move || {
            let folder = context.paths.container(&record.id);
            files::write(&folder, &record.config, &record.host, address).map_err(file("writing files in", &folder))?;
            make_bind_sources(&record.host)?;
            let identity = identify(&mounts, &record)?;
            let spec = spec::generate(&spec::Input {
                id: &record.id,
                config: &record.config,
                host: &record.host,
                identity: &identity,
                files: &folder,
                netns,
                machine: &context.machine,
            })?;
            serde_json::to_vec(&spec).map_err(|error| ContainerError::Store(error.to_string()))
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(_) => Err(ContainerError::ShuttingDown),
        }
    }

    fn streams(&self) -> Result<Streams> {
        let (paths, id) = (&self.context.paths, &self.record.id);
        let log = match self.record.host.log.driver {
            LogDriver::JsonFile => Some((paths.log(id), &self.record.host.log.options)),
            LogDriver::None => None,
        };
        let output = streams::output(log, paths.attach(id))?;
        let stdin = if self.record.config.open_stdin {
            STDIN_ATTACHED
        } else {
            ""
        };
        Ok(Streams {
            stdin: stdin.into(),
            stdout: output.clone(),
            stderr: output,
            terminal: self.record.config.tty,
        })
    }

    /// Connects those who attached before the start, so that they see the first byte.
    async fn connect_waiting(&mut self) {
        let path = self.context.paths.attach(&self.record.id);
        for reply in self.waiting.drain(..).filter(|reply| !reply.is_closed()) {
            let _ = reply.send(Connection::open(&path, Some(0)).await);
        }
    }

    /// Reports the end of this run to this actor, across restarts of the manager.
    pub(super) fn watch_exit(&mut self) {
        self.run += 1;
        let (run, id, own) = (self.run, self.record.id.clone(), self.own.clone());
        let containerd = self.context.containerd.clone();
        tokio::spawn(async move {
            let exit = streams::wait_patiently(&containerd, &id, "").await;
            if let Some(own) = own.upgrade() {
                let _ = own.send(Command::Ended { run, exit }).await;
            }
        });
    }
}

/// `-v` makes a missing folder on the host, as Docker does.
fn make_bind_sources(host: &Host) -> Result<()> {
    for bind in &host.binds {
        let source = std::path::Path::new(&bind.source);
        if !source.exists() {
            std::fs::create_dir_all(source).map_err(file("error while creating mount source path", source))?;
        }
    }
    Ok(())
}

fn identify(mounts: &[Mount], record: &Record) -> Result<Identity> {
    let unreadable = |error: std::io::Error| ContainerError::Invalid(format!("reading the container's users: {error}"));
    let root = Rootfs::of_snapshot(mounts).map_err(unreadable)?;
    let passwd = root.read_text("etc/passwd").map_err(unreadable)?;
    let group = root.read_text("etc/group").map_err(unreadable)?;
    Ok(user::resolve(
        &record.config.user,
        &record.host.group_add,
        &passwd,
        &group,
    )?)
}

/// Docker's words before what the manager says of a task that could not be made.
fn in_create(error: ContainerError) -> ContainerError {
    match error {
        ContainerError::Containerd { status, .. } if !error_is_transport(&status) => ContainerError::Start {
            text: format!("failed to create task for container: {}", status.message()),
            code: 128,
        },
        other => other,
    }
}

fn error_is_transport(status: &tonic::Status) -> bool {
    status.code() == tonic::Code::Unavailable
}

/// Finds the exit code that Docker's CLI makes of the runtime's words.
fn explain(error: ContainerError) -> (ContainerError, i32) {
    let text = match &error {
        ContainerError::Start { text, .. } => text.clone(),
        ContainerError::Containerd { call: "start", status } => status.message().to_owned(),
        _ => return (error, 128),
    };
    let (text, code) = classify(text);
    (ContainerError::Start { text, code }, code)
}

/// The runtime's words and the exit code that they mean.
pub(crate) fn classify(text: String) -> (String, i32) {
    let lower = text.to_ascii_lowercase();
    let says = |words: &str| lower.contains(words);
    if says("executable file not found") || says("no such file or directory") {
        (text, 127)
    } else if says("permission denied") || says("is a directory") {
        (text, 126)
    } else if says("not a directory") {
        let hint = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path \
                    exists and is the expected type";
        (format!("{text}: {hint}"), 127)
    } else {
        (text, 128)
    }
}
