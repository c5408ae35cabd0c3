//! What an operator looks at: metrics under containerd's names, and the debug socket.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use davit_integration_tests::{Containerd, Manager, Run, Scratch, http, image, registry::free_port, wait};

fn config(scratch: &Scratch, port: u16) -> String {
    let path = scratch.join("inspected.toml");
    let debug = scratch.join("debug.sock");
    let text = format!(
        "version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n[metrics]\naddress = '127.0.0.1:{port}'\n\
         grpc_histogram = true\n[debug]\naddress = {debug:?}\n"
    );
    fs::write(&path, text).expect("the folder is ours");
    path.to_str().expect("ASCII").to_owned()
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("metrics are served");
    write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The names and label keys of all samples that begin with `prefix`, and whether they are of a bucket.
fn families(text: &str, prefix: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| line.starts_with(prefix));
    let shape = |line: &str| {
        let (name, labels) = line.split_once('{').unwrap_or((line, ""));
        let keys = labels
            .split("\",")
            .filter_map(|label| label.split_once('='))
            .map(|(key, _)| key);
        format!("{name} {:?}", keys.collect::<Vec<_>>())
    };
    samples.map(shape).collect()
}

/// Runs a container, and returns what is told of it and of the calls that made it.
fn told(scratch: &Scratch, socket: &Path, runtime: &str, port: u16) -> [BTreeSet<String>; 2] {
    let root = scratch.join("root");
    let name = root.to_str().expect("ASCII");
    let ctr = |arguments: &[&str]| scratch.ctr(socket).args(arguments).finish().ok();
    let id = format!("inspected-{}", scratch.bridge());
    ctr(&[
        "run",
        "--detach",
        "--runtime",
        runtime,
        "--rootfs",
        name,
        &id,
        "/bin/sleep",
        "1000",
    ]);
    let told = wait::until("the container is told of", 20, || {
        let text = get(port, "/v1/metrics");
        text.contains("container_pids_current{").then_some(text)
    });
    assert!(
        told.starts_with("HTTP/1.0 200") || told.starts_with("HTTP/1.1 200"),
        "{told}"
    );
    assert!(told.contains("text/plain; version=0.0.4"), "{told}");
    assert!(
        told.contains("containerd_build_info_total{") && told.contains("process_resident_memory_bytes"),
        "{told}"
    );
    let created = told.lines().find(|line| {
        line.starts_with("grpc_server_handled_total{grpc_code=\"OK\"")
            && line.contains("services.tasks")
            && line.contains("\"Create\"")
    });
    assert!(created.is_some_and(|line| line.ends_with(" 1")), "{created:?}");
    assert!(get(port, "/").contains("404"));
    ctr(&["task", "kill", "--signal", "9", &id]);
    wait::until_true("it has ended", 20, || ctr(&["task", "ls"]).contains("STOPPED"));
    ctr(&["task", "rm", &id]);
    ctr(&["container", "rm", &id]);
    let calls = families(&told, "grpc_server_");
    let messages = |family: &String| !family.starts_with("grpc_server_msg_");
    [
        families(&told, "container_"),
        calls.into_iter().filter(messages).collect(),
    ]
}

#[test]
fn metrics_have_containerds_names_and_labels() {
    let scratch = Scratch::new();
    image::busybox_root(&scratch.join("root")).expect("a root");
    let port = free_port();
    let containerd = Containerd::start_with(
        &scratch,
        &fs::read_to_string(config(&scratch, port)).expect("it is there"),
    );
    let expected = told(&scratch, containerd.socket(), "io.containerd.runc.v2", port);
    containerd.stop();
    let port = free_port();
    let manager = Manager::start_with(&scratch, &["--config", &config(&scratch, port)]);
    let found = told(&scratch, manager.socket(), "io.containerd.davit.v1", port);
    assert_eq!(found, expected);

    let debug = scratch.join("debug.sock");
    assert_eq!(fs::metadata(&debug).expect("it listens").mode() & 0o777, 0o600);
    let answer = http::json(&debug, "GET", "/debug/vars", "");
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("davit-containerd"), "{answer:?}");
    assert_eq!(http::json(&debug, "GET", "/debug/tasks", "").status, 200);
    let profile = http::json(&debug, "GET", "/debug/pprof/heap", "");
    assert_eq!(profile.status, 501);
    assert!(profile.body.contains("perf(1)"), "{profile:?}");
    assert_eq!(http::json(&debug, "POST", "/debug/vars", "").status, 405);
    manager.stop();
}

#[test]
fn an_address_that_cannot_be_served_is_named() {
    let scratch = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is up");
    let port = taken.local_addr().expect("it is bound").port();
    let refused = |text: &str, words: &str| {
        let path = scratch.join("refused.toml");
        fs::write(&path, text).expect("the folder is ours");
        let mut manager = scratch.program("davit-containerd");
        manager
            .arg("--config")
            .arg(path)
            .arg("--root")
            .arg(scratch.join("r"))
            .arg("--state")
            .arg(scratch.join("s"));
        manager
            .arg("--address")
            .arg(scratch.join("a.sock"))
            .finish()
            .code_is(1)
            .says(words);
    };
    refused(
        "[metrics]\naddress = 'nowhere'\n",
        "metrics.address: \"nowhere\" is no address",
    );
    let text = format!("[metrics]\naddress = '127.0.0.1:{port}'\n");
    refused(&text, &format!("listen on 127.0.0.1:{port} for metrics"));
}
