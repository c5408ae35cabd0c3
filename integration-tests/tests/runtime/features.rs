//! `features`, held against what the program accepts and the kernel does, but for the switches at the end.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// Architectures whose byte order is not this machine's.
const BIG_ENDIAN: [&str; 9] = [
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "PARISC",
    "PARISC64",
    "PPC",
    "PPC64",
    "S390",
    "S390X",
];

fn features(bundle: &Bundle) -> Value {
    serde_json::from_str(&bundle.runtime(&["features"]).ok()).expect("JSON")
}

fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|name| name.as_str().expect("text").to_owned()).collect()
}

#[test]
fn the_versions_are_those_of_the_program() {
    let bundle = Bundle::new();
    let features = features(&bundle);
    assert_eq!(
        (&features["ociVersionMin"], &features["ociVersionMax"]),
        (&json!("1.0.0"), &json!("1.3.0"))
    );
    let version = bundle.runtime(&["--version"]).ok();
    let libseccomp = version.lines().find_map(|line| line.strip_prefix("libseccomp: "));
    let annotations = &features["annotations"];
    assert_eq!(annotations["io.github.seccomp.libseccomp.version"].as_str(), libseccomp);
    assert_eq!(annotations["org.opencontainers.runc.checkpoint.enabled"], "true");
    let unsafe_annotations = names(&features["potentiallyUnsafeConfigAnnotations"]);
    assert_eq!(
        unsafe_annotations,
        ["bundle", "org.systemd.property.", "org.criu.config"]
    );
    // The versions that a config may follow, and no others.
    for (follows, code) in [("1.0.0", 0), ("1.3.0", 0), ("2.0.0", 1)] {
        bundle.edit(|config| config["ociVersion"] = json!(follows));
        bundle.run(&["true"]).code_is(code);
    }
}

#[test]
fn every_namespace_that_is_named_can_be_had_anew() {
    let bundle = Bundle::new();
    let named = names(&features(&bundle)["linux"]["namespaces"]);
    assert_eq!(
        named,
        ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    );
    crate::user_namespaces::map_ids(&bundle);
    let has_time = fs::exists("/proc/self/ns/time").unwrap_or(false);
    if !has_time {
        davit_integration_tests::skipped!("this kernel has no time namespaces");
    }
    let files = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let wanted: Vec<_> = named
        .iter()
        .zip(files)
        .filter(|(kind, _)| has_time || *kind != "time")
        .collect();
    bundle.edit(|config| {
        config["linux"]["namespaces"] = wanted.iter().map(|(kind, _)| json!({"type": kind})).collect();
    });
    for (kind, file) in wanted {
        let link = format!("/proc/self/ns/{file}");
        let own = fs::read_link(&link).expect("it is there").display().to_string();
        assert_ne!(bundle.run(&["readlink", &link]).ok(), own, "{kind}");
    }
}

#[test]
fn every_hook_that_is_named_runs() {
    let bundle = Bundle::new();
    let seen = bundle.rootfs().join("seen");
    fs::create_dir(&seen).expect("the rootfs is ours");
    let hooks = names(&features(&bundle)["hooks"]);
    bundle.edit(|config| {
        for hook in &hooks {
            let folder = match hook.as_str() {
                "startContainer" => "/seen".to_owned(),
                _ => seen.display().to_string(),
            };
            let script = format!("PATH=/usr/bin:/bin; touch {folder}/{hook}");
            config["hooks"][hook] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
        }
    });
    bundle.run(&["true"]).ok();
    for hook in &hooks {
        assert!(seen.join(hook).exists(), "{hook}");
    }
    assert_eq!(hooks.len(), 6);
}

#[test]
fn every_mount_option_that_is_named_is_one_and_no_file_systems_data() {
    let bundle = Bundle::new();
    let options = names(&features(&bundle)["mountOptions"]);
    for name in ["bind", "idmap", "rbind", "ridmap", "rro", "tmpcopyup"] {
        assert!(options.iter().any(|option| option == name), "{name}");
    }
    crate::user_namespaces::map_ids(&bundle);
    // What is a file system's own is refused of a bind.
    let refused = "filesystem-specific options";
    let bind = |option: &str| {
        bundle.edit(|config| {
            config["mounts"].as_array_mut().expect("a list").truncate(7);
            let mount = json!({"destination": "/mnt", "source": "/etc", "options": ["bind", option]});
            config["mounts"].as_array_mut().expect("a list").push(mount);
        });
        bundle.run(&["true"])
    };
    bind("size=1").code_is(1).says(refused);
    for option in &options {
        let finished = bind(option);
        assert!(!finished.stderr.contains(refused), "{option}: {}", finished.stderr);
    }
}

#[test]
fn every_capability_that_is_named_is_known() {
    let bundle = Bundle::new();
    let all = names(&features(&bundle)["linux"]["capabilities"]);
    assert_eq!(all.len(), 41);
    bundle.edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(all);
        }
    });
    let finished = bundle.run(&["grep", "CapBnd", "/proc/self/status"]);
    assert!(!finished.stderr.contains("ignoring unknown"), "{}", finished.stderr);
    // As many as whoever runs the test has itself.
    let own = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let own = own.lines().find(|line| line.starts_with("CapBnd")).expect("a line");
    assert_eq!(finished.ok(), own);
}

#[test]
fn every_word_of_seccomp_that_is_named_may_be_said() {
    let bundle = Bundle::new();
    let seccomp = features(&bundle)["linux"]["seccomp"].clone();
    let run = |profile: Value| {
        bundle.edit(|config| config["linux"]["seccomp"] = profile);
        bundle.run(&["true"])
    };
    let rule = |action: &str, operator: &str| {
        let args = json!([{"index": 0, "value": 77, "valueTwo": 77, "op": operator}]);
        json!({"names": ["personality"], "action": action, "args": args})
    };
    let allow = "SCMP_ACT_ALLOW";
    for action in names(&seccomp["actions"])
        .iter()
        .filter(|action| *action != "SCMP_ACT_NOTIFY")
    {
        run(json!({"defaultAction": allow, "syscalls": [rule(action, "SCMP_CMP_EQ")]})).ok();
    }
    for operator in names(&seccomp["operators"]) {
        run(json!({"defaultAction": allow, "syscalls": [rule("SCMP_ACT_ERRNO", &operator)]})).ok();
    }
    for flag in names(&seccomp["supportedFlags"]) {
        run(json!({"defaultAction": allow, "flags": [flag], "syscalls": [rule("SCMP_ACT_ERRNO", "SCMP_CMP_EQ")]})).ok();
    }
    let supported = names(&seccomp["supportedFlags"]);
    let known = names(&seccomp["knownFlags"]);
    assert!(supported.iter().all(|flag| known.contains(flag)));
    for arch in names(&seccomp["archs"]) {
        let finished = run(json!({"defaultAction": allow, "architectures": [arch]}));
        // libseccomp does not put both byte orders into one filter.
        let of_this_order = !BIG_ENDIAN.contains(&arch.trim_start_matches("SCMP_ARCH_"));
        assert_eq!(finished.code == 0, of_this_order, "{arch}: {}", finished.stderr);
    }
}

#[test]
fn every_memory_policy_that_is_named_is_known() {
    let bundle = Bundle::new();
    let policies = features(&bundle)["linux"]["memoryPolicy"].clone();
    let run = |policy: Value| {
        bundle.edit(|config| config["linux"]["memoryPolicy"] = policy);
        bundle.run(&["true"])
    };
    let unknown = ["invalid memory policy mode", "invalid memory policy flag"];
    let bind = |flag: &str| json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]});
    run(json!({"mode": "MPOL_NONE"})).code_is(1).says(unknown[0]);
    run(bind("MPOL_F_NONE")).code_is(1).says(unknown[1]);
    let modes = names(&policies["modes"]).into_iter().map(|mode| json!({"mode": mode}));
    let flags = names(&policies["flags"]).into_iter().map(|flag| bind(&flag));
    for policy in modes.chain(flags) {
        // The kernel may refuse it: not every one has all of them, and some need nodes.
        let said = run(policy.clone()).stderr;
        assert!(!unknown.iter().any(|text| said.contains(text)), "{policy}: {said}");
    }
}

#[test]
fn features_say_that_all_parts_are_enabled() {
    let bundle = Bundle::new();
    let linux = features(&bundle)["linux"].clone();
    for flag in [
        "/apparmor/enabled",
        "/selinux/enabled",
        "/mountExtensions/idmap/enabled",
        "/netDevices/enabled",
    ] {
        assert_eq!(linux.pointer(flag), Some(&json!(true)), "{flag}");
    }
    let group = |names: &[&str]| {
        names
            .iter()
            .map(|name| ((*name).to_owned(), json!(true)))
            .collect::<Value>()
    };
    assert_eq!(linux["cgroup"], group(&["v1", "v2", "systemd", "systemdUser", "rdma"]));
    assert_eq!(linux["intelRdt"], group(&["enabled", "schemata", "monitoring"]));
    assert_eq!(linux["seccomp"]["enabled"], true);
}
