//! Shims become other programs under a real containerd, which takes a connection that ends for a dead shim.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use davit_integration_tests::{Containerd, Run, Scratch, image, program, wait, workspace};

/// How often the shim becomes another program.
const UPGRADES: usize = 1000;

/// Something else is asked of the shim in between, every so many upgrades.
const BETWEEN: usize = 50;

const IMAGE: &str = "docker.io/library/busybox:latest";

/// Two programs that were compiled with different settings.
fn programs(scratch: &Scratch) -> [PathBuf; 2] {
    let usual = scratch.shared_programs().join("containerd-shim-davit-v1");
    let other = usual.with_extension("other");
    program::copy(workspace::other_shim(), &other).expect("a program can be copied");
    assert_ne!(
        fs::metadata(&usual).expect("it is built").len(),
        fs::metadata(&other).expect("it is built").len()
    );
    [usual, other]
}

/// A container whose client waits in the foreground, and so does containerd.
struct Foreground {
    client: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Foreground {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut client = command.spawn().expect("ctr starts");
        Self {
            stdin: client.stdin.take().expect("a pipe"),
            stdout: BufReader::new(client.stdout.take().expect("a pipe")),
            client,
        }
    }

    /// Says a line to the container, which says it back.
    fn echo(&mut self, text: &str) {
        writeln!(self.stdin, "{text}").expect("the client reads");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the client writes");
        assert_eq!(line.trim_end(), text);
    }
}

fn upgrade(program: &Path, socket: &Path) -> u32 {
    let mut command = Command::new(program);
    command.arg("-socket").arg(socket).arg("upgrade");
    command.finish().ok().trim().parse().expect("a pid")
}

/// The only bundle of this containerd.
fn bundle(scratch: &Scratch, id: &str) -> PathBuf {
    let mut found = Command::new("find");
    found.arg(scratch.path()).args(["-type", "d", "-path"]);
    found.arg(format!("*/io.containerd.runtime.v2.task/default/{id}"));
    PathBuf::from(found.finish().ok().lines().next().expect("a bundle"))
}

#[test]
fn a_real_containerd_does_not_notice_a_thousand_upgrades_of_its_shim() {
    let scratch = Scratch::new();
    let containerd = Containerd::start(&scratch);
    let programs = programs(&scratch);
    let id = format!("upgraded-{}", scratch.bridge());
    let ctr = |arguments: &[&str]| scratch.ctr(containerd.socket()).args(arguments).finish();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    ctr(&["images", "import", archive.to_str().expect("ASCII")]).ok();

    let mut run = scratch.ctr(containerd.socket());
    run.args([
        "run",
        "--rm",
        "--runtime",
        programs[0].to_str().expect("ASCII"),
        IMAGE,
        &id,
    ]);
    run.args(["sh", "-c", "while read line; do echo $line; done; exit 7"]);
    let mut container = Foreground::start(run);
    container.echo("begin");
    let bundle = bundle(&scratch, &id);
    let socket = PathBuf::from(fs::read_to_string(bundle.join("shim-socket")).expect("a note"));
    let pid = upgrade(&programs[1], &socket);
    let descriptors = || fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
    let at_first = descriptors();
    for number in 0..UPGRADES {
        let program = &programs[number % 2];
        assert_eq!(upgrade(program, &socket), pid);
        if number % BETWEEN == 0 {
            container.echo(&format!("line {number}"));
            let exec = format!("e{number}");
            let said = ctr(&["tasks", "exec", "--exec-id", &exec, &id, "sh", "-c", "echo in; exit 5"]);
            assert_eq!(said.code_is(5).stdout, "in\n");
            assert!(ctr(&["tasks", "list"]).ok().contains("RUNNING"));
        }
    }
    // The connection of the last who asked for an upgrade may not be closed yet.
    wait::until_true("no descriptor is left behind", 10, || descriptors() <= at_first);
    let note = fs::read_to_string(bundle.join("shim-binary-path")).expect("containerd has written it");
    assert_eq!(Path::new(note.trim()), programs[(UPGRADES - 1) % 2]);
    let log = fs::read_to_string(scratch.join("containerd.log")).expect("containerd's log");
    assert!(!log.contains("shim disconnected"), "{log}");
    drop(container.stdin);
    assert_eq!(container.client.wait().expect("ctr ends").code(), Some(7));
    assert_eq!(ctr(&["tasks", "list", "--quiet"]).ok(), "");
    containerd.stop();
}
