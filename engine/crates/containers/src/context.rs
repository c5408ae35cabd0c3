use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use davit_containerd_api::runc::v1::Options;
use davit_engine_network::Network;
use davit_engine_spec::Machine;

use crate::{
    container::Container,
    containerd::{Containerd, RuntimeChoice},
    error::ContainerError,
    events::Events,
    index::Index,
    paths::Paths,
    store::Store,
};

/// What every container's actor works with.
pub(crate) struct Context {
    /// The manager.
    pub containerd: Containerd,
    /// The default bridge.
    pub network: Arc<Network>,
    /// Records on disk.
    pub store: Store,
    /// What users hear of.
    pub events: Arc<Events>,
    /// Where files are.
    pub paths: Paths,
    /// What this machine has.
    pub machine: Machine,
    /// Shim and runtimes.
    pub runtimes: Runtimes,
    /// All containers by id and name.
    pub index: RwLock<Index>,
}

impl Context {
    /// A container by the id that the manager knows it under.
    pub fn by_id(&self, id: &str) -> Option<Arc<Container>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).by_id(id)
    }
}

/// How the manager is to hold containers.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// The shim: `io.containerd.davit.v1`, or an absolute path for a foreign manager.
    pub shim: String,
    /// Folder of the runtime's state.
    pub root: PathBuf,
    /// The name that an empty `--runtime` stands for.
    pub default: String,
    /// Programs by the names that `--runtime` takes; an empty path leaves the choice to the shim.
    pub programs: BTreeMap<String, PathBuf>,
}

impl Runtimes {
    /// What to tell the manager for `--runtime NAME`.
    pub fn choose(&self, name: &str) -> Result<RuntimeChoice, ContainerError> {
        let name = if name.is_empty() { &self.default } else { name };
        let Some(program) = self.programs.get(name) else {
            return Err(ContainerError::Invalid(format!(
                "unknown or invalid runtime name: {name}"
            )));
        };
        Ok(RuntimeChoice {
            name: self.shim.clone(),
            options: Options {
                binary_name: program.display().to_string(),
                root: self.root.display().to_string(),
                ..Options::default()
            },
        })
    }
}
