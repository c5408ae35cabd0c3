//! Finding the shims of an earlier run.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use davit_shim_api::task_v3::shim::{ConnectRequest, ConnectResponse, StateRequest, StateResponse};
use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use tokio::task::JoinSet;

use crate::{
    Bundle, CallError, PLUGIN, Shim, Tasks,
    bootstrap::Endpoint,
    bundle::DOOMED_PREFIX,
    connection::Connection,
    log_pipe::LogPipe,
    strays::Stray,
    tasks::{Claim, Slot, end::remove_bundle},
};

impl Tasks {
    /// Begins to look for the shims of an earlier run. From now on whoever asks for one of their containers waits until it is known
    /// what has become of it; nobody waits for another's.
    ///
    /// # Errors
    /// The folder of the bundles cannot be read.
    pub fn restore(self: &Arc<Self>) -> io::Result<Restoring> {
        let claimed = self.bundles()?.into_iter().filter_map(|bundle| {
            let claim = self.claim_as(Slot::Returning, &bundle.namespace, &bundle.id);
            // An error says that it is here already.
            claim.ok().map(|claim| (bundle, claim))
        });
        Ok(Restoring {
            tasks: self.clone(),
            bundles: claimed.collect(),
        })
    }

    async fn restore_one(self: Arc<Self>, bundle: Bundle, claim: Claim) {
        let kept = fs::read(bundle.file("shim-binary-path")).ok();
        let Some(binary) = kept.and_then(|bytes| String::from_utf8(bytes).ok()).map(PathBuf::from) else {
            tracing::info!(namespace = %bundle.namespace, id = %bundle.id, "bundle without a shim is removed");
            return remove_bundle(&bundle).await;
        };
        match self.locate(&bundle, &binary).await {
            Ok(Found::Task(shim)) => {
                tracing::info!(namespace = %bundle.namespace, id = %bundle.id, "shim found");
                claim.fill(shim);
            }
            Ok(Found::NoTask(shim)) => {
                tracing::info!(namespace = %bundle.namespace, id = %bundle.id, "shim without a task is taken down");
                self.dismiss(&shim).await;
                // The runtime may have been at work when the call for it was cut off.
                self.clean_up(&binary, &bundle).await;
                // And its work may have come to an end between the shim's answer and its dismissal.
                if let Ok(Ok(_)) = tokio::time::timeout(self.launcher.timeouts.load, shim.delete("")).await {
                    self.dismiss(&shim).await;
                }
                remove_bundle(&bundle).await;
            }
            Ok(Found::Nothing) => {
                tracing::info!(namespace = %bundle.namespace, id = %bundle.id, "start of a shim was cut off");
                self.kill_strays(&bundle, &binary).await;
                self.clean_up(&binary, &bundle).await;
                remove_bundle(&bundle).await;
            }
            Err(error) => {
                tracing::info!(namespace = %bundle.namespace, id = %bundle.id, %error, "shim not found");
                self.bury(&binary, &bundle).await;
            }
        }
    }

    /// Connects to the shim of a bundle.
    ///
    /// One that accepts the connection, but does not answer in time, is alive, and so may be its container: it counts as found.
    async fn locate(&self, bundle: &Bundle, binary: &Path) -> io::Result<Found> {
        let timeouts = self.launcher.timeouts;
        let log = LogPipe::open(bundle)?;
        let kept = match fs::read(bundle.file("bootstrap.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            kept => kept?,
        };
        let endpoint = Endpoint::parse(&kept).map_err(io::Error::other)?;
        let connection = Connection::open(&endpoint, &bundle.namespace).await?;
        let shim = Arc::new(Shim::new(
            bundle.clone(),
            binary.into(),
            connection.clone(),
            log,
            timeouts,
        ));
        match tokio::time::timeout(timeouts.load, ask(&connection, &shim)).await {
            Ok(Ok(())) => Ok(Found::Task(shim)),
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(Found::NoTask(shim)),
            Ok(Err(error)) if error.kind() == ErrorKind::Unavailable => Err(io::Error::other(error)),
            Ok(Err(error)) => {
                tracing::warn!(id = %bundle.id, %error, "shim answers with an error");
                Ok(Found::Task(shim))
            }
            Err(_) => {
                tracing::warn!(id = %bundle.id, "shim does not answer");
                Ok(Found::Task(shim))
            }
        }
    }

    async fn kill_strays(&self, bundle: &Bundle, binary: &Path) {
        let (bundle, binary, address) = (bundle.clone(), binary.to_owned(), self.launcher.address.clone());
        let kill = move || {
            let (binary, address, bundle) = (&binary, &address, &bundle);
            Stray {
                binary,
                address,
                bundle,
            }
            .kill()
        };
        let result = tokio::task::spawn_blocking(kill).await;
        if let Err(error) = result.expect("killing strays does not panic") {
            tracing::warn!(%error, "kill stray shims");
        }
    }

    fn bundles(&self) -> io::Result<Vec<Bundle>> {
        let folder = self.state.join(PLUGIN);
        let mut bundles = Vec::new();
        for namespace in children(&folder)? {
            for name in children(&folder.join(&namespace))? {
                match bundle(self, &namespace, &name) {
                    Some(bundle) => bundles.push(bundle),
                    None => remove_doomed(&folder.join(&namespace).join(name)),
                }
            }
        }
        Ok(bundles)
    }

    /// A reboot takes the bundles, but not the work folders.
    fn remove_orphaned_work(&self) -> io::Result<()> {
        let (works, bundles) = (self.root.join(PLUGIN), self.state.join(PLUGIN));
        for namespace in children(&works)? {
            for name in children(&works.join(&namespace))? {
                if !bundles.join(&namespace).join(&name).exists() {
                    fs::remove_dir_all(works.join(&namespace).join(name))?;
                }
            }
        }
        Ok(())
    }
}

/// The shims that are looked for.
pub struct Restoring {
    tasks: Arc<Tasks>,
    bundles: Vec<(Bundle, Claim)>,
}

impl Restoring {
    /// Finds them, all at the same time, and cleans up after those that have died since.
    ///
    /// # Errors
    /// The rests of tasks that a reboot has ended cannot be removed.
    pub async fn finish(self) -> io::Result<()> {
        let began = Instant::now();
        let mut loads = JoinSet::new();
        for (bundle, claim) in self.bundles {
            loads.spawn(self.tasks.clone().restore_one(bundle, claim));
        }
        let looked_for = loads.join_all().await.len();
        tracing::info!(looked_for, after = ?began.elapsed(), "every shim of an earlier run is accounted for");
        tokio::task::spawn_blocking(move || self.tasks.remove_orphaned_work())
            .await
            .map_err(io::Error::other)?
    }
}

enum Found {
    /// A shim and its task.
    Task(Arc<Shim>),
    /// A shim whose task was never made, because this daemon died in the middle.
    NoTask(Arc<Shim>),
    /// No record of a shim: there is none, or this daemon died while it was starting.
    Nothing,
}

async fn ask(connection: &Connection, shim: &Shim) -> Result<(), CallError> {
    let id = shim.bundle.id.to_string();
    let connect = ConnectRequest {
        id: id.clone(),
        ..Default::default()
    };
    connection
        .call_negotiated::<_, ConnectResponse>("Connect", &connect)
        .await?;
    let state = StateRequest {
        id,
        ..Default::default()
    };
    connection.call::<_, StateResponse>("State", &state).await.map(drop)
}

/// The bundle behind a folder's name, unless it is one that was being removed, or is none of ours.
fn bundle(tasks: &Tasks, namespace: &OsString, name: &OsString) -> Option<Bundle> {
    let namespace: Namespace = namespace.to_str()?.parse().ok()?;
    let id: ContainerId = name.to_str()?.parse().ok()?;
    Some(Bundle::at(&tasks.root, &tasks.state, &namespace, &id))
}

fn remove_doomed(path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !name.starts_with(DOOMED_PREFIX) {
        return;
    }
    if let Err(error) = fs::remove_dir_all(path) {
        tracing::warn!(path = %path.display(), %error, "remove what was left of a bundle");
    }
}

fn children(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
