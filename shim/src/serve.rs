//! The serving process: everything that happens between `start` and the manager's Shutdown.

use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{fs::OpenOptionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::OFlags;
use tokio::{
    signal::unix::{SignalKind, signal},
    time,
};
use tracing::level_filters::LevelFilter;
use ttrpc::r#async::Server;

use crate::{
    arguments::Identity,
    container::Host,
    events::Outbox,
    reaper::Reaper,
    service::{Tasks, services},
};

/// How long the end waits for the answer to Shutdown to get out, and for the last events.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// A shim that cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A system call.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What came of it.
        source: io::Error,
    },
    /// The ttrpc server.
    #[error("cannot serve: {0}")]
    Server(ttrpc::Error),
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Io { what, source }
}

/// Serves on the listener that `start` has given as stdin, until the manager asks for the end.
pub fn run(identity: &Identity, socket: &Path) -> Result<(), ServeError> {
    log_to_bundle(identity.debug);
    let listener = take_listener().map_err(failed("cannot take the listener from stdin"))?;
    // The bundle was needed for its log only, and must not be held.
    rustix::process::chdir("/").map_err(|error| failed("cannot leave the bundle")(error.into()))?;
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own))
        .map_err(|error| failed("cannot become a subreaper")(error.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .map_err(failed("cannot build the runtime"))?;
    runtime
        .block_on(serve(identity, listener, socket.into()))
        .inspect_err(|_| {
            // It is there still, and so it is ours. After a good end it is not: the next shim may have bound it anew.
            let _ = fs::remove_file(socket);
        })
}

async fn serve(identity: &Identity, listener: UnixListener, socket: PathBuf) -> Result<(), ServeError> {
    let reaper = Arc::new(Reaper::default());
    let reaping = tokio::spawn(reaper.clone().run());
    let outbox = Arc::new(Outbox::new(identity.namespace.as_str(), env::var("TTRPC_ADDRESS").ok()));
    let sending = outbox.clone();
    tokio::spawn(async move { sending.run().await });
    let host = Host {
        id: identity.id.clone(),
        namespace: identity.namespace.to_string(),
        sockets: socket.parent().unwrap_or(Path::new("/")).to_owned(),
        reaper,
        outbox: outbox.clone(),
    };
    let tasks = Arc::new(Tasks::new(Arc::new(host)));
    listener
        .set_nonblocking(true)
        .map_err(failed("cannot prepare the listener"))?;
    let listener = listener.try_into().map_err(failed("cannot watch the listener"))?;
    let mut server = Server::new().add_listener(listener).register_service(services(&tasks));
    server.start().await.map_err(ServeError::Server)?;
    tracing::info!(id = %identity.id, namespace = %identity.namespace, "serving");
    tokio::select! {
        () = tasks.shutdown.notified() => {}
        () = terminated(&tasks) => {}
        ended = reaping => {
            let ended = ended.unwrap_or_else(|error| Err(io::Error::other(error)));
            return ended.map_err(failed("cannot wait for children"));
        }
    }
    let _ = fs::remove_file(&socket);
    // A manager that asked for the end is there to take the last events; one that is not will find the bundle.
    let _ = time::timeout(LAST_WORDS, outbox.flushed()).await;
    // The answer to Shutdown is written by a task of its own.
    let _ = time::timeout(Duration::from_millis(100), server.shutdown()).await;
    Ok(())
}

/// Returns on SIGTERM or SIGINT, but not while a container or a sandbox lives: whoever stops the manager must not stop the containers.
async fn terminated(tasks: &Tasks) {
    let both = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut term), Ok(mut interrupt), Ok(mut hangup)) = both else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => continue,
        }
        if tasks.is_empty() {
            return;
        }
        tracing::info!("a signal to end is ignored: containers run");
    }
}

/// stdin is the listener; afterwards it is /dev/null, for the children's sake.
fn take_listener() -> io::Result<UnixListener> {
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(listener.into())
}

/// The manager reads the bundle's FIFO `log`. Nobody may be there to read: then lines are lost, and nothing waits.
fn log_to_bundle(debug: bool) {
    let flags = OFlags::NONBLOCK.bits() as i32;
    let Ok(fifo) = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open("log")
    else {
        return;
    };
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(Arc::new(Lossy(fifo)))
        .init();
}

struct Lossy(File);

impl Write for &Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line is shorter than PIPE_BUF, so it is written whole or not at all.
        let _ = (&self.0).write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
