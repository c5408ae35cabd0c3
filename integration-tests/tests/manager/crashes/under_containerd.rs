//! Our shim is killed at each of its steps under the real containerd, which has it cleaned up after.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use davit_containerd_api::v1::types::Status as State;
use davit_integration_tests::{Containerd, wait};

use super::{
    Driver,
    calls::Client,
    case::{Rig, nothing_is_left},
    fail_points, jobs, of_the_shim, share_out,
};
use crate::{Shim, World};

const STOPPED: Option<State> = Some(State::Stopped);

const DRIVERS: &[Driver<Case>] = &[
    ("shim.spawn.", create),
    ("shim.serve.begun", create),
    ("shim.create.", create),
    ("shim.start.", start),
    ("shim.exec.", add_exec),
    ("shim.start-exec.", start_exec),
    ("shim.exec-exit.", start_exec),
    ("shim.delete-exec.", delete_exec),
    ("shim.exit.", end),
    ("shim.events.", be_heard),
    ("shim.delete.", delete),
    ("shim.shutdown.", delete),
    ("shim.serve.unbound", delete),
    ("shim.cleanup.", be_cleaned_up_after),
];

/// Here a socket is left of which containerd has not heard, or to which it has not come: it does not clean up after such a start. The
/// next start for the container takes it.
const FORGOTTEN_SOCKETS: [&str; 2] = ["shim.spawn.bound", "shim.serve.begun"];

/// One step.
struct Case {
    rig: Rig,
    containerd: Option<Containerd>,
    point: String,
    id: String,
}

#[test]
fn a_shim_that_is_killed_at_any_step_leaves_nothing_on_containerd() {
    let mut points = fail_points(&["shim"], "shim.");
    points.retain(|point| !of_the_shim::WITH_CRIU.iter().any(|prefix| point.starts_with(prefix)));
    share_out(jobs(points, DRIVERS), |next| {
        let rig = Rig::in_world(World::on("rc.sock", Shim::Ours));
        let mut case = Case {
            containerd: Some(Containerd::start_obeying(&rig.world.scratch, &rig.order)),
            rig,
            point: String::new(),
            id: String::new(),
        };
        while let Some((number, (point, drive))) = next() {
            case.id = case.rig.world.id(&format!("p{number}"));
            case.point = point;
            drive(&mut case);
        }
        case.containerd.take().expect("it runs").stop();
    });
}

fn create(case: &mut Case) {
    let client = case.client();
    client
        .create_container(client.container(&case.id, "sleep 600"))
        .expect("a record");
    case.arm();
    client.create(&case.id).unwrap_err();
    case.converges();
}

fn start(case: &mut Case) {
    let client = case.client();
    client
        .create_container(client.container(&case.id, "sleep 600"))
        .expect("a record");
    client.create(&case.id).expect("create");
    case.arm();
    client.start(&case.id, "").unwrap_err();
    case.converges();
}

fn add_exec(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    case.arm();
    case.client().exec(&case.id, "e", "exit 3").unwrap_err();
    case.converges();
}

fn start_exec(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    case.client().exec(&case.id, "e", "exit 3").expect("exec");
    case.arm();
    let _ = case.client().start(&case.id, "e");
    case.converges();
}

fn delete_exec(case: &mut Case) {
    let client = case.client();
    client.run(&case.id, "sleep 600");
    client.exec(&case.id, "e", "exit 3").expect("exec");
    client.start(&case.id, "e").expect("start");
    assert_eq!(client.wait(&case.id, "e").expect("wait"), 3);
    case.arm();
    client.delete_exec(&case.id, "e").unwrap_err();
    case.converges();
}

/// What has ended is told with its status.
fn end(case: &mut Case) {
    let client = case.client();
    client
        .create_container(client.container(&case.id, "exit 5"))
        .expect("a record");
    client.create(&case.id).expect("create");
    let (mut events, told) = case.rig.world.events(&format!("{}.events", case.id));
    case.arm();
    let _ = client.start(&case.id, "");
    case.converges();
    let status = match case.point.as_str() {
        "shim.exit.seen" | "shim.exit.drafted" => "\"exit_status\":255",
        _ => "\"exit_status\":5",
    };
    wait::until_true(&format!("{}: {status} is told", case.point), 10, || {
        let told = fs::read_to_string(&told).expect("the folder is ours");
        let mut lines = told.lines().filter(|line| line.contains(&case.id));
        lines.any(|line| line.contains("/tasks/exit") && line.contains(status))
    });
    events.kill().expect("ctr runs");
    events.wait().expect("ctr is a child");
}

fn be_heard(case: &mut Case) {
    let client = case.client();
    client
        .create_container(client.container(&case.id, "sleep 600"))
        .expect("a record");
    case.arm();
    let _ = client.create(&case.id);
    case.converges();
}

fn delete(case: &mut Case) {
    let client = case.client();
    client.run(&case.id, "exit 5");
    client.wait_for(&case.id, STOPPED);
    case.arm();
    // containerd has the answer or not, and no other than that.
    let deleted = client.delete(&case.id);
    assert!(deleted.as_ref().map_or(true, |status| *status == 5), "{deleted:?}");
    case.converges();
}

/// containerd cleans up once; what it could not do, the next one does.
fn be_cleaned_up_after(case: &mut Case) {
    case.client().run(&case.id, "sleep 600");
    case.arm();
    for pid in case.rig.world.shims(&case.id) {
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("the shim runs");
    }
    wait::until_true("the cleaning up is killed", 20, || !case.rig.order.exists());
    case.containerd.take().expect("it runs").kill();
    case.containerd = Some(Containerd::start_obeying(&case.rig.world.scratch, &case.rig.order));
    case.converges();
}

impl Case {
    fn client(&self) -> Client<'_> {
        let scratch = &self.rig.world.scratch;
        Client {
            runtime: scratch
                .shared_programs()
                .join(Shim::Ours.program())
                .display()
                .to_string(),
            ..self.rig.client()
        }
    }

    fn arm(&self) {
        fs::write(&self.rig.order, &self.point).expect("the folder is ours");
    }

    /// The task is gone, can be made anew, and leaves nothing.
    #[track_caller]
    fn converges(&self) {
        let client = self.client();
        wait::until_true(&format!("{} is reached", self.point), 20, || !self.rig.order.exists());
        client.wait_for(&self.id, None);
        client.delete_container(&self.id).expect("its record is removed");
        self.nothing_is_left();
        client.works(&self.id);
        self.nothing_is_left();
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        let scratch = self.rig.world.scratch.path();
        wait::until_true(&format!("{}: no shim is left", self.point), 10, || {
            self.rig.world.shims(&self.id).is_empty()
        });
        nothing_is_left(scratch, &["rcstate", "rcroot"], &self.id, &self.point);
        let socket = Path::new("/run/davit/s").join(socket_name(&self.rig.world.socket, &self.id));
        if !FORGOTTEN_SOCKETS.contains(&self.point.as_str()) {
            assert!(!socket.exists(), "{} left {socket:?}", self.point);
        }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("killed at {} with {}", self.point, self.id);
        }
    }
}

/// What our shim calls the socket of a container of its own.
fn socket_name(manager: &Path, id: &str) -> String {
    let mut sum = Command::new("sha256sum");
    let mut sum = sum
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    let mut input = sum.stdin.take().expect("a pipe");
    for part in [manager.to_str().expect("ASCII"), "default", id] {
        input.write_all(&(part.len() as u64).to_be_bytes()).expect("it reads");
        input.write_all(part.as_bytes()).expect("it reads");
    }
    drop(input);
    let output = sum.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .expect("a sum")
        .to_owned()
}
