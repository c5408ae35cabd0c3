//! The containers of this shim, and their sandbox, on their way to another program of ours.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use davit_luggage::{Packing, Unpacking};
use serde::{Deserialize, Serialize};

use super::Tasks;
use crate::{
    bundle::Bundle,
    container::{Container, ContainerState},
    sandbox::{Phase, Sandbox},
};

/// What another program needs to go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct TasksState {
    containers: Vec<ContainerState>,
    sandbox: Option<Sandbox>,
    is_leaving: bool,
}

impl Tasks {
    /// Containers and sandbox, for another program of ours; only while nothing is busy.
    pub fn pack(&self, packing: &mut Packing) -> io::Result<TasksState> {
        let containers = self.containers();
        let containers = containers.iter().map(|container| container.pack(packing));
        Ok(TasksState {
            containers: containers.collect::<io::Result<_>>()?,
            sandbox: self.sandbox.held(),
            is_leaving: self.is_leaving.load(Ordering::Relaxed),
        })
    }

    /// Goes on with containers and sandbox of another program of ours.
    pub async fn take_over(self: &Arc<Self>, state: TasksState, unpacking: &mut Unpacking) -> io::Result<()> {
        for container in state.containers {
            // Boxed: it is large, and it is there once.
            let unpacked = Box::pin(Container::unpack(container, unpacking, self.host.clone()));
            let container = unpacked.await?;
            self.table().containers.insert(container.id.clone(), container);
        }
        self.is_leaving.store(state.is_leaving, Ordering::Relaxed);
        if let Some(sandbox) = state.sandbox {
            let own = self.table().containers.get(&sandbox.id).cloned();
            let has_process = sandbox.has_process;
            self.sandbox.hold(sandbox);
            if let Some(own) = own.filter(|_| has_process) {
                self.end_sandbox_with(own);
            }
        }
        Ok(())
    }

    /// The sandbox has ended when its own process has.
    pub(in crate::service) fn end_sandbox_with(self: &Arc<Self>, container: Arc<Container>) {
        let tasks = self.clone();
        tokio::spawn(async move {
            let exit = container.init.wait().await;
            tasks.sandbox.go_on(Phase::Stopped(exit));
            tracing::info!(status = exit.status, "the sandbox's process has ended");
        });
    }

    /// What cannot be packed now. Who is `patient` waits for more than he must.
    pub fn is_busy(&self, patient: bool) -> Option<&'static str> {
        if !self.table().reserved.is_empty() {
            return Some("a creation");
        }
        if self.leaving_soon.load(Ordering::Relaxed) > 0 {
            return Some("its end");
        }
        let containers = self.containers();
        containers.iter().find_map(|container| container.is_busy(patient))
    }

    /// The bundles of all containers.
    pub fn bundles(&self) -> Vec<Bundle> {
        let containers = self.containers();
        containers.iter().map(|container| container.bundle.clone()).collect()
    }
}
