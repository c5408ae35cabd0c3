//! Signals that `davit` gets and a container should have, also while the engine takes its time.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use davit_integration_tests::wait;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::relay::Relay;
use crate::{World, on_both};

/// Runs a container that ends with 3 when it is terminated, named sig.
const ENDS_WHEN_ASKED: &[&str] = &[
    "run",
    "--rm",
    "--name",
    "sig",
    "--network",
    "none",
    "busybox",
    "sh",
    "-c",
    "trap 'echo term; exit 3' TERM; echo up; while :; do sleep 0.1; done",
];

fn is_up(world: &World) {
    wait::until_true("the container is up", 10, || world.davit("logs sig").stdout == "up\n");
}

/// Starts a program whose output is asked for.
fn starts(world: &World, command: &mut Command) -> Child {
    let piped = || Stdio::piped();
    let child = command.stdin(Stdio::null()).stdout(piped()).stderr(piped()).spawn();
    let child = child.expect("davit is built");
    world.scratch.owns(&child);
    child
}

fn terminate(child: &Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("davit runs");
}

fn is_ended_by_the_container(child: Child) {
    let output = child.wait_with_output().expect("davit ends");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(3), &b"up\nterm\n"[..])
    );
}

#[test]
fn signals_are_forwarded_to_the_container() {
    on_both(|world| {
        let child = starts(world, world.command().args(ENDS_WHEN_ASKED));
        is_up(world);
        terminate(&child);
        is_ended_by_the_container(child);
    });
}

/// Checks `world` through a relay that may hold back answers to requests with `pattern` in their paths.
fn on_both_with_relay(pattern: &'static str, check: impl Fn(&World, &World, &Relay)) {
    on_both(|world| {
        let relay = Relay::start(world.scratch.join("relay.sock"), world.socket, pattern);
        let late = World {
            socket: relay.socket(),
            ..*world
        };
        check(world, &late, &relay);
        fs::remove_file(relay.socket()).expect("the relay's socket");
    });
}

/// Terminates it until it has ended: signals that come at once are one.
fn gives_up(mut child: Child, world: &World) {
    assert_eq!(child.try_wait().expect("a child"), None);
    wait::until("davit gives up", 20, || {
        terminate(&child);
        sleep(Duration::from_millis(100));
        child.try_wait().expect("a child")
    });
    let output = child.wait_with_output().expect("davit ends");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("asked 3 times to end"), "{said}");
    world.davit("rm -f sig").ok();
}

#[test]
fn a_signal_that_overtakes_the_answer_to_the_start_is_the_containers() {
    on_both_with_relay("/start ", |world, late, relay| {
        relay.hold();
        let child = starts(world, late.command().args(ENDS_WHEN_ASKED));
        is_up(world);
        terminate(&child);
        sleep(Duration::from_millis(200));
        relay.release();
        is_ended_by_the_container(child);
    });
}

#[test]
fn who_asks_three_times_does_not_wait_for_a_start() {
    on_both_with_relay("/start ", |world, late, relay| {
        relay.hold();
        let child = starts(world, late.command().args(ENDS_WHEN_ASKED));
        relay.is_asked();
        gives_up(child, world);
    });
}

#[test]
fn who_asks_three_times_does_not_wait_for_an_end() {
    on_both_with_relay("/wait?", |world, late, relay| {
        // It is not removed at its end, or there would be nothing to remove afterwards.
        let args = ENDS_WHEN_ASKED.iter().filter(|arg| **arg != "--rm");
        let child = starts(world, late.command().args(args));
        is_up(world);
        relay.hold();
        world.davit("kill sig").ok();
        world.davit("wait sig").ok();
        sleep(Duration::from_millis(200));
        gives_up(child, world);
    });
}

#[test]
fn signals_keep_their_order_where_the_engine_is_slow() {
    on_both_with_relay("/kill?", |world, late, relay| {
        let script = "trap '' USR1 USR2 ALRM; trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done";
        let mut command = late.command();
        command.args(&ENDS_WHEN_ASKED[..ENDS_WHEN_ASKED.len() - 1]).arg(script);
        let child = starts(world, &mut command);
        is_up(world);
        relay.hold();
        let send = |signal| kill(Pid::from_raw(child.id() as i32), signal).expect("davit runs");
        send(Signal::SIGUSR2);
        relay.is_asked();
        for signal in [Signal::SIGALRM, Signal::SIGUSR1, Signal::SIGTERM] {
            send(signal);
            sleep(Duration::from_millis(200));
        }
        relay.release();
        let output = child.wait_with_output().expect("davit ends");
        assert_eq!(output.status.code(), Some(3));
        let asked = relay.asked();
        let names = ["USR2", "ALRM", "USR1", "TERM"];
        let are_named = |(line, name): (&String, &str)| line.contains(&format!("signal={name}"));
        assert!(asked.len() == 4 && asked.iter().zip(names).all(are_named), "{asked:?}");
    });
}

#[test]
fn a_signal_that_waits_behind_another_outlives_the_containers_streams() {
    on_both_with_relay("/start ", |world, late, relay| {
        let slow = Relay::start(world.scratch.join("slow.sock"), late.socket, "/kill?");
        let later = World {
            socket: slow.socket(),
            ..*world
        };
        relay.hold();
        slow.hold();
        let script = "trap 'exec >&- 2>&-' USR1; trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done";
        let mut command = later.command();
        command.args(&ENDS_WHEN_ASKED[..ENDS_WHEN_ASKED.len() - 1]).arg(script);
        let mut child = starts(world, &mut command);
        is_up(world);
        for signal in [Signal::SIGUSR1, Signal::SIGTERM] {
            kill(Pid::from_raw(child.id() as i32), signal).expect("davit runs");
            sleep(Duration::from_millis(100));
        }
        relay.release();
        slow.is_asked();
        // Its streams end meanwhile.
        sleep(Duration::from_millis(500));
        slow.release();
        let ended = wait::until("davit ends", 20, || child.try_wait().expect("a child"));
        assert_eq!(ended.code(), Some(3));
        fs::remove_file(slow.socket()).expect("the relay's socket");
    });
}
