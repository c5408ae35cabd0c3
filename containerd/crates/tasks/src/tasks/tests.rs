//! The map against a shim in this process: a socket that can be cut, and a task service behind it.

use std::{fs, path::Path};

use davit_shim_api::task_v3::{
    shim::{StateRequest, StateResponse, WaitRequest, WaitResponse},
    shim_ttrpc::{Task, create_task},
};
use davit_vocabulary::ErrorKind;
use tokio::{
    net::UnixListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use ttrpc::{
    r#async::{Server, TtrpcContext},
    asynchronous::transport::Listener,
};

use super::{end::UNKNOWN_EXIT, *};
use crate::{Bundle, CreateTask, Stdio, Timeouts, bootstrap::Endpoint, connection::Connection, log_pipe::LogPipe};

const STATUS: u32 = 7;

struct FakeTask;

#[async_trait::async_trait]
impl Task for FakeTask {
    async fn state(&self, _: &TtrpcContext, request: StateRequest) -> ttrpc::Result<StateResponse> {
        Ok(StateResponse {
            id: request.id,
            pid: 42,
            ..Default::default()
        })
    }

    async fn wait(&self, _: &TtrpcContext, _: WaitRequest) -> ttrpc::Result<WaitResponse> {
        Ok(WaitResponse {
            exit_status: STATUS,
            ..Default::default()
        })
    }
}

/// Tasks in a folder, whose shims' program is one that always fails.
struct World {
    folder: tempfile::TempDir,
    tasks: Arc<Tasks>,
    deaths: UnboundedReceiver<Death>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sender, deaths) = unbounded_channel();
        let launcher = Launcher {
            version: "2.1.0".into(),
            program: "/bin/false".into(),
            address: folder.path().join("c.sock"),
            ttrpc_address: folder.path().join("c.sock.ttrpc"),
            socket_dir: folder.path().join("s"),
            debug: false,
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile),
            timeouts: Timeouts::default(),
        };
        let (root, state) = (folder.path().join("root"), folder.path().join("state"));
        Self {
            tasks: Tasks::new(root, state, launcher, sender),
            folder,
            deaths,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("shim.sock")
    }

    /// A bundle whose shim listens on the socket, in the map.
    async fn adopt(&self) -> Arc<Shim> {
        let (namespace, id) = ("n".parse().unwrap(), "c".parse().unwrap());
        let bundle = Bundle::at(&self.tasks.root, &self.tasks.state, &namespace, &id);
        bundle.create(None).unwrap();
        let endpoint = Endpoint {
            version: 3,
            address: format!("unix://{}", self.socket().display()),
            protocol: "ttrpc".into(),
        };
        fs::write(bundle.file("bootstrap.json"), serde_json::to_vec(&endpoint).unwrap()).unwrap();
        let log = LogPipe::open(&bundle).unwrap();
        let connection = Connection::open(&endpoint, &namespace).await.unwrap();
        let shim = Arc::new(Shim::new(
            bundle,
            "/bin/false".into(),
            connection,
            log,
            Timeouts::default(),
        ));
        let claim = self.tasks.claim(&shim.bundle.namespace, &shim.bundle.id).unwrap();
        claim.fill(shim.clone());
        shim
    }
}

/// Serves on `socket`, but cuts the first `cut` connections.
async fn serve(socket: &Path, cut: usize) -> Server {
    let listener = UnixListener::bind(socket).unwrap();
    let (sender, accepted) = unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            if number >= cut && sender.send(Ok(stream)).is_err() {
                return;
            }
        }
    });
    let incoming = futures::stream::unfold(accepted, async |mut accepted| {
        let stream = accepted.recv().await?;
        Some((stream, accepted))
    });
    let service = create_task(Arc::new(FakeTask));
    let mut server = Server::new()
        .add_listener(Listener::new(incoming))
        .register_service(service);
    server.start().await.unwrap();
    server
}

#[tokio::test]
async fn a_connection_that_breaks_is_replaced_and_the_shim_lives_on() {
    let mut world = World::new();
    let _server = serve(&world.socket(), 1).await;
    let shim = world.adopt().await;
    assert_eq!(shim.wait("").await.unwrap().status, STATUS);
    assert_eq!(shim.state("").await.unwrap().pid, 42);
    assert!(world.deaths.try_recv().is_err());
    assert!(shim.bundle.path.exists());
}

#[tokio::test]
async fn a_shim_whose_socket_refuses_is_dead_and_its_task_with_it() {
    let mut world = World::new();
    // The listener is gone with the end of this block: what is left of the socket refuses.
    let shim = {
        let listener = UnixListener::bind(world.socket()).unwrap();
        let shim = world.adopt().await;
        drop(listener);
        shim
    };
    let death = world.deaths.recv().await.unwrap();
    assert_eq!((death.id.as_str(), death.exit.status), ("c", UNKNOWN_EXIT));
    assert!(
        shim.bundle.path.exists(),
        "a daemon that dies now must leave the next one something to tell"
    );
    death.told.send(()).unwrap();
    assert_eq!(
        shim.wait("").await.unwrap().status,
        UNKNOWN_EXIT,
        "who waits gets the exit"
    );
    assert_eq!(shim.state("").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!shim.bundle.path.exists());
    assert!(!world.socket().exists());
    while world.tasks.get(&"n".parse().unwrap(), "c").is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_bundle_of_a_dead_shim_whose_end_cannot_be_told_is_kept() {
    let mut world = World::new();
    let shim = {
        let listener = UnixListener::bind(world.socket()).unwrap();
        let shim = world.adopt().await;
        drop(listener);
        shim
    };
    drop(world.deaths.recv().await.unwrap());
    assert_eq!(shim.wait("").await.unwrap().status, UNKNOWN_EXIT);
    assert!(shim.bundle.path.exists());
}

#[tokio::test]
async fn an_id_is_taken_while_its_task_is_made_and_free_after_a_failure() {
    let world = World::new();
    let task = |runtime: &str| CreateTask {
        namespace: "n".parse().unwrap(),
        id: "c".parse().unwrap(),
        runtime: runtime.into(),
        spec: Some(b"{}".to_vec()),
        options: None,
        rootfs: Vec::new(),
        stdio: Stdio::default(),
        checkpoint: None,
    };
    let failed = world.tasks.create(task("/bin/false")).await.unwrap_err();
    assert!(
        failed.to_string().starts_with("failed to start shim: start failed: "),
        "{failed}"
    );
    let claim = world.tasks.claim(&"n".parse().unwrap(), &"c".parse().unwrap()).unwrap();
    let taken = world.tasks.create(task("/bin/false")).await.unwrap_err();
    assert_eq!(taken.to_string(), "task c: already exists");
    assert!(world.tasks.is_coming(&"n".parse().unwrap(), &"c".parse().unwrap()));
    drop(claim);
    let state = world.folder.path().join("state").join(crate::PLUGIN).join("n");
    assert_eq!(
        fs::read_dir(state).unwrap().count(),
        0,
        "a failed creation leaves no bundle"
    );
}
