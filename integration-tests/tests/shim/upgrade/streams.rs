//! What lies in pipes and FIFOs on the way to a process, ends that must come, and who holds them.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    time::Duration,
};

use davit_integration_tests::{program, wait};
use davit_shim_api::task_v3::{shim::*, shim_ttrpc::TaskClient};
use tokio::time;

use super::{Programs, libc_nonblock, socket_of};
use crate::{
    delete_request, id, kill_request,
    rig::{Rig, exec_request, soon},
    start_request, wait_request,
};

fn fifo(rig: &Rig, name: &str) -> PathBuf {
    let path = rig.scratch.join(name);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
    path
}

async fn close_stdin(client: &TaskClient, exec: &str) {
    let request = CloseIORequest {
        id: id("c1"),
        exec_id: id(exec),
        stdin: true,
        ..Default::default()
    };
    client.close_io(soon(), &request).await.expect("close");
}

#[tokio::test(flavor = "multi_thread")]
async fn input_comes_whole_and_ends_for_each_process_by_itself() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let out = |name: &str| format!("file://{}", rig.scratch.join(&format!("{name}.out")).display());
    for name in ["a", "b", "c"] {
        // It begins to read when it is told to: its input fills its pipe, what the shim holds, and the FIFO.
        let script = format!("while [ ! -e /go-{name} ]; do sleep 0.02; done; wc -c; echo end");
        let mut request = exec_request("c1", name, &script, &out(name));
        request.stdin = fifo(&rig, name).display().to_string();
        client.exec(soon(), &request).await.expect("exec");
    }
    client.start(soon(), &start_request("c1", "a")).await.expect("start");
    let fill = |name: &str| {
        let mut file = OpenOptions::new()
            .write(true)
            .custom_flags(libc_nonblock())
            .open(rig.scratch.join(name))
            .expect("the shim has it open");
        let mut total = 0;
        for _ in 0..100 {
            match file.write(&[b'x'; 3000]) {
                Ok(length) => total += length,
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        total
    };
    let mut totals = vec![fill("a")];
    programs.upgrade(0, &socket).expect("an upgrade");
    for name in ["b", "c"] {
        client.start(soon(), &start_request("c1", name)).await.expect("start");
        totals.push(fill(name));
    }
    programs.upgrade(1, &socket).expect("an upgrade");
    for (name, total) in ["a", "b", "c"].into_iter().zip(totals) {
        close_stdin(&client, name).await;
        programs.upgrade(0, &socket).expect("an upgrade");
        fs::write(rig.scratch.join("rootfs").join(format!("go-{name}")), "").expect("a file");
        client.wait(soon(), &wait_request("c1", name)).await.expect("wait");
        let said = fs::read_to_string(rig.scratch.join(&format!("{name}.out"))).expect("its output");
        assert_eq!(said, format!("{total}\nend\n"), "{name}");
        client
            .delete(soon(), &delete_request("c1", name))
            .await
            .expect("delete");
        programs.upgrade(1, &socket).expect("an upgrade");
    }
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_fifo_is_told_of_its_end_when_the_process_has_ended() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    for (name, terminal) in [("pipe", false), ("terminal", true)] {
        let path = fifo(&rig, name);
        let script = format!("echo begin; while [ ! -e /go-{name} ]; do sleep 0.02; done; echo end");
        let mut request = exec_request("c1", name, &script, &path.display().to_string());
        request.terminal = terminal;
        if terminal {
            request.stderr = String::new();
        }
        client.exec(soon(), &request).await.expect("exec");
        programs.upgrade(0, &socket).expect("an upgrade");
        let mut reader = File::open(&path).expect("the shim has it open");
        client.start(soon(), &start_request("c1", name)).await.expect("start");
        programs.upgrade(1, &socket).expect("an upgrade");
        // Others come to be meanwhile, and live on: they must not hold what is not theirs.
        let other = format!("other-{name}");
        client
            .exec(soon(), &exec_request("c1", &other, "sleep 100", ""))
            .await
            .expect("exec");
        client.start(soon(), &start_request("c1", &other)).await.expect("start");
        programs.upgrade(0, &socket).expect("an upgrade");
        fs::write(rig.scratch.join("rootfs").join(format!("go-{name}")), "").expect("a file");
        let reading = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).expect("an end");
            text.replace('\r', "")
        });
        let text = time::timeout(Duration::from_secs(30), reading).await;
        assert_eq!(text.expect("an end").expect("a task"), "begin\nend\n", "{name}");
    }
    client.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logging_program_gets_all_and_ends_with_its_container() {
    let rig = Rig::new().await;
    let (logger, out) = (rig.scratch.join("logger"), rig.scratch.join("out"));
    let script = format!(
        "#!/bin/sh\nexec 5>&-\n(cat <&3 >> {0}; echo out-ended >> {0}) &\ncat <&4 >/dev/null\nwait\n",
        out.display()
    );
    program::write(&logger, &script);
    let uri = format!("binary://{}", logger.display());
    let script = "echo one; while [ ! -e /go ]; do sleep 0.02; done; echo two";
    let client = rig.created("c1", script, "", &uri).await;
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    programs.upgrade(0, &socket).expect("an upgrade");
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    programs.upgrade(1, &socket).expect("an upgrade");
    fs::write(rig.scratch.join("rootfs/go"), "").expect("a file");
    client.wait(soon(), &wait_request("c1", "")).await.expect("wait");
    wait::until_true("the program has written all", 10, || {
        fs::read_to_string(&out).unwrap_or_default() == "one\ntwo\nout-ended\n"
    });
    client.delete(soon(), &delete_request("c1", "")).await.expect("delete");
    programs.upgrade(0, &socket).expect("an upgrade");
}
