use serde_json::{Value, json};

use super::*;

/// What docker CLI 28 sends for `docker run --rm --network none bb echo hi`, without the nulls.
const BODY: &str = r#"{
    "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": true, "AttachStderr": true,
    "Tty": false, "OpenStdin": false, "StdinOnce": false, "Cmd": ["echo", "hi"], "Image": "bb", "Volumes": {},
    "WorkingDir": "", "Labels": {},
    "HostConfig": {
        "ContainerIDFile": "", "LogConfig": { "Type": "", "Config": {} }, "NetworkMode": "none", "PortBindings": {},
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 }, "AutoRemove": true, "VolumeDriver": "",
        "ConsoleSize": [0, 0], "CgroupnsMode": "", "Dns": [], "DnsOptions": [], "DnsSearch": [], "IpcMode": "",
        "Cgroup": "", "OomScoreAdj": 0, "PidMode": "", "Privileged": false, "PublishAllPorts": false,
        "ReadonlyRootfs": false, "UTSMode": "", "UsernsMode": "", "ShmSize": 0, "Isolation": "", "CpuShares": 0,
        "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [],
        "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "",
        "CpusetMems": "", "Devices": [], "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": -1,
        "OomKillDisable": false, "PidsLimit": 0, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0
    },
    "NetworkingConfig": { "EndpointsConfig": {} }
}"#;

fn body() -> Value {
    serde_json::from_str(BODY).unwrap()
}

fn convert(body: Value) -> Result<CreateRequest> {
    let machine = Machine {
        capabilities: capabilities::ALL.to_vec(),
        unified_cgroups: true,
        cpus: 2,
    };
    create_request(None, serde_json::from_value(body).unwrap(), &machine)
}

#[test]
fn what_the_docker_cli_sends_by_default_is_accepted() {
    let request = convert(body()).unwrap();
    assert_eq!(request.config.command_line(), ["echo", "hi"]);
    assert_eq!(request.host.network, NetworkMode::None);
    assert!(request.host.auto_remove);
}

#[test]
fn what_is_not_offered_is_refused_by_name_and_never_ignored() {
    let check = |pointer: &str, name: &str, value: Value| {
        let mut body = body();
        body.pointer_mut(pointer).unwrap()[name] = value;
        convert(body).unwrap_err()
    };
    let ports = json!({ "80/tcp": [{ "HostIp": "", "HostPort": "8080" }] });
    for (name, value) in [
        ("PortBindings", ports),
        ("Links", json!(["a:b"])),
        ("Init", json!(true)),
        ("VolumesFrom", json!(["x"])),
        ("DeviceRequests", json!([{ "Count": -1 }])),
        ("PublishAllPorts", json!(true)),
        ("UsernsMode", json!("private")),
        ("StorageOpt", json!({ "size": "1G" })),
    ] {
        let error = check("/HostConfig", name, value);
        assert_eq!(error.status, 501, "{name}");
        assert!(error.message.contains(name), "{}", error.message);
    }
    let error = check("", "Healthcheck", json!({ "Test": ["CMD", "true"] }));
    assert!(error.message.contains("Healthcheck"));
    let error = check("", "Volumes", json!({ "/data": {} }));
    assert!(error.message.contains("/data"));
    let error = check(
        "/NetworkingConfig",
        "EndpointsConfig",
        json!({ "none": { "IPAMConfig": { "IPv4Address": "10.0.0.2" } } }),
    );
    assert!(error.message.contains("IPAMConfig"));
}

#[test]
fn malformed_values_are_bad_requests() {
    let check = |name: &str, value: Value| {
        let mut body = body();
        body["HostConfig"][name] = value;
        convert(body).unwrap_err().status
    };
    assert_eq!(check("CapAdd", json!(["FLY"])), 400);
    assert_eq!(check("Binds", json!(["/a:b"])), 400);
    assert_eq!(check("ExtraHosts", json!(["nope"])), 400);
    assert_eq!(check("CgroupParent", json!("/a/../b")), 400);
    assert_eq!(check("OomScoreAdj", json!(5000)), 400);
    assert_eq!(check("NetworkMode", json!("nope")), 400);
    assert_eq!(check("SecurityOpt", json!(["nope"])), 400);
    assert_eq!(check("Binds", json!(["/a:/x", "/b:/x/"])), 400);
    let mount = json!({ "Type": "bind", "Source": "/tmp", "Target": "/x", "BindOptions": { "Propagation": "far" } });
    assert_eq!(check("Mounts", json!([mount])), 400);
}
