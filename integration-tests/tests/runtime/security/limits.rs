//! CVE-2021-43784: what is longer than some buffer is taken whole or refused, never cut.

use std::fs;

use serde_json::{Value, json};

use super::Bundle;

fn mappings(count: u32) -> Value {
    let run = |id: u32| json!({"containerID": id, "hostID": 100_000 + 2 * id, "size": 1});
    (0..count).map(run).collect()
}

#[test]
fn more_than_64_kib_of_id_mappings_are_refused_and_leave_nothing() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = mappings(5000);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 1}]);
    });
    bundle.run(&["id"]).code_is(1).says("linux.uidMappings: 5000 mappings");
    assert_eq!(bundle.ids(), Vec::<String>::new());

    let bundle = Bundle::new();
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": "/mnt", "source": "/tmp", "options": ["bind"],
            "uidMappings": mappings(5000), "gidMappings": mappings(1)}));
    });
    bundle.run(&["id"]).code_is(1).says("mounts.uidMappings: 5000 mappings");
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn more_than_64_kib_of_paths_are_mounted_all_of_them() {
    let bundle = Bundle::new();
    let deep = ["a-directory-with-a-name-of-some-length"; 25].join("/");
    let source = format!("{}/{deep}", bundle.file("source"));
    fs::create_dir_all(&source).expect("the bundle is ours");
    let count = 40;
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        for number in 0..count {
            let destination = format!("/{number}/{deep}");
            mounts.push(json!({"destination": destination, "source": source, "options": ["bind", "ro", "nosuid"]}));
        }
    });
    let script = format!("grep -cE ' /[0-9]+/{deep} .* ro,nosuid,' /proc/mounts");
    let output = bundle.run(&["sh", "-c", &script]).ok();
    assert_eq!(output, count.to_string());
}

#[test]
fn a_path_that_is_too_long_for_the_kernel_is_refused() {
    let long = format!("/{}", "d/".repeat(2_500));
    for (destination, source) in [(long.as_str(), "/tmp"), ("/mnt", long.as_str())] {
        let bundle = Bundle::new();
        bundle.edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("a list");
            mounts.push(json!({"destination": destination, "source": source, "options": ["bind"]}));
        });
        bundle.run(&["true"]).code_is(1).says("file name too long");
        assert_eq!(bundle.ids(), Vec::<String>::new());
    }
}
