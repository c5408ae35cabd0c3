//! The door of the crate: [`Network`].

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    net::Ipv4Addr,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use davit_vocabulary::ContainerId;
use ipnet::Ipv4Net;
use tokio::task::JoinHandle;

use crate::{
    CONTAINER_LINK, Endpoint, MacAddress, NetworkConfig, NetworkError, Result, bridge,
    error::file,
    ipam::AddressPool,
    links::{Links, Pair},
    namespace,
};

/// The default bridge, its rules, and the namespaces of containers.
pub struct Network {
    config: NetworkConfig,
    links: Links,
    bridge_index: u32,
    pool: Mutex<AddressPool>,
    /// Links that are being deleted, by their containers.
    leaving: Mutex<HashMap<ContainerId, JoinHandle<()>>>,
}

impl Network {
    /// Makes the bridge and its rules, or takes over what is there from before.
    pub async fn open(config: NetworkConfig) -> Result<Self> {
        let pool = Mutex::new(AddressPool::new(&config.bridge, config.address)?);
        let links = Links::here()?;
        let bridge_index = bridge::open(&links, &config).await?;
        Ok(Self {
            config,
            links,
            bridge_index,
            pool,
            leaving: Mutex::default(),
        })
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
        let path = self.namespace_path(container);
        if !namespace::is_mounted(&path) {
            namespace::create(&path).await?;
        }
        Ok(path)
    }

    /// Puts the container's namespace on the bridge: `eth0` with an address and a default route. On failure nothing of
    /// it is left.
    pub async fn connect(&self, container: &ContainerId) -> Result<Endpoint> {
        // A container that starts again at once would meet its own old link.
        let old = self.leaving().remove(container);
        if let Some(deletion) = old {
            finished(deletion).await;
        }
        let address = self.pool().allocate(container)?;
        let connected = self.connect_as(container, address).await;
        if connected.is_err() {
            if let Err(error) = self.links.delete(&host_link(container)).await {
                tracing::warn!(%container, %error, "a link that failed could not be removed");
            }
            self.pool().release(container);
        }
        connected
    }

    async fn connect_as(&self, container: &ContainerId, address: Ipv4Addr) -> Result<Endpoint> {
        let path = self.namespace_path(container);
        let (inside, file) = tokio::try_join!(namespace::enter(&path), async {
            File::open(&path).map_err(file("open", &path))
        })?;
        let mac = MacAddress::of(address);
        let host_name = host_link(container);
        // What an engine that died half way has left is in the way of nobody else.
        self.links.delete(&host_name).await?;
        let pair = Pair {
            host_name: &host_name,
            bridge: self.bridge_index,
            namespace: file.as_fd(),
            mac,
        };
        self.links.add_pair(pair).await?;
        let link = inside.find(CONTAINER_LINK).await?.ok_or_else(|| NetworkError::Link {
            action: format!("connect {container}"),
            problem: format!("{CONTAINER_LINK} is not in its namespace"),
        })?;
        let (prefix, gateway) = (self.config.address.prefix_len(), self.config.address.addr());
        let net = Ipv4Net::new(address, prefix).expect("the prefix is one of a network");
        inside.add_address(link.index, net).await?;
        inside.set_up(link.index, CONTAINER_LINK).await?;
        inside.add_default_route(gateway).await?;
        inside.carries(CONTAINER_LINK).await?;
        self.links.carries(&host_name).await?;
        // A bridge without another port had no carrier either; it has one since its port has.
        self.links.carries(&self.config.bridge).await?;
        Ok(Endpoint {
            address,
            prefix,
            gateway,
            mac,
        })
    }

    /// Notes the address of a container that runs since before this engine.
    pub fn adopt(&self, container: &ContainerId, address: Ipv4Addr) -> Result<()> {
        self.pool().adopt(container, address)
    }

    /// Removes whatever the container has here: links, address, namespace. Nothing there is fine.
    ///
    /// The kernel takes its time to delete a link (some 20 ms of waiting for readers), so that goes on after the return;
    /// [`Network::settle`] waits for it. A crash before it is done loses nothing: a pair dies with its namespace.
    pub async fn remove(&self, container: &ContainerId) -> Result<()> {
        namespace::remove(&self.namespace_path(container))?;
        self.pool().release(container);
        let (links, name) = (self.links.clone(), host_link(container));
        let deletion = tokio::spawn(async move {
            if let Err(error) = links.delete(&name).await {
                tracing::warn!(link = name, %error, "a link could not be deleted");
            }
        });
        let mut leaving = self.leaving();
        leaving.retain(|_, deletion| !deletion.is_finished());
        leaving.insert(container.clone(), deletion);
        Ok(())
    }

    /// Removes what containers have here that an engine which died did not clean up: the namespaces (and with them the
    /// links) of all but those that `is_running`.
    pub async fn sweep(&self, is_running: impl Fn(&ContainerId) -> bool) -> Result<()> {
        let folder = &self.config.namespaces;
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(file("list", folder)(error)),
        };
        for entry in entries {
            let name = entry.map_err(file("list", folder))?.file_name();
            let Some(container) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if !is_running(&container) {
                tracing::info!(%container, "removing a network namespace that was left behind");
                self.remove(&container).await?;
            }
        }
        Ok(())
    }

    /// Waits until all that was removed is gone.
    pub async fn settle(&self) {
        let leaving = std::mem::take(&mut *self.leaving());
        for deletion in leaving.into_values() {
            finished(deletion).await;
        }
    }

    /// Removes the bridge and the rules. Containers lose their network: only when none runs.
    pub async fn cleanup(&self) -> Result<()> {
        self.settle().await;
        bridge::remove(&self.links, &self.config.bridge).await
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<ContainerId, JoinHandle<()>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, AddressPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn finished(deletion: JoinHandle<()>) {
    if let Err(error) = deletion.await {
        tracing::warn!(%error, "deleting a link did not end well");
    }
}

/// The host's end of a container's pair: `veth` and 44 bits of a hash of the id (FNV-1a), for a link's name has 15 bytes.
fn host_link(container: &ContainerId) -> String {
    let hash = container.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("veth{:011x}", hash >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_have_names_that_fit_and_differ() {
        let name = |id: &str| host_link(&id.parse().unwrap());
        assert_eq!(name("a").len(), 15);
        assert_ne!(name("a"), name("b"));
        assert_eq!(name("a"), name("a"));
    }
}
