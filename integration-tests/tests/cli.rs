//! The command line `davit`, held first against the real dockerd and then against our engine: what it says and does must not
//! depend on which one answers.

mod cli {
    mod relay;
    pub mod screen;
    mod signals;
}

use std::{
    path::Path,
    process::{Command, Stdio},
};

use cli::screen::Screen;
use davit_integration_tests::{Dockerd, Engine, Finished, Registry, Run, Scratch, image, wait};

/// A world in which an engine has busybox.
struct World<'a> {
    scratch: &'a Scratch,
    socket: &'a Path,
}

impl World<'_> {
    fn command(&self) -> Command {
        let mut command = self.scratch.program("davit");
        command.env_remove("DOCKER_HOST").arg("-H").arg(self.host());
        command
    }

    fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Runs a command line, split at its spaces.
    fn davit(&self, line: &str) -> Finished {
        self.command().args(line.split(' ')).finish()
    }

    /// `davit run` without a network, then these words.
    fn run(&self, flags: &str, words: &[&str]) -> Finished {
        let flags = flags.split_whitespace();
        self.command()
            .args(["run", "--network", "none"])
            .args(flags)
            .arg("busybox")
            .args(words)
            .finish()
    }

    fn exec(&self, container: &str, script: &str) -> Finished {
        self.command().args(["exec", container, "sh", "-c", script]).finish()
    }

    fn names(&self) -> String {
        let format = ["ps", "-a", "--format", "{{.Names}} {{.State}}"];
        self.command().args(format).finish().ok()
    }
}

/// Runs `check` against the real Docker, which proves the expectation, and then against ours.
fn on_both(check: impl Fn(&World)) {
    let scratch = Scratch::new();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    let check_on = |socket: &Path| {
        let world = World {
            scratch: &scratch,
            socket,
        };
        let loaded = world.command().args(["load", "-i"]).arg(&archive).finish().ok();
        assert_eq!(loaded, "Loaded image: busybox:latest");
        check(&world);
    };
    let dockerd = Dockerd::start(&scratch);
    check_on(dockerd.socket());
    dockerd.stop();
    let engine = Engine::start(&scratch);
    check_on(engine.socket());
    engine.stop();
}

#[test]
fn a_container_lives_its_life_by_commands() {
    on_both(|world| {
        assert_eq!(world.run("--rm", &["echo", "hello"]).ok(), "hello");
        assert_eq!(world.names(), "");

        let script = "echo out; echo err >&2; trap 'exit 5' TERM; while :; do sleep 0.1; done";
        let id = world
            .run("-d --name web --label color=red -e A=b", &["sh", "-c", script])
            .ok();
        assert_eq!(id.len(), 64);
        assert_eq!(world.names(), "web running");
        assert_eq!(world.davit("ps -q --no-trunc").ok(), id);
        assert_eq!(world.davit("ps -q --filter label=color=blue").ok(), "");
        wait::until_true("the log has both lines", 10, || {
            let logs = world.davit("logs web");
            logs.stdout == "out\n" && logs.stderr == "err\n"
        });
        assert_eq!(world.exec("web", "echo $A; exit 9").code_is(9).stdout, "b\n");
        assert_eq!(
            world
                .davit("inspect -f {{.State.Status}},{{.Config.Labels.color}},{{.ID}} web")
                .ok(),
            format!("running,red,{id}")
        );
        let top = world.davit("top web").ok();
        assert!(top.starts_with("UID") && top.contains("sh -c"), "{top}");

        assert_eq!(world.davit("stop web").ok(), "web");
        assert_eq!(world.davit("wait web").ok(), "5");
        assert_eq!(world.davit("start web").ok(), "web");
        assert_eq!(world.davit("restart -t 0 web").ok(), "web");
        world.davit("rename web site").ok();
        world.davit("rm site").code_is(1).says("Hint: `davit stop` it first");
        assert_eq!(world.davit("kill site").ok(), "site");
        assert_eq!(world.davit("wait site").ok(), "137");
        assert_eq!(world.names(), "site exited");
        let both = world
            .davit("rm site nobody")
            .code_is(1)
            .says("No such container: nobody");
        assert_eq!(both.stdout, "site\n");
        assert_eq!(world.names(), "");

        let create = [
            "create",
            "--network",
            "none",
            "--name",
            "later",
            "busybox",
            "sh",
            "-c",
            "echo now; exit 3",
        ];
        world.command().args(create).finish().ok();
        assert_eq!(world.davit("start -a later").code_is(3).stdout, "now\n");
        world.davit("rm -f later").ok();
    });
}

#[test]
fn exit_codes_tell_flags_from_commands_from_containers() {
    on_both(|world| {
        world.run("--rm", &["true"]).code_is(0);
        world.run("--rm", &["sh", "-c", "exit 7"]).code_is(7);
        world
            .run("--rm", &["no-such-program"])
            .code_is(127)
            .says("executable file not found");
        world
            .run("--rm", &["/no/such/program"])
            .code_is(127)
            .says("no such file or directory");
        world.run("--rm", &["/etc"]).code_is(126).says("is a directory");
        world
            .run("--bogus", &["true"])
            .code_is(125)
            .says("unknown flag: --bogus");
        world
            .run("--gpus all", &["true"])
            .code_is(125)
            .says("--gpus of `davit run` is not supported by davit yet");
        world
            .run("-v data:/x", &["true"])
            .code_is(125)
            .says("named volumes are not supported");
        world.run("--rm --memory 1k", &["true"]).code_is(125).says("6MB");
        world
            .run("-u nobody-here --rm", &["true"])
            .code_is(125)
            .says("unable to find user nobody-here");
        world
            .davit("run --pull never no-such-image")
            .code_is(125)
            .says("No such image: no-such-image:latest");
        world.davit("run").code_is(1).says("needs more arguments");
        world
            .davit("logs nobody")
            .code_is(1)
            .says("Hint: `davit ps -a` lists all containers");
        world.davit("inspect nobody").code_is(1).says("no such object: nobody");
        world.davit("inspect -f {{ nobody").code_is(64).says("unclosed action");
        world
            .davit("build .")
            .code_is(1)
            .says("`davit build` is not supported by davit yet");

        world.run("-d --name up", &["sleep", "1000"]).ok();
        world
            .run("--name up", &["true"])
            .code_is(125)
            .says("is already in use by container");
        world.davit("exec up no-such-program").code_is(127);
        world.davit("exec up /etc").code_is(126);
        world
            .davit("exec nobody true")
            .code_is(1)
            .says("No such container: nobody");
        world
            .davit("rmi busybox")
            .code_is(1)
            .says("is using its referenced image");
        world.davit("rm -f up").ok();
        assert_eq!(world.names(), "", "what failed left something behind");
    });
}

#[test]
fn names_that_are_paths_reach_nothing_else() {
    on_both(|world| {
        for name in ["../images/json", "..", "a/b", "a?force=1", "%2e%2e"] {
            world
                .command()
                .args(["rm", name])
                .finish()
                .code_is(1)
                .says("No such container");
            world
                .command()
                .args(["inspect", "--type", "container", name])
                .finish()
                .code_is(1);
            world.command().args(["rmi", name]).finish().code_is(1);
        }
        assert_eq!(world.davit("images -q").ok().lines().count(), 1);
    });
}

#[test]
fn streams_arrive_whole_and_apart() {
    on_both(|world| {
        let both = world.run("--rm", &["sh", "-c", "echo out; echo err >&2"]).code_is(0);
        assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
        let only = world
            .run("--rm -a stderr", &["sh", "-c", "echo out; echo err >&2"])
            .code_is(0);
        assert_eq!((only.stdout.as_str(), only.stderr.as_str()), ("", "err\n"));

        // The end of input reaches the container, and its output still reaches us.
        let line = [
            "run",
            "-i",
            "--rm",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "cat; sleep 0.3; echo after",
        ];
        assert_eq!(world.command().args(line).finish_with(b"in\n").ok(), "in\nafter");

        let input: Vec<u8> = (0..8_000_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let expected = Command::new("sha256sum").finish_with(&input).ok();
        let sum = [
            "run",
            "-i",
            "--rm",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "cat | sha256sum",
        ];
        assert_eq!(world.command().args(sum).finish_with(&input).ok(), expected);

        world.run("-d --name up", &["sleep", "1000"]).ok();
        let sum = ["exec", "-i", "up", "sha256sum"];
        assert_eq!(world.command().args(sum).finish_with(&input).ok(), expected);
        world.davit("rm -f up").ok();
    });
}

#[test]
fn logs_follow_and_select() {
    on_both(|world| {
        world
            .run(
                "-d --name talk",
                &["sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.2; done"],
            )
            .ok();
        assert_eq!(world.davit("logs -f talk").ok(), "1\n2\n3");
        assert_eq!(world.davit("logs -n 1 talk").ok(), "3");
        assert_eq!(world.davit("logs --tail 0 talk").ok(), "");
        assert_eq!(world.davit("logs --since 1h -n 2 talk").ok(), "2\n3");
        assert_eq!(world.davit("logs --until 1h talk").ok(), "");
        let stamped = world.davit("logs -t talk").ok();
        assert!(
            stamped
                .lines()
                .all(|line| line.contains("Z ") && line.starts_with("20")),
            "{stamped}"
        );
        world
            .davit("logs --since bogus talk")
            .code_is(1)
            .says("Hint: a time looks like");
        world.davit("rm talk").ok();
    });
}

#[test]
fn images_are_pulled_named_and_removed() {
    on_both(|world| {
        let registry = Registry::start(world.scratch);
        registry.push(&world.scratch.join("busybox.tar"), "team/web:1");
        let name = registry.name("team/web:1");
        world.davit("rmi busybox").ok();

        let run = world
            .davit(&format!("run --rm --network none {name} echo ran"))
            .code_is(0);
        assert_eq!(run.stdout, "ran\n");
        assert!(
            run.stderr.starts_with(&format!(
                "Unable to find image '{name}' locally\n1: Pulling from team/web\n"
            )),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains(": Pull complete\n"), "{}", run.stderr);
        let again = world.davit(&format!("pull {name}")).ok();
        assert!(again.contains("Status: Image is up to date"), "{again}");
        assert_eq!(world.davit(&format!("pull -q {name}")).ok(), name);

        world.davit(&format!("tag {name} mine:2")).ok();
        let rows = world.davit("images mine --format {{.Repository}}:{{.Tag}}").ok();
        assert_eq!(rows, "mine:2");
        let title = world.davit("images").ok();
        assert!(title.starts_with("REPOSITORY"), "{title}");
        let history = world.davit("history -q mine:2").ok();
        assert!(!history.is_empty());
        assert_eq!(
            world
                .davit(&format!("rmi mine:2 {name} nope"))
                .code_is(1)
                .says("No such image: nope")
                .stdout
                .lines()
                .next(),
            Some("Untagged: mine:2")
        );
        world.davit("pull 127.0.0.1:1/x").code_is(1).says("onnection refused");
        world.davit("pull UPPER").code_is(1).says("must be lowercase");
    });
}

#[test]
fn a_terminal_is_lent_to_the_container_and_given_back() {
    on_both(|world| {
        let screen = Screen::open(world.scratch, 30, 100);
        let davit = format!(
            "{} -H {}",
            world.scratch.program("davit").get_program().display(),
            world.host()
        );
        screen.types(&format!(
            "davit() {{ {davit} \"$@\"; }}; stty -g > {}",
            world.scratch.join("before").display()
        ));
        screen.types("clear; davit run -it --name shell --network none busybox sh");
        screen.shows("/ #");
        screen.types("stty size; tty");
        screen.shows("30 100");
        screen.shows("/dev/pts/0");
        screen.resizes(24, 80);
        wait::until_true("the size follows", 10, || {
            screen.types("clear; stty size");
            screen.text().contains("24 80")
        });
        screen.types("sleep 1000");
        screen.presses("C-c");
        screen.types("echo interrupted=$?");
        screen.shows("interrupted=130");
        screen.presses("C-p");
        screen.presses("C-q");
        screen.types("echo detached=$?");
        screen.shows("detached=0");
        assert_eq!(world.names(), "shell running");

        screen.types("clear; davit attach shell");
        screen.types("echo still $((40 + 2))");
        screen.shows("still 42");
        screen.types("exit 5");
        screen.types("echo ended=$?");
        screen.shows("ended=5");

        screen.types("clear; davit start -ai shell");
        screen.types("echo again $((40 + 3))");
        screen.shows("again 43");
        screen.types("exit");
        screen.types("clear; davit run -d --name host --network none busybox sleep 1000; davit exec -it host sh");
        screen.shows("/ #");
        screen.types("exit 4");
        screen.types("echo exec=$?");
        screen.shows("exec=4");
        screen.types(&format!(
            "clear; stty -g | cmp - {} && echo terminal=same",
            world.scratch.join("before").display()
        ));
        screen.shows("terminal=same");
        world.davit("rm -f shell host").ok();
    });
}

#[test]
fn when_the_engine_dies_run_says_how_to_go_on() {
    let scratch = Scratch::new();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    let engine = Engine::start(&scratch);
    let socket = engine.socket().to_owned();
    let world = World {
        scratch: &scratch,
        socket: &socket,
    };
    world.command().args(["load", "-i"]).arg(&archive).finish().ok();
    let script = "echo up; while [ ! -e /done ]; do sleep 0.1; done; exit 6";
    let mut run = world.command();
    run.args([
        "run",
        "--name",
        "on",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let child = run
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("davit is built");
    scratch.owns(&child);
    wait::until_true("the container is up", 10, || world.davit("logs on").stdout == "up\n");
    engine.kill();
    let output = child.wait_with_output().expect("davit ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(
        said.contains("Hint: the container may well run on: `davit attach "),
        "{said}"
    );

    let engine = Engine::start(&scratch);
    world.exec("on", "touch /done").code_is(0);
    assert_eq!(world.davit("wait on").ok(), "6");
    world.davit("rm on").ok();
    engine.stop();
}

#[test]
fn without_an_engine_the_error_says_what_to_do() {
    let scratch = Scratch::new();
    let davit = |arguments: &[&str]| {
        scratch
            .program("davit")
            .env_remove("DOCKER_HOST")
            .args(arguments)
            .finish()
    };
    let missing = format!("unix://{}", scratch.join("none.sock").display());
    davit(&["-H", &missing, "ps"])
        .code_is(1)
        .says("Hint: is davitd running?");
    davit(&["-H", &missing, "run", "busybox"])
        .code_is(125)
        .says("cannot connect to the davit engine");
    davit(&["-H", "tcp://127.0.0.1:1", "ps"]).code_is(1).says("refused");
    davit(&["-H", "ssh://box", "ps"])
        .code_is(125)
        .says("ssh:// hosts are not supported by davit yet");
    assert!(davit(&["--version"]).ok().starts_with("davit version "));
}
