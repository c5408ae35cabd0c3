use std::io::{BufReader, Read, Write};

use super::{
    super::fake::{bus, called, job, message, welcome},
    *,
};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn question() -> Call<'static> {
    Call {
        destination: "org.example",
        path: "/",
        interface: "org.example",
        member: "Ask",
        arguments: vec![Value::text("x")],
    }
}

#[test]
fn an_answer_is_heard_and_the_signals_before_it_are_kept() {
    let (address, _folder, thread) = bus(|mut stream| {
        let mut reader = welcome(&stream);
        assert_eq!(called(&mut reader), "Ask");
        for bytes in [
            message(SIGNAL, 0, job("/job/1", "done")),
            message(METHOD_RETURN, 99, vec![Value::text("for somebody else")]),
            message(METHOD_RETURN, 1, vec![Value::text("hello")]),
        ] {
            stream.write_all(&bytes).unwrap();
        }
        assert_eq!(called(&mut reader), "Ask");
        stream
            .write_all(&message(ERROR, 2, vec![Value::text("go away")]))
            .unwrap();
    });
    let mut connection = Connection::open(&address, LONG).unwrap();
    assert_eq!(connection.call(&question(), LONG).unwrap().text().unwrap(), "hello");
    let signal = connection.signal(Instant::now() + LONG).unwrap();
    assert!(signal.is("org.freedesktop.systemd1.Manager", "JobRemoved"));
    assert_eq!(signal.removed_job(), Some(("/job/1".into(), "done".into())));
    let refusal = connection.call(&question(), LONG).err().unwrap();
    assert!(refusal.is("org.example.No") && refusal.to_string().contains("go away"));
    thread.join().unwrap();
}

#[test]
fn a_bus_that_does_not_answer_costs_the_time_limit_and_no_more() {
    // Not to the authentication,
    let (address, _folder, thread) = bus(|stream| {
        let _ = BufReader::new(stream).read_to_end(&mut Vec::new());
    });
    assert!(matches!(Connection::open(&address, SHORT), Err(BusError::Silent(_))));
    thread.join().unwrap();
    // not to a call,
    let (address, _folder, thread) = bus(|stream| {
        let _ = welcome(&stream).read_to_end(&mut Vec::new());
    });
    let mut connection = Connection::open(&address, LONG).unwrap();
    assert!(matches!(
        connection.call(&question(), SHORT),
        Err(BusError::Silent(limit)) if limit == SHORT
    ));
    assert!(matches!(
        connection.signal(Instant::now() + SHORT),
        Err(BusError::Silent(_))
    ));
    drop(connection);
    thread.join().unwrap();
    // nor with half of a message.
    let (address, _folder, thread) = bus(|mut stream| {
        let mut reader = welcome(&stream);
        let answer = message(METHOD_RETURN, 1, vec![Value::text("hello")]);
        stream.write_all(&answer[..answer.len() - 3]).unwrap();
        let _ = reader.read_to_end(&mut Vec::new());
    });
    let mut connection = Connection::open(&address, LONG).unwrap();
    assert!(matches!(connection.call(&question(), SHORT), Err(BusError::Silent(_))));
    drop(connection);
    thread.join().unwrap();
}

#[test]
fn a_bus_that_never_stops_talking_is_not_listened_to_for_ever() {
    let (address, _folder, thread) = bus(|mut stream| {
        let _reader = welcome(&stream);
        while stream.write_all(&message(SIGNAL, 0, job("/job/2", "done"))).is_ok() {}
    });
    let mut connection = Connection::open(&address, LONG).unwrap();
    assert!(matches!(connection.call(&question(), SHORT), Err(BusError::Silent(_))));
    drop(connection);
    thread.join().unwrap();
}

#[test]
fn a_bus_that_closes_is_said_to() {
    let (address, _folder, thread) = bus(drop);
    assert!(matches!(Connection::open(&address, LONG), Err(BusError::Closed)));
    thread.join().unwrap();
    let (address, _folder, thread) = bus(|stream| drop(welcome(&stream)));
    let mut connection = Connection::open(&address, LONG).unwrap();
    assert!(matches!(connection.call(&question(), LONG), Err(BusError::Closed)));
    thread.join().unwrap();
}

#[test]
fn what_is_no_bus_is_refused() {
    let (address, _folder, thread) = bus(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert!(matches!(Connection::open(&address, LONG), Err(BusError::Rejected(_))));
    thread.join().unwrap();
    let (address, _folder, thread) = bus(|mut stream| {
        let mut reader = welcome(&stream);
        let _ = stream.write_all(&[b'x'; 100]);
        let _ = reader.read_to_end(&mut Vec::new());
    });
    let mut connection = Connection::open(&address, LONG).unwrap();
    assert!(matches!(connection.call(&question(), LONG), Err(BusError::Nonsense(_))));
    drop(connection);
    thread.join().unwrap();
    assert!(matches!(
        Connection::open("unix:path=/no/such/bus", LONG),
        Err(BusError::Connect { .. })
    ));
    assert!(matches!(
        Connection::open("tcp:host=127.0.0.1", LONG),
        Err(BusError::Connect { .. })
    ));
}
