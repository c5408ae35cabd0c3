//! What is left on the machine after containers have come and gone: nothing. This file has one test, since it compares the whole
//! machine before and after, and cargo runs the files one after another.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use davit_integration_tests::{Engine, Run, Scratch, image, sweep, wait};

#[test]
fn containers_that_ended_well_or_badly_leave_nothing_on_the_machine() {
    let scratch = Scratch::new();
    let before = Machine::now();
    let engine = Engine::start(&scratch);
    let docker = |arguments: &[&str]| scratch.docker(engine.socket()).args(arguments).finish();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    docker(&["load", "--input", archive.to_str().expect("ASCII")]).ok();
    let with_engine = Machine::now();

    docker(&["run", "--rm", "busybox", "true"]).ok();
    docker(&["run", "--rm", "--network", "none", "busybox", "no-such-program"]).code_is(127);
    docker(&["run", "--rm", "--workdir", "/etc/passwd", "busybox", "true"]).code_is(125);
    docker(&["run", "--rm", "-m", "1k", "busybox", "true"]).code_is(125);
    docker(&["run", "-d", "--name", "killed", "busybox", "sleep", "600"]).ok();
    docker(&["exec", "-d", "killed", "sleep", "600"]).ok();
    docker(&["exec", "killed", "no-such-program"]).code_is(127);
    docker(&["rm", "--force", "killed"]).ok();
    docker(&["create", "--name", "never-started", "busybox", "true"]).ok();
    docker(&["rm", "never-started"]).ok();
    // A shim and its socket go a moment after the answer.
    wait::until_true("the machine is as it was before the containers", 10, || {
        with_engine.lacks(&Machine::now()).is_empty()
    });

    engine.stop();
    wait::until_true("the engine's manager is gone with it", 10, || {
        sweep::processes_of(scratch.path(), &[]).is_empty()
    });
    let left = before.lacks(&Machine::now());
    // The bridge and its rules are the engine's, not a container's: they outlive it, as containers do.
    let left: Vec<_> = left
        .into_iter()
        .filter(|item| !item.contains(&scratch.bridge()))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

/// Everything on the machine that a container engine may forget.
struct Machine(BTreeSet<String>);

impl Machine {
    fn now() -> Self {
        let mut items = BTreeSet::new();
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
        items.extend(
            mountinfo
                .lines()
                .filter_map(|line| Some(format!("mount {}", line.split(' ').nth(4)?))),
        );
        cgroups(Path::new("/sys/fs/cgroup"), &mut items);
        for link in fs::read_dir("/sys/class/net").expect("/sys is mounted").flatten() {
            items.insert(format!("link {}", link.file_name().to_string_lossy()));
        }
        let rules = Command::new("nft").args(["list", "ruleset"]).finish().ok();
        items.extend(
            rules
                .lines()
                .filter(|line| line.starts_with("table"))
                .map(|line| format!("nft {line}")),
        );
        for socket in fs::read_dir("/run/davit/s").into_iter().flatten().flatten() {
            items.insert(format!("socket {}", socket.path().display()));
        }
        Self(items)
    }

    /// What `later` has that this has not.
    fn lacks(&self, later: &Self) -> Vec<String> {
        later.0.difference(&self.0).cloned().collect()
    }
}

fn cgroups(folder: &Path, items: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // An empty parent that all containers share is no container's.
            let path = entry.path();
            if !path.ends_with("davit") {
                items.insert(format!("cgroup {}", path.display()));
            }
            cgroups(&path, items);
        }
    }
}
