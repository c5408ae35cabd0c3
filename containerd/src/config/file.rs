//! The keys of the configuration file: containerd's, of its versions 1 to 3.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use davit_tasks::Timeouts;
use serde::{Deserialize, Serialize};

use super::{
    Config, ConfigError, Log, Socket,
    timeouts::{self, duration},
};
use crate::services::{MAX_MESSAGE, introspection};

/// The plugin that keeps containers running as their labels say.
pub const RESTART: &str = "io.containerd.monitor.container.v1.restart";

/// The same in files of version 2.
const RESTART_BEFORE: &str = "io.containerd.internal.v1.restart";

/// As whom the daemon was called: the two keep their things in different places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// `davit-containerd`.
    Davit,
    /// `containerd`.
    Containerd,
}

impl Personality {
    /// The configuration file that is read where none is named, if it exists.
    pub fn default_file(self) -> &'static str {
        match self {
            Self::Davit => "/etc/davit/containerd.toml",
            Self::Containerd => "/etc/containerd/config.toml",
        }
    }

    /// Root, state.
    fn folders(self) -> [&'static str; 2] {
        match self {
            Self::Davit => ["/var/lib/davit/containerd", "/run/davit/containerd"],
            Self::Containerd => ["/var/lib/containerd", "/run/containerd"],
        }
    }
}

/// A configuration file, whole: what a file leaves out has its default.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Generation of the keys.
    pub version: i64,
    /// [`Config::root`].
    pub root: PathBuf,
    /// [`Config::state`].
    pub state: PathBuf,
    /// [`Config::oom_score`].
    pub oom_score: i32,
    /// Further files, which override this one; `*` stands for any part of a file's name.
    pub imports: Vec<String>,
    /// Plugins to leave out.
    pub disabled_plugins: Vec<String>,
    /// Plugins without which the daemon must not start.
    pub required_plugins: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    temp: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    plugin_dir: String,
    /// The section `[grpc]`.
    pub grpc: Grpc,
    /// The section `[ttrpc]`.
    pub ttrpc: Ttrpc,
    /// The section `[debug]`.
    pub debug: Debug,
    #[serde(skip_serializing_if = "is_default")]
    metrics: Metrics,
    /// The section `[cgroup]`.
    pub cgroup: Cgroup,
    /// The section `[timeouts]`: durations by name.
    pub timeouts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    proxy_plugins: toml::Table,
    #[serde(skip_serializing_if = "toml::Table::is_empty")]
    stream_processors: toml::Table,
    /// Sections of plugins, by their names.
    pub plugins: BTreeMap<String, toml::Table>,
}

/// Who may use a socket besides root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its user.
    pub uid: u32,
    /// Its group; another than root's may use it, too.
    pub gid: u32,
}

/// The section `[grpc]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Path of the socket.
    pub address: PathBuf,
    #[serde(skip_serializing_if = "String::is_empty")]
    tcp_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tcp_tls_ca: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tcp_tls_cert: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tcp_tls_key: String,
    /// [`Owner::uid`].
    pub uid: u32,
    /// [`Owner::gid`].
    pub gid: u32,
    max_recv_message_size: usize,
    max_send_message_size: usize,
}

/// The section `[ttrpc]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ttrpc {
    /// Path of the socket; empty: that of `[grpc]` with `.ttrpc` appended.
    pub address: PathBuf,
    /// [`Owner::uid`].
    pub uid: u32,
    /// [`Owner::gid`].
    pub gid: u32,
}

/// The section `[debug]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Debug {
    #[serde(skip_serializing_if = "String::is_empty")]
    address: String,
    #[serde(skip_serializing_if = "is_default")]
    uid: u32,
    #[serde(skip_serializing_if = "is_default")]
    gid: u32,
    /// [`Log::level`].
    pub level: String,
    /// [`Log::format`].
    pub format: Format,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    #[serde(alias = "")]
    Text,
    /// For programs.
    Json,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Metrics {
    address: String,
    grpc_histogram: bool,
}

/// The section `[cgroup]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cgroup {
    /// [`Config::cgroup`].
    pub path: String,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RestartPlugin {
    interval: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for File {
    fn default() -> Self {
        Self::of(Personality::Davit)
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            address: PathBuf::new(),
            tcp_address: String::new(),
            tcp_tls_ca: String::new(),
            tcp_tls_cert: String::new(),
            tcp_tls_key: String::new(),
            uid: 0,
            gid: 0,
            max_recv_message_size: MAX_MESSAGE,
            max_send_message_size: MAX_MESSAGE,
        }
    }
}

impl Default for Debug {
    fn default() -> Self {
        Self {
            address: String::new(),
            uid: 0,
            gid: 0,
            level: "info".into(),
            format: Format::default(),
        }
    }
}

impl Default for RestartPlugin {
    fn default() -> Self {
        Self { interval: "10s".into() }
    }
}

impl Metrics {
    /// Where they are served, if anywhere. As in Go, an address without a host is every one of this machine's.
    fn read(&self) -> Result<Option<super::Metrics>, ConfigError> {
        let text = self.address.as_str();
        let address = match (text.strip_prefix(':'), text.strip_prefix("localhost:")) {
            _ if text.is_empty() => return Ok(None),
            (Some(port), _) => format!("[::]:{port}").parse(),
            (_, Some(port)) => format!("127.0.0.1:{port}").parse(),
            (None, None) => text.parse(),
        };
        let address = address.map_err(|_| ConfigError::Address {
            key: "metrics.address",
            text: text.into(),
        })?;
        Ok(Some(super::Metrics {
            address,
            grpc_histogram: self.grpc_histogram,
        }))
    }
}

impl File {
    /// The defaults.
    pub fn of(personality: Personality) -> Self {
        let [root, state] = personality.folders().map(PathBuf::from);
        let restart = toml::Table::try_from(RestartPlugin::default()).expect("a string is a TOML value");
        Self {
            version: 3,
            grpc: Grpc {
                address: state.join("containerd.sock"),
                ..Default::default()
            },
            root,
            state,
            oom_score: 0,
            imports: Vec::new(),
            disabled_plugins: Vec::new(),
            required_plugins: Vec::new(),
            temp: String::new(),
            plugin_dir: String::new(),
            ttrpc: Ttrpc::default(),
            debug: Debug::default(),
            metrics: Metrics::default(),
            cgroup: Cgroup::default(),
            timeouts: timeouts::named(&Timeouts::default()),
            proxy_plugins: toml::Table::new(),
            stream_processors: toml::Table::new(),
            plugins: [(RESTART.to_owned(), restart)].into(),
        }
    }

    /// The settings, and sentences on the keys that have no effect here.
    ///
    /// # Errors
    /// A value is none of its kind, or asks for something that this daemon does not do.
    pub fn into_config(self) -> Result<(Config, Vec<String>), ConfigError> {
        self.refuse_what_is_missing()?;
        let mut notices = self.without_effect();
        let timeouts = timeouts::read(&self.timeouts, &mut notices)?;
        let restart_interval = self.restart_interval()?;
        let ttrpc = match self.ttrpc.address {
            path if path.as_os_str().is_empty() => {
                let mut beside = self.grpc.address.clone().into_os_string();
                beside.push(".ttrpc");
                beside.into()
            }
            path => path,
        };
        let socket = |path: PathBuf, uid, gid| {
            let path = absolute(path)?;
            Ok(Socket {
                path,
                owner: Owner { uid, gid },
            })
        };
        let config = Config {
            root: absolute(self.root)?,
            state: absolute(self.state)?,
            grpc: socket(self.grpc.address, self.grpc.uid, self.grpc.gid)?,
            ttrpc: socket(ttrpc, self.ttrpc.uid, self.ttrpc.gid)?,
            log: Log {
                level: self.debug.level,
                format: self.debug.format,
            },
            oom_score: self.oom_score,
            cgroup: self.cgroup.path,
            timeouts,
            restart_interval,
            metrics: self.metrics.read()?,
            debug: match self.debug.address.as_str() {
                "" => None,
                path => Some(socket(path.into(), self.debug.uid, self.debug.gid)?),
            },
        };
        Ok((config, notices))
    }

    /// The same settings in the keys of the newest version, without sections of plugins that have no effect.
    pub fn migrated(mut self) -> Self {
        self.version = 3;
        let before = self.plugins.remove(RESTART_BEFORE);
        let restart = before.or_else(|| self.plugins.remove(RESTART)).or_else(|| {
            let name = self.plugins.keys().find(|name| is_restart(name)).cloned()?;
            self.plugins.remove(&name)
        });
        self.plugins = restart
            .map(|section| (RESTART.to_owned(), section))
            .into_iter()
            .collect();
        self
    }

    /// Settings of containerd's whose effect somebody would miss.
    fn refuse_what_is_missing(&self) -> Result<(), ConfigError> {
        let Grpc {
            max_recv_message_size: receive,
            max_send_message_size: send,
            ..
        } = self.grpc;
        let tls = [&self.grpc.tcp_tls_ca, &self.grpc.tcp_tls_cert, &self.grpc.tcp_tls_key];
        let missing = [
            (
                "grpc.tcp_address",
                self.grpc.tcp_address.is_empty(),
                "only a unix socket is served",
            ),
            (
                "grpc.tcp_tls_ca, tcp_tls_cert or tcp_tls_key",
                tls.iter().all(|path| path.is_empty()),
                "only a unix socket is served",
            ),
            (
                "proxy_plugins",
                self.proxy_plugins.is_empty(),
                "every plugin is built in",
            ),
            (
                "grpc.max_recv_message_size",
                receive == MAX_MESSAGE,
                "messages have 16777216 bytes at most",
            ),
            (
                "grpc.max_send_message_size",
                send == MAX_MESSAGE,
                "messages have 16777216 bytes at most",
            ),
        ];
        if let Some((key, _, why)) = missing.into_iter().find(|(_, is_absent, _)| !is_absent) {
            return Err(ConfigError::Unsupported { key, why });
        }
        let plugins = introspection::uris();
        let is_ours = |name: &&String| plugins.iter().any(|uri| is_named(uri, name));
        if let Some(name) = self.required_plugins.iter().find(|name| !is_ours(name)) {
            return Err(ConfigError::Required(name.clone()));
        }
        let needed = |name: &&String| is_ours(name) && !is_restart(name);
        match self.disabled_plugins.iter().find(needed) {
            Some(name) => Err(ConfigError::Needed(name.clone())),
            None => Ok(()),
        }
    }

    fn without_effect(&self) -> Vec<String> {
        let has_debug = !self.debug.address.is_empty();
        let keys = [
            ("temp", self.temp.is_empty()),
            ("plugin_dir", self.plugin_dir.is_empty()),
            ("stream_processors", self.stream_processors.is_empty()),
            ("debug.uid", self.debug.uid == 0 || has_debug),
            ("debug.gid", self.debug.gid == 0 || has_debug),
            (
                "metrics.grpc_histogram",
                !self.metrics.grpc_histogram || !self.metrics.address.is_empty(),
            ),
        ];
        let keys = keys.iter().filter(|(_, is_absent)| !is_absent);
        let keys = keys.map(|(key, _)| format!("{key} has no effect here"));
        let others = self.plugins.keys().filter(|name| !is_restart(name));
        let others = others.map(|name| format!("plugins.{name:?} has no effect here"));
        keys.chain(others).collect()
    }

    fn restart_interval(&self) -> Result<Option<Duration>, ConfigError> {
        if self.disabled_plugins.iter().any(|name| is_restart(name)) {
            return Ok(None);
        }
        // The defaults have one under the name of today.
        let sections = self.plugins.iter().filter(|(name, _)| is_restart(name));
        let section = sections.max_by_key(|(name, _)| name.as_str() != RESTART);
        let Some((name, table)) = section else {
            return duration("interval", &RestartPlugin::default().interval).map(Some);
        };
        let plugin: RestartPlugin = table.clone().try_into().map_err(|source| ConfigError::Plugin {
            name: name.clone(),
            source: Box::new(source),
        })?;
        duration(&format!("plugins.{name:?}.interval"), &plugin.interval).map(Some)
    }
}

/// Whether `name` is this plugin's: whole, or as in files of version 1 without the parts before the last dot.
fn is_named(uri: &str, name: &str) -> bool {
    uri == name || (!name.contains('.') && uri.rsplit('.').next() == Some(name))
}

fn is_restart(name: &str) -> bool {
    is_named(RESTART, name) || is_named(RESTART_BEFORE, name)
}

/// Shims run in other folders: every path they are given is absolute.
fn absolute(path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|source| ConfigError::Path { path, source })
}

#[cfg(test)]
mod tests;
