//! The map against a shim in this process: a socket that can be cut, and a task service behind it.

use std::{
    fs, iter,
    os::{fd::OwnedFd, unix::net},
    path::Path,
};

use davit_shim_api::task_v3::{
    shim::{
        ConnectRequest, ConnectResponse, DeleteRequest, DeleteResponse, ShutdownRequest, StateRequest, StateResponse,
        WaitRequest, WaitResponse,
    },
    shim_ttrpc::{Task, create_task},
};
use davit_vocabulary::ErrorKind;
use protobuf::well_known_types::empty::Empty;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use tokio::{
    net::UnixListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use ttrpc::{
    r#async::{Server, TtrpcContext},
    asynchronous::transport::Listener,
};

use super::{
    end::{UNKNOWN_EXIT, open},
    *,
};
use crate::{Bundle, CreateTask, Stdio, Timeouts, bootstrap::Endpoint, log_pipe::LogPipe};

const STATUS: u32 = 7;
/// A shim does not have to be waited for long here, where it never tells anything.
const TIMEOUTS: Timeouts = Timeouts {
    clean_up: Duration::from_secs(10),
    load: Duration::from_millis(50),
    shutdown: Duration::from_secs(3),
    state: Duration::from_secs(2),
    told: Duration::from_millis(50),
};

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

    async fn connect(&self, _: &TtrpcContext, _: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        Ok(ConnectResponse::default())
    }

    async fn delete(&self, _: &TtrpcContext, _: DeleteRequest) -> ttrpc::Result<DeleteResponse> {
        Ok(DeleteResponse {
            pid: 42,
            exit_status: STATUS,
            ..Default::default()
        })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> ttrpc::Result<Empty> {
        Ok(Empty::new())
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
            timeouts: TIMEOUTS,
        };
        let (root, state) = (folder.path().join("root"), folder.path().join("state"));
        Self {
            tasks: Tasks::new(root, state, launcher, sender),
            folder,
            deaths,
        }
    }

    /// Waits until the id may be taken.
    async fn is_free(&self) {
        let key = ("n".parse().unwrap(), "c".parse().unwrap());
        self.tasks.until(|slots| !slots.contains_key(&key)).await;
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("shim.sock")
    }

    /// A bundle with the record of a shim that listens on the socket.
    fn bundle(&self) -> Bundle {
        let (namespace, id) = ("n".parse().unwrap(), "c".parse().unwrap());
        let bundle = Bundle::at(&self.tasks.root, &self.tasks.state, &namespace, &id);
        bundle.create(None).unwrap();
        let endpoint = Endpoint {
            version: 3,
            address: format!("unix://{}", self.socket().display()),
            protocol: "ttrpc".into(),
        };
        fs::write(bundle.file("bootstrap.json"), serde_json::to_vec(&endpoint).unwrap()).unwrap();
        fs::write(bundle.file("shim-binary-path"), "/bin/false").unwrap();
        bundle
    }

    /// Its shim, in the map.
    async fn adopt(&self) -> Arc<Shim> {
        let bundle = self.bundle();
        let log = LogPipe::open(&bundle).unwrap();
        let connection = open(&bundle).await.unwrap();
        let shim = Arc::new(Shim::new(bundle, "/bin/false".into(), connection, log, TIMEOUTS));
        let claim = self.tasks.claim(&shim.bundle.namespace, &shim.bundle.id).unwrap();
        claim.fill(shim.clone());
        shim
    }
}

fn task() -> CreateTask {
    CreateTask {
        namespace: "n".parse().unwrap(),
        id: "c".parse().unwrap(),
        runtime: "/bin/false".into(),
        sandbox: None,
        spec: Some(b"{}".to_vec()),
        options: None,
        rootfs: Vec::new(),
        stdio: Stdio::default(),
        checkpoint: None,
    }
}

/// A socket whose queue is full.
fn full(socket: &Path) -> (net::UnixListener, Vec<OwnedFd>) {
    let kind = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let address = SocketAddrUnix::new(socket).unwrap();
    let listener = kind();
    bind(&listener, &address).unwrap();
    listen(&listener, 1).unwrap();
    let connect = || {
        let stream = kind();
        connect(&stream, &address).is_ok().then_some(stream)
    };
    let waiting = iter::from_fn(connect).collect();
    (listener.into(), waiting)
}

/// Serves on `socket`, but cuts the first `cut` connections.
async fn serve(socket: &Path, cut: usize) -> Server {
    answer(UnixListener::bind(socket).unwrap(), cut).await
}

async fn answer(listener: UnixListener, cut: usize) -> Server {
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
    world.is_free().await;
    assert!(!shim.bundle.path.exists());
    assert!(!world.socket().exists());
}

#[tokio::test]
async fn a_task_whose_end_cannot_be_told_is_gone_but_keeps_its_id_and_its_bundle() {
    let mut world = World::new();
    let shim = {
        let listener = UnixListener::bind(world.socket()).unwrap();
        let shim = world.adopt().await;
        drop(listener);
        shim
    };
    let death = world.deaths.recv().await.unwrap();
    assert_eq!(shim.wait("").await.unwrap().status, UNKNOWN_EXIT);
    assert!(world.tasks.get(&"n".parse().unwrap(), "c").is_err());
    let taken = world.tasks.create(task()).await.unwrap_err();
    assert_eq!(taken.to_string(), "task c: already exists");
    assert!(shim.bundle.path.exists());
    death.told.send(()).unwrap();
    world.is_free().await;
    assert!(!shim.bundle.path.exists());
}

#[tokio::test]
async fn the_end_of_a_removed_task_is_told_in_the_stead_of_a_shim_that_does_not() {
    let mut world = World::new();
    let _server = serve(&world.socket(), 0).await;
    let shim = world.adopt().await;
    let exit = world.tasks.delete(&"n".parse().unwrap(), "c").await.unwrap();
    assert_eq!(exit.status, STATUS);
    let death = world.deaths.recv().await.unwrap();
    assert_eq!(death.exit, exit);
    assert!(shim.bundle.path.exists());
    death.told.send(()).unwrap();
    world.is_free().await;
    assert!(!shim.bundle.path.exists());
}

#[tokio::test]
async fn the_end_of_a_removed_task_that_its_shim_tells_is_not_told_again() {
    let mut world = World::new();
    let _server = serve(&world.socket(), 0).await;
    let shim = world.adopt().await;
    shim.removal_is_told();
    world.tasks.delete(&"n".parse().unwrap(), "c").await.unwrap();
    assert!(world.deaths.try_recv().is_err());
    assert!(!shim.bundle.path.exists());
    world.is_free().await;
}

#[tokio::test]
async fn whoever_deletes_a_task_that_another_takes_down_is_answered_when_its_id_is_free() {
    let world = World::new();
    let _server = serve(&world.socket(), 0).await;
    let shim = world.adopt().await;
    assert!(shim.claim_end());
    let namespace = "n".parse().unwrap();
    let mut second = pin!(world.tasks.delete(&namespace, "c"));
    let early = tokio::time::timeout(Duration::from_millis(100), &mut second).await;
    assert!(early.is_err(), "its id is still taken");
    drop(world.tasks.place(&shim));
    second.await.unwrap();
    assert!(world.tasks.claim(&namespace, &shim.bundle.id).is_ok());
}

#[tokio::test]
async fn a_shim_that_cannot_be_connected_to_for_now_is_not_buried_but_found_later() {
    let mut world = World::new();
    // Nothing says that the shim is dead: the queue of its socket is full.
    let (listener, waiting) = full(&world.socket());
    let bundle = world.bundle();
    let restoring = world.tasks.restore().unwrap();
    restoring.finish().await;
    assert_eq!(world.tasks.returning(), 1);
    assert!(world.deaths.try_recv().is_err());
    assert!(bundle.path.exists());
    let _server = answer(UnixListener::from_std(listener).unwrap(), waiting.len()).await;
    drop(waiting);
    let shim = world.tasks.find(&bundle.namespace, "c").await.unwrap();
    assert_eq!(shim.state("").await.unwrap().pid, 42);
    assert!(world.deaths.try_recv().is_err());
}

#[tokio::test]
async fn work_that_a_reboot_has_orphaned_is_told_from_what_clients_make_meanwhile() {
    let world = World::new();
    let works = world.tasks.root.join(crate::PLUGIN).join("n");
    for name in ["c", "d", ".e", "f", ".f"] {
        fs::create_dir_all(works.join(name).join("full")).unwrap();
    }
    let restoring = world.tasks.restore().unwrap();
    let bundle = world.bundle();
    restoring.finish().await;
    assert!(bundle.path.join("work").exists());
    let mut left: Vec<_> = fs::read_dir(&works)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["c", "f"], "f is in the way of itself until the next start");
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
    let failed = world.tasks.create(task()).await.unwrap_err();
    assert!(
        failed.to_string().starts_with("failed to start shim: start failed: "),
        "{failed}"
    );
    let claim = world.tasks.claim(&"n".parse().unwrap(), &"c".parse().unwrap()).unwrap();
    let taken = world.tasks.create(task()).await.unwrap_err();
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
