//! Finding the shims of an earlier run.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use davit_shim_api::task_v3::shim::{
    ConnectRequest, ConnectResponse, DeleteRequest, DeleteResponse, StateRequest, StateResponse,
};
use davit_vocabulary::{ContainerId, ErrorKind, Namespace};
use tokio::task::JoinSet;

use crate::{
    Bundle, CallError, Role, Shim, Tasks,
    bundle::DOOMED_PREFIX,
    connection::{Connection, pauses, says_death},
    log_pipe::LogPipe,
    mounts, sandbox,
    tasks::{
        Claim, Slot,
        end::{ENDPOINT, forget, open, remove_bundle},
    },
};

impl Tasks {
    /// Begins to look for the shims of an earlier run. From now on whoever asks for one of their containers waits until it is known
    /// what has become of it; nobody waits for another's.
    ///
    /// # Errors
    /// The folders of the bundles and of their work cannot be read.
    pub fn restore(self: &Arc<Self>) -> io::Result<Restoring> {
        let (mut bundles, mut orphaned_work) = (Vec::new(), Vec::new());
        for role in Role::ALL {
            let claimed = self.bundles(role)?.into_iter().filter_map(|bundle| {
                let claim = self.claim_as(Slot::Returning(role), &bundle.namespace, &bundle.id);
                // An error says that it is here already.
                claim.ok().map(|claim| (bundle, claim))
            });
            bundles.extend(claimed);
            orphaned_work.extend(self.doom_orphaned_work(role)?);
        }
        Ok(Restoring {
            tasks: self.clone(),
            bundles,
            orphaned_work,
        })
    }

    /// Finds the shim of a bundle, or cleans up after it. One that cannot be reached within the limit, but is not known to be dead,
    /// is looked for on and on, and only those wait who ask for its container.
    async fn restore_one(self: Arc<Self>, bundle: Bundle, claim: Claim) {
        match tokio::time::timeout(self.launcher.timeouts.load, self.reach(&bundle)).await {
            Ok(reached) => self.settle(&bundle, claim, reached).await,
            Err(_) => {
                tracing::warn!(namespace = %bundle.namespace, id = %bundle.id, "shim is not reached in time");
                tokio::spawn(async move {
                    let reached = self.reach(&bundle).await;
                    self.settle(&bundle, claim, reached).await;
                });
            }
        }
    }

    async fn settle(self: &Arc<Self>, bundle: &Bundle, claim: Claim, reached: Reached) {
        let (namespace, id) = (&bundle.namespace, &bundle.id);
        match reached {
            Reached::NoBinary => {
                tracing::info!(%namespace, %id, "bundle without a shim is removed");
                remove_bundle(bundle).await;
            }
            Reached::NoRecord(binary) => {
                tracing::info!(%namespace, %id, "start of a shim was cut off");
                self.clean_up_start(&binary, bundle).await;
                remove_bundle(bundle).await;
            }
            Reached::Nobody(binary, error) => {
                tracing::info!(%namespace, %id, %error, "shim not found");
                self.bury(&binary, bundle, claim).await;
            }
            Reached::Shim(shim, connection) => match self.look_for_task(&shim, &connection).await {
                Found::Task => {
                    tracing::info!(%namespace, %id, "shim found");
                    claim.fill(shim);
                }
                Found::NoTask => {
                    tracing::info!(%namespace, %id, "shim without a task is taken down");
                    self.take_down_idle(&shim, &connection).await;
                }
                Found::Death => {
                    tracing::info!(%namespace, %id, "shim has died of the question for its task");
                    self.bury(&shim.binary, bundle, claim).await;
                }
            },
        }
    }

    /// Tries to connect until it succeeds, or is known to be in vain.
    async fn reach(&self, bundle: &Bundle) -> Reached {
        for pause in pauses() {
            match self.connect(bundle).await {
                Ok(reached) => return reached,
                Err(error) => {
                    tracing::warn!(namespace = %bundle.namespace, id = %bundle.id, %error, "shim cannot be reached");
                }
            }
            tokio::time::sleep(pause).await;
        }
        unreachable!("the pauses have no end")
    }

    /// An error says nothing about the shim.
    async fn connect(&self, bundle: &Bundle) -> io::Result<Reached> {
        let kept = present(fs::read(bundle.file("shim-binary-path")))?;
        let Some(binary) = kept.and_then(|bytes| String::from_utf8(bytes).ok()).map(PathBuf::from) else {
            return Ok(Reached::NoBinary);
        };
        let log = LogPipe::open(bundle)?;
        if present(fs::metadata(bundle.file(ENDPOINT)))?.is_none() {
            return Ok(Reached::NoRecord(binary));
        }
        let connection = match open(bundle).await {
            Err(error) if says_death(&error) => return Ok(Reached::Nobody(binary, error)),
            connection => connection?,
        };
        let shim = Shim::new(bundle.clone(), binary, connection.clone(), log, self.launcher.timeouts);
        Ok(Reached::Shim(Arc::new(shim), connection))
    }

    /// Whether the shim has its task, or its sandbox. One that does not answer in time, or with an error, is alive, and so may be its container: it
    /// counts as found.
    async fn look_for_task(&self, shim: &Shim, connection: &Connection) -> Found {
        match tokio::time::timeout(self.launcher.timeouts.load, ask(connection, shim)).await {
            Ok(Ok(())) => return Found::Task,
            Ok(Err(CallError::Closed)) => return Found::Death,
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => return Found::NoTask,
            Ok(Err(error)) => tracing::warn!(id = %shim.bundle.id, %error, "shim answers with an error"),
            Err(_) => tracing::warn!(id = %shim.bundle.id, "shim does not answer"),
        }
        Found::Task
    }

    async fn take_down_idle(&self, shim: &Shim, connection: &Connection) {
        // From now on it is a start that was cut off, should this daemon die too: no end is told of a task that never was.
        forget(&shim.bundle).await;
        davit_fail_point::reach("manager.restore.forgotten");
        self.dismiss(shim).await;
        davit_fail_point::reach("manager.restore.idle-dismissed");
        // The runtime may have been at work when the call for it was cut off.
        self.clean_up(&shim.binary, &shim.bundle).await;
        // And its work may have come to an end between the shim's answer and its dismissal. By the bare connection: nobody would
        // notice the end of this shim, which is not in the map.
        let request = DeleteRequest {
            id: shim.bundle.id.to_string(),
            ..Default::default()
        };
        let limit = self.launcher.timeouts.load;
        let deleted = connection.call_within::<_, DeleteResponse>(limit, "Delete", &request);
        if deleted.await.is_ok() {
            self.dismiss(shim).await;
        }
        davit_fail_point::reach("manager.restore.idle-removed");
        remove_bundle(&shim.bundle).await;
    }

    fn bundles(&self, role: Role) -> io::Result<Vec<Bundle>> {
        let folder = self.state.join(role.folder());
        let mut bundles = Vec::new();
        for namespace in children(&folder)? {
            for name in children(&folder.join(&namespace))? {
                match bundle(self, role, &namespace, &name) {
                    Some(bundle) => bundles.push(bundle),
                    None => {
                        let path = folder.join(&namespace).join(name);
                        if is_doomed(&path) {
                            remove_doomed(&path);
                        }
                    }
                }
            }
        }
        Ok(bundles)
    }

    /// A reboot takes the bundles, but not the work folders. They are renamed, so that whatever a client makes from now on is none of
    /// them, and returned to be removed.
    fn doom_orphaned_work(&self, role: Role) -> io::Result<Vec<PathBuf>> {
        let (works, bundles) = (self.root.join(role.folder()), self.state.join(role.folder()));
        let mut doomed = Vec::new();
        for namespace in children(&works)? {
            for name in children(&works.join(&namespace))? {
                if !bundles.join(&namespace).join(&name).exists() {
                    doomed.extend(doom(&works.join(&namespace).join(name)));
                }
            }
        }
        Ok(doomed)
    }
}

/// The shims that are looked for.
pub struct Restoring {
    tasks: Arc<Tasks>,
    bundles: Vec<(Bundle, Claim)>,
    orphaned_work: Vec<PathBuf>,
}

impl Restoring {
    /// Finds them, all at the same time, and cleans up after those that have died since, and after tasks that a reboot has ended.
    pub async fn finish(self) {
        let began = Instant::now();
        let mut loads = JoinSet::new();
        for (bundle, claim) in self.bundles {
            loads.spawn(self.tasks.clone().restore_one(bundle, claim));
        }
        let looked_for = loads.join_all().await.len();
        davit_fail_point::reach("manager.restore.looked");
        tracing::info!(looked_for, after = ?began.elapsed(), "every shim of an earlier run was looked for");
        let remove = move || self.orphaned_work.iter().for_each(|path| remove_doomed(path));
        let removed = tokio::task::spawn_blocking(remove).await;
        removed.expect("removing folders does not panic");
    }
}

/// What stands behind a bundle.
enum Reached {
    /// No shim was ever to be started.
    NoBinary,
    /// No record of a shim: there is none, or this daemon died while it was starting.
    NoRecord(PathBuf),
    /// The shim of this program is dead.
    Nobody(PathBuf, io::Error),
    /// A shim.
    Shim(Arc<Shim>, Connection),
}

/// What becomes of a shim that was asked for its task.
enum Found {
    Task,
    /// It was never made, because this daemon died in the middle.
    NoTask,
    /// The shim is dead.
    Death,
}

async fn ask(connection: &Connection, shim: &Shim) -> Result<(), CallError> {
    let id = shim.bundle.id.to_string();
    if shim.bundle.role == Role::Sandbox {
        return sandbox::ask(connection, id).await;
    }
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
fn bundle(tasks: &Tasks, role: Role, namespace: &OsString, name: &OsString) -> Option<Bundle> {
    let namespace: Namespace = namespace.to_str()?.parse().ok()?;
    let id: ContainerId = name.to_str()?.parse().ok()?;
    Some(Bundle::of(role, &tasks.root, &tasks.state, &namespace, &id))
}

/// Renames a folder to what it is called while it is being removed. Returns that, unless an error keeps it for the next start.
fn doom(path: &Path) -> Option<PathBuf> {
    if is_doomed(path) {
        return Some(path.into());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let doomed = path.with_file_name(format!("{DOOMED_PREFIX}{name}"));
    match fs::rename(path, &doomed) {
        Ok(()) => Some(doomed),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "remove what an earlier task has left");
            None
        }
    }
}

fn is_doomed(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(DOOMED_PREFIX)
}

/// Should anything be mounted there, its files must survive this.
fn remove_doomed(path: &Path) {
    if let Err(error) = mounts::unmount_below(path).and_then(|()| fs::remove_dir_all(path)) {
        tracing::warn!(path = %path.display(), %error, "remove what an earlier task has left");
    }
}

/// Nothing where there is nothing.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn children(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
