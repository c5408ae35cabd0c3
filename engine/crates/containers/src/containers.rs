//! The door of the crate: [`Containers`].

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use davit_engine_images::{ImageUse, Images};
use davit_engine_network::Network;
use davit_engine_spec::{Machine, signal};
use davit_vocabulary::ContainerId;

use crate::{
    actor::{self, Found},
    container::Container,
    containerd::Containerd,
    context::{Context, Runtimes},
    create::{self, CreateRequest, Created},
    error::{ContainerError, file},
    events::Events,
    exec::Execs,
    id,
    index::Index,
    names,
    paths::Paths,
    reconcile,
    record::Record,
    store::Store,
};

type Result<T> = std::result::Result<T, ContainerError>;

const DEFAULT_STOP_TIMEOUT: i64 = 10;
const SIGKILL: u32 = 9;

/// How long SIGKILL may take before a stop gives up.
const KILL_TIME: Duration = Duration::from_secs(10);

/// What the containers need of the world.
pub struct Settings {
    /// The manager.
    pub containerd: Containerd,
    /// Images.
    pub images: Images,
    /// The default bridge.
    pub network: Arc<Network>,
    /// Where files are.
    pub paths: Paths,
    /// Shim and runtimes.
    pub runtimes: Runtimes,
}

/// All containers of the engine.
pub struct Containers {
    pub(crate) context: Arc<Context>,
    pub(crate) execs: Execs,
    images: Images,
}

impl Containers {
    /// Opens the records and brings them in line with what the manager says is there.
    pub async fn open(settings: Settings) -> Result<Arc<Self>> {
        let paths = settings.paths.clone();
        let opened = tokio::task::spawn_blocking(move || open_folders(&paths)).await;
        let (store, records) = opened.map_err(|_| ContainerError::ShuttingDown)??;
        let context = Arc::new(Context {
            containerd: settings.containerd,
            network: settings.network,
            store,
            events: Arc::default(),
            paths: settings.paths,
            machine: Machine::detect(),
            runtimes: settings.runtimes,
            index: Default::default(),
        });
        reconcile::all(&context, records).await?;
        tokio::spawn(reconcile::watch_memory(context.clone()));
        Ok(Arc::new(Self {
            context,
            execs: Execs::default(),
            images: settings.images,
        }))
    }

    /// What users hear of.
    pub fn events(&self) -> &Arc<Events> {
        &self.context.events
    }

    /// Where files are.
    pub fn paths(&self) -> &Paths {
        &self.context.paths
    }

    /// What this machine has.
    pub fn machine(&self) -> &Machine {
        &self.context.machine
    }

    /// The manager.
    pub fn containerd(&self) -> &Containerd {
        &self.context.containerd
    }

    /// Shim and runtimes.
    pub fn runtimes(&self) -> &Runtimes {
        &self.context.runtimes
    }

    /// A container by id, name or the beginning of its id.
    pub fn find(&self, wanted: &str) -> Result<Arc<Container>> {
        self.index().find(wanted)
    }

    /// All records, newest first.
    pub fn list(&self) -> Vec<Arc<Record>> {
        let mut records: Vec<_> = self.index().all().iter().map(|container| container.record()).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.created));
        records
    }

    /// Who uses which image.
    pub fn image_uses(&self) -> Vec<ImageUse> {
        let uses = self.list().into_iter().map(|record| ImageUse {
            image: record.image.clone(),
            container: record.id.clone(),
            running: record.state.is_running(),
        });
        uses.collect()
    }

    /// Makes a container.
    pub async fn create(&self, request: CreateRequest) -> Result<Created> {
        let id = id::container();
        let name = self.reserve_name(request.name.as_deref(), &id)?;
        let result = self.create_reserved(request, name.clone(), id.clone()).await;
        if result.is_err() {
            self.index_mut().release(&name, &id);
        }
        result
    }

    async fn create_reserved(&self, request: CreateRequest, name: String, id: ContainerId) -> Result<Created> {
        let image = self.images.resolve(&request.config.image).await?;
        let (record, warnings) = create::record(&self.context, request, name, id.clone(), &image)?;
        let parent = image.chain_id.as_ref().map(|chain| chain.as_str()).unwrap_or_default();
        let containerd = &self.context.containerd;
        let mounts = match containerd.prepare_snapshot(&id, parent).await {
            // The layers may have been collected, or never unpacked.
            Err(error) if error.is_gone() => {
                self.images.ensure_unpacked(&image).await?;
                containerd.prepare_snapshot(&id, parent).await?
            }
            result => result?,
        };
        if let Err(error) = self.keep(&record).await {
            // Nobody was told of the container; what cannot be undone now is found when the engine starts.
            let _ = containerd.remove_snapshot(&id).await;
            return Err(error);
        }
        let container = actor::spawn(&self.context, record, Some(mounts), Found::AtRest);
        self.context.events.container(&container.record(), "create", &[]);
        self.index_mut().insert(container);
        Ok(Created { id, warnings })
    }

    async fn keep(&self, record: &Record) -> Result<()> {
        let folder = self.context.paths.container(&record.id);
        fs::DirBuilder::new()
            .mode(0o710)
            .create(&folder)
            .map_err(file("making", &folder))?;
        self.context.store.put(record).await
    }

    fn reserve_name(&self, wanted: Option<&str>, id: &ContainerId) -> Result<String> {
        if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) {
            let name = names::parse(wanted)?;
            self.index_mut().reserve(&name, id)?;
            return Ok(name);
        }
        let mut index = self.index_mut();
        for attempt in 0..100 {
            let name = names::generate(attempt);
            if index.reserve(&name, id).is_ok() {
                return Ok(name);
            }
        }
        Err(ContainerError::Conflict("no free name was found".into()))
    }

    /// Stops a container: its stop signal, then SIGKILL when the time is up. Goes on when the caller goes away.
    pub async fn stop(&self, container: Arc<Container>, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        let signal = signal.map(signal::parse).transpose()?;
        detached(async move { stop(&container, signal, timeout).await }).await
    }

    /// Stops it if it runs, and starts it.
    pub async fn restart(&self, container: Arc<Container>, signal: Option<&str>, timeout: Option<i64>) -> Result<()> {
        let signal = signal.map(signal::parse).transpose()?;
        detached(async move {
            // One made with `--rm` outlives the stop in between.
            let auto_remove = container.set_auto_remove(false).await?;
            let stopped = stop(&container, signal, timeout).await;
            container.set_auto_remove(auto_remove).await?;
            match stopped {
                Ok(()) | Err(ContainerError::NotModified) => container.start().await,
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Removes a container; with `force` one that runs, too.
    pub async fn remove(&self, container: Arc<Container>, force: bool) -> Result<()> {
        detached(async move {
            match container.remove().await {
                Err(ContainerError::RemoveRunning(_)) if force => {}
                result => return result,
            }
            kill(&container).await?;
            match container.remove().await {
                // It was made with `--rm`, and has removed itself.
                Err(ContainerError::NoSuchContainer(_)) => Ok(()),
                result => result,
            }
        })
        .await
    }

    /// Gives a container another name.
    pub async fn rename(&self, container: &Container, name: &str) -> Result<()> {
        let name = names::parse(name)
            .map_err(|error| ContainerError::Invalid(format!("Error when allocating new name: {error}")))?;
        let old = container.record().name.clone();
        if name == old {
            let text = "Renaming a container with the same name as its current name";
            return Err(ContainerError::Invalid(text.into()));
        }
        self.index_mut().reserve(&name, &container.id)?;
        let result = container.rename(name.clone()).await;
        let left = if result.is_ok() { old } else { name };
        self.index_mut().release(&left, &container.id);
        result
    }

    /// Bytes that a container has written to its layer.
    pub async fn written_bytes(&self, id: &ContainerId) -> Result<i64> {
        Ok(self.context.containerd.usage(id).await?.size)
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, container: &Container, height: u32, width: u32) -> Result<()> {
        if !container.record().state.is_running() {
            return Err(ContainerError::NotRunning(container.id.to_string()));
        }
        self.context.containerd.resize(&container.id, "", height, width).await
    }

    /// Pids of a container's processes, on this host.
    pub async fn pids(&self, container: &Container) -> Result<Vec<u32>> {
        if !container.record().state.is_running() {
            return Err(ContainerError::NotRunning(container.id.to_string()));
        }
        self.context.containerd.pids(&container.id).await
    }

    fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.context.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.context.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs to its end even if the caller goes away.
async fn detached<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.unwrap_or(Err(ContainerError::ShuttingDown))
}

async fn stop(container: &Container, signal: Option<u32>, timeout: Option<i64>) -> Result<()> {
    let record = container.record();
    let own = || {
        record
            .config
            .stop_signal
            .as_deref()
            .and_then(|text| signal::parse(text).ok())
    };
    let signal = signal.or_else(own).unwrap_or(15);
    let seconds = timeout.or(record.config.stop_timeout).unwrap_or(DEFAULT_STOP_TIMEOUT);
    match container.signal(signal, true).await {
        Err(ContainerError::NotRunning(_)) => return Err(ContainerError::NotModified),
        result => result?,
    }
    // A negative time waits for ever.
    let limit = u64::try_from(seconds).ok().map(Duration::from_secs);
    if container.stopped_within(limit).await {
        return Ok(());
    }
    kill(container).await
}

async fn kill(container: &Container) -> Result<()> {
    match container.signal(SIGKILL, true).await {
        Err(ContainerError::NotRunning(_) | ContainerError::NoSuchContainer(_)) => return Ok(()),
        result => result?,
    }
    if container.stopped_within(Some(KILL_TIME)).await {
        return Ok(());
    }
    let text = format!(
        "tried to kill container {}, but did not receive an exit event",
        container.id
    );
    Err(ContainerError::Conflict(text))
}

fn open_folders(paths: &Paths) -> Result<(Store, Vec<Record>)> {
    // Others may pass through to bind-mounted files by name, and list nothing (CVE-2021-41091).
    make_folder(&paths.data_root, 0o710)?;
    make_folder(&paths.containers(), 0o710)?;
    make_folder(&paths.exec_root, 0o711)?;
    make_folder(&paths.attach_sockets(), 0o700)?;
    Store::open(&paths.store())
}

fn make_folder(path: &Path, mode: u32) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    let set = made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
    set.map_err(file("making", path))
}
