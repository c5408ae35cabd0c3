//! syslog, and what all drivers with a peer have in common.

use std::{fs, time::Duration};

use davit_stdio::LogDriver;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, UdpSocket, UnixDatagram, UnixListener},
    time::{self, Instant},
};

use super::{
    Log, ended,
    receivers::{read_until, soon},
};
use crate::{
    rig::{self, Rig, connect},
    wait_request,
};

fn syslog<'a>(options: &'a [(&'a str, &'a str)]) -> Log<'a> {
    Log {
        driver: LogDriver::Syslog,
        options,
        attributes: &[],
    }
}

/// The texts of messages, whatever stands before them.
fn texts(messages: &[u8]) -> Vec<String> {
    let messages = String::from_utf8_lossy(messages);
    let text = |message: &str| message.split_once("]: ").expect("a head").1.to_owned();
    messages.lines().map(text).collect()
}

#[tokio::test]
async fn udp_and_a_local_socket_get_a_datagram_for_each_line() {
    let rig = Rig::new().await;
    // A name, which is looked up.
    let receiver = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = format!("udp://localhost:{}", receiver.local_addr().expect("an address").port());
    let options = [
        ("syslog-address", address.as_str()),
        ("syslog-format", "rfc5424micro"),
        ("syslog-facility", "local3"),
        ("tag", "web"),
    ];
    ended(
        &syslog(&options)
            .started(&rig, "echo out; sleep 0.2; echo err >&2")
            .await,
    )
    .await;
    for (priority, text) in [(158, "out"), (155, "err")] {
        let mut bytes = [0; 1000];
        let length = soon(receiver.recv(&mut bytes)).await.expect("a datagram");
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        assert!(message.starts_with(&format!("<{priority}>1 2")), "{message}");
        assert!(message.ends_with(&format!(" web - {text}\n")), "{message}");
    }

    let rig = Rig::new().await;
    let receiver = UnixDatagram::bind(rig.scratch.join("l")).expect("a socket");
    let address = format!("unixgram://{}", rig.scratch.join("l").display());
    ended(
        &syslog(&[("syslog-address", &address)])
            .started(&rig, "echo local")
            .await,
    )
    .await;
    let mut bytes = [0; 1000];
    let length = soon(receiver.recv(&mut bytes)).await.expect("a datagram");
    assert_eq!(texts(&bytes[..length]), ["local"]);
}

#[tokio::test]
async fn a_receiver_that_is_started_again_gets_what_was_written_meanwhile() {
    let rig = Rig::new().await;
    let socket = rig.scratch.join("l");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let go = rig.scratch.join("rootfs").join("go");
    let script = "echo before; until [ -e /go ]; do sleep 0.05; done; echo meanwhile; echo after";
    let address = format!("unix://{}", socket.display());
    let options = [("syslog-address", address.as_str())];
    let client = syslog(&options).started(&rig, script).await;
    let (mut stream, _) = soon(listener.accept()).await.expect("a connection");
    assert_eq!(texts(&read_until(&mut stream, b'\n', 1).await), ["before"]);
    drop((stream, listener));
    fs::remove_file(&socket).expect("the socket of one that has ended");
    fs::write(&go, "").expect("a file");
    client
        .wait(rig::soon(), &wait_request("c1", ""))
        .await
        .expect("it ends without its receiver");
    let listener = UnixListener::bind(&socket).expect("the same socket");
    let (mut stream, _) = soon(listener.accept()).await.expect("it connects again");
    assert_eq!(texts(&read_until(&mut stream, b'\n', 2).await), ["meanwhile", "after"]);
    ended(&client).await;
}

/// Says three thousand lines of a thousand bytes, more than all buffers on their way hold, and makes a file when it is done.
const MUCH: &str = "line=$(head -c 1000 /dev/zero | tr '\\0' x); i=0; \
    while [ $i -lt 3000 ]; do echo $line; i=$((i+1)); done; : > /done";

fn is_line(text: &str) -> bool {
    text.len() == 1000 && text.bytes().all(|byte| byte == b'x')
}

#[tokio::test]
async fn a_receiver_that_does_not_read_holds_a_container_up_and_then_gets_every_line() {
    let rig = Rig::new().await;
    let done = rig.scratch.join("rootfs").join("done");
    let listener = UnixListener::bind(rig.scratch.join("l")).expect("a socket");
    let address = format!("unix://{}", rig.scratch.join("l").display());
    let client = syslog(&[("syslog-address", &address)]).started(&rig, MUCH).await;
    let (mut stuck, _) = soon(listener.accept()).await.expect("a connection");
    let wait = wait_request("c1", "");
    let held = time::timeout(Duration::from_secs(3), client.wait(rig::soon(), &wait)).await;
    assert!(
        held.is_err() && !done.exists(),
        "the container goes on without its receiver"
    );
    let seen = texts(&read_until(&mut stuck, b'\n', 3000).await);
    assert_eq!(seen.len(), 3000);
    assert!(seen.iter().all(|text| is_line(text)));
    ended(&client).await;
    assert!(done.exists());
}

#[tokio::test]
async fn a_receiver_that_does_not_read_holds_nobody_up_in_non_blocking_mode() {
    let rig = Rig::new().await;
    let listener = UnixListener::bind(rig.scratch.join("l")).expect("a socket");
    let address = format!("unix://{}", rig.scratch.join("l").display());
    let options = [("syslog-address", address.as_str()), ("mode", "non-blocking")];
    let client = syslog(&options).started(&rig, MUCH).await;
    let (mut stuck, _) = soon(listener.accept()).await.expect("a connection");
    client
        .wait(rig::soon(), &wait_request("c1", ""))
        .await
        .expect("it ends");
    assert!(rig.scratch.join("rootfs").join("done").exists());
    // What is left is for the one who does not read; nobody waits for it for ever.
    let deleting = Instant::now();
    client
        .delete(rig::soon(), &crate::delete_request("c1", ""))
        .await
        .expect("delete");
    assert!(deleting.elapsed() < Duration::from_secs(30));
    let mut seen = Vec::new();
    soon(stuck.read_to_end(&mut seen)).await.expect("a stream that ends");
    let whole = seen.iter().rposition(|byte| *byte == b'\n').expect("a line");
    let seen = texts(&seen[..whole]);
    assert!(seen.len() < 3000 && seen.iter().all(|text| is_line(text)));
}

#[tokio::test]
async fn who_cannot_be_reached_at_the_start_fails_it_and_is_named() {
    let rig = Rig::new().await;
    let client = connect(&rig.start("c1", "true")).await;
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a socket")
        .local_addr()
        .expect("an address");
    let missing = format!("unix://{}", rig.scratch.join("missing").display());
    for address in [
        format!("tcp://{nobody}"),
        missing,
        "udp://no-such-host.invalid:5".into(),
    ] {
        let (_, text) = syslog(&[("syslog-address", &address)]).refused(&rig, &client).await;
        assert!(
            text.contains(&format!("cannot reach the log driver's peer {address}: ")),
            "{text}"
        );
    }
    for (option, expected) in [
        (("syslog-address", "tcp+tls://h:1"), "tcp+tls is not supported"),
        (
            ("syslog-facility", "local9"),
            "log option syslog-facility=local9: expected a facility's name",
        ),
        (
            ("syslog-tls-cert", "x"),
            "unknown log option \"syslog-tls-cert\" for syslog: \
             expected max-buffer-size, mode, syslog-address, syslog-facility, syslog-format, tag",
        ),
    ] {
        let (_, text) = syslog(&[option]).refused(&rig, &client).await;
        assert!(text.contains(expected), "{text}");
    }
}
