//! The shim becomes another program: containers, their streams, their clients and the manager do not notice.

mod refused;
mod streams;

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use davit_integration_tests::program;
use davit_shim_api::task_v3::shim::*;
use davit_stdio::Frame;
use protobuf::Message;
use tokio::{io::AsyncWriteExt, net::UnixStream, time};

use crate::{
    client::Attached,
    delete_request, id, kill_request,
    rig::{Rig, connect, exec_request, output, pid_of_listener, soon},
    sandbox, start_request, wait_request,
    wire::{message, response},
};

/// Two programs, so that each upgrade is one.
pub struct Programs(pub [PathBuf; 2]);

impl Programs {
    pub fn new(rig: &Rig) -> Self {
        let own = PathBuf::from(rig.scratch.program("containerd-shim-davit-v1").get_program());
        Self(["one", "two"].map(|name| {
            let path = rig.scratch.join(name);
            program::copy(&own, &path).expect("a copy");
            path
        }))
    }

    /// Upgrades to the one or the other.
    pub fn upgrade(&self, number: usize, socket: &Path) -> Result<u32, String> {
        upgrade(&self.0[number % 2], socket)
    }
}

/// The pid of the shim that has become this program, or why it has not. The shim tells its events meanwhile, and waits for who takes
/// them: tests run on several threads.
pub fn upgrade(program: &Path, socket: &Path) -> Result<u32, String> {
    let mut command = Command::new(program);
    command.arg("-socket").arg(socket).arg("upgrade");
    let output = output(command, b"");
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        return Ok(text.trim().parse().expect("a pid"));
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

pub fn socket_of(rig: &Rig, id: &str) -> PathBuf {
    PathBuf::from(fs::read_to_string(rig.scratch.join(id).join("shim-socket")).expect("a note"))
}

pub fn program_of(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).expect("it runs")
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn output_input_and_waits_go_on_over_many_upgrades() {
    let rig = Rig::new().await;
    let folder = rig.scratch.path().to_owned();
    let uri = format!(
        "json-file://{}?attach={}",
        folder.join("x-json.log").display(),
        folder.join("a").display()
    );
    let script =
        "i=0; while [ $i -lt 30000 ]; do echo line-$i; i=$((i+1)); done; read word; echo \"got $word\"; exit 7";
    let client = rig.created("c1", script, "attach:", &uri).await;
    let mut attached = Attached::open(&folder.join("a"), Some(0)).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.wait(soon(), &wait_request("c1", "")).await }
    });
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let pid = pid_of_listener(&socket)[0];
    let upgrading = tokio::task::spawn_blocking(move || {
        for number in 0..20 {
            assert_eq!(programs.upgrade(number, &socket), Ok(pid));
            assert_eq!(program_of(pid), programs.0[number % 2]);
        }
        descriptors(pid)
    });
    let expected: String = (0..30000).map(|number| format!("line-{number}\n")).collect();
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        seen.extend(attached.output().await.expect("more output"));
        // It holds the container up now and then, so that output is under way at every upgrade.
        time::sleep(Duration::from_millis(5)).await;
    }
    assert!(seen == expected.as_bytes(), "output is neither lost nor doubled");
    let after = upgrading.await.expect("upgrades");
    attached
        .send(&Frame::Stdin {
            offset: Some(0),
            data: b"it\n".to_vec(),
        })
        .await;
    assert_eq!(attached.rest().await, b"got it\n");
    let exit = waiting
        .await
        .expect("a task")
        .expect("the call that was waiting is answered");
    assert_eq!(exit.exit_status, 7);
    assert!(after < 40, "{after} descriptors: some are left behind");
    let log = fs::read_to_string(folder.join("x-json.log")).expect("a log");
    let logged: String = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a record"))
        .map(|record| record["log"].as_str().expect("a text").to_owned())
        .collect();
    assert!(
        logged == expected + "got it\n",
        "records are neither lost, doubled nor torn"
    );
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    client
        .shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("shutdown");
    rig.events_come(4).await;
    assert_eq!(
        rig.topics(),
        ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_which_half_has_been_read_is_answered_by_the_next_program() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let request = ConnectRequest {
        id: id("c1"),
        ..Default::default()
    };
    let bytes = message(1, "containerd.task.v2.Task", "Connect", &request);
    let mut raw = UnixStream::connect(&socket).await.expect("a connection");
    for (number, byte) in bytes.iter().enumerate() {
        raw.write_all(&[*byte]).await.expect("it reads");
        // An answer shows that it has read what was sent before.
        client.connect(soon(), &request).await.expect("connect");
        if number % 8 == 3 {
            programs.upgrade(number / 8, &socket).expect("an upgrade");
        }
    }
    let (stream, response) = response(&mut raw).await;
    assert_eq!(stream, 1);
    let connected = ConnectResponse::parse_from_bytes(&response.payload).expect("an answer");
    assert_eq!(connected.shim_pid, pid_of_listener(&socket)[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_a_client_has_not_read_are_there_after_an_upgrade() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let mut raw = UnixStream::connect(&socket).await.expect("a connection");
    let request = StateRequest {
        id: id("c1"),
        ..Default::default()
    };
    let count = 4000;
    for number in 0..count {
        let bytes = message(number * 2 + 1, "containerd.task.v3.Task", "State", &request);
        raw.write_all(&bytes).await.expect("it reads");
    }
    programs.upgrade(0, &socket).expect("an upgrade");
    let mut streams = Vec::new();
    for _ in 0..count {
        let (stream, response) = response(&mut raw).await;
        assert_eq!(
            StateResponse::parse_from_bytes(&response.payload)
                .expect("an answer")
                .id,
            "c1"
        );
        streams.push(stream);
    }
    streams.sort_unstable();
    assert_eq!(streams, (0..count).map(|number| number * 2 + 1).collect::<Vec<_>>());
    client
        .connect(soon(), &ConnectRequest::new())
        .await
        .expect("others are served, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_fifo_and_behind_it_comes_after_an_upgrade() {
    let rig = Rig::new().await;
    let fifo = rig.scratch.join("out");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(libc_nonblock())
        .open(&fifo)
        .expect("a reader");
    let script = "i=0; while [ $i -lt 40000 ]; do echo line-$i; i=$((i+1)); done";
    let client = rig.created("c1", script, "", &fifo.display().to_string()).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    // The FIFO is full, the shim has read more than it could write, and the container waits.
    time::sleep(Duration::from_millis(300)).await;
    for number in 0..3 {
        programs.upgrade(number, &socket).expect("an upgrade");
    }
    rustix::io::ioctl_fionbio(&reader, false).expect("a reader that waits");
    let mut reader = reader;
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("an end");
        text
    });
    let text = time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("the FIFO is closed")
        .expect("a task");
    let expected: String = (0..40000).map(|number| format!("line-{number}\n")).collect();
    assert!(text == expected, "{} bytes instead of {}", text.len(), expected.len());
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
}

pub fn libc_nonblock() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits() as i32
}

#[tokio::test(flavor = "multi_thread")]
async fn execs_in_every_state_go_on() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let file = |name: &str| format!("file://{}", rig.scratch.join(name).display());
    let exec = async |name: &str, script: &str, terminal: bool| {
        let mut request = exec_request("c1", name, script, &file(name));
        request.terminal = terminal;
        if terminal {
            request.stderr = String::new();
        }
        client.exec(soon(), &request).await.expect("exec");
    };
    exec("described", "echo described; exit 3", false).await;
    exec("terminal", "test -t 1 && echo terminal", true).await;
    exec("running", "sleep 1; echo running; exit 4", false).await;
    exec("stopped", "exit 5", false).await;
    for name in ["running", "stopped"] {
        client.start(soon(), &start_request("c1", name)).await.expect("start");
    }
    client.wait(soon(), &wait_request("c1", "stopped")).await.expect("wait");
    client
        .pause(
            soon(),
            &PauseRequest {
                id: id("c1"),
                ..Default::default()
            },
        )
        .await
        .expect("pause");
    programs.upgrade(0, &socket).expect("an upgrade");
    let state = StateRequest {
        id: id("c1"),
        ..Default::default()
    };
    let state = client.state(soon(), &state).await.expect("state");
    assert_eq!(
        state.status.enum_value().expect("known"),
        davit_shim_api::task_v3::task::Status::PAUSED
    );
    client
        .resume(
            soon(),
            &ResumeRequest {
                id: id("c1"),
                ..Default::default()
            },
        )
        .await
        .expect("resume");
    for name in ["described", "terminal"] {
        client.start(soon(), &start_request("c1", name)).await.expect("start");
    }
    for (name, status, said) in [
        ("described", 3, "described\n"),
        ("terminal", 0, "terminal\r\n"),
        ("running", 4, "running\n"),
        ("stopped", 5, ""),
    ] {
        let exit = client.wait(soon(), &wait_request("c1", name)).await.expect("wait");
        assert_eq!(exit.exit_status, status, "{name}");
        client
            .delete(soon(), &delete_request("c1", name))
            .await
            .expect("delete");
        assert_eq!(
            fs::read_to_string(rig.scratch.join(name)).expect("its output"),
            said,
            "{name}"
        );
    }
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_in_the_middle_of_an_upgrade_is_told_once() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 1000", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let upgrading = tokio::task::spawn_blocking(move || {
        for number in 0..60 {
            programs.upgrade(number, &socket).expect("an upgrade");
        }
    });
    let mut ended = Vec::new();
    while !upgrading.is_finished() {
        let name = format!("e{}", ended.len());
        let status = ended.len() as u32 % 200;
        client
            .exec(soon(), &exec_request("c1", &name, &format!("exit {status}"), ""))
            .await
            .expect("exec");
        client.start(soon(), &start_request("c1", &name)).await.expect("start");
        let exit = client.wait(soon(), &wait_request("c1", &name)).await.expect("wait");
        assert_eq!(exit.exit_status, status);
        client
            .delete(soon(), &delete_request("c1", &name))
            .await
            .expect("delete");
        ended.push((name, status));
    }
    upgrading.await.expect("upgrades");
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    ended.push((id("c1"), 137));
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    rig.events_come(3 * (ended.len() - 1) + 4).await;
    assert_eq!(rig.exits(), ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_for_the_manager_go_over() {
    let mut rig = Rig::new().await;
    let client = rig.created("c1", "exit 3", "", "").await;
    rig.events_come(1).await;
    rig.manager_goes().await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    programs.upgrade(0, &socket).expect("an upgrade");
    rig.manager_comes().await;
    rig.events_come(3).await;
    assert_eq!(rig.topics(), ["/tasks/create", "/tasks/start", "/tasks/exit"]);
    assert_eq!(rig.exits(), [(id("c1"), 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_take_over_is_refused_and_the_shim_goes_on() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    let socket = socket_of(&rig, "c1");
    let pid = pid_of_listener(&socket)[0];
    let before = program_of(pid);
    let newer = rig.scratch.join("newer");
    program::write(
        &newer,
        "#!/bin/sh\necho 'this program reads versions up to 0' >&2; exit 1",
    );
    let newer = newer.display().to_string();
    let no_program = rig.scratch.join("c1/config.json").display().to_string();
    for (program, why) in [
        ("relative", "is not an absolute path"),
        ("/nowhere/at/all", "No such file or directory"),
        (&no_program, "Permission denied"),
        ("/bin/true", "it is no shim that can take over"),
        ("/bin/false", "exit status 1"),
        (&newer, "reads versions up to 0"),
    ] {
        let request = davit_shim_api::upgrade::upgrade::UpgradeRequest {
            program: program.into(),
            ..Default::default()
        };
        let upgrading = davit_shim_api::upgrade::upgrade_ttrpc::UpgradeClient::new(
            ttrpc::asynchronous::Client::connect(&format!("unix://{}", socket.display()))
                .await
                .expect("a connection"),
        );
        let error = upgrading
            .upgrade(soon(), &request)
            .await
            .expect_err("a refusal")
            .to_string();
        assert!(error.contains(why), "{program}: {error}");
        client.connect(soon(), &ConnectRequest::new()).await.expect("it serves");
    }
    assert_eq!(program_of(pid), before);
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let other = connect(&format!("unix://{}", socket.display())).await;
    other.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_without_a_container_can_be_upgraded_and_still_ends() {
    let rig = Rig::new().await;
    let address = rig.start("c1", "true");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    programs.upgrade(0, &socket).expect("an upgrade");
    let client = connect(&address).await;
    client
        .shutdown(soon(), &ShutdownRequest::new())
        .await
        .expect("shutdown");
    for _ in 0..500 {
        if pid_of_listener(&socket).is_empty() {
            return;
        }
        time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_goes_on_and_its_containers_stay_in_it() {
    let rig = Rig::new().await;
    let (_, socket, client) = sandbox::created(&rig).await;
    client.start_sandbox(soon(), &sandbox::start()).await.expect("start");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.wait_sandbox(soon(), &sandbox::wait()).await }
    });
    let programs = Programs::new(&rig);
    let pid = pid_of_listener(&socket)[0];
    assert_eq!(programs.upgrade(0, &socket), Ok(pid));
    let status = client.sandbox_status(soon(), &sandbox::status()).await.expect("status");
    assert_eq!(status.state, "SANDBOX_READY");
    client.stop_sandbox(soon(), &sandbox::stop()).await.expect("stop");
    let exit = waiting
        .await
        .expect("a task")
        .expect("the call that was waiting is answered");
    assert_eq!(exit.exit_status, 0);
    assert_eq!(programs.upgrade(1, &socket), Ok(pid));
    let status = client.sandbox_status(soon(), &sandbox::status()).await.expect("status");
    assert_eq!(status.state, "SANDBOX_NOTREADY");
}
