//! Descriptors that the runtime hands to others over a socket, or passes on to the program.

use std::{
    fs,
    io::{IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixListener,
    },
    process::{Command, Stdio},
    time::Duration,
};

use davit_integration_tests::{Run, wait};
use rustix::{
    io::retry_on_intr,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use serde_json::json;

use crate::{bundle::Bundle, shell_words};

/// Takes the message of whoever connects, and the one descriptor that comes with it.
pub fn receive(listener: &UnixListener) -> (Vec<u8>, OwnedFd) {
    listener.set_nonblocking(true).expect("a socket");
    let (connection, _) = wait::until("the runtime connects", 30, || listener.accept().ok());
    let patience = connection.set_read_timeout(Some(Duration::from_secs(30)));
    patience.expect("a duration above zero");
    let mut text = vec![0; 64 * 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut text)];
    let message = retry_on_intr(|| recvmsg(&connection, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC));
    let length = message.expect("a message").bytes;
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(fds.len(), 1);
    text.truncate(length);
    (text, fds.remove(0))
}

/// A socket in the bundle's folder.
fn listener(bundle: &Bundle, name: &str) -> (UnixListener, String) {
    let path = bundle.file(name);
    let _ = fs::remove_file(&path);
    (UnixListener::bind(&path).expect("the bundle is ours"), path)
}

/// The process that a pidfd is a handle of.
fn pid_of(pidfd: &OwnedFd) -> String {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).expect("it is open");
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.expect("a pidfd").trim().to_owned()
}

#[test]
fn a_handle_of_a_new_process_is_sent_to_the_pidfd_socket() {
    let bundle = Bundle::new();
    let (folder, (socket, path)) = (bundle.path(), listener(&bundle, "pidfd.sock"));
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    for verb in [&["create"][..], &["run", "--detach"]] {
        let args = [verb, &["--pidfd-socket", &path, "--bundle", &folder, bundle.id()]].concat();
        bundle.runtime(&args).ok();
        let (name, pidfd) = receive(&socket);
        assert_eq!(name, b"pidfd");
        assert_eq!(pid_of(&pidfd), bundle.state()["pid"].to_string(), "{verb:?}");
        bundle.runtime(&["delete", "--force", bundle.id()]).ok();
    }
    bundle.sleeping();
    let pid_file = bundle.file("exec.pid");
    let exec = ["exec", "--detach", "--pid-file", &pid_file, "--pidfd-socket", &path];
    bundle
        .runtime(&[&exec[..], &[bundle.id(), "sleep", "600"]].concat())
        .ok();
    let (_, pidfd) = receive(&socket);
    assert_eq!(
        Ok(pid_of(&pidfd)),
        fs::read_to_string(&pid_file).map_err(|err| err.to_string())
    );
}

#[test]
fn a_process_whose_handle_nobody_takes_does_not_stay() {
    let bundle = Bundle::new();
    let (folder, nowhere) = (bundle.path(), bundle.file("nowhere.sock"));
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    for verb in [&["create"][..], &["run", "--detach"], &["run"]] {
        let args = [verb, &["--pidfd-socket", &nowhere, "--bundle", &folder, bundle.id()]].concat();
        bundle.runtime(&args).code_is(1).says("nowhere.sock: no such file");
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{verb:?}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{verb:?}");
    }
    bundle.sleeping();
    let exec = ["exec", "--pidfd-socket", &nowhere, bundle.id(), "sleep", "600"];
    bundle.runtime(&exec).code_is(255).says("nowhere.sock: no such file");
    let pids = bundle.runtime(&["ps", "--format", "json", bundle.id()]).ok();
    assert_eq!(pids, format!("[{}]", bundle.state()["pid"]));
}

#[test]
fn the_master_of_a_new_terminal_is_sent_to_the_console_socket() {
    let bundle = Bundle::new();
    let (socket, path) = listener(&bundle, "console.sock");
    let script = "stty size; tty; read line; echo heard $line; sleep 600";
    bundle.edit(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 33, "width": 77});
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let folder = bundle.path();
    let made = ["--console-socket", &path, "--bundle", &folder, bundle.id()];
    bundle.runtime(&[&["create"], &made[..]].concat()).ok();
    let master = receive(&socket).1;
    bundle.runtime(&["start", bundle.id()]).ok();
    converse(master, "33 77\r\n/dev/pts/0\r\n");
    bundle.runtime(&["delete", "--force", bundle.id()]).ok();

    bundle.runtime(&[&["run", "--detach"], &made[..]].concat()).ok();
    converse(receive(&socket).1, "33 77\r\n/dev/pts/0\r\n");
    let exec = ["exec", "--detach", "--tty", "--console-socket", &path, bundle.id()];
    bundle.runtime(&[&exec[..], &["sh", "-c", script]].concat()).ok();
    converse(receive(&socket).1, "33 77\r\n/dev/pts/1\r\n");
}

/// What a program at a terminal says first, and then of what it reads.
fn converse(master: OwnedFd, greeting: &str) {
    let mut terminal = fs::File::from(master);
    let mut said = String::new();
    let mut hear = |terminal: &mut fs::File, end: &str| {
        let mut buffer = [0; 256];
        while !said.ends_with(end) {
            let length = terminal.read(&mut buffer).expect("a terminal");
            assert_ne!(length, 0, "the terminal ends after {said:?}");
            said.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        said.clone()
    };
    hear(&mut terminal, greeting);
    terminal.write_all(b"hello\n").expect("a terminal");
    let all = hear(&mut terminal, "heard hello\r\n");
    assert_eq!(all, format!("{greeting}hello\r\nheard hello\r\n"));
}

#[test]
fn a_console_socket_needs_a_terminal_and_an_exec_without_one_is_refused_it() {
    let bundle = Bundle::new();
    let (folder, (_socket, path)) = (bundle.path(), listener(&bundle, "console.sock"));
    let text = "cannot use console socket";
    let args = ["run", "--console-socket", &path, "--bundle", &folder, bundle.id()];
    bundle.runtime(&args).code_is(1).says(text);
    bundle.sleeping();
    let args = ["exec", "--console-socket", &path, bundle.id(), "true"];
    bundle.runtime(&args).code_is(255).says(text);
    let args = ["exec", "--tty", "--detach", bundle.id(), "true"];
    bundle
        .runtime(&args)
        .code_is(255)
        .says("without setting console socket");
}

/// A shell's line that runs `command` with "first" as descriptor 3 and "second" as descriptor 4.
fn with_two_files(bundle: &Bundle, command: &Command) -> String {
    for name in ["first", "second"] {
        fs::write(bundle.file(name), format!("{name}\n")).expect("the bundle is ours");
    }
    let (first, second) = (bundle.file("first"), bundle.file("second"));
    format!(
        "exec 3<{first} 4<{second}; LISTEN_FDS=1 LISTEN_PID=$PID exec {}",
        shell_words(command)
    )
}

#[test]
fn descriptors_that_a_service_manager_passes_reach_the_program_that_is_told_of_them() {
    let bundle = Bundle::new();
    let script = "tr '\\0' '\\n' < /proc/$$/environ | grep LISTEN; cat <&3; cat <&4; true";
    bundle.edit(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        // The program's own idea of them is the wrong one.
        let env = config["process"]["env"].as_array_mut().expect("a list");
        env.push(json!("LISTEN_FDS=7"));
    });
    let folder = bundle.path();
    let run = bundle.command(&["run", "--preserve-fds", "1", "--bundle", &folder, bundle.id()]);
    let line = with_two_files(&bundle, &run);
    let run_as = |pid: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &line.replace("$PID", pid)]).finish()
    };
    assert_eq!(run_as("$$").ok(), "LISTEN_FDS=1\nLISTEN_PID=1\nfirst\nsecond");
    // What is for another process is not passed on; the one that was asked for comes first then.
    let refused = run_as("1").says("4: Bad file descriptor");
    assert_eq!(refused.stdout, "LISTEN_FDS=7\nfirst\n");
}

#[test]
fn descriptors_that_are_passed_to_a_creation_wait_for_the_start() {
    let bundle = Bundle::new();
    let script = "tr '\\0' '\\n' < /proc/$$/environ | grep LISTEN; cat <&3; cat <&4; echo done";
    bundle.edit(|config| config["process"]["args"] = json!(["sh", "-c", format!("{{ {script}; }} > /said")]));
    let (folder, said) = (bundle.path(), bundle.rootfs().join("said"));
    let create = bundle.command(&["create", "--preserve-fds", "1", "--bundle", &folder, bundle.id()]);
    let line = with_two_files(&bundle, &create).replace("$PID", "$$");
    let mut shell = Command::new("sh");
    // A container inherits these, and whoever waits for their end would wait for it.
    shell.args(["-c", &line]).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(shell.status().expect("a shell").success());
    assert!(!said.exists());
    bundle.runtime(&["start", bundle.id()]).ok();
    let text = wait::until("the program has spoken", 10, || {
        fs::read_to_string(&said).ok().filter(|text| text.ends_with("done\n"))
    });
    assert_eq!(text, "LISTEN_FDS=1\nLISTEN_PID=1\nfirst\nsecond\ndone\n");
}
