//! The networks none, host and bridge as containers see them, and what of them survives the engine.

use std::{fs, io::Read, net::TcpStream, path::Path, process::Command, time::Duration};

use davit_integration_tests::{Dockerd, Engine, Finished, Run, Scratch, image, wait};

/// Loads busybox into a daemon.
fn load(scratch: &Scratch, socket: &Path) {
    let archive = scratch.join("busybox.tar");
    if !archive.exists() {
        image::busybox_archive(&archive).expect("an image");
    }
    scratch
        .docker(socket)
        .args(["load", "--input"])
        .arg(archive)
        .finish()
        .ok();
}

#[test]
fn none_has_a_loopback_alone_and_host_is_the_host_s() {
    let scratch = Scratch::new();
    let check = |socket: &Path| {
        load(&scratch, socket);
        let run = |network: &str, words: &[&str]| {
            let run = ["run", "--rm", "--network", network, "busybox"];
            scratch.docker(socket).args(run).args(words).finish().ok()
        };
        assert_eq!(run("none", &["ls", "/sys/class/net"]), "lo");
        assert!(run("none", &["ip", "addr", "show", "lo"]).contains("inet 127.0.0.1/8"));
        assert_eq!(run("none", &["ip", "route"]), "");
        let own = fs::read_link("/proc/self/ns/net").expect("our own namespace");
        assert_eq!(Path::new(&run("host", &["readlink", "/proc/self/ns/net"])), own);
        assert_eq!(
            run("host", &["hostname"]),
            run("host", &["cat", "/proc/sys/kernel/hostname"])
        );
    };
    let dockerd = Dockerd::start(&scratch);
    check(dockerd.socket());
    dockerd.stop();
    let engine = Engine::start(&scratch);
    check(engine.socket());
    engine.stop();
}

/// An engine with busybox, on a bridge of its own.
struct Bridged {
    scratch: Scratch,
    engine: Engine,
}

impl Bridged {
    fn new() -> Self {
        let scratch = Scratch::new();
        let engine = Engine::start(&scratch);
        load(&scratch, engine.socket());
        Self { scratch, engine }
    }

    fn docker(&self, arguments: &[&str]) -> Finished {
        self.scratch.docker(self.engine.socket()).args(arguments).finish()
    }

    fn inspect(&self, container: &str, format: &str) -> String {
        self.docker(&["inspect", "--format", format, container]).ok()
    }

    fn address(&self, container: &str) -> String {
        self.inspect(container, "{{.NetworkSettings.IPAddress}}")
    }

    /// Starts a container that says its name to whoever connects to port 7.
    fn serve(&self, name: &str) -> String {
        let server = format!("while :; do echo {name} | nc -l -p 7; done");
        self.docker(&["run", "-d", "--name", name, "busybox", "sh", "-c", &server])
            .ok();
        let address = self.address(name);
        says(&address, name);
        address
    }
}

/// Waits until the server at an address says this. Between two connections it listens to nobody for a moment.
fn says(address: &str, words: &str) {
    wait::until_true("the server answers", 10, || ask(address).as_deref() == Some(words));
}

/// What a server says that listens on port 7.
fn ask(address: &str) -> Option<String> {
    let address = format!("{address}:7").parse().expect("an address");
    let mut server = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).ok()?;
    Some(answer.trim_end().to_owned())
}

#[test]
fn containers_on_the_bridge_have_addresses_in_order_and_reach_each_other() {
    let bridged = Bridged::new();
    let gateway = bridged.scratch.subnet().replace("/24", "");
    let prefix = gateway.strip_suffix(".1").expect("the first address");
    let address = bridged.serve("first");
    assert_eq!(address, format!("{prefix}.2"));
    let bytes: Vec<u8> = address.split('.').map(|part| part.parse().expect("a byte")).collect();
    let mac = format!(
        "02:42:{:02x}:{:02x}:{:02x}:{:02x}",
        bytes[0], bytes[1], bytes[2], bytes[3]
    );
    assert_eq!(bridged.inspect("first", "{{.NetworkSettings.MacAddress}}"), mac);
    assert_eq!(bridged.inspect("first", "{{.NetworkSettings.Gateway}}"), gateway);

    let run = |words: &[&str]| bridged.docker(&[&["run", "--rm", "busybox"][..], words].concat()).ok();
    assert_eq!(run(&["nc", "-w", "5", &address, "7"]), "first");
    assert!(run(&["ip", "route"]).starts_with(&format!("default via {gateway} dev eth0")));
    assert!(run(&["ip", "addr", "show", "eth0"]).contains(&format!("{prefix}.")));
    let hosts = run(&["sh", "-c", "cat /etc/hosts; hostname"]);
    let hostname = hosts.lines().last().expect("a hostname");
    assert!(
        hosts
            .lines()
            .any(|line| line.starts_with(prefix) && line.ends_with(hostname)),
        "{hosts}"
    );
    bridged.docker(&["rm", "--force", "first"]).ok();
    bridged.engine.stop();
}

#[test]
fn an_address_stays_with_its_container_while_engines_come_and_go() {
    let mut bridged = Bridged::new();
    let first = bridged.serve("first");
    bridged.engine.kill();
    // Nothing of a network dies with the engine.
    says(&first, "first");
    bridged.engine = Engine::start(&bridged.scratch);
    assert_eq!(bridged.address("first"), first);
    let second = bridged.serve("second");
    assert_ne!(first, second);
    says(&first, "first");
    bridged.docker(&["restart", "--time", "0", "second"]).ok();
    let restarted = bridged.address("second");
    says(&restarted, "second");
    bridged.docker(&["rm", "--force", "first", "second"]).ok();
    bridged.engine.stop();
}

#[test]
fn a_removed_container_leaves_no_link_and_no_namespace() {
    let bridged = Bridged::new();
    bridged.serve("first");
    bridged.docker(&["run", "--rm", "busybox", "true"]).ok();
    bridged
        .docker(&["run", "--rm", "busybox", "no-such-program"])
        .code_is(127);
    let links = || {
        let output = Command::new("ip")
            .args(["-o", "link", "show", "master", &bridged.scratch.bridge()])
            .output();
        String::from_utf8(output.expect("iproute2").stdout)
            .expect("ASCII")
            .lines()
            .count()
    };
    let namespaces = || {
        fs::read_dir(bridged.scratch.join("exec/netns"))
            .into_iter()
            .flatten()
            .count()
    };
    wait::until_true("one link and one namespace are left", 5, || {
        (links(), namespaces()) == (1, 1)
    });
    bridged.docker(&["stop", "--time", "0", "first"]).ok();
    wait::until_true("a stopped container has none", 5, || (links(), namespaces()) == (0, 0));
    assert_eq!(bridged.address("first"), "");
    bridged.docker(&["start", "first"]).ok();
    let address = bridged.address("first");
    says(&address, "first");
    bridged.docker(&["rm", "--force", "first"]).ok();
    wait::until_true("nothing is left", 5, || (links(), namespaces()) == (0, 0));
    bridged.engine.stop();
}

#[test]
fn what_the_network_does_not_offer_yet_is_refused_by_name() {
    let bridged = Bridged::new();
    let refused = |option: &[&str], words: &str| {
        let run = [&["run", "--rm"][..], option, &["busybox", "true"]].concat();
        bridged.docker(&run).code_is(125).says(words);
    };
    refused(&["-p", "8080:80"], "PortBindings");
    refused(&["-P"], "PublishAllPorts");
    refused(&["--network", "no-such"], "no-such");
    assert_eq!(bridged.docker(&["ps", "--all", "--quiet"]).ok(), "");
    bridged.engine.stop();
}
