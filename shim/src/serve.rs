//! The serving process: everything that happens between `start`, or an upgrade, and the manager's Shutdown.

use std::{
    convert::Infallible,
    env,
    ffi::CString,
    fs,
    fs::{File, OpenOptions},
    future,
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::OFlags;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time,
};
use tracing::level_filters::LevelFilter;

use crate::{
    arguments::{Beginning, Identity},
    confirmation,
    handover::{self, Arrival, State, Unreadable},
    service::Tasks,
    shim::Shim,
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
    /// What another program has left.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |source| ServeError::Io { what, source }
}

/// Serves until the manager asks for the end.
pub fn run(identity: Identity, socket: PathBuf, beginning: Beginning) -> Result<(), ServeError> {
    match beginning {
        Beginning::Afresh => begin(identity, socket),
        Beginning::Handover => go_on(identity, socket),
    }
}

/// Serves on the listener that `start` has given as stdin.
fn begin(identity: Identity, socket: PathBuf) -> Result<(), ServeError> {
    let log = open_log();
    log_to(log.as_ref(), identity.debug);
    let listener = take_listener().map_err(failed("cannot take the listener from stdin"))?;
    davit_fail_point::reach("shim.serve.begun");
    // The bundle was needed for its log only, and must not be held.
    rustix::process::chdir("/").map_err(|error| failed("cannot leave the bundle")(error.into()))?;
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own))
        .map_err(|error| failed("cannot become a subreaper")(error.into()))?;
    if !confirmation::is_given().map_err(failed("cannot read the confirmation of the start"))? {
        return fs::remove_file(socket).map_err(failed("cannot remove the socket that nobody knows of"));
    }
    let path = socket.clone();
    let served = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let shim = Shim::new(identity, socket, log, listener).map_err(failed("cannot watch the listener"))?;
            serve(shim).await
        })
    });
    served.inspect_err(|_| {
        // It is there still, and so it is ours. After a good end it is not: the next shim may have bound it anew.
        let _ = fs::remove_file(path);
    })
}

/// Goes on where another program was. What that one had set of this process holds: folder, subreaper, the signals that it ignored.
fn go_on(identity: Identity, socket: PathBuf) -> Result<(), ServeError> {
    name_process();
    let mut arrival = handover::receive().map_err(failed("cannot receive what the program before has left"))?;
    let state = State::parse(&arrival.json)?;
    let log = state.log.and_then(|log| arrival.unpacking.fd(log).ok());
    let log = log.map(|log| Arc::new(File::from(log)));
    log_to(log.as_ref(), identity.debug);
    let arguments = identity.serving(&socket, Beginning::Handover);
    runtime()?.block_on(async {
        match Shim::unpack(identity, socket, log, state, &mut arrival.unpacking).await {
            Ok(shim) => {
                drop(arrival);
                serve(shim).await
            }
            Err(error) => Err(go_back(arguments, arrival, error)),
        }
    })
}

/// The kernel names a process after the path that was executed, and that of the way back ends in a number. Best effort: it is for who
/// looks for shims.
fn name_process() {
    let own = env::current_exe().ok();
    let name = own.as_deref().and_then(Path::file_name);
    if let Some(name) = name.and_then(|name| CString::new(name.as_bytes()).ok()) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// The containers must not lose their parent because of an upgrade.
fn go_back(arguments: Vec<std::ffi::OsString>, arrival: Arrival, error: io::Error) -> ServeError {
    tracing::error!(%error, "cannot take over");
    let Err(second): Result<Infallible, _> = handover::go_back(arguments, arrival, &error);
    tracing::error!(error = %second, "cannot go back");
    failed("cannot take over")(error)
}

fn runtime() -> Result<Runtime, ServeError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .map_err(failed("cannot build the runtime"))
}

async fn serve(shim: Shim) -> Result<(), ServeError> {
    let Shim { host, tasks, .. } = &shim;
    let signals = Signals::listen();
    // Those that have come while another program was becoming this one come now.
    handover::unblock_signals();
    let reaping = tokio::spawn(host.reaper.clone().run());
    let sending = host.outbox.clone();
    tokio::spawn(async move { sending.run().await });
    let serving = tokio::spawn(shim.server.clone().run());
    tracing::info!(id = %shim.identity.id, namespace = %shim.identity.namespace, "serving");
    tokio::select! {
        biased;
        () = tasks.ended() => {}
        () = terminated(signals, tasks) => {}
        ended = reaping => {
            let ended = ended.unwrap_or_else(|error| Err(io::Error::other(error)));
            return ended.map_err(failed("cannot wait for children"));
        }
        never = upgrades(&shim) => match never {},
    }
    let _ = fs::remove_file(&shim.socket);
    serving.abort();
    davit_fail_point::reach("shim.serve.unbound");
    // A manager that asked for the end is there to take the last events; one that is not will find the bundle.
    let _ = time::timeout(LAST_WORDS, host.outbox.flushed()).await;
    // The answer to Shutdown, too, must get out.
    let _ = time::timeout(Duration::from_millis(100), shim.server.flushed()).await;
    Ok(())
}

/// Becomes other programs, whenever somebody asks. Where that succeeds, it does not return; where it fails, it goes on.
async fn upgrades(shim: &Shim) -> Infallible {
    loop {
        let asked = shim.upgrader.next().await;
        tracing::info!(program = %asked.program.display(), "going over to another program");
        let error = handover::run(shim, &asked).await;
        tracing::warn!(%error, "going on as it was");
        asked.refuse(error.to_string());
    }
}

/// Signals that ask for the end, and one that must not bring it.
struct Signals([Option<Signal>; 3]);

impl Signals {
    fn listen() -> Self {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        Self(kinds.map(|kind| signal(kind).ok()))
    }
}

/// Returns on SIGTERM or SIGINT, but not while a container or a sandbox lives: whoever stops the manager must not stop the containers.
async fn terminated(signals: Signals, tasks: &Tasks) {
    let Signals([Some(mut term), Some(mut interrupt), Some(mut hangup)]) = signals else {
        return future::pending().await;
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
fn open_log() -> Option<Arc<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open("log");
    opened.ok().map(Arc::new)
}

fn log_to(log: Option<&Arc<File>>, debug: bool) {
    let Some(log) = log else { return };
    let level = if debug { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(Arc::new(Lossy(log.clone())))
        .init();
}

struct Lossy(Arc<File>);

impl Write for &Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A line is shorter than PIPE_BUF, so it is written whole or not at all.
        let _ = (&*self.0).write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
