use std::io::{Read, Write};

use super::{
    super::dbus::fake::{bus, called, job, message, refusal, welcome},
    *,
};

const METHOD_RETURN: u8 = 2;
const SIGNAL: u8 = 4;
const BUSY: &str = "org.freedesktop.DBus.Error.LimitsExceeded";
const JOB: &str = "/job/7";

/// What systemd does when it is called.
enum Reaction {
    Answers(Vec<Value>),
    Refuses(&'static str),
    /// Names a job, which ends with this result.
    Ends(&'static str),
    /// Names a job, which does not end.
    GoesOn,
}

use Reaction::{Answers, Ends, GoesOn, Refuses};

/// Talks with a systemd that expects these calls and reacts so.
fn with<T>(reactions: Vec<(&'static str, Reaction)>, talk: impl FnOnce(&mut Systemd) -> T) -> T {
    let (address, _folder, thread) = bus(move |mut stream| {
        let mut reader = welcome(&stream);
        for (serial, (member, reaction)) in (1..).zip(reactions) {
            assert_eq!(called(&mut reader), member);
            let named = || message(METHOD_RETURN, serial, vec![Value::Path(JOB.into())]);
            let bytes = match reaction {
                Answers(values) => message(METHOD_RETURN, serial, values),
                Refuses(name) => refusal(serial, name),
                GoesOn => named(),
                // It may have ended before its name is known.
                Ends(result) => [message(SIGNAL, 0, job(JOB, result)), named()].concat(),
            };
            stream.write_all(&bytes).unwrap();
        }
        let mut more = Vec::new();
        reader.read_to_end(&mut more).unwrap();
        assert!(more.is_empty(), "it is called once more");
    });
    let patience = Patience {
        answer: Duration::from_secs(20),
        job: Duration::from_millis(300),
    };
    let mut systemd = Systemd::direct(&address, patience).unwrap();
    let result = talk(&mut systemd);
    drop(systemd);
    thread.join().unwrap();
    result
}

#[test]
fn a_systemd_that_is_busy_is_asked_again() {
    let calls = vec![
        ("StartTransientUnit", Refuses(BUSY)),
        ("StartTransientUnit", Refuses("System.Error.EAGAIN")),
        ("StartTransientUnit", Ends("done")),
    ];
    with(calls, |systemd| systemd.start("a.scope", &[])).unwrap();
}

#[test]
fn a_failed_unit_makes_room_and_one_that_runs_does_not() {
    let calls = vec![
        ("StartTransientUnit", Refuses(UNIT_EXISTS)),
        ("ResetFailedUnit", Answers(Vec::new())),
        ("StartTransientUnit", Ends("done")),
    ];
    with(calls, |systemd| systemd.start("a.scope", &[])).unwrap();
    let calls = vec![
        ("StartTransientUnit", Refuses(UNIT_EXISTS)),
        ("ResetFailedUnit", Refuses("org.freedesktop.systemd1.NoSuchUnit")),
        ("StartTransientUnit", Refuses(UNIT_EXISTS)),
    ];
    let taken = with(calls, |systemd| systemd.start("a.scope", &[]));
    assert!(matches!(taken, Err(SystemdError::Bus(err)) if err.is(UNIT_EXISTS)));
}

#[test]
fn a_job_that_fails_or_does_not_end_is_said_to() {
    let calls = vec![
        ("StartTransientUnit", Ends("failed")),
        ("ResetFailedUnit", Answers(Vec::new())),
    ];
    let failed = with(calls, |systemd| systemd.start("a.scope", &[]));
    assert!(matches!(failed, Err(SystemdError::Job { result, .. }) if result == "failed"));
    let calls = vec![("StartTransientUnit", GoesOn)];
    let endless = with(calls, |systemd| systemd.start("a.scope", &[]));
    assert!(matches!(endless, Err(SystemdError::JobTimeout(_))));
}

#[test]
fn a_unit_that_is_stopped_is_forgotten_though_it_failed_or_is_gone() {
    for reaction in [Ends("done"), Refuses("org.freedesktop.systemd1.NoSuchUnit")] {
        let calls = vec![("StopUnit", reaction), ("ResetFailedUnit", Answers(Vec::new()))];
        with(calls, |systemd| systemd.stop("a.scope")).unwrap();
    }
    let calls = vec![
        ("StopUnit", Refuses("org.freedesktop.DBus.Error.AccessDenied")),
        ("ResetFailedUnit", Answers(Vec::new())),
    ];
    with(calls, |systemd| systemd.stop("a.scope")).unwrap_err();
}

#[test]
fn limits_are_read_as_far_as_this_systemd_has_them() {
    let unit = Unit::parse(Some("a.slice:b:c"), "id", false).unwrap();
    let number = || Answers(vec![Value::variant(Value::U64(5))]);
    let calls = vec![
        ("GetUnit", Answers(vec![Value::Path("/unit/b".into())])),
        ("Get", number()),
        ("Get", Refuses("org.freedesktop.DBus.Error.UnknownProperty")),
        ("Get", Answers(vec![Value::variant(Value::bytes(&[3]))])),
    ];
    let names = ["MemoryMax", "Newer", "AllowedCPUs"];
    let limits = with(calls, |systemd| systemd.limits(&unit, names.into_iter())).unwrap();
    let expected = [("MemoryMax", Value::U64(5)), ("AllowedCPUs", Value::bytes(&[3]))];
    assert_eq!(limits, expected.map(|(name, value)| (name.to_owned(), value)));
    // Nobody who says nothing is asked ten times.
    let calls = vec![
        ("GetUnit", Answers(vec![Value::Path("/unit/b".into())])),
        ("Get", Answers(Vec::new())),
    ];
    with(calls, |systemd| systemd.limits(&unit, names.into_iter())).unwrap_err();
}

#[test]
fn a_version_begins_with_its_number() {
    for (text, expected) in [
        ("252.38-1~deb12u1", Some(252)),
        ("v245.4-1.fc32", Some(245)),
        ("249", Some(249)),
        ("", None),
    ] {
        assert_eq!(parse_version(text), expected, "{text}");
    }
}
