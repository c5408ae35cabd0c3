//! A program in the foreground has pipes of its own for its standard streams, and nothing of its caller's.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use davit_integration_tests::{Run, wait};
use serde_json::json;

use crate::{bundle::Bundle, shell_words};

/// How long an end may take on a busy machine.
const PATIENCE: u64 = 30;

impl Bundle {
    /// `run` of a shell's script in the foreground.
    fn script(&self, script: &str) -> Command {
        fs::write(self.rootfs().join("script"), script).expect("the rootfs is ours");
        self.edit(|config| config["process"]["args"] = json!(["sh", "/script"]));
        self.command(&["run", "--bundle", &self.path(), self.id()])
    }

    /// `run` and `exec` of a shell's script in the foreground, one after the other.
    fn both(&self, script: &str, check: impl Fn(&str, Command)) {
        check("run", self.script(script));
        self.sleeping();
        check("exec", self.command(&["exec", self.id(), "sh", "/script"]));
        self.runtime(&["delete", "--force", self.id()]).ok();
    }
}

#[test]
fn a_log_is_not_truncated_by_who_opens_it_anew() {
    let bundle = Bundle::new();
    let log = bundle.file("log");
    bundle.both(
        "echo one; echo two > /dev/stdout; echo three; echo four > /dev/stderr",
        |name, mut command| {
            fs::write(&log, "earlier\n").expect("the bundle is ours");
            let appended = || OpenOptions::new().append(true).open(&log).expect("it is there");
            let status = command
                .stdin(Stdio::null())
                .stdout(appended())
                .stderr(appended())
                .status();
            assert!(status.expect("the runtime is built").success());
            let log = fs::read_to_string(&log).expect("it is there");
            let (complaints, output): (Vec<_>, Vec<_>) = log.lines().partition(|line| *line == "four");
            assert_eq!(output, ["earlier", "one", "two", "three"], "{name}");
            assert_eq!(complaints.len(), 1, "{name}");
        },
    );
}

#[test]
fn the_callers_files_stay_the_callers_and_the_user_can_open_the_streams_anew() {
    let bundle = Bundle::new();
    bundle.edit(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
    let names = ["input", "output", "complaints"].map(|name| bundle.file(name));
    let script = "read word < /dev/stdin; echo heard $word > /dev/stdout; echo sorry > /proc/self/fd/2";
    bundle.both(script, |name, mut command| {
        fs::write(&names[0], "hello\n").expect("the bundle is ours");
        let status = command
            .stdin(File::open(&names[0]).expect("it is there"))
            .stdout(File::create(&names[1]).expect("the bundle is ours"))
            .stderr(File::create(&names[2]).expect("the bundle is ours"))
            .status();
        assert!(status.expect("the runtime is built").success(), "{name}");
        let said = |at: usize| fs::read_to_string(&names[at]).expect("it is there");
        assert_eq!(
            (said(1).as_str(), said(2).as_str()),
            ("heard hello\n", "sorry\n"),
            "{name}"
        );
        for file in &names {
            let owner = fs::metadata(file).expect("it is there");
            assert_eq!((owner.uid(), owner.gid()), (0, 0), "{name}: {file}");
        }
    });
}

#[test]
fn the_callers_terminal_is_out_of_reach() {
    let bundle = Bundle::new();
    let script = "for stream in 0 1 2; do test -t $stream && echo leak; done; stty < /dev/stdout; echo done; exit 3";
    bundle.both(script, |name, command| {
        let finished = Command::new("script")
            .args(["-qec", &shell_words(&command), "/dev/null"])
            .finish()
            .code_is(3);
        assert!(finished.stdout.contains("done\r\n"), "{name}: {finished:?}");
        assert!(!finished.stdout.contains("leak"), "{name}: {finished:?}");
        assert!(!finished.stdout.contains("speed"), "{name}: {finished:?}");
    });
}

#[test]
fn a_large_input_arrives_whole_and_ends() {
    let bundle = Bundle::new();
    let input: Vec<u8> = (0..1 << 20).map(|at: u32| b'a' + (at / 7 % 26) as u8).collect();
    bundle.both("cat; echo end", |name, mut command| {
        let finished = command.finish_with(&input).code_is(0);
        assert_eq!(finished.stdout.len(), input.len() + 4, "{name}");
        assert!(finished.stdout.as_bytes().starts_with(&input), "{name}");
    });
}

#[test]
fn an_input_that_does_not_end_keeps_nobody_waiting() {
    let bundle = Bundle::new();
    bundle.both("exit 7", |name, mut command| {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = bundle.spawn(&mut command);
        let open = child.stdin.take();
        let status = wait::until(name, PATIENCE, || child.try_wait().expect("a child"));
        assert_eq!(status.code(), Some(7), "{name}");
        drop(open);
    });
}

#[test]
fn a_program_whose_output_nobody_reads_any_more_hears_of_it() {
    let bundle = Bundle::new();
    bundle.both("exec yes", |name, mut command| {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = bundle.spawn(&mut command);
        sleep(Duration::from_millis(300));
        drop(child.stdout.take());
        let status = wait::until(name, PATIENCE, || child.try_wait().expect("a child"));
        // The first process of a pid namespace is spared the signal, and yes complains.
        assert!(matches!(status.code(), Some(1 | 141)), "{name}: {status}");
    });
}

#[test]
fn an_execs_daemon_is_waited_for_as_long_as_it_holds_the_output() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let begun = Instant::now();
    let said = bundle.exec(&["sh", "-c", "(sleep 1; echo late) & echo early; exit 5"]);
    assert_eq!(said.code_is(5).stdout, "early\nlate\n");
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // One that has streams of its own is not, and a signal that asks for the end ends the wait.
    let begun = Instant::now();
    bundle
        .exec(&["sh", "-c", "sleep 600 > /dev/null 2>&1 & exit 6"])
        .code_is(6);
    assert!(begun.elapsed() < Duration::from_secs(PATIENCE));
    let pid_file = bundle.file("exec.pid");
    let script = "sleep 600 & exit 8";
    let mut exec = bundle.command(&["exec", "--pid-file", &pid_file, bundle.id(), "sh", "-c", script]);
    let mut child = bundle.spawn(exec.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
    wait::until_true("the shell has ended", PATIENCE, || {
        fs::read_to_string(&pid_file).is_ok_and(|pid| !Path::new("/proc").join(pid).exists())
    });
    assert!(child.try_wait().expect("a child").is_none());
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    let status = wait::until("the exec ends", PATIENCE, || child.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(8));
}

#[test]
fn a_terminal_is_refused_to_a_caller_who_has_none() {
    let bundle = Bundle::new();
    let refusal = "open /dev/tty: no such device or address";
    bundle.sleeping();
    let mut exec = without_terminal(bundle.command(&["exec", "--tty", bundle.id(), "true"]));
    exec.finish().code_is(255).says(refusal);
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    bundle.edit(|config| config["process"]["terminal"] = json!(true));
    let mut run = without_terminal(bundle.script("true"));
    run.finish().code_is(1).says(refusal);
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());
    // The one that controls the caller does, where all streams are something else.
    let line = format!(
        "stty rows 33 cols 77; {} < /dev/null 2>&1 | cat",
        shell_words(&bundle.script("stty size"))
    );
    let shown = Command::new("script").args(["-qec", &line, "/dev/null"]).finish();
    assert!(shown.stdout.contains("33 77"), "{shown:?}");
}

/// A session of its own has no terminal, whoever has started the tests.
fn without_terminal(inner: Command) -> Command {
    let mut outer = Command::new("setsid");
    outer.arg("--wait").arg(inner.get_program()).args(inner.get_args());
    outer
}
