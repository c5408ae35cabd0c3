//! What this daemon is made of, in the names of containerd's plugins.
//!
//! Clients look here for what a daemon can do; nothing that is missing is listed.

use std::{collections::HashMap, env, path::Path};

use davit_containerd_api::{services::introspection::v1::Plugin, types::Platform};

use crate::restart;

/// The services that are listed, by the ids of containerd's plugins.
const SERVICES: [&str; 16] = [
    "containers",
    "content",
    "diff",
    "events",
    "healthcheck",
    "images",
    "introspection",
    "leases",
    "namespaces",
    "sandbox-controllers",
    "sandboxes",
    "snapshots",
    "streaming",
    "tasks",
    "transfer",
    "version",
];

pub(super) fn all(root: &Path) -> Vec<Plugin> {
    let store = root.join("meta.db").display().to_string();
    let root = |plugin: &str| ("root", root.join(plugin).display().to_string());
    let mut plugins = vec![
        plugin("io.containerd.content.v1", "content").exporting([root("io.containerd.content.v1.content")]),
        plugin("io.containerd.snapshotter.v1", "overlayfs")
            .on_this_platform()
            .exporting([root("io.containerd.snapshotter.v1.overlayfs")]),
        plugin("io.containerd.metadata.v1", "bolt")
            .requiring([
                "io.containerd.content.v1",
                "io.containerd.event.v1",
                "io.containerd.snapshotter.v1",
            ])
            // What one namespace has, another that knows its digest need not send again.
            .exporting([("path", store), ("policy", "shared".into())]),
        plugin("io.containerd.lease.v1", "manager").requiring(["io.containerd.metadata.v1"]),
        plugin("io.containerd.differ.v1", "walking")
            .on_this_platform()
            .requiring(["io.containerd.metadata.v1"]),
        plugin("io.containerd.event.v1", "exchange"),
        plugin("io.containerd.gc.v1", "scheduler").requiring(["io.containerd.metadata.v1"]),
        plugin("io.containerd.shim.v1", "manager").requiring(["io.containerd.event.v1", "io.containerd.metadata.v1"]),
        plugin("io.containerd.runtime.v2", "task")
            .on_this_platform()
            .requiring(["io.containerd.shim.v1"])
            .exporting([("log-uri-schemes", "fifo,binary,binary-v2,file".into())]),
        plugin("io.containerd.monitor.container.v1", "restart")
            .requiring(["io.containerd.event.v1", "io.containerd.metadata.v1"])
            .capable_of(restart::POLICIES),
        plugin("io.containerd.sandbox.store.v1", "local").requiring(["io.containerd.metadata.v1"]),
        plugin("io.containerd.sandbox.controller.v1", "shim")
            .requiring(["io.containerd.shim.v1", "io.containerd.event.v1"]),
        plugin("io.containerd.streaming.v1", "manager"),
        plugin("io.containerd.transfer.v1", "local").requiring([
            "io.containerd.lease.v1",
            "io.containerd.metadata.v1",
            "io.containerd.differ.v1",
            "io.containerd.snapshotter.v1",
        ]),
        plugin("io.containerd.ttrpc.v1", "events"),
    ];
    plugins.extend(SERVICES.map(|id| plugin("io.containerd.grpc.v1", id)));
    plugins
}

fn plugin(r#type: &str, id: &str) -> Plugin {
    Plugin {
        r#type: r#type.into(),
        id: id.into(),
        ..Default::default()
    }
}

trait With: Sized {
    fn requiring<const N: usize>(self, types: [&str; N]) -> Self;
    fn exporting<const N: usize>(self, exports: [(&str, String); N]) -> Self;
    fn capable_of<const N: usize>(self, capabilities: [&str; N]) -> Self;
    fn on_this_platform(self) -> Self;
}

impl With for Plugin {
    fn requiring<const N: usize>(mut self, types: [&str; N]) -> Self {
        self.requires = types.map(str::to_owned).into();
        self
    }

    fn exporting<const N: usize>(mut self, exports: [(&str, String); N]) -> Self {
        self.exports = HashMap::from(exports.map(|(key, value)| (key.to_owned(), value)));
        self
    }

    fn capable_of<const N: usize>(mut self, capabilities: [&str; N]) -> Self {
        self.capabilities = capabilities.map(str::to_owned).into();
        self
    }

    fn on_this_platform(mut self) -> Self {
        self.platforms = vec![Platform {
            os: "linux".into(),
            architecture: architecture().into(),
            ..Default::default()
        }];
        self
    }
}

/// The name that images have for this machine's architecture.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_plugin_requires_is_listed_and_no_plugin_is_listed_twice() {
        let plugins = all(Path::new("/r"));
        for plugin in &plugins {
            let is_listed = |kind: &String| plugins.iter().any(|other| other.r#type == *kind);
            assert!(plugin.requires.iter().all(is_listed), "{plugin:?}");
            let same = |other: &&Plugin| (&other.r#type, &other.id) == (&plugin.r#type, &plugin.id);
            assert_eq!(plugins.iter().filter(same).count(), 1, "{plugin:?}");
        }
    }
}
