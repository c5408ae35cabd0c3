//! Flags about the process in a container and about the container's own labels.

use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, HostConfig};
use clap::Args;

use super::{
    env_file::{environment, labels},
    pairs,
};
use crate::command_error::CommandError;

/// The process and its surroundings.
#[derive(Debug, Default, Args)]
pub struct ProcessFlags {
    /// Environment variables; a name alone takes its value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Files of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Program to start instead of the image's
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// User to run as, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Groups to join in addition
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME")]
    hostname: Option<String>,
    /// NIS domain name of the container
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Labels of the container
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Files of labels
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// Annotations for the runtime
    #[arg(long, value_name = "NAME=VALUE")]
    annotation: Vec<String>,
    /// Kernel parameters of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// Run an init that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Signal that stops the container
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds to wait for the container to stop before it is killed
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    stop_timeout: Option<i64>,
}

impl ProcessFlags {
    /// Adds what the flags say.
    pub fn apply(&self, config: &mut ContainerCreateBody, host: &mut HostConfig) -> Result<(), CommandError> {
        config.env = pairs::list(&environment(&self.env_file, &self.env)?);
        // An empty program takes the image's away, and the API writes that as a list of one empty word.
        config.entrypoint = self.entrypoint.clone().map(|program| vec![program]);
        config.user = self.user.clone();
        config.working_dir = self.workdir.clone();
        config.hostname = self.hostname.clone();
        config.domainname = self.domainname.clone();
        config.labels = pairs::map(&labels(&self.label_file, &self.label)?);
        config.stop_signal = self.stop_signal.clone();
        config.stop_timeout = self.stop_timeout;
        host.group_add = pairs::list(&self.group_add);
        host.annotations = pairs::map(&self.annotation);
        host.sysctls = pairs::map(&self.sysctl);
        host.init = self.init.then_some(true);
        Ok(())
    }
}
