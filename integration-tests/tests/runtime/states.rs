//! What a container is said to be, and what may be done with it then.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use davit_integration_tests::wait;
use serde_json::json;

use crate::bundle::Bundle;

/// A container whose createRuntime hook does not end, and the runtime that makes it.
fn in_creation(bundle: &Bundle) -> Child {
    let begun = bundle.file("begun");
    let script = format!("touch {begun}; exec sleep 600");
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sleep", "600"]);
        config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    });
    let maker = bundle
        .command(&["create", "--bundle", &bundle.path(), bundle.id()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(bundle.file("refusal")).expect("the bundle is ours"))
        .spawn()
        .expect("the runtime is built");
    wait::until_true("the hook runs", 10, || fs::exists(&begun).unwrap_or_default());
    maker
}

#[test]
fn nobody_enters_a_container_that_is_still_being_made() {
    let bundle = Bundle::new();
    let mut maker = in_creation(&bundle);
    assert_eq!(bundle.state()["status"], "creating");
    // Its mount namespace exists, and shows the host's files.
    let refusals = [
        (vec!["exec", bundle.id(), "ls", "/"], "still being created"),
        (vec!["start", bundle.id()], "still being created"),
        (vec!["pause", bundle.id()], "container not running or created: creating"),
        (vec!["checkpoint", bundle.id()], "in creating state"),
        (vec!["delete", bundle.id()], "that is not stopped: creating"),
    ];
    for (args, refusal) in refusals {
        let code = if args[0] == "exec" { 255 } else { 1 };
        bundle.runtime(&args).code_is(code).says(refusal);
    }
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    assert!(!maker.wait().expect("it is a child").success());
}

#[test]
fn a_creation_whose_hook_does_not_end_is_ended_by_killing_the_container() {
    for command in [&["delete", "--force"][..], &["kill"]] {
        let bundle = Bundle::new();
        let mut maker = in_creation(&bundle);
        let begun = Instant::now();
        let mut args = command.to_vec();
        args.push(bundle.id());
        if command == ["kill"] {
            args.push("KILL");
        }
        bundle.runtime(&args).ok();
        assert_eq!(maker.wait().expect("it is a child").code(), Some(1));
        let refusal = fs::read_to_string(bundle.file("refusal")).expect("the bundle is ours");
        assert!(
            refusal.contains("createRuntime hook #0: container init was killed meanwhile"),
            "{refusal}"
        );
        assert!(begun.elapsed() < Duration::from_secs(5), "{command:?}");
        assert_eq!(bundle.ids(), Vec::<String>::new());
        assert_eq!(bundle.cgroups(), Vec::<String>::new());
    }
}

#[test]
fn a_first_thread_that_ends_does_not_end_the_container() {
    const SOURCE: &str = r#"
        #include <pthread.h>
        #include <unistd.h>
        void *go_on(void *unused) { sleep(600); return unused; }
        int main(void) {
            pthread_t thread;
            pthread_create(&thread, 0, go_on, 0);
            pthread_exit(0);
        }"#;
    let bundle = Bundle::new();
    bundle.compile("two", SOURCE);
    bundle.edit(|config| config["process"]["args"] = json!(["/bin/two"]));
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let pid = bundle.state()["pid"].as_u64().expect("a pid");
    wait::until_true("the first thread has ended", 10, || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    });
    assert_eq!(bundle.state()["status"], "running");
    bundle.runtime(&["kill", bundle.id(), "KILL"]).ok();
    wait::until_true("it is stopped", 10, || bundle.state()["status"] == "stopped");
    bundle.runtime(&["delete", bundle.id()]).ok();
}

#[test]
fn who_connects_to_the_gate_and_says_nothing_holds_up_no_start() {
    use std::os::fd::AsRawFd;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};

    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle.create_as(bundle.id()).ok();
    let folder = fs::File::open(bundle.root().join(bundle.id())).expect("the store is ours");
    let address = format!("/proc/self/fd/{}/start.sock", folder.as_raw_fd());
    let silent: Vec<_> = (0..100)
        .map(|_| {
            let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
            connect(&socket, &SocketAddrUnix::new(&*address).expect("short")).expect("the gate listens");
            socket
        })
        .collect();
    let begun = Instant::now();
    bundle.runtime(&["start", bundle.id()]).ok();
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(silent);
}
