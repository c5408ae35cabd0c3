//! Upgrades that are refused or not wanted any more, and what must not keep one from happening.

use std::{fs, path::Path, time::Duration};

use davit_integration_tests::program;
use davit_shim_api::{task_v3::shim::ConnectRequest, upgrade::upgrade::UpgradeRequest};
use davit_stdio::{LogDriver, LogTarget};
use tokio::{io::AsyncWriteExt, net::UnixStream, time};

use super::{Programs, program_of, socket_of};
use crate::{
    kill_request,
    rig::{Rig, exec_request, pid_of_listener, soon},
    start_request, wait_request,
    wire::message,
};

fn limit_descriptors(pid: u32, limit: u64) {
    let pid = rustix::process::Pid::from_raw(pid as i32);
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit {
        current: Some(limit),
        ..before
    };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).expect("a lower limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_outlives_an_upgrade_for_which_there_are_too_few_descriptors() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    for number in 0..6 {
        let name = format!("t{number}");
        let mut request = exec_request("c1", &name, "sleep 100", "");
        request.terminal = true;
        client.exec(soon(), &request).await.expect("exec");
        client.start(soon(), &start_request("c1", &name)).await.expect("start");
    }
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let pid = pid_of_listener(&socket)[0];
    let mut refusals = 0;
    for limit in (40..200).step_by(3) {
        limit_descriptors(pid, limit);
        match programs.upgrade(0, &socket) {
            Err(why) => {
                refusals += 1;
                assert!(
                    ["Too many open files", "the limit is"]
                        .iter()
                        .any(|text| why.contains(text)),
                    "{why}"
                );
                client.connect(soon(), &ConnectRequest::new()).await.expect("it serves");
            }
            Ok(upgraded) => {
                assert_eq!(upgraded, pid);
                assert!(refusals > 0);
                client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
                client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
                return;
            }
        }
    }
    panic!("it is never upgraded");
}

/// A program that says no sooner than a file is there whether it can take over.
fn slow(path: &Path, go: &Path, real: &Path) {
    let wait = format!("while [ ! -e {} ]; do sleep 0.02; done", go.display());
    program::write(path, &format!("#!/bin/sh\n{wait}\nexec {} \"$@\"", real.display()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_before_an_upgrade_is_done_leaves_nothing_for_the_next_who_asks() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let pid = pid_of_listener(&socket)[0];
    let (path, go) = (rig.scratch.join("slow"), rig.scratch.join("go"));
    slow(&path, &go, &programs.0[0]);
    let request = UpgradeRequest {
        program: path.display().to_string(),
        ..Default::default()
    };
    let mut raw = UnixStream::connect(&socket).await.expect("a connection");
    let asked = message(1, "davit.shim.v1.Upgrade", "Upgrade", &request);
    raw.write_all(&asked).await.expect("it reads");
    // The program is asked by now, or the question is not wanted any more before it is.
    time::sleep(Duration::from_millis(200)).await;
    drop(raw);
    client.connect(soon(), &ConnectRequest::new()).await.expect("it serves");
    fs::write(&go, "").expect("a file");
    // As a package does it: another program under the same name.
    fs::remove_file(&path).expect("it is there");
    slow(&path, &go, &programs.0[1]);
    assert_eq!(upgrade_to(&path, &socket).await, Ok(pid));
    assert_eq!(program_of(pid), programs.0[1]);
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
}

/// Asks for a program that cannot ask for itself.
async fn upgrade_to(program: &Path, socket: &Path) -> Result<u32, ttrpc::Error> {
    let client = ttrpc::asynchronous::Client::connect(&format!("unix://{}", socket.display())).await?;
    let request = UpgradeRequest {
        program: program.display().to_string(),
        ..Default::default()
    };
    let client = davit_shim_api::upgrade::upgrade_ttrpc::UpgradeClient::new(client);
    client.upgrade(soon(), &request).await.map(|response| response.pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_written_to_without_a_pause_holds_no_upgrade_up() {
    let rig = Rig::new().await;
    let options = [("mode", "non-blocking"), ("max-size", "1m"), ("max-file", "1")];
    let log = LogTarget {
        driver: LogDriver::JsonFile,
        path: rig.scratch.join("x.log"),
        attach: rig.scratch.join("a"),
        options: options.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        details: Default::default(),
    };
    let client = rig.created("c1", "yes", "", &log.to_string()).await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    for number in 0..3 {
        programs.upgrade(number, &socket).expect("an upgrade");
    }
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
}
