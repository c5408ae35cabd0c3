//! systemd as the first process.

use std::fs;

#[test]
fn the_first_process_is_systemd() {
    assert_eq!(
        fs::read_to_string("/proc/1/comm").expect("/proc is mounted"),
        "systemd\n"
    );
}
