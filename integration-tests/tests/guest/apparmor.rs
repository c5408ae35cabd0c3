//! AppArmor profiles.

use crate::bundle::Bundle;

#[test]
fn without_a_profile_a_program_is_unconfined() {
    let bundle = Bundle::new();
    let output = bundle.run(&["cat", "/proc/self/attr/apparmor/current"]).ok();
    assert_eq!(output, "unconfined");
}
