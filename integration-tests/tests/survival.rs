//! SIGKILL of engine and manager, alone and together, while containers write and exit: nothing stops, no line is lost, every exit
//! code is right after the restart.

use std::{thread::sleep, time::Duration};

use davit_integration_tests::{Engine, Run, Scratch, image, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const WRITERS: usize = 20;
const EXITS: [i32; 5] = [0, 1, 42, 127, 255];

#[test]
fn containers_outlive_a_killed_engine() {
    check(|scratch, engine| {
        engine.kill();
        sleep(Duration::from_secs(4));
        Engine::start(scratch)
    });
}

#[test]
fn containers_outlive_a_killed_manager() {
    check(|scratch, engine| {
        kill_manager(scratch, &engine);
        sleep(Duration::from_secs(4));
        engine
    });
}

#[test]
fn containers_outlive_both_daemons_killed_together() {
    check(|scratch, engine| {
        kill_manager(scratch, &engine);
        engine.kill();
        sleep(Duration::from_secs(4));
        Engine::start(scratch)
    });
}

fn kill_manager(scratch: &Scratch, engine: &Engine) {
    let pid = Pid::from_raw(engine.manager_pid(scratch) as i32);
    kill(pid, Signal::SIGKILL).expect("the manager runs");
}

/// Starts the containers, lets `disaster` happen, and looks at what is there then.
fn check(disaster: impl FnOnce(&Scratch, Engine) -> Engine) {
    let scratch = Scratch::new();
    let engine = Engine::start(&scratch);
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    let socket = engine.socket().to_owned();
    let docker = |arguments: &[&str]| scratch.docker(&socket).args(arguments).finish();
    docker(&["load", "--input", archive.to_str().expect("ASCII")]).ok();

    let run = |name: &str, script: &str| {
        docker(&[
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            script,
        ])
        .ok();
    };
    let writers: Vec<String> = (0..WRITERS).map(|n| format!("writer{n}")).collect();
    for name in &writers {
        run(name, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done");
    }
    let pids: Vec<String> = writers
        .iter()
        .map(|name| docker(&["inspect", "-f", "{{.State.Pid}}", name]).ok())
        .collect();
    for code in EXITS {
        run(
            &format!("exit{code}"),
            &format!("sleep 3; echo last words; exit {code}"),
        );
    }

    let engine = disaster(&scratch, engine);
    wait::until_true("the engine answers again", 30, || docker(&["ps"]).code == 0);

    for code in EXITS {
        let name = format!("exit{code}");
        wait::until_true(&format!("{name} is known to have ended"), 30, || {
            docker(&["inspect", "-f", "{{.State.Status}}", &name]).stdout.trim() == "exited"
        });
        assert_eq!(
            docker(&["inspect", "-f", "{{.State.ExitCode}}", &name]).ok(),
            code.to_string()
        );
        assert_eq!(docker(&["logs", &name]).ok(), "last words");
    }
    for (name, pid) in writers.iter().zip(&pids) {
        assert_eq!(
            &docker(&["inspect", "-f", "{{.State.Pid}} {{.State.Status}}", name]).ok(),
            &format!("{pid} running")
        );
    }
    let still: usize = docker(&["logs", "--tail", "1", &writers[0]])
        .ok()
        .parse()
        .expect("a number");
    wait::until_true("the writers write on", 10, || {
        docker(&["logs", "--tail", "1", &writers[0]])
            .ok()
            .parse::<usize>()
            .expect("a number")
            > still
    });
    for name in &writers {
        let log = docker(&["logs", name]).ok();
        for (expected, line) in (1..).zip(log.lines()) {
            assert_eq!(line, expected.to_string(), "{name} lost or doubled a line");
        }
        // Four seconds of disaster alone are some 150 lines.
        assert!(log.lines().count() > 100, "{name} stopped writing");
    }
    let mut remove = vec!["rm", "--force"];
    remove.extend(writers.iter().map(String::as_str));
    docker(&remove).ok();
    assert_eq!(docker(&["ps", "--quiet"]).ok(), "");
    engine.stop();
}
