//! The shim's ttrpc, byte by byte: what no client should say, and what is said to it.

use std::time::Duration;

use davit_shim_api::task_v3::shim::*;
use protobuf::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time,
};
use ttrpc::Code;

use crate::{
    kill_request,
    rig::{Rig, connect, soon},
    start_request,
    upgrade::{Programs, socket_of},
    wait_request,
};

/// A request as it goes over the wire.
pub fn message(stream: u32, service: &str, method: &str, payload: &impl Message) -> Vec<u8> {
    let mut request = ttrpc::Request::new();
    request.service = service.into();
    request.method = method.into();
    request.payload = payload.write_to_bytes().expect("a message");
    let request = request.write_to_bytes().expect("a message");
    let header = [(request.len() as u32).to_be_bytes(), stream.to_be_bytes()].concat();
    [header, vec![1, 0], request].concat()
}

pub async fn response(stream: &mut (impl AsyncRead + Unpin)) -> (u32, ttrpc::Response) {
    let mut header = [0; 10];
    stream.read_exact(&mut header).await.expect("a header");
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let mut payload = vec![0; number(0) as usize];
    stream.read_exact(&mut payload).await.expect("a payload");
    (
        number(4),
        ttrpc::Response::parse_from_bytes(&payload).expect("a response"),
    )
}

async fn refusal(stream: &mut UnixStream) -> (u32, Code, String) {
    let (number, response) = response(stream).await;
    (number, response.status.code(), response.status.message.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_wrongly_hurts_neither_its_own_calls_nor_those_of_others() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    client.start(soon(), &start_request("c1", "")).await.expect("start");
    let (programs, socket) = (Programs::new(&rig), socket_of(&rig, "c1"));
    let mut raw = UnixStream::connect(&socket).await.expect("a connection");
    let wait = |stream| message(stream, "containerd.task.v2.Task", "Wait", &wait_request("c1", ""));
    let data = [&[0, 0, 0, 1][..], &[0, 0, 0, 5], &[3, 0], b"x"].concat();
    raw.write_all(&wait(5)).await.expect("it reads");
    for (said, stream, text) in [
        (wait(5), 5, "StreamID cannot be re-used and must increment"),
        (wait(3), 3, "StreamID cannot be re-used and must increment"),
        (wait(8), 8, "StreamID must be odd for client initiated streams"),
        (data, 5, "StreamID is no longer active"),
    ] {
        raw.write_all(&said).await.expect("it reads");
        assert_eq!(refusal(&mut raw).await, (stream, Code::INVALID_ARGUMENT, text.into()));
    }
    for (service, method, text) in [
        ("no.Service", "Wait", "service no.Service"),
        ("containerd.task.v2.Task", "No", "method No"),
    ] {
        let mut other = UnixStream::connect(&socket).await.expect("a connection");
        let said = message(1, service, method, &ConnectRequest::new());
        other.write_all(&said).await.expect("it reads");
        assert_eq!(refusal(&mut other).await, (1, Code::UNIMPLEMENTED, text.into()));
    }
    programs.upgrade(0, &socket).expect("an upgrade");
    let other = connect(&format!("unix://{}", socket.display())).await;
    other.kill(soon(), &kill_request("c1", 9)).await.expect("kill");
    let (stream, response) = response(&mut raw).await;
    let exit = WaitResponse::parse_from_bytes(&response.payload).expect("an answer");
    assert_eq!((stream, exit.exit_status), (5, 137));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_no_answer_is_soon_not_read_either_and_gets_them_all_later() {
    let rig = Rig::new().await;
    let client = rig.created("c1", "sleep 100", "", "").await;
    let mut raw = UnixStream::connect(socket_of(&rig, "c1")).await.expect("a connection");
    let state = StateRequest {
        id: "c1".into(),
        ..Default::default()
    };
    let request = |stream| message(stream, "containerd.task.v2.Task", "State", &state);
    let (mut stream, mut rest) = (1, Vec::new());
    loop {
        rest.extend((0..100).flat_map(|number| request(stream + 2 * number)));
        stream += 200;
        let mut written = 0;
        while written < rest.len() {
            let writing = time::timeout(Duration::from_millis(500), raw.write(&rest[written..]));
            match writing.await {
                Ok(length) => written += length.expect("it is there"),
                Err(_) => break,
            }
        }
        rest.drain(..written);
        if !rest.is_empty() {
            break;
        }
    }
    // An answer is some 40 bytes long, and the shim keeps a megabyte of them.
    assert!(stream / 2 < 60_000, "{} requests are read", stream / 2);
    client
        .connect(soon(), &ConnectRequest::new())
        .await
        .expect("others are served");
    let (mut reader, mut writer) = raw.into_split();
    let writing = tokio::spawn(async move { writer.write_all(&rest).await.map(|()| writer) });
    for _ in 0..stream / 2 {
        let (_, response) = response(&mut reader).await;
        assert_eq!(response.status.code(), Code::OK);
    }
    writing.await.expect("a task").expect("it is read again");
}
