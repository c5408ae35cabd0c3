//! One step at which somebody is killed, in the world of a worker.

use std::{
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    thread,
    time::Duration,
};

use davit_containerd_api::v1::types::Status as State;
use davit_integration_tests::{Manager, sweep, wait};
use nix::sys::signal::{Signal, kill};

use super::{super::journal::cursor_of_now, Job, Next, calls::Client, told::told};
use crate::{Shim, World};

/// A world whose manager and shims obey a file of orders.
pub struct Rig {
    pub world: World,
    pub order: PathBuf,
    is_among_peers: bool,
}

impl Rig {
    pub fn new() -> Self {
        Self::in_world(World::new(Shim::Ours))
    }

    pub fn in_world(world: World) -> Self {
        Self {
            order: world.scratch.join("order"),
            world,
            is_among_peers: false,
        }
    }

    /// One with the programs of the peers.
    pub fn among_peers() -> Self {
        Self {
            is_among_peers: true,
            ..Self::new()
        }
    }

    pub fn manager(&self) -> Manager {
        match self.is_among_peers {
            false => Manager::start_obeying(&self.world.scratch, &self.order),
            true => Manager::start_among_peers_obeying(&self.world.scratch, &self.order),
        }
    }

    pub fn client(&self) -> Client<'_> {
        Client {
            socket: &self.world.socket,
            scratch: &self.world.scratch,
            runtime: self.world.shim.runtime().into(),
        }
    }

    /// Does the jobs that `next` gives, with one manager after the other.
    pub fn work(self, fault: Fault, next: Next<'_, Job<Case>>) {
        let rig = Rc::new(self);
        let mut manager = rig.manager();
        while let Some((number, (point, drive))) = next() {
            let mut case = Case {
                rig: rig.clone(),
                cursor: cursor_of_now(&manager),
                manager: Some(manager),
                id: rig.world.id(&format!("p{number}")),
                point,
                fault,
            };
            drive(&mut case);
            manager = case.end();
        }
        manager.stop();
    }
}

/// Who is killed at the step of a shim.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The shim.
    Shim,
    /// The manager, while the shim stands still at the step, and then the shim.
    Both,
}

/// One step.
pub struct Case {
    pub rig: Rc<Rig>,
    pub point: String,
    fault: Fault,
    /// A container of this step's own.
    pub id: String,
    cursor: String,
    manager: Option<Manager>,
}

impl Case {
    pub fn client(&self) -> Client<'_> {
        self.rig.client()
    }

    pub fn manager(&self) -> &Manager {
        self.manager.as_ref().expect("a manager runs")
    }

    /// From now on who comes to this point dies there; once.
    pub fn arm(&self, point: &str) {
        fs::write(&self.rig.order, point).expect("the folder is ours");
    }

    /// Whether somebody has come to the point.
    pub fn is_reached(&self) -> bool {
        !self.rig.order.exists()
    }

    #[track_caller]
    pub fn wait_until_reached(&self) {
        wait::until_true(&format!("{} is reached", self.point), 20, || self.is_reached());
    }

    /// Lets the shim die of a call, which fails then, or does not.
    #[track_caller]
    pub fn lose_the_shim_by<R>(&mut self, call: impl FnOnce(&Client<'_>) -> R + Send) {
        self.lose_the_shim_of(&self.id.clone(), call);
    }

    /// The same where the shim is that of another container of the group.
    #[track_caller]
    pub fn lose_the_shim_of<R>(&mut self, first: &str, call: impl FnOnce(&Client<'_>) -> R + Send) {
        match self.fault {
            Fault::Shim => {
                self.arm(&self.point);
                call(&self.client());
                self.wait_until_reached();
            }
            Fault::Both => {
                self.arm(&format!("{}:stop", self.point));
                let (rig, manager) = (self.rig.clone(), self.manager.take());
                let client = rig.client();
                thread::scope(|scope| {
                    let calling = scope.spawn(|| drop(call(&client)));
                    self.wait_until_reached();
                    manager.expect("a manager runs").kill();
                    calling.join().expect("a call ends with its manager");
                });
                self.kill_shims(first);
                self.kill_shims(&self.id);
                self.manager = Some(self.rig.manager());
            }
        }
        self.client().wait_for(&self.id, None);
    }

    /// Whether the manager has outlived the shim, so that who called it got an answer.
    pub fn has_manager(&self) -> bool {
        self.fault == Fault::Shim
    }

    /// Lets the manager die of `work`, and starts the next.
    #[track_caller]
    pub fn die_of<R>(&mut self, work: impl FnOnce(&Client<'_>) -> R) {
        self.die_of_at(&self.point.clone(), work);
        self.manager = Some(self.rig.manager());
    }

    /// Lets the manager die at a point, and starts none.
    #[track_caller]
    pub fn die_of_at<R>(&mut self, point: &str, work: impl FnOnce(&Client<'_>) -> R) {
        self.arm(point);
        work(&self.client());
        self.manager.take().expect("a manager runs").is_killed();
        assert!(self.is_reached(), "{point} is not reached");
    }

    pub fn manager_is_killed(&mut self) {
        self.manager.take().expect("a manager runs").kill();
    }

    /// Starts a manager that dies at the step while it is starting, and then one that lives.
    pub fn die_at_start(&mut self) {
        self.arm(&self.point);
        Manager::start_and_die(&self.rig.world.scratch, &self.rig.order);
        assert!(self.is_reached(), "{} is not reached", self.point);
        self.manager = Some(self.rig.manager());
    }

    /// What was told before is of no interest.
    pub fn begins_anew(&mut self) {
        self.cursor = cursor_of_now(self.manager());
    }

    pub fn shim_is_killed(&self) {
        self.kill_shims(&self.id);
    }

    /// The shim of a container, and the programs that start one or clean up.
    fn kill_shims(&self, id: &str) {
        for pid in self.rig.world.shims(id) {
            // A program may have ended by itself.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }

    /// Ends the task, if there is one, checks what was told of its life, and that the id can be used again.
    #[track_caller]
    pub fn converges(&self, states: &[Option<State>], lives: &[&[&str]]) {
        let client = self.client();
        let state = client.state(&self.id, "");
        assert!(states.contains(&state), "{}: {state:?}", self.point);
        client.end(&self.id);
        client.wait_for(&self.id, None);
        // Its record may have been removed by the step.
        let _ = client.delete_container(&self.id);
        client.works(&self.id);
        self.is_told(lives);
        self.nothing_is_left();
    }

    /// The same where the last life is not of interest.
    #[track_caller]
    pub fn converges_anew(&self) {
        self.client().works(&self.id);
        told(self.manager(), &self.cursor, &self.id);
        self.nothing_is_left();
    }

    /// Waits until this is the last that was told of the container.
    pub fn wait_until_told(&self, last: &str) {
        wait::until_true(&format!("{last} of {} is told", self.id), 20, || {
            let lives = told(self.manager(), &self.cursor, &self.id);
            lives
                .last()
                .and_then(|life| life.last())
                .is_some_and(|event| event == last)
        });
    }

    /// Exactly this was told of another container.
    #[track_caller]
    pub fn is_told_of(&self, id: &str, life: &[&str]) {
        let lives = told(self.manager(), &self.cursor, id);
        assert_eq!(lives, [life], "{id} at {}", self.point);
    }

    /// What was told of the life before the last, which must be one of these; and of the last, in which nothing was amiss.
    #[track_caller]
    fn is_told(&self, lives: &[&[&str]]) {
        let mut told = told(self.manager(), &self.cursor, &self.id);
        let last = told.pop().unwrap_or_default();
        assert_eq!(last, ["create", "start", "exit 7", "delete"], "{}", self.point);
        assert!(told.len() <= 1, "{}: {told:?}", self.point);
        let before = told.pop().unwrap_or_default();
        assert!(lives.iter().any(|life| before == *life), "{}: {before:?}", self.point);
    }

    /// No process but the manager, no mount, cgroup, socket, folder, state of the runtime or record.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        let scratch = &self.rig.world.scratch;
        let manager = self.manager().pid();
        let others = || {
            let mut processes = sweep::processes_of(scratch.path(), &[]);
            processes.remove(&manager);
            processes
        };
        wait::until_true(&format!("{}: no process is left", self.point), 10, || {
            others().is_empty()
        });
        nothing_is_left(scratch.path(), &["cstate", "croot"], &self.id, &self.point);
        let restarts = scratch.join("cstate/io.containerd.monitor.container.v1.restart/default");
        assert_eq!(files(&restarts), Vec::<String>::new(), "{}", self.point);
        assert_eq!(
            files(&scratch.join("croot/checkpoints")),
            Vec::<String>::new(),
            "{}",
            self.point
        );
    }

    fn end(mut self) -> Manager {
        assert!(self.is_reached(), "{} is not reached", self.point);
        self.manager.take().expect("the last manager lives")
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("killed at {} with {}", self.point, self.id);
        }
    }
}

/// What a container that is gone leaves neither in the kernel nor below these folders of a manager.
#[track_caller]
pub fn nothing_is_left(scratch: &Path, folders: &[&str], id: &str, point: &str) {
    let all_gone = || {
        let mut left: Vec<String> = Vec::new();
        for folder in folders {
            left.extend(files(
                &scratch.join(folder).join("io.containerd.runtime.v2.task/default"),
            ));
        }
        left.extend(files(&scratch.join("cstate/s")));
        left.extend(files(&scratch.join("runc/default")));
        left.extend(
            sweep::mounts_below(scratch)
                .iter()
                .map(|mount| mount.display().to_string()),
        );
        left.extend(cgroups(id));
        left
    };
    for _ in 0..100 {
        if all_gone().is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(all_gone(), Vec::<String>::new(), "left after {point}");
}

fn cgroups(id: &str) -> Vec<String> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted").flatten();
    let tops = hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]);
    let of_id = tops.map(|top| top.join("davit-tests").join(id));
    of_id
        .filter(|path| path.exists())
        .map(|path| path.display().to_string())
        .collect()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}
