//! The flags that `run` and `create` share, and the request they make.

use std::path::PathBuf;

use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, RestartPolicy, RestartPolicyNameEnum};
use clap::{Args, ValueEnum};

use super::{
    mounts::MountFlags, network::NetworkFlags, pairs, process::ProcessFlags, resources::ResourceFlags,
    security::SecurityFlags,
};
use crate::{command_error::CommandError, terminal};

/// When an image is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// When it is not there.
    #[default]
    Missing,
    /// Not at all.
    Never,
}

/// Which streams are connected.
#[derive(Debug, Default, Args)]
pub struct StreamFlags {
    /// Streams to attach to: stdin, stdout, stderr
    #[arg(short, long, value_name = "STREAM", value_parser = stream)]
    pub attach: Vec<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
}

/// Flags of `run` and `create`.
#[derive(Debug, Default, Args)]
pub struct CreateFlags {
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Platform of the image (os/architecture)
    #[arg(long, value_name = "PLATFORM", default_value = "", hide_default_value = true)]
    pub platform: String,
    /// When to download the image
    #[arg(long, value_name = "WHEN", value_enum, default_value = "missing")]
    pub pull: PullPolicy,
    /// Do not show the download
    #[arg(short, long)]
    pub quiet: bool,
    /// File to write the container's id to
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// When to start the container again: no, always, unless-stopped, on-failure[:times]
    #[arg(long, value_name = "POLICY", value_parser = restart_policy)]
    restart: Option<RestartPolicy>,
    /// Log driver
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Options of the log driver
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
    /// Streams.
    #[command(flatten)]
    pub streams: StreamFlags,
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    security: SecurityFlags,
    #[command(flatten)]
    mounts: MountFlags,
    #[command(flatten)]
    network: NetworkFlags,
    /// Image, command and arguments
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, value_name = "IMAGE [COMMAND] [ARG]")]
    words: Vec<String>,
}

/// What is asked of the engine.
#[derive(Debug)]
pub struct CreateRequest {
    /// The image.
    pub image: String,
    /// The rest.
    pub body: ContainerCreateBody,
}

impl CreateFlags {
    /// The request that the flags describe.
    pub fn request(&self) -> Result<CreateRequest, CommandError> {
        let (image, command) = self.words.split_first().expect("clap requires an image");
        let mut config = ContainerCreateBody {
            image: Some(image.clone()),
            cmd: pairs::list(command),
            ..ContainerCreateBody::default()
        };
        let mut host = HostConfig::default();
        self.streams.apply(&mut config);
        self.process.apply(&mut config, &mut host)?;
        self.resources.apply(&mut host);
        self.security.apply(&mut host)?;
        self.mounts.apply(&mut host);
        self.network.apply(&mut host);
        self.lifecycle(&mut host)?;
        config.host_config = Some(host);
        Ok(CreateRequest {
            image: image.clone(),
            body: config,
        })
    }

    fn lifecycle(&self, host: &mut HostConfig) -> Result<(), CommandError> {
        let restarts = |policy: &RestartPolicy| policy.name != Some(RestartPolicyNameEnum::NO);
        if self.rm && self.restart.as_ref().is_some_and(restarts) {
            return Err(CommandError::usage(
                "conflicting options: cannot specify both --restart and --rm",
            ));
        }
        host.auto_remove = self.rm.then_some(true);
        host.restart_policy = self.restart.clone();
        if self.log_driver.is_some() || !self.log_opt.is_empty() {
            host.log_config = Some(HostConfigLogConfig {
                typ: self.log_driver.clone(),
                config: pairs::map(&self.log_opt),
            });
        }
        if self.streams.tty {
            host.console_size = terminal::size().map(|size| vec![size.rows.into(), size.columns.into()]);
        }
        Ok(())
    }
}

impl StreamFlags {
    /// Without `--attach` all streams are attached, standard input only where it is kept open.
    fn apply(&self, config: &mut ContainerCreateBody) {
        let asked = |name: &str| self.attach.iter().any(|stream| stream == name);
        let by_default = self.attach.is_empty();
        let stdin = asked("stdin") || (by_default && self.interactive);
        config.attach_stdin = Some(stdin);
        config.attach_stdout = Some(asked("stdout") || by_default);
        config.attach_stderr = Some(asked("stderr") || by_default);
        config.tty = Some(self.tty);
        config.open_stdin = Some(self.interactive);
        config.stdin_once = Some(self.interactive && stdin);
    }
}

fn stream(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    match name.as_str() {
        "stdin" | "stdout" | "stderr" => Ok(name),
        _ => Err(format!("valid streams are STDIN, STDOUT and STDERR, not {text}")),
    }
}

fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, times) = match text.split_once(':') {
        Some((name, times)) => (name, Some(times)),
        None => (text, None),
    };
    let known = name
        .parse::<RestartPolicyNameEnum>()
        .map_err(|_| format!("invalid restart policy '{text}'"))?;
    let times = match times {
        None => None,
        Some(_) if known != RestartPolicyNameEnum::ON_FAILURE => {
            return Err(format!(
                "invalid restart policy '{text}': only on-failure takes a maximum"
            ));
        }
        Some(times) => Some(
            times
                .parse()
                .map_err(|_| "maximum retry count must be an integer".to_owned())?,
        ),
    };
    Ok(RestartPolicy {
        name: Some(known),
        maximum_retry_count: times,
    })
}
