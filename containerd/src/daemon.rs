//! What the services share, and its life.

use std::{env, path::PathBuf, sync::Arc};

use davit_images::{ImageError, Storage};
use davit_journal::JournalError;
use davit_metadata::{Database, StoreError};
use davit_tasks::{Launcher, Tasks};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoints::Checkpoints, config::Config, deaths, events::EventBus, recorder::Recorder, services, version,
};

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
    /// The way of task events onto the bus.
    pub recorder: Recorder,
    /// The way to the shims.
    pub tasks: Arc<Tasks>,
    /// Cancelled when the daemon stops: calls that would never end by themselves end then.
    pub stop: CancellationToken,
}

/// Why a daemon's parts cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The records.
    #[error(transparent)]
    Records(#[from] StoreError),
    /// Content, snapshots, images or leases.
    #[error(transparent)]
    Storage(#[from] ImageError),
    /// The journal of task events.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Daemon {
    /// Opens the store and the journal. Nothing runs yet but what writes the journal, and tells the deaths of shims.
    pub fn open(config: Config, stop: CancellationToken) -> Result<Self, OpenError> {
        let database = Arc::new(Database::open(&config.root.join("meta.db"))?);
        let events = EventBus::new();
        // After the database, whose lock says that no other daemon is here.
        let recorder = Recorder::open(&config.root.join("events"), events.clone())?;
        let storage = Storage::open(
            &config.root,
            database.clone(),
            services::storage::publisher(events.clone()),
        )?;
        let (deaths, died) = unbounded_channel();
        tokio::spawn(deaths::tell(died, recorder.clone()));
        let tasks = Tasks::new(config.root.clone(), config.state.clone(), launcher(&config), deaths);
        Ok(Self {
            checkpoints: Checkpoints::new(&config.root, storage.content.clone()),
            config,
            database,
            storage,
            events,
            recorder,
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
