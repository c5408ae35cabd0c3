//! A runtime that stays: until its process ends, with signals and a terminal between it and the caller.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    thread::{sleep, spawn},
    time::Duration,
};

use davit_integration_tests::{Run, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{
    io::ioctl_fionread,
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::json;

use crate::Bundle;

/// How long an end may take on a busy machine.
const PATIENCE: u64 = 30;

impl Bundle {
    /// `run` of a shell's script in the foreground, with nothing to read or to say, and a terminal where one is to be
    /// served.
    fn running(&self, terminal: bool, script: &str) -> Command {
        self.edit(|config| {
            config["process"]["terminal"] = json!(terminal);
            config["process"]["args"] = json!(["sh", "-c", script]);
        });
        let mut command = self.command(&["run", "--bundle", &self.path(), self.id()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if terminal {
            command.stderr(idle_terminal());
        }
        command
    }

    /// Waits for a file in the container.
    fn has(&self, name: &str) {
        let path = self.rootfs().join(name);
        wait::until_true(name, PATIENCE, || path.exists());
    }
}

/// The exit code of a runtime, in which the end may have been missed.
#[track_caller]
fn end(child: &mut Child) -> Option<i32> {
    let status = wait::until("the runtime ends", PATIENCE, || child.try_wait().expect("a child"));
    status.code()
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
}

/// A terminal of so many rows and columns: its master and its slave.
pub fn terminal(rows: u16, columns: u16) -> (OwnedFd, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).expect("/dev/ptmx is there");
    unlockpt(&master).expect("a master");
    resize(&master, rows, columns);
    let slave = ioctl_tiocgptpeer(&master, flags).expect("a master");
    (master, slave)
}

/// A terminal of which only the size is asked for.
fn idle_terminal() -> OwnedFd {
    let (master, slave) = terminal(24, 80);
    // It lasts as long as the test's process.
    std::mem::forget(master);
    slave
}

fn resize(master: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).expect("a master");
}

/// Reads until the text comes.
#[track_caller]
pub fn expect(stream: &mut File, text: &str) {
    let mut said = String::new();
    let mut buffer = [0; 256];
    wait::until_true(text, PATIENCE, || {
        if ioctl_fionread(&stream).expect("a pipe or a terminal") > 0 {
            let length = stream.read(&mut buffer).expect("there is something");
            said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        said.contains(text)
    });
}

/// Waits until a stream has come to a standstill, since nobody reads it.
fn is_stuck(stream: &impl AsFd) {
    let mut before = 0;
    wait::until_true("the stream is full", PATIENCE, || {
        sleep(Duration::from_millis(300));
        let now = ioctl_fionread(stream).expect("a pipe or a terminal");
        std::mem::replace(&mut before, now) == now && now > 0
    });
}

/// A program that executes its arguments so that they cannot wait for signals.
pub fn deafener(bundle: &Bundle) -> Command {
    const SOURCE: &str = r#"
        #include <errno.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stddef.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int count, char **words) {
            struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigtimedwait, 1, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_signalfd4, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog program = {5, code};
            if (count < 2 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 2;
            execv(words[1], words + 1);
            return 3;
        }"#;
    let (source, program) = (bundle.file("deafener.c"), bundle.file("deafener"));
    fs::write(&source, SOURCE).expect("the bundle is ours");
    Command::new("cc").args(["-o", &program, &source]).finish().ok();
    Command::new(program)
}

/// A command whose arguments are another one.
pub fn with(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

#[test]
fn a_caller_who_ignores_the_end_of_children_still_gets_an_exit_code() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        for point in ["createRuntime", "poststart", "poststop"] {
            config["hooks"][point] = json!([{"path": "/bin/true"}]);
        }
    });
    let ignoring = |command: &Command| {
        // Not by a shell's trap: dash, for one, does not let it out.
        let mut env = Command::new("env");
        env.arg("--ignore-signal=CHLD");
        let mut command = with(env, command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(idle_terminal());
        end(&mut bundle.spawn(&mut command))
    };
    assert_eq!(ignoring(&bundle.running(false, "exit 7")), Some(7));
    assert_eq!(ignoring(&bundle.running(true, "exit 8")), Some(8));
    assert_eq!(bundle.ids(), Vec::<String>::new());

    bundle.running(false, "sleep 600");
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    assert_eq!(ignoring(&bundle.command(&["exec", bundle.id(), "false"])), Some(1));
}

#[test]
fn a_runtime_that_was_stopped_and_continued_goes_on_waiting() {
    let bundle = Bundle::new();
    let stopped_meanwhile = |command: &mut Command, name: &str| {
        let mut child = bundle.spawn(command);
        bundle.has(&format!("{name}-is-up"));
        for _ in 0..3 {
            // It has begun to wait by then.
            sleep(Duration::from_millis(200));
            send(&child, Signal::SIGSTOP);
            wait::until_stopped("it is stopped", PATIENCE, child.id());
            send(&child, Signal::SIGCONT);
        }
        fs::write(bundle.rootfs().join(format!("{name}-may-end")), "").expect("the rootfs is ours");
        end(&mut child)
    };
    let script = |name| format!("touch /{name}-is-up; while [ ! -e /{name}-may-end ]; do sleep 0.1; done; exit 7");
    // The container ends last: so the exec comes first.
    let mut run = bundle.spawn(&mut bundle.running(false, &script("run")));
    bundle.has("run-is-up");
    let mut exec = bundle.command(&["exec", bundle.id(), "sh", "-c", &script("exec")]);
    assert_eq!(stopped_meanwhile(exec.stderr(Stdio::null()), "exec"), Some(7));
    fs::write(bundle.rootfs().join("run-may-end"), "").expect("the rootfs is ours");
    assert_eq!(end(&mut run), Some(7));

    fs::remove_file(bundle.rootfs().join("run-is-up")).expect("the rootfs is ours");
    fs::remove_file(bundle.rootfs().join("run-may-end")).expect("the rootfs is ours");
    assert_eq!(
        stopped_meanwhile(&mut bundle.running(false, &script("run")), "run"),
        Some(7)
    );
    assert_eq!(bundle.ids(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_waited_for_is_killed_and_removed() {
    let bundle = Bundle::new();
    let fails = |command: &Command| {
        let said = bundle.file("said");
        let mut command = with(deafener(&bundle), command);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&said).expect("the bundle is ours"));
        let code = end(&mut bundle.spawn(&mut command));
        let said = fs::read_to_string(said).expect("the bundle is ours");
        assert!(said.contains("open signalfd: invalid argument"), "{said}");
        code
    };
    assert_eq!(fails(&bundle.running(false, "sleep 600")), Some(1));
    assert_eq!(bundle.ids(), Vec::<String>::new());
    assert_eq!(bundle.cgroups(), Vec::<String>::new());

    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    assert_eq!(fails(&bundle.command(&["exec", bundle.id(), "sleep", "77"])), Some(255));
    let processes = bundle.runtime(&["ps", bundle.id()]).ok();
    assert!(!processes.contains("sleep 77"), "{processes}");
}

#[test]
fn a_console_that_is_closed_and_opened_again_is_served_on() {
    let bundle = Bundle::new();
    let script = "exec </dev/null >/dev/null 2>&1; sleep 0.5; \
                  exec >/dev/console; head -c 100000 /dev/zero | tr '\\0' x; echo .; exit 5";
    let output = bundle.file("output");
    let mut run = bundle.running(true, script);
    run.stdout(File::create(&output).expect("the bundle is ours"));
    assert_eq!(end(&mut bundle.spawn(&mut run)), Some(5));
    let output = fs::read_to_string(output).expect("the bundle is ours");
    assert_eq!(output.trim_end(), format!("{}.", "x".repeat(100_000)));
}

#[test]
fn a_signal_arrives_though_nobody_reads_the_output() {
    let bundle = Bundle::new();
    let script = "trap 'touch /asked; exit 9' TERM; yes & wait";
    let ends_on_request = |child: &mut Child, stream: &dyn Fn()| {
        stream();
        send(child, Signal::SIGTERM);
        bundle.has("asked");
        assert_eq!(end(child), Some(9));
        assert_eq!(bundle.ids(), Vec::<String>::new());
        fs::remove_file(bundle.rootfs().join("asked")).expect("the rootfs is ours");
    };
    let mut child = bundle.spawn(bundle.running(true, script).stdout(Stdio::piped()));
    let pipe = child.stdout.take().expect("a pipe");
    ends_on_request(&mut child, &|| is_stuck(&pipe));

    let (master, slave) = terminal(24, 80);
    let mut child = bundle.spawn(bundle.running(true, script).stdout(slave));
    ends_on_request(&mut child, &|| is_stuck(&master));
}

#[test]
fn whoever_reads_late_gets_everything() {
    let bundle = Bundle::new();
    let mut run = bundle.running(true, "head -c 100000 /dev/zero | tr '\\0' x; touch /written");
    let mut child = bundle.spawn(run.stdout(Stdio::piped()));
    let mut pipe = child.stdout.take().expect("a pipe");
    is_stuck(&pipe);
    let mut first = vec![0; 60_000];
    pipe.read_exact(&mut first).expect("a pipe");
    bundle.has("written");
    sleep(Duration::from_secs(2));
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).expect("a pipe");
    assert_eq!(first.len() + rest.len(), 100_000);
    assert_eq!(end(&mut child), Some(0));
}

#[test]
fn an_exec_ends_though_another_process_writes_on_into_its_terminal() {
    let bundle = Bundle::new();
    bundle.running(false, "sleep 600");
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    let script = "trap '' HUP; yes & sleep 0.5; exit 3";
    let mut exec = bundle.command(&["exec", "--tty", bundle.id(), "sh", "-c", script]);
    exec.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(idle_terminal());
    let mut child = bundle.spawn(&mut exec);
    let mut pipe = child.stdout.take().expect("a pipe");
    let reader = spawn(move || {
        let mut buffer = [0; 4096];
        while pipe.read(&mut buffer).expect("a pipe") > 0 {
            sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(end(&mut child), Some(3));
    reader.join().expect("it comes to the end");
}

#[test]
fn the_terminal_is_as_large_as_whichever_of_the_streams_is_one() {
    let bundle = Bundle::new();
    let script = "trap 'stty size; exit 4' WINCH; stty size; while true; do sleep 0.1; done";
    for stream in ["stdin", "stdout", "stderr"] {
        let (master, slave) = terminal(33, 77);
        let mut run = bundle.running(true, script);
        match stream {
            "stdin" => run.stdin(slave).stdout(Stdio::piped()).stderr(Stdio::null()),
            "stdout" => run.stdout(slave).stderr(Stdio::null()),
            _ => run.stderr(slave).stdout(Stdio::piped()),
        };
        let mut child = bundle.spawn(&mut run);
        let shown = child.stdout.take().map(OwnedFd::from);
        let mut shown = File::from(shown.unwrap_or_else(|| master.try_clone().expect("a descriptor")));
        expect(&mut shown, "33 77");
        resize(&master, 44, 88);
        send(&child, Signal::SIGWINCH);
        expect(&mut shown, "44 88");
        assert_eq!(end(&mut child), Some(4), "{stream}");
    }
}

/// A program of this runs until it is told to end, ticks meanwhile, and writes down signals that are not its matter.
const LISTENER: &str = "trap 'touch /disturbed' PIPE WINCH URG; trap 'exit 5' TERM; touch /ready; \
    while :; do echo . >> /ticks; sleep 0.1; done";

/// Waits until the program of [`LISTENER`] has been through its loop a few times more.
fn goes_on(bundle: &Bundle) {
    let ticks = || fs::read_to_string(bundle.rootfs().join("ticks")).map_or(0, |ticks| ticks.len());
    let before = ticks();
    wait::until_true("the program goes on", PATIENCE, || ticks() >= before + 6);
}

#[test]
fn signals_of_the_callers_terminal_and_pipes_are_not_the_programs() {
    let bundle = Bundle::new();
    let mut child = bundle.spawn(bundle.running(false, LISTENER).stdout(Stdio::null()));
    bundle.has("ready");
    for signal in [Signal::SIGWINCH, Signal::SIGURG, Signal::SIGPIPE] {
        send(&child, signal);
    }
    goes_on(&bundle);
    send(&child, Signal::SIGTERM);
    assert_eq!(end(&mut child), Some(5));
    assert!(!bundle.rootfs().join("disturbed").exists());
}

#[test]
fn a_caller_who_reads_no_more_is_felt_by_who_writes_alone() {
    let bundle = Bundle::new();
    bundle.sleeping();
    let script = format!("yes & {LISTENER}");
    let mut exec = bundle.command(&["exec", bundle.id(), "sh", "-c", &script]);
    let mut child = bundle.spawn(exec.stdout(Stdio::piped()).stderr(Stdio::null()));
    bundle.has("ready");
    drop(child.stdout.take());
    let writers = || bundle.exec(&["pidof", "yes"]).code;
    wait::until_true("who writes has ended", PATIENCE, || writers() == 1);
    goes_on(&bundle);
    send(&child, Signal::SIGTERM);
    assert_eq!(end(&mut child), Some(5));
    assert!(!bundle.rootfs().join("disturbed").exists());
}
