//! What the services share, and its life.

use std::{env, path::PathBuf, sync::Arc};

use davit_containerd_api::events::{TaskDelete, TaskExit};
use davit_images::{ImageError, Storage};
use davit_metadata::Database;
use davit_tasks::{Death, Launcher, Tasks};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::{checkpoints::Checkpoints, config::Config, events::EventBus, services, version};

/// The parts of this daemon.
pub struct Daemon {
    /// Places.
    pub config: Config,
    /// Durable records.
    pub database: Arc<Database>,
    /// Content, snapshots, images and leases.
    pub storage: Storage,
    /// Checkpoints on their way into the content store.
    pub checkpoints: Checkpoints,
    /// The bus between services, shims and subscribers.
    pub events: EventBus,
    /// The way to the shims.
    pub tasks: Arc<Tasks>,
    /// Cancelled when the daemon stops: calls that would never end by themselves end then.
    pub stop: CancellationToken,
}

impl Daemon {
    /// Opens the store. Nothing runs yet but the publisher of the deaths of shims.
    pub fn open(config: Config, stop: CancellationToken) -> Result<Self, ImageError> {
        let database = Arc::new(Database::open(&config.root.join("meta.db"))?);
        let events = EventBus::new();
        let storage = Storage::open(
            &config.root,
            database.clone(),
            services::storage::publisher(events.clone()),
        )?;
        let (deaths, died) = unbounded_channel();
        tokio::spawn(publish_deaths(died, events.clone()));
        let tasks = Tasks::new(config.root.clone(), config.state.clone(), launcher(&config), deaths);
        Ok(Self {
            checkpoints: Checkpoints::new(&config.root, storage.content.clone()),
            config,
            database,
            storage,
            events,
            tasks,
            stop,
        })
    }
}

fn launcher(config: &Config) -> Launcher {
    Launcher {
        version: version::API.into(),
        program: env::current_exe().unwrap_or_else(|_| PathBuf::from("davit-containerd")),
        address: config.grpc.path.clone(),
        ttrpc_address: config.ttrpc.path.clone(),
        socket_dir: config.socket_dir(),
        debug: matches!(config.log.level.as_str(), "debug" | "trace"),
        open_files: raise_open_files(),
        timeouts: config.timeouts,
    }
}

/// Two descriptors a container are soon more than the usual 1024. Returns the limits as they were.
fn raise_open_files() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "raise the limit of open files");
    }
    before
}

/// A dead shim cannot tell the end of its task: it is told in its stead.
async fn publish_deaths(mut died: UnboundedReceiver<Death>, events: EventBus) {
    while let Some(Death { namespace, id, exit }) = died.recv().await {
        let at = exit.at.map(|at| prost_types::Timestamp {
            seconds: at.seconds,
            nanos: at.nanos,
        });
        let exited = TaskExit {
            container_id: id.to_string(),
            id: id.to_string(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: at,
        };
        events.publish(&namespace, "/tasks/exit", &exited);
        let deleted = TaskDelete {
            container_id: id.to_string(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: at,
            id: String::new(),
        };
        events.publish(&namespace, "/tasks/delete", &deleted);
    }
}
