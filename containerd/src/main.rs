//! `davit-containerd`, also runs as `containerd`.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::{Parser, Subcommand};
use davit_containerd::{
    config::{Config, File},
    publish, restart, server,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The configuration file that is read where none is named, if it exists.
const DEFAULT_FILE: &str = "/etc/davit/containerd.toml";

/// Container manager: containerd's API over snapshots, content and shims
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
struct Arguments {
    /// Folder of what must survive a reboot
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Folder of what may go with a reboot
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Socket of the gRPC API
    #[arg(short, long, value_name = "SOCKET")]
    address: Option<PathBuf>,
    /// What is logged: trace, debug, info, warn, error
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish the event on standard input, for shims that cannot do so themselves
    Publish {
        /// Topic of the event
        #[arg(long)]
        topic: String,
        /// Namespace of the event
        #[arg(long)]
        namespace: String,
    },
}

impl Arguments {
    fn into_config(self) -> anyhow::Result<Config> {
        let file = match &self.config {
            Some(path) => File::read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => File::read(Path::new(DEFAULT_FILE))?,
            None => File::default(),
        };
        Ok(Config {
            root: absolute(self.root.or(file.root), "/var/lib/davit/containerd")?,
            state: absolute(self.state.or(file.state), "/run/davit/containerd")?,
            address: absolute(
                self.address.or(file.grpc.address),
                "/run/davit/containerd/containerd.sock",
            )?,
            log_level: self.log_level.or(file.debug.level).unwrap_or_else(|| "info".into()),
            restart_interval: restart::INTERVAL,
        })
    }
}

/// Shims run in other folders: every path they are given is absolute.
fn absolute(path: Option<PathBuf>, default: &str) -> anyhow::Result<PathBuf> {
    let path = path.unwrap_or_else(|| default.into());
    std::path::absolute(&path).with_context(|| format!("path {}", path.display()))
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("davit-containerd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments) -> anyhow::Result<()> {
    let command = arguments.command.take();
    let config = arguments.into_config()?;
    let filter = log_filter(&config.log_level)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would say that it cannot log, and where it cannot that would be a panic: whoever reads may go.
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        if let Some(Command::Publish { topic, namespace }) = command {
            return publish::run(&config.address, &namespace, &topic).await;
        }
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone())?;
        Ok(server::serve(config, stop).await?)
    });
    // A blocked file operation must not hold up the end.
    runtime.shutdown_background();
    result
}

/// One level for all of our own; what the libraries say of every frame is of use to nobody.
fn log_filter(level: &str) -> anyhow::Result<EnvFilter> {
    let level: LevelFilter = level
        .parse()
        .map_err(|_| anyhow!("log level {level:?} is not one of off, error, warn, info, debug, trace"))?;
    Ok([
        "h2",
        "hyper",
        "hyper_util",
        "tonic",
        "tower",
        "ttrpc",
        "rustls",
        "reqwest",
    ]
    .into_iter()
    .map(|library| {
        format!("{library}=warn")
            .parse()
            .expect("a library's directive is well-formed")
    })
    .fold(
        EnvFilter::default().add_directive(level.into()),
        EnvFilter::add_directive,
    ))
}

fn stop_on_signal(stop: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
        stop.cancel();
    });
    Ok(())
}
