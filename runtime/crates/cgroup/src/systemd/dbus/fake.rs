//! A bus for tests, which says what it is told to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread::{JoinHandle, spawn},
};

use super::{
    message::{ERROR, HEAD, Message},
    value::Value,
    wire::Writer,
};

/// A socket, and somebody who does as `behave` says with the one who connects.
pub(in crate::systemd) fn bus(
    behave: impl FnOnce(UnixStream) + Send + 'static,
) -> (String, tempfile::TempDir, JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = spawn(move || behave(listener.accept().unwrap().0));
    (format!("unix:path={}", path.display()), folder, thread)
}

/// Authenticates like dbus-daemon.
pub(in crate::systemd) fn welcome(stream: &UnixStream) -> BufReader<UnixStream> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut zero = [1];
    reader.read_exact(&mut zero).unwrap();
    assert_eq!(zero, [0]);
    let mut expect = |line: &str, answer: &str| {
        let mut said = String::new();
        reader.read_line(&mut said).unwrap();
        assert_eq!(said.trim_end(), line);
        (&*stream).write_all(answer.as_bytes()).unwrap();
    };
    expect("AUTH EXTERNAL", "DATA\r\n");
    expect("DATA", "OK 1234\r\n");
    expect("BEGIN", "");
    reader
}

/// The member of the next call.
pub(in crate::systemd) fn called(reader: &mut impl Read) -> String {
    let mut bytes = vec![0; HEAD];
    reader.read_exact(&mut bytes).unwrap();
    bytes.resize(Message::length(&bytes).unwrap(), 0);
    reader.read_exact(&mut bytes[HEAD..]).unwrap();
    Message::decode(&bytes).unwrap().member
}

/// A message to a client; an error has an example's name.
pub(in crate::systemd) fn message(kind: u8, reply_to: u32, arguments: Vec<Value>) -> Vec<u8> {
    named(kind, reply_to, "org.example.No", arguments)
}

/// An error.
pub(in crate::systemd) fn refusal(reply_to: u32, name: &str) -> Vec<u8> {
    named(ERROR, reply_to, name, vec![Value::text("no")])
}

fn named(kind: u8, reply_to: u32, error: &str, arguments: Vec<Value>) -> Vec<u8> {
    let mut body = Writer::default();
    arguments.iter().for_each(|argument| body.put(argument));
    let mut whole = Writer {
        bytes: vec![if cfg!(target_endian = "little") { b'l' } else { b'B' }, kind, 0, 1],
    };
    whole.number(body.bytes.len() as u32);
    whole.number(1);
    let field = |code, value| Value::Struct(vec![Value::Byte(code), Value::variant(value)]);
    let fields = vec![
        field(5, Value::U32(reply_to)),
        field(2, Value::text("org.freedesktop.systemd1.Manager")),
        field(3, Value::text("JobRemoved")),
        field(4, Value::text(error)),
    ];
    whole.put(&Value::Array("(yv)".into(), fields));
    whole.align(8);
    whole.bytes.extend(body.bytes);
    whole.bytes
}

/// What JobRemoved says.
pub(in crate::systemd) fn job(path: &str, result: &str) -> Vec<Value> {
    vec![
        Value::U32(1),
        Value::Path(path.into()),
        Value::text("a.scope"),
        Value::text(result),
    ]
}
