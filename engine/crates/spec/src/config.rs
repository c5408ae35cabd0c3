use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What runs: the part of a container that an image can preset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Host name; the engine sets the short id where the user gave none.
    pub hostname: String,
    /// NIS domain name; may be empty.
    pub domainname: String,
    /// `user[:group]`, names or numbers; empty for root.
    pub user: String,
    /// Streams that the creating client meant to attach; Docker shows them, and stdin decides on `StdinOnce`.
    pub attach: Attach,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// Whether stdin stays open without an attached client.
    pub open_stdin: bool,
    /// Whether stdin closes when the first attached client goes.
    pub stdin_once: bool,
    /// `KEY=value`; a bare `KEY` unsets.
    pub env: Vec<String>,
    /// Arguments, or the command where there is no entrypoint; `None` differs from empty in what Docker shows.
    pub cmd: Option<Vec<String>>,
    /// What precedes the arguments.
    pub entrypoint: Option<Vec<String>>,
    /// The image as the user named it.
    pub image: String,
    /// Working directory; empty for `/`.
    pub working_dir: String,
    /// Labels of image and container.
    pub labels: BTreeMap<String, String>,
    /// Ports that the image declares; information only.
    pub exposed_ports: BTreeSet<String>,
    /// Mount points that the image declares as volumes; they stay in the container's own layer.
    pub volumes: BTreeSet<String>,
    /// What `stop` sends, as the user wrote it.
    pub stop_signal: Option<String>,
    /// Seconds that `stop` waits before SIGKILL; -1 waits for ever.
    pub stop_timeout: Option<i64>,
}

/// Streams that a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

impl Config {
    /// The command line: entrypoint, then arguments.
    pub fn command_line(&self) -> Vec<String> {
        let entrypoint = self.entrypoint.iter().flatten();
        entrypoint.chain(self.cmd.iter().flatten()).cloned().collect()
    }
}
