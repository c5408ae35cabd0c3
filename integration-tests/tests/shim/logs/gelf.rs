//! gelf over UDP and TCP.

use std::process::{Command, Stdio};

use davit_stdio::LogDriver;
use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};

use super::{
    Log, ended,
    receivers::{read_until, soon},
};
use crate::{
    rig::{self, Rig},
    wait_request,
};

fn gelf<'a>(options: &'a [(&'a str, &'a str)]) -> Log<'a> {
    Log {
        driver: LogDriver::Gelf,
        options,
        attributes: &[("label", "l")],
    }
}

fn unpacked(message: &[u8]) -> Value {
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gzip");
    let mut stdin = gzip.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, message).expect("gzip reads");
    drop(stdin);
    let output = gzip.wait_with_output().expect("gzip ends");
    serde_json::from_slice(&output.stdout).expect("a message")
}

#[tokio::test]
async fn datagrams_are_compressed_and_long_ones_come_in_chunks() {
    let rig = Rig::new().await;
    let receiver = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = format!("udp://{}", receiver.local_addr().expect("an address"));
    let options = [("gelf-address", address.as_str()), ("tag", "web")];
    // What cannot be compressed well needs several datagrams.
    let script = "echo short; sleep 0.3; head -c 6000 /dev/urandom | od -An -v -tx1 | tr -d ' \\n' >&2; echo >&2";
    ended(&gelf(&options).started(&rig, script).await).await;
    let mut bytes = [0; 2000];
    let length = soon(receiver.recv(&mut bytes)).await.expect("a datagram");
    let short = unpacked(&bytes[..length]);
    assert_eq!((&short["short_message"], &short["level"]), (&"short".into(), &6.into()));
    assert_eq!(
        (&short["_tag"], &short["_label"], &short["_container_name"]),
        (&"web".into(), &"l".into(), &"web".into())
    );
    let (mut pieces, mut count) = (Vec::new(), 2);
    while pieces.len() < count {
        let length = soon(receiver.recv(&mut bytes)).await.expect("a datagram");
        assert_eq!(bytes[..2], [0x1e, 0x0f]);
        assert_eq!(usize::from(bytes[10]), pieces.len());
        count = bytes[11].into();
        pieces.push(bytes[12..length].to_vec());
    }
    let long = unpacked(&pieces.concat());
    assert_eq!(long["short_message"].as_str().map(str::len), Some(12000));
    assert_eq!(long["level"], 3);
}

/// A port that no other socket is given meanwhile: it lies below those that the kernel gives.
async fn lasting_port() -> TcpListener {
    for port in 20_000 + std::process::id() as u16 % 10_000.. {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
    panic!("no port is free")
}

#[tokio::test]
async fn over_tcp_a_zero_byte_ends_each_message_and_a_receiver_may_be_started_again() {
    let rig = Rig::new().await;
    let listener = lasting_port().await;
    let local = listener.local_addr().expect("an address");
    let address = format!("tcp://{local}");
    let options = [("gelf-address", address.as_str()), ("gelf-tcp-max-reconnect", "20")];
    let script = "echo one; until [ -e /go ]; do sleep 0.05; done; echo two";
    let client = gelf(&options).started(&rig, script).await;
    let text = |message: &[u8]| {
        let message: Value = serde_json::from_slice(&message[..message.len() - 1]).expect("a message");
        message["short_message"].as_str().expect("a text").to_owned()
    };
    let (mut stream, _) = soon(listener.accept()).await.expect("a connection");
    assert_eq!(text(&read_until(&mut stream, 0, 1).await), "one");
    drop((stream, listener));
    std::fs::write(rig.scratch.join("rootfs").join("go"), "").expect("a file");
    client
        .wait(rig::soon(), &wait_request("c1", ""))
        .await
        .expect("it ends without its receiver");
    let listener = TcpListener::bind(local).await.expect("the same port");
    let (mut stream, _) = soon(listener.accept()).await.expect("it connects again");
    assert_eq!(text(&read_until(&mut stream, 0, 1).await), "two");
    ended(&client).await;
}
