//! The bundle: the folder in which a container's configuration and the shim's own files lie.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use davit_shim_api::options::oci::Options;
use davit_vocabulary::ExecId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A bundle's path. Files of an exec begin with its id, which is safe as a file name.
#[derive(Debug, Clone)]
pub struct Bundle {
    path: PathBuf,
}

/// The folder, two above a sandbox's bundle, by which containerd and ours tell bundles of sandboxes from those of tasks.
const OF_SANDBOXES: &str = "io.containerd.sandbox.controller.v1.shim";

/// What `delete` must know of a container whose shim has died.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct StoredOptions {
    /// The runtime; empty: ours.
    #[serde(default)]
    pub binary_name: String,
    /// Where it keeps its state; empty: its default for us.
    #[serde(default)]
    pub root: String,
    /// Its cgroup driver.
    #[serde(default)]
    pub systemd_cgroup: bool,
}

impl From<StoredOptions> for Options {
    fn from(stored: StoredOptions) -> Self {
        Self {
            binary_name: stored.binary_name,
            root: stored.root,
            systemd_cgroup: stored.systemd_cgroup,
            ..Default::default()
        }
    }
}

impl Bundle {
    /// A bundle at an absolute path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the bundle of a sandbox, and so need not have a configuration.
    pub fn is_of_sandbox(&self) -> bool {
        let above = self.path.ancestors().nth(2).and_then(Path::file_name);
        above.is_some_and(|name| name == OF_SANDBOXES)
    }

    /// Where the root file system is mounted.
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// Where files lie that are too large for a file system in memory.
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// The runtime's log of calls for the container.
    pub fn runtime_log(&self) -> PathBuf {
        self.path.join("log.json")
    }

    /// Where the runtime writes init's pid.
    pub fn init_pid_file(&self) -> PathBuf {
        self.path.join("init.pid")
    }

    /// Init's exit record.
    pub fn exit_file(&self) -> PathBuf {
        self.path.join("exit.json")
    }

    /// A file of an exec: `log`, `pid`, `process` or `exit`.
    pub fn exec_file(&self, exec: &ExecId, what: &str) -> PathBuf {
        self.path.join(format!("{exec}.{what}.json"))
    }

    /// Keeps the options for `delete`.
    pub fn store_options(&self, options: &Options) -> io::Result<()> {
        let stored = StoredOptions {
            binary_name: options.binary_name.clone(),
            root: options.root.clone(),
            systemd_cgroup: options.systemd_cgroup,
        };
        fs::write(self.path.join("options.json"), serde_json::to_vec(&stored)?)
    }

    /// The stored options; the defaults where the container was never created.
    pub fn stored_options(&self) -> io::Result<Options> {
        match fs::read(self.path.join("options.json")) {
            Ok(bytes) => Ok(serde_json::from_slice::<StoredOptions>(&bytes)?.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Options::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether the specification of a sandbox describes a process. There need be no specification.
    pub fn has_process(&self) -> io::Result<bool> {
        match self.spec() {
            Ok(spec) => Ok(spec
                .process
                .is_some_and(|process| !process.args.unwrap_or_default().is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The path of the network namespace that the specification joins, if it joins one.
    pub fn network_namespace(&self) -> io::Result<Option<String>> {
        let namespaces = self.spec()?.linux.map(|linux| linux.namespaces).unwrap_or_default();
        let network = namespaces.into_iter().find(|namespace| namespace.kind == "network");
        Ok(network.and_then(|namespace| namespace.path))
    }

    fn spec(&self) -> io::Result<Spec> {
        Ok(serde_json::from_slice(&fs::read(self.path.join("config.json"))?)?)
    }

    /// Whether the container has a pid namespace of its own, so that the end of init ends all its processes.
    pub fn has_own_pids(&self) -> io::Result<bool> {
        let namespaces = self.spec()?.linux.map(|linux| linux.namespaces).unwrap_or_default();
        let is_own =
            |namespace: &Namespace| namespace.kind == "pid" && namespace.path.as_deref().unwrap_or_default().is_empty();
        Ok(namespaces.iter().any(is_own))
    }
}

#[derive(Deserialize)]
struct Spec {
    process: Option<ProcessSpec>,
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct ProcessSpec {
    args: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Vec<Namespace>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: Option<String>,
}

/// Reads a pid that the runtime wrote.
pub fn read_pid(path: &Path) -> io::Result<u32> {
    let text = fs::read_to_string(path)?;
    text.trim()
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The process of an exec with `terminal` as the request says, all else untouched.
pub fn process_spec(spec: &[u8], terminal: bool) -> serde_json::Result<Vec<u8>> {
    let mut process: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(spec)?;
    process.insert("terminal".into(), RawValue::from_string(terminal.to_string())?);
    serde_json::to_vec(&process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pid_namespace_without_a_path_is_the_containers_own() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(dir.path());
        let check = |config: &str| {
            fs::write(dir.path().join("config.json"), config).unwrap();
            bundle.has_own_pids().unwrap()
        };
        assert!(check(r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}"#));
        assert!(check(r#"{"linux":{"namespaces":[{"type":"pid","path":""}]}}"#));
        assert!(!check(
            r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}"#
        ));
        assert!(!check(r#"{"linux":{}}"#));
        assert!(!check("{}"));
    }

    #[test]
    fn a_sandbox_has_a_process_where_its_specification_says_what_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(dir.path());
        assert!(!bundle.has_process().unwrap(), "without a specification");
        for (config, expected) in [
            (r#"{"ociVersion":"1.0.2"}"#, false),
            (r#"{"process":{"cwd":"/","args":null}}"#, false),
            (r#"{"process":{"args":[]}}"#, false),
            (r#"{"process":{"args":["/pause"]}}"#, true),
        ] {
            fs::write(dir.path().join("config.json"), config).unwrap();
            assert_eq!(bundle.has_process().unwrap(), expected, "{config}");
        }
        fs::write(dir.path().join("config.json"), "{").unwrap();
        bundle.has_process().unwrap_err();
    }

    #[test]
    fn a_process_keeps_every_field_that_the_shim_does_not_know() {
        let out = process_spec(br#"{"args":["a"],"x":{"y":1e3},"terminal":false}"#, true).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"args":["a"],"terminal":true,"x":{"y":1e3}}"#
        );
        assert!(process_spec(b"[]", true).is_err());
    }

    #[test]
    fn options_come_back_for_delete() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(dir.path());
        assert_eq!(bundle.stored_options().unwrap(), Options::new());
        let options = Options {
            binary_name: "crun".into(),
            root: "/r".into(),
            ..Default::default()
        };
        bundle.store_options(&options).unwrap();
        assert_eq!(bundle.stored_options().unwrap(), options);
    }
}
