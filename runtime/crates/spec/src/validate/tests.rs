use serde_json::{Value, json};

use crate::{Config, DEFAULT};

fn check(edit: impl FnOnce(&mut Value)) -> Result<(), String> {
    let mut config: Value = serde_json::from_str(DEFAULT).unwrap();
    edit(&mut config);
    Config::parse(config.to_string().as_bytes())
        .and_then(|config| config.validate())
        .map_err(|err| err.to_string())
}

#[test]
fn the_example_is_valid() {
    assert_eq!(check(|_| {}), Ok(()));
}

#[test]
fn nulls_where_go_writes_them_are_absence() {
    let nulls = |config: &mut Value| {
        config["mounts"] = Value::Null;
        config["hooks"] = Value::Null;
        config["annotations"] = Value::Null;
        config["process"]["env"] = Value::Null;
        config["process"]["capabilities"]["ambient"] = Value::Null;
        config["linux"]["maskedPaths"] = Value::Null;
        config["linux"]["resources"]["devices"] = Value::Null;
    };
    assert_eq!(check(nulls), Ok(()));
}

#[test]
fn a_share_of_the_caches_has_a_class_that_is_one_name() {
    let class = |class: &'static str| check(move |config| config["linux"]["intelRdt"] = json!({"closID": class}));
    assert_eq!(class("gold"), Ok(()));
    assert_eq!(class("/"), Ok(()));
    for bad in ["..", ".", "a/b", "/a"] {
        assert_eq!(class(bad).unwrap_err(), format!("invalid intelRdt.ClosID {bad:?}"));
    }
    let two = check(|config| config["linux"]["intelRdt"] = json!({"schemata": ["L3:0=f\nMB:0=10"]}));
    assert!(two.unwrap_err().contains("a newline"));
}

#[test]
fn what_would_reach_beyond_the_container_is_refused() {
    let without = |kind: &'static str| {
        move |config: &mut Value| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != kind);
        }
    };
    assert_eq!(
        check(without("uts")).unwrap_err(),
        "unable to set hostname without a private UTS namespace"
    );
    assert_eq!(
        check(without("mount")).unwrap_err(),
        "unable to restrict sys entries without a private MNT namespace"
    );
    let sysctl = |name: &'static str| move |config: &mut Value| config["linux"]["sysctl"] = json!({name: "1"});
    assert_eq!(check(sysctl("net.ipv4.ip_forward")), Ok(()));
    assert_eq!(check(sysctl("net/ipv4/conf/eth0.1/forwarding")), Ok(()));
    assert_eq!(
        check(sysctl("vm.swappiness")).unwrap_err(),
        "sysctl \"vm.swappiness\" is not in a separate kernel namespace"
    );
    for escape in ["net.ipv4/../../vm/swappiness", "net/../vm/swappiness", "net//x"] {
        assert!(check(sysctl(escape)).is_err(), "{escape}");
    }
    let host_network = |config: &mut Value| {
        without("network")(config);
        sysctl("net.ipv4.ip_forward")(config);
    };
    assert_eq!(
        check(host_network).unwrap_err(),
        "sysctl \"net.ipv4.ip_forward\" is not allowed in the hosts network namespace"
    );
}

#[test]
fn a_config_of_the_wrong_shape_is_an_error_and_no_panic() {
    for json in [
        "",
        "[]",
        "{\"ociVersion\": 1}",
        "{\"process\": []}",
        "{\"linux\": {\"devices\": [{}]}}",
        "{\"mounts\":",
    ] {
        assert!(
            Config::parse(json.as_bytes())
                .and_then(|config| config.validate())
                .is_err(),
            "{json}"
        );
    }
}

#[test]
fn a_user_namespace_has_mappings_or_a_path_and_mappings_have_a_user_namespace() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    let user = |config: &mut Value, namespace: Value, map: &Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(namespace);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map.clone();
    };
    assert_eq!(check(|c| user(c, json!({"type": "user"}), &map)), Ok(()));
    let joined = json!({"type": "user", "path": "/proc/1/ns/user"});
    assert_eq!(check(|c| user(c, joined, &Value::Null)), Ok(()));
    let unmapped = check(|c| user(c, json!({"type": "user"}), &Value::Null)).unwrap_err();
    assert!(
        unmapped.contains("no namespace path to join nor mappings"),
        "{unmapped}"
    );
    let lonely = check(|c| c["linux"]["uidMappings"] = map.clone()).unwrap_err();
    assert!(lonely.contains("user namespace isn't enabled"), "{lonely}");
    let rootless = json!([{"containerID": 1, "hostID": 100_000, "size": 1}]);
    let nobody = check(|c| user(c, json!({"type": "user"}), &rootless)).unwrap_err();
    assert!(nobody.contains("id 0 is not mapped"), "{nobody}");
    let many: Vec<_> = (0..3000)
        .map(|id| json!({"containerID": id, "hostID": 100_000 + id, "size": 1}))
        .collect();
    let long = check(|c| user(c, json!({"type": "user"}), &json!(many))).unwrap_err();
    assert!(long.contains("linux.uidMappings: 3000 mappings"), "{long}");
}

#[test]
fn time_offsets_need_a_time_namespace_of_the_containers_own_and_a_clock_that_it_has() {
    let time = |config: &mut Value, path: &str, offsets: Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "time", "path": path}));
        config["linux"]["timeOffsets"] = offsets;
    };
    let offsets = json!({"monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {"secs": 86_400}});
    assert_eq!(check(|c| time(c, "", offsets.clone())), Ok(()));
    assert_eq!(check(|c| time(c, "", Value::Null)), Ok(()));
    let lonely = check(|c| c["linux"]["timeOffsets"] = offsets.clone()).unwrap_err();
    assert!(lonely.contains("time namespace isn't enabled"), "{lonely}");
    let joined = check(|c| time(c, "/proc/1/ns/time", offsets.clone())).unwrap_err();
    assert!(joined.contains("both namespace path and time offsets"), "{joined}");
    let clock = check(|c| time(c, "", json!({"realtime": {"secs": 1}}))).unwrap_err();
    assert!(clock.contains("realtime"), "{clock}");
    assert!(check(|c| time(c, "", json!({"monotonic": {"nanosecs": 1_000_000_000}}))).is_err());
}
