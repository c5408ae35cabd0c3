//! TCP connections that are not taken along.

use std::{fs::File, net::TcpStream, thread};

use davit_integration_tests::wait;
use nix::sched::{CloneFlags, setns};

use super::{COUNTER, Netns, rig::Rig};

/// Listens and never accepts.
const LISTEN: &str = r#"
#include <arpa/inet.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(4000)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 5)) return 1;
    for (;;) pause();
}
"#;

impl Rig {
    /// Connects to a port in the container's network.
    fn connect(&self, port: u16) -> TcpStream {
        let network = format!("/proc/{}/ns/net", self.bundle.state()["pid"]);
        let connect = move || {
            let network = File::open(network).expect("it runs");
            setns(network, CloneFlags::CLONE_NEWNET).expect("it is a network's");
            TcpStream::connect(("127.0.0.1", port)).expect("somebody listens")
        };
        thread::spawn(connect).join().expect("a connection")
    }
}

#[test]
fn a_connection_that_nobody_has_accepted_yet_is_left_out_where_that_is_asked_for() {
    let Some(rig) = Rig::new() else { return };
    rig.bundle.compile("listen", LISTEN);
    let listen = "listen & until netstat -ltn | grep -q :4000; do sleep 0.1; done";
    rig.run(&format!("{listen}; {COUNTER}"));
    rig.counts_on();
    let _connection = rig.connect(4000);
    rig.checkpoint(&[]).code_is(1).says("In-flight connection");
    rig.counts_on();
    rig.checkpoint(&["--tcp-skip-in-flight"]).ok();
    rig.restore(&[]).ok();
    rig.counts_on();
    assert_eq!(rig.exec(&["sh", "-c", "netstat -ltn | grep -c :4000"]), "1");
}

#[test]
fn a_connection_of_the_image_can_be_closed_instead_of_restored() {
    let Some(rig) = Rig::new() else { return };
    // In a network of its own it would not survive anyhow: that is made anew, and left empty.
    let _netns = Netns::new(&rig);
    let listen = "sleep 1000 | nc -l -p 4000 | while read line; do echo $line > /count; done &";
    let speak = "sleep 0.3; i=0; while true; do i=$((i+1)); echo $i; sleep 0.02; done | nc 127.0.0.1 4000";
    rig.run(&format!("{listen} {speak}; touch /closed; exec sleep 1000"));
    let closed = rig.bundle.rootfs().join("closed");
    rig.counts_on();
    rig.checkpoint(&["--tcp-established"]).ok();
    rig.restore(&[]).code_is(1).says("Connected TCP socket in image");
    assert!(!closed.exists());
    rig.restore(&["--tcp-close"]).ok();
    wait::until_true("the program sees it closed", 20, || closed.exists());
    assert_eq!(rig.bundle.state()["status"], "running");
}
