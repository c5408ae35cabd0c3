//! Creating a container.

use std::{
    ffi::OsStr,
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use davit_shim_api::{
    options::oci::Options,
    task_events::{
        mount::Mount as WireMount,
        task::{TaskCreate, TaskIO},
    },
};
use davit_vocabulary::ContainerId;
use tokio::{sync::watch, time};

use super::{Checkpoint, Container, Host};
use crate::{
    bundle::Bundle,
    cgroup::{Cgroup, OomWatch},
    error::TaskError,
    oci::{CallStdio, Oci, becomes_true},
    process::{Live, Process},
    reaper::ExitReceiver,
    rootfs::{self, Mount},
    stdio::{Place, Prepared, StdioRequest},
};

/// How long a runtime whose work is given up may take to end. Less than a question about the container waits for that.
const GRACE: Duration = Duration::from_secs(2);

/// A container to create.
#[derive(Debug)]
pub struct CreateRequest {
    /// Its id.
    pub id: ContainerId,
    /// Its bundle, with a config.json.
    pub bundle: Bundle,
    /// Mounts that make its root file system.
    pub rootfs: Vec<Mount>,
    /// Init's streams.
    pub stdio: StdioRequest,
    /// What init is to be restored from, where it is not to be made afresh.
    pub checkpoint: Option<Checkpoint>,
    /// Options of the runtime.
    pub options: Options,
}

impl Container {
    /// Mounts the root file system, opens the streams and calls the runtime; undoes all of it on an error, and when
    /// `given_up` becomes true. For a container from a checkpoint the runtime is called by its start.
    pub async fn create(
        request: CreateRequest,
        host: Arc<Host>,
        given_up: watch::Receiver<bool>,
    ) -> Result<Arc<Self>, TaskError> {
        let bundle = &request.bundle;
        let in_bundle = || TaskError::io(format!("cannot use the bundle {}", bundle.path().display()));
        let own_pids = bundle.has_own_pids().map_err(in_bundle())?;
        bundle.store_options(&request.options).map_err(in_bundle())?;
        davit_fail_point::reach("shim.create.options-stored");
        rootfs::mount_all(&request.rootfs, &bundle.rootfs())?;
        davit_fail_point::reach("shim.create.mounted");
        let oci = Oci::new(&request.options, &host.namespace, host.reaper.clone());
        let made = make_init(&request, &oci, &host, given_up).await;
        let (init, exit) = made.inspect_err(|_| unmount(&request))?;
        let container = Arc::new(Self {
            id: request.id.clone(),
            bundle: request.bundle.clone(),
            init,
            host,
            oci,
            checkpoint: request.checkpoint.clone(),
            cgroup: OnceLock::new(),
            oom_watch: OnceLock::new(),
            own_pids,
            owner: (request.options.io_uid, request.options.io_gid),
            execs: Mutex::default(),
            order: tokio::sync::Mutex::default(),
            busy_execs: watch::Sender::new(0),
            init_ended: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
            oom_kills: AtomicU64::new(0),
        });
        let pid = container.init.pid();
        let outbox = &container.host.outbox;
        outbox.keep_in(container.id.as_str(), container.bundle.path());
        outbox.publish("/tasks/create", &created(&request, pid));
        davit_fail_point::reach("shim.create.published");
        if let Some(exit) = exit {
            container.watch_init(exit);
        }
        tracing::info!(id = %container.id, pid, "created");
        Ok(container)
    }

    /// Init exists: from now on its cgroup and its end are watched.
    pub(super) fn watch_init(self: &Arc<Self>, exit: ExitReceiver) {
        if let Some(cgroup) = find_cgroup(self.init.pid()) {
            self.watch_oom(&cgroup);
            // There is one init, and it comes to be once.
            let _ = self.cgroup.set(cgroup);
        }
        tokio::spawn(self.clone().await_init(exit));
    }

    fn watch_oom(self: &Arc<Self>, cgroup: &Cgroup) {
        match OomWatch::new(cgroup) {
            Ok(Some(watch)) => self.begin_reporting(watch),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, id = %self.id, "OOM kills are seen only at the container's end"),
        }
    }
}

/// Init and what becomes its exit, or an init that waits with its streams for its restoration.
async fn make_init(
    request: &CreateRequest,
    oci: &Oci,
    host: &Arc<Host>,
    mut given_up: watch::Receiver<bool>,
) -> Result<(Process, Option<ExitReceiver>), TaskError> {
    let place = Place {
        container: request.id.as_str(),
        namespace: &host.namespace,
        sockets: &host.sockets,
        owner: (request.options.io_uid, request.options.io_gid),
        reaper: &host.reaper,
    };
    let mut prepared = Prepared::open(&request.stdio, &place).await?;
    if *given_up.borrow() {
        prepared.discard();
        return Err(given_up_on(request));
    }
    if request.checkpoint.is_some() {
        return Ok((Process::new(request.stdio.clone(), Some(prepared)), None));
    }
    davit_fail_point::reach("shim.create.streams-open");
    let births = host.reaper.births();
    let called = call_create(oci, request, &mut prepared, &mut given_up).await;
    davit_fail_point::reach("shim.create.runtime-called");
    let is_created = called.is_ok();
    let made = match Live::take_over(called, &request.bundle.init_pid_file(), &births, prepared).await {
        Ok(_) if *given_up.borrow() => Err(given_up_on(request)),
        made => made,
    };
    match made {
        Ok((live, exit)) => Ok((Process::with_live(request.stdio.clone(), live), Some(exit))),
        Err(error) => {
            if is_created {
                undo(oci, &request.bundle, &request.id).await;
            }
            Err(error)
        }
    }
}

async fn call_create(
    oci: &Oci,
    request: &CreateRequest,
    prepared: &mut Prepared,
    given_up: &mut watch::Receiver<bool>,
) -> Result<(), TaskError> {
    let pid_file = request.bundle.init_pid_file();
    let stdio = prepared.call_stdio();
    let mut arguments: Vec<&OsStr> = vec![
        "create".as_ref(),
        "--bundle".as_ref(),
        request.bundle.path().as_os_str(),
    ];
    arguments.extend(["--pid-file".as_ref(), pid_file.as_os_str()]);
    if let Some(path) = prepared.console_path() {
        arguments.extend(["--console-socket".as_ref(), path.as_os_str()]);
    }
    if request.options.no_pivot_root {
        arguments.push("--no-pivot".as_ref());
    }
    if request.options.no_new_keyring {
        arguments.push("--no-new-keyring".as_ref());
    }
    arguments.push(request.id.as_ref().as_ref());
    let log = request.bundle.runtime_log();
    let (kill, killed) = watch::channel(false);
    let call = oci.call_until(killed, "OCI runtime create failed", &log, &arguments, stdio);
    let mut call = pin!(call);
    tokio::select! {
        biased;
        called = &mut call => return Ok(called?),
        () = becomes_true(given_up) => {}
    }
    // A runtime like ours ends by it in good order, together with a hook that hangs. The call is asked last: once it has
    // answered it must not be asked again.
    let undone = async {
        undo(oci, &request.bundle, &request.id).await;
        (&mut call).await
    };
    if time::timeout(GRACE, undone).await.is_err() {
        kill.send_replace(true);
        let _ = call.await;
        undo(oci, &request.bundle, &request.id).await;
    }
    Err(given_up_on(request))
}

fn given_up_on(request: &CreateRequest) -> TaskError {
    TaskError::State(format!("the creation of {} was given up", request.id))
}

/// Takes a container out of the runtime whose call for it went well, while something else did not.
pub(super) async fn undo(oci: &Oci, bundle: &Bundle, id: &ContainerId) {
    let arguments: [&OsStr; 3] = ["delete".as_ref(), "--force".as_ref(), id.as_ref().as_ref()];
    let log = bundle.runtime_log();
    let call = oci.call("cannot take the container back", &log, &arguments, CallStdio::Captured);
    if let Err(error) = call.await {
        tracing::warn!(%error, %id, "a half-made container stays");
    }
}

fn unmount(request: &CreateRequest) {
    if request.rootfs.is_empty() {
        return;
    }
    if let Err(error) = rootfs::unmount_all(&request.bundle.rootfs()) {
        tracing::warn!(%error, "the root file system stays mounted");
    }
}

fn find_cgroup(pid: u32) -> Option<Cgroup> {
    Cgroup::of(pid)
        .inspect_err(|error| tracing::warn!(%error, pid, "cannot find the container's cgroup"))
        .ok()
        .flatten()
}

fn created(request: &CreateRequest, pid: u32) -> TaskCreate {
    let [stdin, stdout, stderr] = request.stdio.texts.clone();
    let terminal = request.stdio.terminal;
    let mount = |mount: &Mount| WireMount {
        type_: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
        ..Default::default()
    };
    TaskCreate {
        container_id: request.id.to_string(),
        bundle: request.bundle.path().display().to_string(),
        rootfs: request.rootfs.iter().map(mount).collect(),
        io: Some(TaskIO {
            stdin,
            stdout,
            stderr,
            terminal,
            ..Default::default()
        })
        .into(),
        checkpoint: request.checkpoint.as_ref().map(Checkpoint::image).unwrap_or_default(),
        pid,
        ..Default::default()
    }
}
