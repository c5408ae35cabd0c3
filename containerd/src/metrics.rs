//! What is told to Prometheus, under the names that containerd has for it: calls, tasks' cgroups, and this process.
//!
//! Nothing is kept but the counts of calls. What a container uses is asked of its shim when somebody asks.

mod calls;
mod cgroups;
mod exposition;
mod process;

use std::{sync::Arc, time::Duration};

use davit_metadata::{Database, namespaces};
use davit_tasks::{Shim, Tasks};
use davit_vocabulary::Namespace;
use futures::future::join_all;

use crate::{containers::Containers, services::blocking, version};
pub use calls::{Calls, Counted};
pub(crate) use exposition::MEDIA_TYPE;
use exposition::{Exposition, Kind};

/// How long a shim may take to say what its task uses; one that takes longer is left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// What metrics are read from.
#[derive(Clone)]
pub struct Metrics {
    /// Counts of calls.
    pub calls: Calls,
    /// The way to the shims.
    pub tasks: Arc<Tasks>,
    /// Durable records.
    pub database: Arc<Database>,
}

impl Metrics {
    /// All of it, in Prometheus's text format.
    pub async fn text(&self) -> String {
        let mut text = Exposition::default();
        let build = [("revision", ""), ("version", version::API)];
        text.family(
            "containerd_build_info_total",
            Kind::Counter,
            "containerd build information",
        );
        text.sample("containerd_build_info_total", &build, 1.0);
        self.calls.write(&mut text);
        cgroups::write(&self.usage().await, &mut text);
        process::write(&mut text);
        text.into_text()
    }

    async fn usage(&self) -> Vec<cgroups::Usage> {
        let database = self.database.clone();
        let namespaces = match blocking(move || database.read(namespaces::list)).await {
            Ok(namespaces) => namespaces,
            Err(error) => {
                tracing::warn!(%error, "namespaces for the metrics of their tasks");
                return Vec::new();
            }
        };
        let namespaces = namespaces
            .into_iter()
            .filter_map(|(name, _)| name.parse::<Namespace>().ok());
        let shims = namespaces.flat_map(|namespace| self.tasks.list(&namespace));
        let usages = join_all(shims.map(|shim| self.usage_of(shim))).await;
        usages.into_iter().flatten().collect()
    }

    /// Nothing where the task has no numbers, or its shim is too busy to tell.
    async fn usage_of(&self, shim: Arc<Shim>) -> Option<cgroups::Usage> {
        let numbers = tokio::time::timeout(PATIENCE, shim.stats()).await.ok()?.ok()??;
        let containers = Containers::new(self.database.clone());
        let (namespace, id) = (shim.bundle.namespace.clone(), shim.bundle.id.clone());
        let record = blocking(move || containers.get(&namespace, id.as_str())).await.ok()?;
        Some(cgroups::Usage {
            container: shim.bundle.id.to_string(),
            namespace: shim.bundle.namespace.to_string(),
            runtime: record.runtime.name,
            numbers: cgroups::Numbers::read(&numbers.type_url, &numbers.value)?,
        })
    }
}
