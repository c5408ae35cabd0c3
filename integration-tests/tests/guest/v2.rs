//! Pure cgroup v2.

use crate::bundle::Bundle;

#[test]
fn the_machine_has_nothing_but_cgroup_v2() {
    let bundle = Bundle::new();
    let output = bundle.run(&["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(output, "0::/");
}
