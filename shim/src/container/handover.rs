//! A container on its way to another program of ours.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use davit_luggage::{Fd, Packing, Unpacking};
use davit_vocabulary::{ContainerId, ExecId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Checkpoint, Container, Host};
use crate::{
    bundle::Bundle,
    cgroup::{Cgroup, OomWatch},
    oci::{Oci, OciState},
    process::{Process, ProcessState},
    reaper::ExitReceiver,
    stdio::Place,
};

/// What another program needs to go on with a container.
#[derive(Debug, Serialize, Deserialize)]
pub struct ContainerState {
    id: String,
    bundle: std::path::PathBuf,
    init: ProcessState,
    execs: BTreeMap<String, ProcessState>,
    oci: OciState,
    checkpoint: Option<Checkpoint>,
    cgroup: Option<Cgroup>,
    oom_watch: Option<Fd>,
    own_pids: bool,
    owner: (u32, u32),
    init_ended: bool,
    paused: bool,
    deleted: bool,
    oom_kills: u64,
}

impl Container {
    /// What of it cannot be packed now. Who is `patient` waits for more than he must.
    pub fn is_busy(&self, patient: bool) -> Option<&'static str> {
        let reaper = &self.host.reaper;
        let execs = self.execs();
        let mut processes = std::iter::once(&self.init).chain(execs.values().map(|exec| &**exec));
        processes.find_map(|process| process.is_busy(reaper, patient))
    }

    /// The container, for another program of ours; only while nothing of it is busy and no call for it is under way.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<ContainerState> {
        let execs = self.execs();
        let execs = execs.iter().map(|(id, exec)| Ok((id.to_string(), exec.pack(packing)?)));
        let execs = execs.collect::<io::Result<_>>()?;
        let oom_watch = self.oom_watch.get().and_then(std::sync::Weak::upgrade);
        Ok(ContainerState {
            id: self.id.to_string(),
            bundle: self.bundle.path().to_owned(),
            init: self.init.pack(packing)?,
            execs,
            oci: self.oci.pack(),
            checkpoint: self.checkpoint.clone(),
            cgroup: self.cgroup().cloned(),
            oom_watch: oom_watch.map(|watch| watch.pack(packing)).transpose()?,
            own_pids: self.own_pids,
            owner: self.owner,
            init_ended: self.has_init_ended(),
            paused: self.is_paused(),
            deleted: self.deleted.load(Ordering::Relaxed),
            oom_kills: self.oom_kills.load(Ordering::Relaxed),
        })
    }

    /// Goes on with a container of another program of ours.
    pub async fn unpack(state: ContainerState, unpacking: &mut Unpacking, host: Arc<Host>) -> io::Result<Arc<Self>> {
        let id: ContainerId = state.id.parse().map_err(io::Error::other)?;
        let place = Place {
            container: id.as_str(),
            namespace: &host.namespace,
            sockets: &host.sockets,
            owner: state.owner,
            reaper: &host.reaper,
        };
        let (init, init_exit) = Process::unpack(state.init, unpacking, &place).await?;
        let mut execs = BTreeMap::new();
        let mut running = Vec::new();
        for (id, exec) in state.execs {
            let id: ExecId = id.parse().map_err(io::Error::other)?;
            let (exec, exit) = Process::unpack(exec, unpacking, &place).await?;
            let exec = Arc::new(exec);
            running.extend(exit.map(|exit| (id.clone(), exec.clone(), exit)));
            execs.insert(id, exec);
        }
        host.outbox.keep_in(id.as_str(), &state.bundle);
        let container = Arc::new(Self {
            id: id.clone(),
            bundle: Bundle::new(state.bundle),
            init,
            oci: Oci::unpack(state.oci, host.reaper.clone()),
            host: host.clone(),
            checkpoint: state.checkpoint,
            cgroup: OnceLock::new(),
            oom_watch: OnceLock::new(),
            own_pids: state.own_pids,
            owner: state.owner,
            execs: Mutex::new(execs),
            order: tokio::sync::Mutex::default(),
            busy_execs: watch::Sender::new(running.len()),
            init_ended: AtomicBool::new(state.init_ended),
            paused: AtomicBool::new(state.paused),
            deleted: AtomicBool::new(state.deleted),
            oom_kills: AtomicU64::new(state.oom_kills),
        });
        container.account(state.cgroup, state.oom_watch, unpacking)?;
        container.wait_on(init_exit, running);
        Ok(container)
    }

    fn account(
        self: &Arc<Self>,
        cgroup: Option<Cgroup>,
        watch: Option<Fd>,
        unpacking: &mut Unpacking,
    ) -> io::Result<()> {
        let Some(cgroup) = cgroup else { return Ok(()) };
        if let Some(watch) = watch {
            self.begin_reporting(OomWatch::unpack(&cgroup, watch, unpacking)?);
        }
        // It was set nowhere else.
        let _ = self.cgroup.set(cgroup);
        Ok(())
    }

    fn wait_on(self: &Arc<Self>, init: Option<ExitReceiver>, execs: Vec<(ExecId, Arc<Process>, ExitReceiver)>) {
        for (id, exec, exit) in execs {
            tokio::spawn(self.clone().await_exec(id, exec, exit));
        }
        if let Some(exit) = init {
            tokio::spawn(self.clone().await_init(exit));
        }
    }
}
