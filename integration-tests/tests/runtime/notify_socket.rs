//! A service in a container that tells the caller's manager of its state (sd_notify(3)).

use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    time::Duration,
};

use davit_integration_tests::{Run, wait};
use serde_json::json;

use crate::{Bundle, shell_words};

/// A container whose program sends these messages and then sleeps or ends.
struct Service {
    bundle: Bundle,
    manager: UnixDatagram,
}

impl Service {
    fn new(messages: &[&str], end: &str) -> Self {
        let bundle = Bundle::new();
        install_sender(&bundle);
        let says: String = messages.iter().map(|message| format!("say '{message}'; ")).collect();
        let script = format!("{says}{end}");
        bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
        let manager = UnixDatagram::bind(bundle.file("manager")).expect("the bundle is ours");
        manager
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket");
        Service { bundle, manager }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bundle.command(args);
        command
            .env("NOTIFY_SOCKET", self.bundle.file("manager"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// The next message; a descriptor that comes with it is closed, which answers a barrier.
    fn hear(&self) -> String {
        let mut buffer = [0; 4096];
        let length = wait::uninterrupted(|| self.manager.recv(&mut buffer)).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}

/// Puts a program into the container that sends its argument to $NOTIFY_SOCKET.
fn install_sender(bundle: &Bundle) {
    const SOURCE: &str = r#"
        #include <stdlib.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <sys/un.h>
        int main(int count, char **words) {
            struct sockaddr_un to = {.sun_family = AF_UNIX};
            const char *path = getenv("NOTIFY_SOCKET");
            if (count < 2 || !path) return 2;
            strncpy(to.sun_path, path, sizeof to.sun_path - 1);
            int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
            return sendto(fd, words[1], strlen(words[1]), 0, (struct sockaddr *)&to, sizeof to) < 0;
        }"#;
    bundle.compile("say", SOURCE);
}

#[test]
fn a_detached_run_ends_when_the_service_is_ready_and_names_its_first_process() {
    let service = Service::new(&["MAINPID=77\nSTATUS=warming up", "READY=1"], "sleep 600");
    let bundle = &service.bundle;
    let mut run = service
        .command(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .spawn()
        .expect("the runtime is built");
    assert_eq!(service.hear(), "STATUS=warming up\n");
    let ready = service.hear();
    assert_eq!(service.hear(), "BARRIER=1");
    assert!(run.wait().expect("the runtime").success());
    assert_eq!(ready, format!("READY=1\nMAINPID={}\n", bundle.state()["pid"]));
    // It is the service's alone: an exec does not get it.
    let exec = bundle.runtime(&["exec", bundle.id(), "env"]).ok();
    assert!(!exec.contains("NOTIFY_SOCKET"), "{exec}");
}

#[test]
fn start_waits_for_the_service_of_a_created_container() {
    let service = Service::new(&["READY=1"], "sleep 600");
    let bundle = &service.bundle;
    service
        .command(&["create", "--bundle", &bundle.path(), bundle.id()])
        .status()
        .expect("the runtime is built");
    // A start that is killed leaves its socket behind, which the next must not stumble over.
    let killed = service
        .command(&["start", bundle.id()])
        .env("DAVIT_FAIL_POINT", "start.connected")
        .status()
        .expect("the runtime is built");
    assert!(!killed.success());
    let mut start = service
        .command(&["start", bundle.id()])
        .spawn()
        .expect("the runtime is built");
    assert_eq!(service.hear(), format!("READY=1\nMAINPID={}\n", bundle.state()["pid"]));
    assert_eq!(service.hear(), "BARRIER=1");
    assert!(start.wait().expect("the runtime").success());
}

#[test]
fn a_foreground_run_is_the_main_process_and_passes_on_to_the_end() {
    // What it says last is still unread when it has ended.
    let end = "until [ -e /go ]; do sleep 0.01; done; say 'STATUS=busy'; say 'STATUS=done'; say 'STOPPING=1'; exit 7";
    let service = Service::new(&["READY=1"], end);
    let bundle = &service.bundle;
    let go = bundle.rootfs().join("go");
    let run = service.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
    let mut at_a_terminal = Command::new("script");
    // A shell stays in between: script(1) would stop with its child.
    at_a_terminal.args(["-qec", &format!("{}; exit $?", shell_words(&run)), "/dev/null"]);
    at_a_terminal
        .env("NOTIFY_SOCKET", bundle.file("manager"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    for (mut run, terminal) in [(run, false), (at_a_terminal, true)] {
        bundle.edit(|config| config["process"]["terminal"] = json!(terminal));
        let mut run = run.spawn().expect("the runtime is built");
        let ready = service.hear();
        let main = ready.strip_prefix("READY=1\nMAINPID=").expect("it is ready").trim();
        if !terminal {
            assert_eq!(main, run.id().to_string());
        }
        let signal = |name: &str| drop(Command::new("kill").args([name, main]).finish().ok());
        signal("-STOP");
        fs::write(&go, "").expect("the rootfs is ours");
        wait::until_true("the service has ended", 10, || bundle.state()["status"] == "stopped");
        signal("-CONT");
        fs::remove_file(&go).expect("the rootfs is ours");
        for message in ["STATUS=busy\n", "STATUS=done\n", "STOPPING=1\n"] {
            assert_eq!(service.hear(), message, "{terminal}");
        }
        assert_eq!(run.wait().expect("the runtime").code(), Some(7));
        assert_eq!(bundle.ids(), Vec::<String>::new());
    }
}

#[test]
fn a_service_that_ends_without_being_ready_is_not_waited_for() {
    let service = Service::new(&[], "exit 3");
    let bundle = &service.bundle;
    let run = service
        .command(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .status();
    assert!(run.expect("the runtime is built").success());
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    let code = service
        .command(&["run", "--bundle", &bundle.path(), bundle.id()])
        .status();
    assert_eq!(code.expect("the runtime is built").code(), Some(3));
    bundle
        .runtime(&["run", "--bundle", &bundle.path(), bundle.id()])
        .code_is(3);
}
