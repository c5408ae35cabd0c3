//! journald: datagrams, and files in memory where a datagram would be too long.

use std::{
    fs::File,
    io::{IoSliceMut, Read, Seek},
    mem::MaybeUninit,
    os::unix::net::UnixDatagram,
};

use davit_stdio::{LogDriver, Stdio};
use rustix::{
    fs::SealFlags,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};

use super::{Log, ended, receivers::PATIENCE};
use crate::{
    rig::{Rig, soon},
    start_request,
};

/// The fields of the next message.
fn message(journal: &UnixDatagram) -> String {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = vec![0; 300_000];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            journal,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    bytes.truncate(received.expect("a message").bytes);
    for message in control.drain() {
        let RecvAncillaryMessage::ScmRights(descriptors) = message else {
            continue;
        };
        for descriptor in descriptors {
            let seals = rustix::fs::fcntl_get_seals(&descriptor).expect("a file in memory");
            assert!(seals.contains(SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
            assert!(bytes.is_empty());
            let mut file = File::from(descriptor);
            file.rewind().expect("a file");
            file.read_to_end(&mut bytes).expect("a file");
        }
    }
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn each_line_is_a_message_however_long_its_fields_are() {
    for length in [1, 1_000_000] {
        let rig = Rig::new().await;
        let socket = rig.scratch.join("j");
        let journal = UnixDatagram::bind(&socket).expect("a socket");
        journal.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let label = "x".repeat(length);
        let log = Log {
            driver: LogDriver::Journald,
            options: &[("tag", "web")],
            attributes: &[("some.label", &label)],
        };
        let Ok(Stdio::Log(mut target)) = log.uri(&rig).parse() else {
            panic!("no target")
        };
        target.path = socket;
        let client = rig
            .created("c1", "echo hi; sleep 0.2; echo err >&2", "", &target.to_string())
            .await;
        client.start(soon(), &start_request("c1", "")).await.expect("start");
        ended(&client).await;
        for (ordinal, priority, line) in [(1, 6, "hi"), (2, 3, "err")] {
            let message = message(&journal);
            for field in [
                format!("PRIORITY={priority}"),
                format!("MESSAGE={line}"),
                format!("CONTAINER_LOG_ORDINAL={ordinal}"),
                "CONTAINER_NAME=web".into(),
                "CONTAINER_TAG=web".into(),
                format!("SOME_LABEL={label}"),
            ] {
                assert!(message.lines().any(|line| line == field), "no {:.50}", field);
            }
        }
    }
}
