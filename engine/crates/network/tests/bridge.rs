//! The default bridge on a real kernel. Every test has a network and a mount namespace of its own for a host: nothing of
//! it can stay behind on the machine, and nothing on the machine disturbs it. Needs root, `ip` and `nft`.

#![allow(clippy::unwrap_used)]

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use davit_engine_network::{Network, NetworkConfig, NetworkError};
use davit_vocabulary::ContainerId;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};

const BRIDGE: &str = "dvtest0";

/// Runs a test on a host of its own.
fn on_own_host(test: impl AsyncFnOnce(&Path) + Send + 'static) {
    let host = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("the tests run as root");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        ip("link set lo up");
        // A folder that only this host has, and that goes with it whatever is mounted there.
        let folder = Path::new("/mnt");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(folder));
    });
    host.join().unwrap();
}

fn config(folder: &Path) -> NetworkConfig {
    NetworkConfig {
        bridge: BRIDGE.into(),
        address: "10.231.7.1/24".parse().unwrap(),
        namespaces: folder.join("netns"),
    }
}

fn id(text: &str) -> ContainerId {
    text.parse().unwrap()
}

fn output(program: &str, arguments: &str) -> String {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn ip(arguments: &str) -> String {
    output("ip", arguments)
}

/// Everything that could be left behind.
fn traces(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let own = folder.to_string_lossy().into_owned();
    let mounts: Vec<&str> = mounts.lines().filter(|line| line.contains(&own)).collect();
    let files: Vec<PathBuf> = fs::read_dir(folder.join("netns"))
        .into_iter()
        .flatten()
        .map(|it| it.unwrap().path())
        .collect();
    // Not their states: those follow their ports with a delay.
    let links = ip("-br link");
    let links: Vec<&str> = links
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    format!("{links:?}\n{}\n{mounts:?}\n{files:?}", output("nft", "list ruleset"))
}

/// Runs something in the namespace of a container.
fn inside<T: Send + 'static>(namespace: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let namespace = File::open(namespace).unwrap();
    let run = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    thread::spawn(run).join().unwrap()
}

/// Listens in a namespace, and tells whoever connects which address it came from.
fn serve(namespace: &Path, address: Ipv4Addr) {
    let listener = inside(namespace, move || TcpListener::bind((address, 7)).unwrap());
    thread::spawn(move || {
        while let Ok((mut client, from)) = listener.accept() {
            let _ = client.write_all(from.ip().to_string().as_bytes());
        }
    });
}

/// Which address the server at `address` sees us as.
fn ask(address: Ipv4Addr) -> Option<String> {
    let mut server = TcpStream::connect_timeout(&SocketAddr::from((address, 7)), Duration::from_millis(500)).ok()?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn containers_reach_each_other_the_host_and_the_world_and_the_world_does_not_reach_them() {
    on_own_host(async |folder| {
        // The world is a namespace behind a link of its own.
        let network = Network::open(config(folder)).await.unwrap();
        let far = network.create_namespace(&id("world")).await.unwrap();
        ip("link add uplink type veth peer name far");
        ip("addr add 192.0.2.1/24 dev uplink");
        ip("link set uplink up");
        ip(&format!("link set far netns {}", far.display()));
        inside(&far, || {
            ip("addr add 192.0.2.9/24 dev far");
            ip("link set far up");
            ip("route add 10.231.7.0/24 via 192.0.2.1");
        });

        let a = network.create_namespace(&id("a")).await.unwrap();
        let b = network.create_namespace(&id("b")).await.unwrap();
        let at_a = network.connect(&id("a")).await.unwrap();
        let at_b = network.connect(&id("b")).await.unwrap();
        assert_eq!(at_a.address.to_string(), "10.231.7.2");
        assert_eq!(at_a.gateway.to_string(), "10.231.7.1");
        assert_eq!(at_a.mac.to_string(), "02:42:0a:e7:07:02");
        let shown = inside(&a, || ip("-br addr show eth0"));
        assert!(shown.contains("10.231.7.2/24"), "{shown}");

        serve(&a, at_a.address);
        serve(&far, "192.0.2.9".parse().unwrap());
        let (to_a, to_world) = (at_a.address, "192.0.2.9".parse().unwrap());
        assert_eq!(inside(&b, move || ask(to_a)), Some(at_b.address.to_string()));
        assert_eq!(ask(to_a), Some("10.231.7.1".into()));
        assert_eq!(
            inside(&b, move || ask(to_world)),
            Some("192.0.2.1".into()),
            "masqueraded"
        );
        assert_eq!(inside(&far, move || ask(to_a)), None, "not published");
    });
}

#[test]
fn nothing_is_left_when_all_is_removed_and_removing_again_is_fine() {
    on_own_host(async |folder| {
        let before = traces(folder);
        let network = Network::open(config(folder)).await.unwrap();
        for name in ["a", "b"] {
            network.create_namespace(&id(name)).await.unwrap();
            network.connect(&id(name)).await.unwrap();
        }
        assert_ne!(traces(folder), before);
        for name in ["a", "b", "a", "never-there"] {
            network.remove(&id(name)).await.unwrap();
        }
        network.cleanup().await.unwrap();
        network.cleanup().await.unwrap();
        assert_eq!(traces(folder), before);
    });
}

#[test]
fn a_container_that_starts_again_at_once_is_connected_again() {
    on_own_host(async |folder| {
        let network = Network::open(config(folder)).await.unwrap();
        for _ in 0..3 {
            let a = network.create_namespace(&id("a")).await.unwrap();
            let endpoint = network.connect(&id("a")).await.unwrap();
            serve(&a, endpoint.address);
            assert!(ask(endpoint.address).is_some());
            network.remove(&id("a")).await.unwrap();
        }
    });
}

#[test]
fn an_engine_that_comes_back_finds_its_bridge_and_keeps_its_containers_addresses() {
    on_own_host(async |folder| {
        let network = Network::open(config(folder)).await.unwrap();
        let a = network.create_namespace(&id("a")).await.unwrap();
        let endpoint = network.connect(&id("a")).await.unwrap();
        let rules = output("nft", "list ruleset");
        drop(network);

        let network = Network::open(config(folder)).await.unwrap();
        network.adopt(&id("a"), endpoint.address).unwrap();
        assert_eq!(output("nft", "list ruleset"), rules);
        assert_eq!(network.create_namespace(&id("a")).await.unwrap(), a);
        network.create_namespace(&id("b")).await.unwrap();
        assert_eq!(
            network.connect(&id("b")).await.unwrap().address.to_string(),
            "10.231.7.3"
        );
        serve(&a, endpoint.address);
        assert!(ask(endpoint.address).is_some());
    });
}

#[test]
fn what_an_engine_that_died_left_is_swept_or_taken_over() {
    on_own_host(async |folder| {
        let network = Network::open(config(folder)).await.unwrap();
        let before = traces(folder);
        for name in ["runs", "left", "starts"] {
            network.create_namespace(&id(name)).await.unwrap();
            network.connect(&id(name)).await.unwrap();
        }
        fs::write(folder.join("netns/no-namespace"), "").unwrap();
        drop(network);

        let network = Network::open(config(folder)).await.unwrap();
        network.adopt(&id("runs"), "10.231.7.2".parse().unwrap()).unwrap();
        let starts = network.create_namespace(&id("starts")).await.unwrap();
        let endpoint = network.connect(&id("starts")).await.unwrap();
        serve(&starts, endpoint.address);
        assert!(ask(endpoint.address).is_some());
        network.sweep(|container| container.as_str() == "runs").await.unwrap();
        assert_eq!(fs::read_dir(folder.join("netns")).unwrap().count(), 1);
        network.remove(&id("runs")).await.unwrap();
        network.settle().await;
        assert_eq!(traces(folder), before);
    });
}

#[test]
fn a_failed_connect_leaves_no_link_and_no_address_taken() {
    on_own_host(async |folder| {
        let network = Network::open(config(folder)).await.unwrap();
        let before = traces(folder);
        assert!(matches!(
            network.connect(&id("a")).await,
            Err(NetworkError::File { .. })
        ));
        // A file that is no namespace.
        fs::create_dir_all(folder.join("netns")).unwrap();
        fs::write(folder.join("netns/a"), "").unwrap();
        assert!(network.connect(&id("a")).await.is_err());
        fs::remove_file(folder.join("netns/a")).unwrap();
        // eth0 is taken.
        let a = network.create_namespace(&id("a")).await.unwrap();
        inside(&a, || ip("link add eth0 type veth peer name other"));
        assert!(matches!(
            network.connect(&id("a")).await,
            Err(NetworkError::Link { .. })
        ));
        network.remove(&id("a")).await.unwrap();
        network.settle().await;
        assert_eq!(traces(folder), before);
        network.create_namespace(&id("b")).await.unwrap();
        assert_eq!(network.connect(&id("b")).await.unwrap().address.octets()[3], 5);
    });
}

#[test]
fn a_link_that_is_no_bridge_or_has_another_address_is_refused_and_stays() {
    on_own_host(async |folder| {
        ip(&format!("link add {BRIDGE} type veth peer name other"));
        let refused = Network::open(config(folder)).await.err().unwrap();
        assert_eq!(
            refused.to_string(),
            "invalid bridge configuration: dvtest0 exists and is not a bridge"
        );
        ip(&format!("link del {BRIDGE}"));
        ip(&format!("link add {BRIDGE} type bridge"));
        ip(&format!("addr add 10.9.9.1/24 dev {BRIDGE}"));
        let refused = Network::open(config(folder)).await.err().unwrap().to_string();
        assert!(
            refused.contains("has the address 10.9.9.1/24, not 10.231.7.1/24"),
            "{refused}"
        );
        assert!(ip("-br addr").contains("10.9.9.1/24"));
    });
}
