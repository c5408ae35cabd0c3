//! The start of a manager that finds the shims of an earlier one.

use std::time::Instant;

use davit_integration_tests::wait;
use nix::sys::signal::{Signal, kill};

use crate::{Shim, World, with_both_shims};

/// A shim that hangs is waited for by those alone who ask for its container.
fn a_shim_that_hangs_delays_nobody(shim: Shim) {
    let world = World::new(shim);
    let manager = shim.manager(&world.scratch);
    let [hangs, fine] = ["hangs", "fine"].map(|name| world.id(name));
    for id in [&hangs, &fine] {
        world.run(&["--detach"], id, "sleep 600").ok();
    }
    let signal = |signal| {
        for pid in world.shims(&hangs) {
            kill(pid, signal).expect("the shim lives");
        }
    };
    signal(Signal::SIGSTOP);
    manager.kill();
    let manager = shim.manager(&world.scratch);
    let started = Instant::now();
    let plugin = || {
        world
            .ctr(&["plugins", "list", "--detailed", "type==io.containerd.runtime.v2"])
            .ok()
    };
    // The list waits for whoever does not hang.
    assert_eq!(world.status(&fine), "RUNNING");
    let is_returning = plugin()
        .lines()
        .any(|line| line.split_whitespace().eq(["returning", "1"]));
    assert_eq!(world.status(&hangs), "UNKNOWN");
    assert!(is_returning, "after {:?}", started.elapsed());
    let exec = |id: &str| {
        world
            .ctr(&["tasks", "exec", "--exec-id", "e", id, "/bin/echo", "here"])
            .ok()
    };
    assert_eq!(exec(&fine), "here");
    // After the limit it counts as found, and its state is unknown still.
    wait::until_true("it is not looked for any more", 20, || !plugin().contains("returning"));
    assert_eq!(world.status(&hangs), "UNKNOWN");
    signal(Signal::SIGCONT);
    world.wait_for_status(&hangs, "RUNNING");
    assert_eq!(exec(&hangs), "here");
    for id in [&hangs, &fine] {
        world.ctr(&["tasks", "rm", "--force", id]);
        world.assert_nothing_is_left_of(id);
        world.ctr(&["containers", "rm", id]).ok();
    }
    manager.stop();
}

with_both_shims!(a_shim_that_hangs_delays_nobody);
