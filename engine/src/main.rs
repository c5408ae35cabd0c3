//! `davitd`: the Docker Engine API over a containerd. This file only wires.

mod arguments;
mod channel;
mod config_file;
mod identity;
mod logging;
mod programs;
mod socket;
mod supervisor;

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Parser as _;
use davit_engine_api::{Engine, server};
use davit_engine_containers::{Containerd, Containers, Paths, Settings};
use davit_engine_images::{Images, ImagesConfig};
use davit_engine_network::{Network, NetworkConfig};
use davit_vocabulary::Namespace;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::{
    arguments::{Arguments, Options},
    supervisor::Supervisor,
};

const NAMESPACE: &str = "davit";
const SNAPSHOTTER: &str = "overlayfs";

fn main() -> ExitCode {
    let options = match Arguments::parse().into_options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("davitd: {problem:#}");
            return ExitCode::from(1);
        }
    };
    logging::start(&options.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(options));
            // Streams that are open end with the process; what must not be lost is on disk or with the manager.
            runtime.shutdown_background();
            result
        }
        Err(problem) => Err(problem.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem:#}");
            ExitCode::from(1)
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let paths = Paths {
        data_root: options.data_root.clone(),
        exec_root: options.exec_root.clone(),
    };
    let supervisor = match &options.containerd {
        Some(_) => None,
        None => Some(
            Supervisor::start(&options)
                .await
                .context("cannot start davit-containerd")?,
        ),
    };
    let address = options
        .containerd
        .clone()
        .unwrap_or_else(|| supervisor::address(&options));
    let listeners = options
        .hosts
        .iter()
        .map(|host| socket::listen(host, options.group.as_deref()));
    let listeners: Vec<_> = listeners.collect::<anyhow::Result<_>>()?;
    let engine = open(&options, paths, &address).await?;
    let _pidfile = options.pidfile.as_deref().map(identity::PidFile::write).transpose()?;
    for listener in listeners {
        tokio::spawn(server::serve(listener, engine.clone(), std::future::pending()));
    }
    info!(version = davit_engine_api::ENGINE, hosts = ?options.hosts, "ready");
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM"),
        _ = interrupt.recv() => info!("SIGINT"),
    }
    for host in &options.hosts {
        socket::remove(host);
    }
    if let Some(supervisor) = supervisor {
        let running = engine.containers.list().iter().any(|record| record.state.is_running());
        supervisor.end(running).await;
    }
    Ok(())
}

async fn open(options: &Options, paths: Paths, address: &std::path::Path) -> anyhow::Result<Arc<Engine>> {
    let namespace: Namespace = NAMESPACE.parse().expect("the name is an identifier");
    let channel = channel::connect(address.to_owned());
    let images = Images::new(
        channel.clone(),
        ImagesConfig {
            namespace: namespace.clone(),
            snapshotter: SNAPSHOTTER.into(),
            insecure_registries: options.insecure_registries.clone(),
        },
    );
    let network = Network::open(NetworkConfig {
        bridge: options.bridge.clone(),
        address: options.bip,
        namespaces: paths.exec_root.join("netns"),
    });
    let network = Arc::new(network.await.context("cannot open the default bridge")?);
    let runtimes = programs::runtimes(options, &paths)?;
    let containers = Containers::open(Settings {
        containerd: Containerd::new(channel, &namespace, SNAPSHOTTER),
        images: images.clone(),
        network: network.clone(),
        paths,
        runtimes,
    });
    let containers = containers.await.context("cannot open the containers")?;
    Ok(Arc::new(Engine {
        identity: davit_engine_api::Identity {
            id: identity::engine_id(&options.data_root)?,
            containerd_address: address.display().to_string(),
            namespace: NAMESPACE.into(),
            snapshotter: SNAPSHOTTER.into(),
            insecure_registries: options.insecure_registries.clone(),
            debug: options.log_level == "debug",
        },
        containers,
        images,
        network,
    }))
}
