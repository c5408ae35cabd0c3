//! The real dockerd on the manager.

use std::{thread::sleep, time::Duration};

use davit_integration_tests::{Dockerd, Manager, Run, Scratch, image, wait};

/// dockerd mounts nothing that its containers need with this storage driver: manager and dockerd live in mount namespaces of
/// their own here.
const DOCKERD: [&str; 6] = [
    "--bridge",
    "none",
    "--iptables=false",
    "--ip6tables=false",
    "--storage-driver",
    "vfs",
];

#[test]
fn a_real_dockerd_works_with_the_manager_and_outlives_its_death() {
    let scratch = Scratch::new();
    let manager = Manager::start_among_peers(&scratch);
    let socket = manager.socket().to_str().expect("ASCII").to_owned();
    let dockerd = Dockerd::start_with(&scratch, &[&DOCKERD[..], &["--containerd", &socket]].concat());
    let docker = |arguments: &[&str]| scratch.docker(dockerd.socket()).args(arguments).finish();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    docker(&["load", "--input", archive.to_str().expect("ASCII")]).ok();
    let run = |options: &[&str], script: &str| {
        let container = ["busybox", "sh", "-c", script];
        docker(&[&["run", "--network", "none"], options, &container].concat())
    };
    assert_eq!(run(&["--rm"], "echo hello; exit 3").code_is(3).stdout, "hello\n");
    run(&["--detach", "--name", "stays"], "sleep 600").ok();
    run(&["--detach", "--name", "ends"], "sleep 2; exit 42").ok();
    assert_eq!(docker(&["exec", "stays", "echo", "inside"]).ok(), "inside");

    manager.kill();
    sleep(Duration::from_secs(3));
    let manager = Manager::start_among_peers(&scratch);

    let inspect = |name: &str| docker(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name]).ok();
    wait::until_true("dockerd knows who has ended", 30, || inspect("ends") == "exited 42");
    assert_eq!(inspect("stays"), "running 0");
    assert_eq!(docker(&["exec", "stays", "echo", "still here"]).ok(), "still here");
    assert_eq!(run(&["--rm"], "echo hello again").ok(), "hello again");
    docker(&["rm", "--force", "stays", "ends"]).ok();
    dockerd.stop();
    manager.stop();
}
