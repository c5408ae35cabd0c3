//! Interfaces that a container takes over from the runtime's network namespace, which is one of the test's own.

use std::process::Command;

use davit_integration_tests::{Finished, Run};
use serde_json::json;

use crate::{
    bundle::{Bundle, without_namespace},
    shell_words,
};

/// A network namespace with the two ends of a veth pair, `left` with addresses.
struct Network {
    name: String,
}

impl Network {
    fn new(bundle: &Bundle) -> Self {
        let network = Network {
            name: format!("{}-net", bundle.id()),
        };
        ip(&["netns", "add", &network.name]).ok();
        network
            .ip(&["link", "add", "left", "type", "veth", "peer", "name", "right"])
            .ok();
        network.ip(&["link", "set", "right", "up"]).ok();
        network.ip(&["link", "set", "left", "up"]).ok();
        network.ip(&["address", "add", "10.99.0.1/24", "dev", "left"]).ok();
        network.ip(&["address", "add", "10.99.0.7/32", "dev", "left"]).ok();
        // An address that will not last, and one of the link alone.
        network
            .ip(&[
                "address",
                "add",
                "10.99.0.9/24",
                "dev",
                "left",
                "valid_lft",
                "1000",
                "preferred_lft",
                "1000",
            ])
            .ok();
        network
            .ip(&["address", "add", "169.254.9.9/16", "dev", "left", "scope", "link"])
            .ok();
        network
    }

    fn ip(&self, args: &[&str]) -> Finished {
        ip(&[&["-n", &self.name], args].concat())
    }

    /// Whether `left` is in use, and its addresses without what is left of their lifetimes.
    fn left(&self) -> (bool, Vec<String>) {
        let link = self.ip(&["-o", "link", "show", "dev", "left"]).ok();
        let addresses = self.ip(&["-o", "address", "show", "dev", "left"]).ok();
        let addresses = addresses
            .lines()
            .filter(|line| !line.contains("inet6 fe80:"))
            .filter_map(|line| line.split_once("inet"))
            .map(|(_, address)| address.split("valid_lft").next().unwrap_or_default().into());
        (link.contains(",UP"), addresses.collect())
    }

    /// The runtime, called from inside.
    fn run(&self, bundle: &Bundle, args: &[&str]) -> Finished {
        let line = shell_words(&bundle.command(args));
        let inside = format!("nsenter --net=/run/netns/{} {line}", self.name);
        Command::new("sh").args(["-c", &inside]).finish()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.name]);
    }
}

fn ip(args: &[&str]) -> Finished {
    Command::new("ip").args(args).finish()
}

/// What an interface has inside, and a word from the other end.
const SHOW: &str = "ip -o address show dev lan | grep -v inet6; ip -o link show dev lan; ls /sys/class/net";

#[test]
fn an_interface_moves_under_its_new_name_and_keeps_its_lasting_addresses() {
    let bundle = Bundle::new();
    let network = Network::new(&bundle);
    bundle.edit(|config| {
        config["linux"]["netDevices"] = json!({"left": {"name": "lan"}});
        // A parameter of the interface is set where it arrives.
        config["linux"]["sysctl"] = json!({"net/ipv4/conf/lan/forwarding": "1"});
        config["process"]["args"] = json!([
            "sh",
            "-c",
            format!("{SHOW}; cat /proc/sys/net/ipv4/conf/lan/forwarding")
        ]);
    });
    let output = network
        .run(&bundle, &["run", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    assert!(
        output.contains("inet 10.99.0.1/24") && output.contains("10.99.0.7/32"),
        "{output}"
    );
    assert!(
        !output.contains("10.99.0.9") && !output.contains("169.254.9.9"),
        "{output}"
    );
    assert!(output.contains("UP"), "{output}");
    assert!(output.ends_with("lan\nlo\n1"), "{output}");
    // A virtual interface ends with the namespace that it is in.
    network.ip(&["link", "show", "left"]).code_is(1);
}

#[test]
fn an_interface_moves_into_a_namespace_that_the_container_joins() {
    let bundle = Bundle::new();
    let network = Network::new(&bundle);
    let joined = format!("{}-in", bundle.id());
    ip(&["netns", "add", &joined]).ok();
    bundle.edit(|config| {
        config["linux"]["netDevices"] = json!({"left": {}});
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        let namespace = namespaces.iter_mut().find(|namespace| namespace["type"] == "network");
        namespace.expect("a network namespace")["path"] = json!(format!("/run/netns/{joined}"));
        config["process"]["args"] = json!(["ls", "/sys/class/net"]);
    });
    let finished = network.run(&bundle, &["run", "--bundle", &bundle.path(), bundle.id()]);
    let kept = ip(&["-n", &joined, "-o", "address", "show", "dev", "left"]);
    ip(&["netns", "delete", &joined]).ok();
    let output = finished.ok();
    assert!(output.contains("left"), "{output}");
    assert!(kept.ok().contains("10.99.0.1/24"));
}

#[test]
fn an_ipv6_address_moves_along() {
    let bundle = Bundle::new();
    let network = Network::new(&bundle);
    network
        .ip(&["address", "add", "fd99::1/64", "dev", "left", "nodad"])
        .ok();
    bundle.edit(|config| {
        config["linux"]["netDevices"] = json!({"left": {"name": "lan"}});
        config["process"]["args"] = json!(["ip", "-o", "address", "show", "dev", "lan"]);
    });
    let run = network.run(&bundle, &["run", "--bundle", &bundle.path(), bundle.id()]);
    let output = run.ok();
    assert!(output.contains("inet6 fd99::1/64"), "{output}");
}

#[test]
fn a_creation_that_fails_leaves_the_interfaces_as_they_were() {
    let bundle = Bundle::new();
    let network = Network::new(&bundle);
    network
        .ip(&["address", "add", "fd99::1/64", "dev", "left", "nodad"])
        .ok();
    let before = network.left();
    assert!(before.0 && before.1.len() == 5, "{before:?}");
    let devices = json!({"left": {"name": "lan"}, "right": {}});
    let failing = json!([{"path": "/bin/false"}]);
    for (hook, devices, text) in [
        ("createRuntime", devices.clone(), "createRuntime hook #0"),
        // The container's first process is gone, and with it all who are in its namespaces.
        ("createContainer", devices.clone(), "createContainer hook #0"),
        ("poststart", devices, "poststart hook #0"),
        // The kernel moves it, and then finds the name taken.
        ("poststop", json!({"left": {"name": "lo"}}), "move netDevice left"),
        ("poststop", json!({"absent": {}, "left": {}}), "move netDevice absent"),
        (
            "poststop",
            json!({"left": {"name": "lan"}, "no": {}}),
            "move netDevice no",
        ),
    ] {
        bundle.edit(|config| {
            config["linux"]["netDevices"] = devices;
            config["process"]["args"] = json!(["true"]);
            config["hooks"] = json!({hook: failing});
        });
        let run = network.run(&bundle, &["run", "--bundle", &bundle.path(), bundle.id()]);
        run.code_is(1).says(text);
        assert_eq!(network.left(), before, "{text}");
        network.ip(&["link", "show", "right", "up"]).ok();
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_container_whose_pid_cannot_be_written_down_gives_its_interfaces_back() {
    let bundle = Bundle::new();
    let network = Network::new(&bundle);
    network.ip(&["link", "set", "left", "down"]).ok();
    let before = network.left();
    bundle.edit(|config| config["linux"]["netDevices"] = json!({"left": {"name": "lan"}}));
    let args = [
        "create",
        "--bundle",
        &bundle.path(),
        "--pid-file",
        "/nowhere/pid",
        bundle.id(),
    ];
    network.run(&bundle, &args).code_is(1).says("/nowhere");
    assert_eq!(network.left(), before);
    assert!(!before.0);
}

#[test]
fn an_interface_whose_name_is_taken_meanwhile_is_told_of() {
    let bundle = Bundle::new();
    let network = Network::new(&bundle);
    let script = format!("ip -n {} link add left type veth peer name other; exit 1", network.name);
    bundle.edit(|config| {
        config["linux"]["netDevices"] = json!({"left": {"name": "lan"}});
        config["hooks"]["createRuntime"] =
            json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}]);
    });
    let run = network.run(&bundle, &["run", "--bundle", &bundle.path(), bundle.id()]);
    run.code_is(1)
        .says("netDevice left is not what it was before: move back left: file exists");
    // Not lost, for all that.
    network.ip(&["link", "show", "lan"]).ok();
}

#[test]
fn an_interface_that_cannot_be_moved_is_named_and_no_container_is_left() {
    let bundle = Bundle::new();
    let network = Network::new(&bundle);
    for (devices, text) in [
        (
            json!({"absent": {}}),
            "move netDevice absent to the container's network namespace: find link: no such device",
        ),
        (json!({"left": {"name": "lo"}}), "move netDevice left"),
        (json!({"left": {"name": "a/b"}}), "invalid network device name"),
    ] {
        bundle.edit(|config| config["linux"]["netDevices"] = devices);
        network
            .run(&bundle, &["run", "--bundle", &bundle.path(), bundle.id()])
            .code_is(1)
            .says(text);
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{text}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{text}");
    }
    bundle.edit(|config| without_namespace(config, "network"));
    bundle
        .run_as_is()
        .code_is(1)
        .says("unable to move network devices without a NET namespace");
}
