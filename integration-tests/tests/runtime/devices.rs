//! Device nodes of the config, as they are found in the container.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn with_devices(devices: Value) -> Bundle {
    let bundle = Bundle::new();
    bundle.edit(|config| config["linux"]["devices"] = devices);
    bundle
}

#[test]
fn a_node_has_the_kind_number_mode_and_owner_of_the_config() {
    let bundle = with_devices(json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 7},
        {"path": "/dev/plain", "type": "u", "major": 1, "minor": 5},
        {"path": "/dev/below/disk", "type": "b", "major": 7, "minor": 18, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o620, "uid": 8},
        {"path": "/outside", "type": "c", "major": 1, "minor": 7, "gid": 9},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 11},
    ]));
    let nodes = ["mine", "plain", "below/disk", "pipe", "../outside", "null"];
    let script = format!("cd /dev; stat -c '%n %F %t:%T %a %u:%g' {}", nodes.join(" "));
    let expected = "mine character special file 1:3 640 5:7\n\
                    plain character special file 1:5 666 0:0\n\
                    below/disk block special file 7:12 600 0:0\n\
                    pipe fifo 0:0 620 8:0\n\
                    ../outside character special file 1:7 666 0:9\n\
                    null character special file 1:3 600 11:0";
    assert_eq!(bundle.run(&["sh", "-c", &script]).ok(), expected);
}

#[test]
fn a_node_is_the_device_that_it_says() {
    let bundle = with_devices(json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 7},
        {"path": "/dev/pipe", "type": "p"},
    ]));
    let script = "(read line < /dev/pipe; echo read $line) & echo hello > /dev/pipe; wait; echo x > /dev/mine";
    let finished = bundle
        .run(&["sh", "-c", script])
        .code_is(1)
        .says("No space left on device");
    assert_eq!(finished.stdout, "read hello\n");
}

#[test]
fn something_else_in_the_image_at_a_nodes_place_is_refused_and_left_as_it_is() {
    let bundle = with_devices(json!([{"path": "/device", "type": "c", "major": 1, "minor": 3}]));
    let place = bundle.rootfs().join("device");
    fs::write(&place, "a file").expect("the rootfs is ours");
    bundle
        .run(&["true"])
        .code_is(1)
        .says("/device exists and is not the device that it has to be");
    assert_eq!(fs::read_to_string(place).expect("it is there"), "a file");
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
}
