//! `POST /containers/{id}/exec` and `POST /exec/{id}/start`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::create::Words;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct CreateExec {
    pub user: String,
    pub privileged: bool,
    pub tty: bool,
    pub attach_stdin: bool,
    pub attach_stdout: bool,
    pub attach_stderr: bool,
    /// The client's own note; `start` decides.
    pub detach: bool,
    pub detach_keys: String,
    pub env: Vec<String>,
    pub working_dir: String,
    pub cmd: Option<Words>,
    pub console_size: [u64; 2],
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[allow(missing_docs)]
pub struct StartExec {
    pub detach: bool,
    /// What the exec was made with decides.
    pub tty: bool,
    pub console_size: [u64; 2],
}
