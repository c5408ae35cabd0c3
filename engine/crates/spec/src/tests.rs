use super::*;

fn machine() -> Machine {
    Machine {
        capabilities: capabilities::ALL.to_vec(),
        unified_cgroups: true,
        cpus: 2,
    }
}

fn config() -> Config {
    Config {
        hostname: "0123456789ab".into(),
        cmd: Some(vec!["sleep".into(), "1".into()]),
        ..Config::default()
    }
}

fn spec(config: &Config, host: &Host) -> Spec {
    generate(&Input {
        id: "0123456789abcdef",
        config,
        host,
        identity: &Identity {
            home: "/root".into(),
            ..Identity::default()
        },
        files: Path::new("/var/lib/davit/containers/0123456789abcdef"),
        netns: None,
        machine: &machine(),
    })
    .unwrap()
}

/// JSON with sorted keys and sets, and the long list of system calls cut: their number is enough.
fn stable(spec: &Spec) -> String {
    let mut json = serde_json::to_value(spec).unwrap();
    for set in json["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
        set.as_array_mut().unwrap().sort_by_key(|name| name.to_string());
    }
    for call in json["linux"]["seccomp"]["syscalls"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        let names = call["names"].as_array().unwrap().len();
        if names > 50 {
            call["names"] = format!("{names} names").into();
        }
    }
    serde_json::to_string_pretty(&json).unwrap()
}

#[test]
fn the_default_specification_is_dockers() {
    insta::assert_snapshot!(stable(&spec(&config(), &Host::default())));
}

#[test]
fn a_privileged_container_has_no_filter_and_nothing_hidden() {
    let host = Host {
        privileged: true,
        ..Host::default()
    };
    let spec = spec(&config(), &host);
    let linux = spec.linux().clone().unwrap();
    assert!(linux.seccomp().is_none());
    assert_eq!(linux.masked_paths().clone().unwrap_or_default().len(), 0);
    assert!(
        linux
            .devices()
            .clone()
            .unwrap()
            .iter()
            .any(|node| node.path() == Path::new("/dev/null"))
    );
}

#[test]
fn the_host_modes_leave_their_namespaces_out() {
    let host = Host {
        network: NetworkMode::Host,
        ipc: IpcMode::Host,
        pid: PidMode::Host,
        uts: UtsMode::Host,
        cgroupns: CgroupMode::Host,
        ..Host::default()
    };
    let spec = spec(&config(), &host);
    let namespaces = spec.linux().clone().unwrap().namespaces().clone().unwrap();
    assert_eq!(namespaces.len(), 1);
    assert_eq!(spec.hostname(), &None);
    // The host may have no message queues mounted: the kernel shows those of its namespace.
    let mounts = spec.mounts().as_deref().unwrap();
    let queues = mounts
        .iter()
        .find(|mount| mount.destination().ends_with("mqueue"))
        .unwrap();
    assert_eq!(queues.typ().as_deref(), Some("mqueue"));
}

#[test]
fn a_users_mount_replaces_the_engines_own() {
    let host = Host {
        binds: vec![
            "/tmp/hosts:/etc/hosts".parse().unwrap(),
            "/srv:/data/a:ro".parse().unwrap(),
        ],
        ..Host::default()
    };
    let spec = spec(&config(), &host);
    let mounts = spec.mounts().clone().unwrap();
    let hosts: Vec<_> = mounts
        .iter()
        .filter(|mount| mount.destination() == Path::new("/etc/hosts"))
        .collect();
    assert_eq!(hosts.len(), 1);
    assert_eq!(hosts[0].source().as_deref(), Some(Path::new("/tmp/hosts")));
    assert!(
        mounts
            .last()
            .unwrap()
            .options()
            .clone()
            .unwrap()
            .contains(&"ro".to_owned())
    );
}

#[test]
fn who_is_not_root_has_no_effective_capability() {
    let config = config();
    let input = Input {
        id: "x",
        config: &config,
        host: &Host::default(),
        identity: &Identity {
            uid: 1000,
            gid: 1000,
            ..Identity::default()
        },
        files: Path::new("/c"),
        netns: None,
        machine: &machine(),
    };
    let spec = generate(&input).unwrap();
    let sets = spec.process().clone().unwrap().capabilities().clone().unwrap();
    assert_eq!(sets.effective().clone().unwrap().len(), 0);
    assert_eq!(sets.bounding().clone().unwrap().len(), capabilities::DEFAULT.len());
}

#[test]
fn a_container_without_a_command_is_refused() {
    let config = Config::default();
    let input = Input {
        id: "x",
        config: &config,
        host: &Host::default(),
        identity: &Identity::default(),
        files: Path::new("/c"),
        netns: None,
        machine: &machine(),
    };
    assert_eq!(generate(&input).unwrap_err().to_string(), "no command specified");
}
