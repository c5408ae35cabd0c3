//! All that a serving process is made of, and how it goes over to another program.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use davit_luggage::{Packing, Unpacking};

use crate::{
    arguments::{Beginning, Identity},
    container::Host,
    events::Outbox,
    handover::{State, VERSION},
    reaper::Reaper,
    server::Server,
    service::{Tasks, Upgrader, services},
};

/// The file in a bundle that names the program which cleans up after a dead shim. A manager has written it.
const PROGRAM_NOTE: &str = "shim-binary-path";

/// A serving process.
pub struct Shim {
    /// Who it is.
    pub identity: Identity,
    /// Where it is served.
    pub socket: PathBuf,
    /// Where its log goes, if anywhere.
    pub log: Option<Arc<File>>,
    /// What its containers share.
    pub host: Arc<Host>,
    /// Its containers.
    pub tasks: Arc<Tasks>,
    /// Who wants it to become another program.
    pub upgrader: Arc<Upgrader>,
    /// Its clients.
    pub server: Arc<Server>,
}

impl Shim {
    /// One without containers.
    pub fn new(
        identity: Identity,
        socket: PathBuf,
        log: Option<Arc<File>>,
        listener: UnixListener,
    ) -> io::Result<Self> {
        let parts = Parts::new(&identity, &socket, Upgrader::default());
        Ok(Self {
            server: Server::new(listener, services(&parts.tasks, &parts.upgrader))?,
            identity,
            socket,
            log,
            host: parts.host,
            tasks: parts.tasks,
            upgrader: parts.upgrader,
        })
    }

    /// What another program needs to go on; only while nothing is busy.
    pub fn pack(&self, program: &Path, packing: &mut Packing) -> io::Result<State> {
        let own = File::open("/proc/self/exe")?;
        let milliseconds = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let ending = self.host.reaper.ending().into_iter();
        let mut state = State {
            version: VERSION,
            program: program.to_owned(),
            previous: Some(packing.fd(own)?),
            failure: None,
            log: self.log.as_ref().map(|log| packing.fd(log)).transpose()?,
            server: self.server.pack(packing)?,
            events: self.host.outbox.pack(),
            ending: ending.map(|(pid, left)| (pid, milliseconds(left))).collect(),
            tasks: self.tasks.pack(packing)?,
            descriptors: 0,
        };
        state.descriptors = packing.len();
        Ok(state)
    }

    /// Goes on where another program was. Nothing moves before the first wait after this.
    pub async fn unpack(
        identity: Identity,
        socket: PathBuf,
        log: Option<Arc<File>>,
        state: State,
        unpacking: &mut Unpacking,
    ) -> io::Result<Self> {
        let outcome = state.failure.map_or(Ok(()), Err);
        let has_changed = outcome.is_ok();
        let parts = Parts::new(&identity, &socket, Upgrader::after(state.program, outcome));
        parts.host.outbox.refill(state.events)?;
        parts.host.reaper.go_on_ending(state.ending);
        parts.tasks.take_over(state.tasks, unpacking).await?;
        let shim = Self {
            server: Server::unpack(state.server, unpacking, services(&parts.tasks, &parts.upgrader))?,
            identity,
            socket,
            log,
            host: parts.host,
            tasks: parts.tasks,
            upgrader: parts.upgrader,
        };
        if has_changed {
            shim.note_program();
        }
        Ok(shim)
    }

    /// The arguments of a program that goes on.
    pub fn arguments(&self) -> Vec<OsString> {
        self.identity.serving(&self.socket, Beginning::Handover)
    }

    /// From now on this program cleans up after a dead shim. Best effort: the one before may still be there.
    fn note_program(&self) {
        let Ok(own) = env::current_exe() else { return };
        for bundle in self.tasks.bundles() {
            let note = bundle.path().join(PROGRAM_NOTE);
            if note.exists() {
                let _ = fs::write(note, own.as_os_str().as_encoded_bytes());
            }
        }
    }
}

struct Parts {
    host: Arc<Host>,
    tasks: Arc<Tasks>,
    upgrader: Arc<Upgrader>,
}

impl Parts {
    fn new(identity: &Identity, socket: &Path, upgrader: Upgrader) -> Self {
        let host = Arc::new(Host {
            id: identity.id.clone(),
            namespace: identity.namespace.to_string(),
            sockets: socket.parent().unwrap_or(Path::new("/")).to_owned(),
            reaper: Arc::new(Reaper::default()),
            outbox: Arc::new(Outbox::new(identity.namespace.as_str(), env::var("TTRPC_ADDRESS").ok())),
        });
        Self {
            tasks: Arc::new(Tasks::new(host.clone())),
            host,
            upgrader: Arc::new(upgrader),
        }
    }
}
