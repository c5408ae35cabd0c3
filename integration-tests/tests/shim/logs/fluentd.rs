//! fluentd: a receiver of the Forward protocol, made of a MessagePack library.

use davit_stdio::LogDriver;
use rmpv::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};

use super::{Log, ended, receivers::soon};
use crate::{
    rig::{self, Rig, connect},
    wait_request,
};

fn fluentd<'a>(options: &'a [(&'a str, &'a str)]) -> Log<'a> {
    Log {
        driver: LogDriver::Fluentd,
        options,
        attributes: &[("label", "l")],
    }
}

/// One connection's messages.
struct Receiver<S> {
    stream: S,
    bytes: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
        }
    }

    /// Tag, time, record and option of the next message.
    async fn next(&mut self) -> Vec<Value> {
        loop {
            let mut rest = &self.bytes[..];
            if let Ok(Value::Array(parts)) = rmpv::decode::read_value(&mut rest) {
                self.bytes = rest.to_vec();
                return parts;
            }
            let mut bytes = [0; 4096];
            let length = soon(self.stream.read(&mut bytes)).await.expect("a stream");
            assert_ne!(length, 0, "ended in the middle of a message");
            self.bytes.extend_from_slice(&bytes[..length]);
        }
    }

    async fn acknowledge(&mut self, option: &Value) {
        let answer = Value::Map(vec![("ack".into(), field(option, "chunk").clone())]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &answer).expect("a message");
        self.stream.write_all(&bytes).await.expect("a shim that reads");
    }
}

fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let entries = map.as_map().expect("a map");
    &entries
        .iter()
        .find(|(key, _)| key.as_str() == Some(name))
        .expect("the entry")
        .1
}

fn text<'a>(message: &'a [Value], name: &str) -> &'a str {
    field(&message[2], name).as_str().expect("a text")
}

#[tokio::test]
async fn records_come_over_tcp_and_what_is_not_acknowledged_comes_again() {
    let rig = Rig::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address").to_string();
    let options = [
        ("fluentd-address", address.as_str()),
        ("fluentd-request-ack", "true"),
        ("fluentd-sub-second-precision", "true"),
        ("fluentd-retry-wait", "100ms"),
        ("tag", "web"),
    ];
    let client = fluentd(&options).started(&rig, "echo one; echo two >&2").await;
    let mut receiver = Receiver::new(soon(listener.accept()).await.expect("a connection").0);
    let first = receiver.next().await;
    assert_eq!(first[0].as_str(), Some("web"));
    assert!(matches!(&first[1], Value::Ext(0, time) if time.len() == 8));
    let id = text(&first, "container_id");
    assert_eq!(
        (id, text(&first, "container_name"), text(&first, "label")),
        ("c1", "/web", "l")
    );
    // It ends without a word: the record is not known to have arrived.
    drop(receiver);
    let mut receiver = Receiver::new(soon(listener.accept()).await.expect("a connection").0);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let message = receiver.next().await;
        seen.push((text(&message, "source").to_owned(), text(&message, "log").to_owned()));
        receiver.acknowledge(&message[3]).await;
    }
    seen.sort();
    assert_eq!(
        seen,
        [("stderr", "two"), ("stdout", "one")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    ended(&client).await;
}

#[tokio::test]
async fn an_asynchronous_receiver_may_come_after_the_start_and_others_must_be_there() {
    let rig = Rig::new().await;
    let socket = rig.scratch.join("f");
    let address = format!("unix://{}", socket.display());
    let mut options = vec![("fluentd-address", address.as_str())];
    let client = connect(&rig.start("c1", "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); done")).await;
    let (_, refused) = fluentd(&options).refused(&rig, &client).await;
    assert!(
        refused.contains(&format!("cannot reach the log driver's peer {address}: ")),
        "{refused}"
    );
    options.extend([("fluentd-async", "true"), ("fluentd-retry-wait", "100ms")]);
    let request = rig.create_request("c1", "", &fluentd(&options).uri(&rig));
    client.create(rig::soon(), &request).await.expect("create");
    client
        .start(rig::soon(), &crate::start_request("c1", ""))
        .await
        .expect("start");
    let waited = client.wait(rig::soon(), &wait_request("c1", "")).await;
    assert_eq!(waited.expect("nobody holds it up").exit_status, 0);
    let listener = UnixListener::bind(&socket).expect("a socket");
    let mut receiver = Receiver::new(soon(listener.accept()).await.expect("a connection").0);
    for number in 0..100 {
        assert_eq!(text(&receiver.next().await, "log"), number.to_string());
    }
    ended(&client).await;
}
