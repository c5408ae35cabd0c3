//! `davit-containerd`, also runs as `containerd`.

use std::{env, io, io::Write, process::ExitCode};

use davit_containerd::{
    arguments::{Arguments, Command, Shown},
    config::{File, Personality},
    logging, oci_hook, oneself, publish, server,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let (arguments, personality) = Arguments::read(env::args_os());
    match run(arguments, personality) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("davit-containerd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: Arguments, personality: Personality) -> anyhow::Result<()> {
    match arguments.command.take() {
        None => serve(arguments, personality),
        Some(Command::Config { which }) => show(which, &arguments, personality),
        Some(Command::OciHook { program }) => oci_hook::run(&program),
        Some(Command::Publish { topic, namespace }) => {
            let (config, _) = arguments.file(personality)?.into_config()?;
            let publishing = publish::run(&config.grpc.path, &namespace, &topic);
            tokio::runtime::Runtime::new()?.block_on(publishing)
        }
    }
}

fn show(which: Shown, arguments: &Arguments, personality: Personality) -> anyhow::Result<()> {
    let file = match which {
        Shown::Default => File::of(personality),
        Shown::Dump => arguments.file(personality)?,
        Shown::Migrate => arguments.file(personality)?.migrated(),
    };
    Ok(io::stdout().write_all(toml::to_string(&file)?.as_bytes())?)
}

fn serve(arguments: Arguments, personality: Personality) -> anyhow::Result<()> {
    let (config, notices) = arguments.file(personality)?.into_config()?;
    let level = logging::start(&config.log)?;
    for notice in notices {
        tracing::warn!("configuration: {notice}");
    }
    if config.oom_score != 0
        && let Err(error) = oneself::set_oom_score(config.oom_score)
    {
        tracing::warn!(score = config.oom_score, %error, "set the OOM score");
    }
    if !config.cgroup.is_empty() {
        oneself::join_cgroup(&config.cgroup)
            .map_err(|error| anyhow::anyhow!("cgroup.path {:?}: {error}", config.cgroup))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone())?;
        change_level_on_hangup(arguments, personality, level)?;
        Ok(server::serve(config, stop).await?)
    });
    // A blocked file operation must not hold up the end.
    runtime.shutdown_background();
    result
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

/// SIGHUP: the level of the log is read again. A file that is wrong by now changes nothing.
fn change_level_on_hangup(arguments: Arguments, personality: Personality, level: logging::Level) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let file = arguments.file(personality).map_err(anyhow::Error::from);
            match file.and_then(|file| level.set(&file.debug.level).map(|()| file)) {
                Ok(file) => tracing::info!(level = file.debug.level, "log level read again"),
                Err(error) => tracing::error!("log level stays: {error:#}"),
            }
        }
    });
    Ok(())
}
