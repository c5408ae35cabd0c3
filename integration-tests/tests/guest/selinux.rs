//! SELinux labels.

use crate::bundle::Bundle;

#[test]
fn without_a_label_a_program_keeps_the_runtimes() {
    let bundle = Bundle::new();
    let output = bundle.run(&["cat", "/proc/self/attr/current"]).ok();
    assert!(output.starts_with("system_u:system_r:kernel_t:s0"), "{output}");
}
