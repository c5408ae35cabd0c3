use std::sync::Arc;

use davit_engine_containers::Containers;
use davit_engine_images::Images;
use davit_engine_network::Network;

/// All that the API is an API of.
pub struct Engine {
    /// Containers and execs.
    pub containers: Arc<Containers>,
    /// Images.
    pub images: Images,
    /// The default bridge.
    pub network: Arc<Network>,
    /// What does not change while the engine runs.
    pub identity: Identity,
}

/// What the engine says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// A uuid that stays with the data root.
    pub id: String,
    /// The manager's socket.
    pub containerd_address: String,
    /// The manager's namespace.
    pub namespace: String,
    /// The snapshotter.
    pub snapshotter: String,
    /// Registries spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// Whether debug logs are on.
    pub debug: bool,
}

/// What handlers share.
pub type App = Arc<Engine>;
