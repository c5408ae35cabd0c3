//! Flags about what a container may do and which namespaces it shares.

use std::{fs, str::FromStr};

use bollard::models::{HostConfig, HostConfigCgroupnsModeEnum};
use clap::Args;

use super::pairs;
use crate::command_error::{CommandError, words};

/// Privileges and namespaces.
#[derive(Debug, Default, Args)]
pub struct SecurityFlags {
    /// Capabilities to add
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Capabilities to drop
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Give all privileges and all devices
    #[arg(long)]
    privileged: bool,
    /// Security options: seccomp=FILE, no-new-privileges, systempaths=unconfined …
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// User namespace to use
    #[arg(long, value_name = "MODE")]
    userns: Option<String>,
    /// Cgroup namespace to use: host or private
    #[arg(long, value_name = "MODE", value_parser = HostConfigCgroupnsModeEnum::from_str)]
    cgroupns: Option<HostConfigCgroupnsModeEnum>,
    /// IPC namespace to use
    #[arg(long, value_name = "MODE")]
    ipc: Option<String>,
    /// PID namespace to use
    #[arg(long, value_name = "MODE")]
    pid: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "MODE")]
    uts: Option<String>,
    /// Runtime to use
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
}

impl SecurityFlags {
    /// Adds what the flags say. A seccomp profile is read here: the engine may run elsewhere.
    pub fn apply(&self, host: &mut HostConfig) -> Result<(), CommandError> {
        host.cap_add = pairs::list(&self.cap_add);
        host.cap_drop = pairs::list(&self.cap_drop);
        host.privileged = self.privileged.then_some(true);
        host.readonly_rootfs = self.read_only.then_some(true);
        host.userns_mode = self.userns.clone();
        host.cgroupns_mode = self.cgroupns;
        host.ipc_mode = self.ipc.clone();
        host.pid_mode = self.pid.clone();
        host.uts_mode = self.uts.clone();
        host.runtime = self.runtime.clone();
        let mut options = Vec::new();
        for option in &self.security_opt {
            if option == "systempaths=unconfined" {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
            } else {
                options.push(resolved(option)?);
            }
        }
        host.security_opt = pairs::list(&options);
        Ok(())
    }
}

/// A security option with its profile in place of the profile's path.
fn resolved(option: &str) -> Result<String, CommandError> {
    let (key, value) = option
        .split_once('=')
        .or_else(|| option.split_once(':'))
        .unwrap_or((option, ""));
    if value.is_empty() && key != "no-new-privileges" {
        return Err(CommandError::usage(format!("invalid --security-opt: {option:?}")));
    }
    if key != "seccomp" || value == "unconfined" || value == "builtin" {
        return Ok(option.to_owned());
    }
    let failed = |why: String| CommandError::usage(format!("opening seccomp profile ({value}) failed: {why}"));
    let text = fs::read_to_string(value).map_err(|error| failed(words(&error)))?;
    let profile: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| failed(format!("it is not valid JSON: {error}")))?;
    Ok(format!("seccomp={profile}"))
}
