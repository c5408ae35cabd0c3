//! What is refused, and how: the same status and the same words as Docker, which each table is held against first.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use davit_integration_tests::{Dockerd, Engine, Run, Scratch, http, image, wait};

/// Runs `check` against the real Docker, which proves the expectation, and then against ours.
fn on_both(check: impl Fn(&Scratch, &Path)) {
    let scratch = Scratch::new();
    let archive = scratch.join("busybox.tar");
    image::busybox_archive(&archive).expect("an image");
    let load = |socket: &Path| {
        drop(
            scratch
                .docker(socket)
                .args(["load", "--input"])
                .arg(&archive)
                .finish()
                .ok(),
        )
    };
    let dockerd = Dockerd::start(&scratch);
    load(dockerd.socket());
    check(&scratch, dockerd.socket());
    dockerd.stop();
    let engine = Engine::start(&scratch);
    load(engine.socket());
    check(&scratch, engine.socket());
    engine.stop();
}

#[test]
fn malformed_requests_are_refused_with_docker_s_status_and_words() {
    on_both(|_, socket| {
        let refused = |method: &str, path: &str, body: &str, status: u16, words: &str| {
            let answer = http::json(socket, method, path, body);
            assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
            assert!(answer.message().contains(words), "{method} {path} {body}: {answer:?}");
        };
        refused("GET", "/v1.44/no-such-route", "", 404, "page not found");
        refused(
            "GET",
            "/v1.99/info",
            "",
            400,
            "client version 1.99 is too new. Maximum supported API version is",
        );
        refused(
            "GET",
            "/v1.10/info",
            "",
            400,
            "client version 1.10 is too old. Minimum supported API version is",
        );
        refused("POST", "/containers/create", "{", 400, "");
        refused("POST", "/containers/create", "[]", 400, "");
        refused("POST", "/containers/create", r#"{"Image": 7}"#, 400, "");
        refused(
            "POST",
            "/containers/create",
            r#"{"Image": "no-such-image"}"#,
            404,
            "No such image: no-such-image:latest",
        );
        refused(
            "POST",
            "/containers/create?name=a/b",
            r#"{"Image": "busybox"}"#,
            400,
            "Invalid container name (a/b)",
        );
        refused(
            "POST",
            "/containers/create?name=..",
            r#"{"Image": "busybox"}"#,
            400,
            "Invalid container name (..)",
        );
        refused("GET", "/containers/no-such/json", "", 404, "No such container: no-such");
        refused(
            "POST",
            "/containers/no-such/start",
            "",
            404,
            "No such container: no-such",
        );
        refused(
            "POST",
            "/containers/no-such/kill",
            "",
            404,
            "No such container: no-such",
        );
        refused(
            "POST",
            "/containers/no-such/wait",
            "",
            404,
            "No such container: no-such",
        );
        refused(
            "GET",
            "/containers/no-such/logs?stdout=1",
            "",
            404,
            "No such container: no-such",
        );
        refused("DELETE", "/containers/no-such", "", 404, "No such container: no-such");
        refused(
            "POST",
            "/exec/no-such/start",
            "{}",
            404,
            "No such exec instance: no-such",
        );
        refused("GET", "/images/no-such/json", "", 404, "No such image: no-such:latest");
        refused("DELETE", "/images/no-such", "", 404, "No such image: no-such:latest");
    });
}

#[test]
fn the_command_line_shows_docker_s_errors_and_exit_codes() {
    on_both(|scratch, socket| {
        let docker = |arguments: &[&str]| scratch.docker(socket).args(arguments).finish();
        let run = |arguments: &[&str]| docker(&[&["run", "--rm", "--network", "none"], arguments].concat());
        run(&["busybox", "no-such-program"])
            .code_is(127)
            .says("executable file not found in $PATH");
        run(&["busybox", "/no/such/program"])
            .code_is(127)
            .says("no such file or directory");
        run(&["busybox", "/etc/passwd"]).code_is(126).says("permission denied");
        run(&["busybox", "/etc"]).code_is(126);
        run(&["--no-such-flag", "busybox", "true"])
            .code_is(125)
            .says("unknown flag: --no-such-flag");
        run(&["--user", "no-such-user", "busybox", "true"])
            .code_is(125)
            .says("unable to find user no-such-user");
        run(&["--memory", "1m", "busybox", "true"])
            .code_is(125)
            .says("Minimum memory limit allowed is 6MB");
        docker(&["create", "--name", "taken", "busybox", "true"]).ok();
        docker(&["create", "--name", "taken", "busybox", "true"])
            .code_is(1)
            .says("Conflict. The container name \"/taken\" is already in use by container");
        docker(&["rmi", "busybox"])
            .code_is(1)
            .says("conflict: unable to remove repository reference \"busybox\" (must force)");
        docker(&["exec", "taken", "true"]).code_is(1).says("is not running");
        docker(&["rm", "taken"]).ok();
        docker(&["rmi", "busybox"]).ok();
        docker(&["rmi", "busybox"])
            .code_is(1)
            .says("No such image: busybox:latest");
        assert_eq!(docker(&["ps", "--all", "--quiet"]).ok(), "");
    });
}

#[test]
fn a_request_that_is_not_http_or_never_ends_hurts_nobody_else() {
    let scratch = Scratch::new();
    let engine = Engine::start(&scratch);
    let socket = engine.socket();
    assert!([0, 400].contains(&http::raw(socket, b"\x00\x01\x02 not http\r\n\r\n").status));
    let stalled: Vec<_> = (0..200)
        .map(|_| UnixStream::connect(socket).expect("it listens"))
        .collect();
    let huge = format!("GET /_ping HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(8 << 20));
    assert!(http::raw(socket, huge.as_bytes()).status != 200);
    let answer = http::json(socket, "GET", "/_ping", "");
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
    drop(stalled);
    engine.stop();
}

#[test]
fn a_refusal_waits_for_the_body_so_that_its_sender_reads_it() {
    on_both(|_, socket| {
        let mut stream = UnixStream::connect(socket).expect("it listens");
        stream
            .write_all(b"POST /v1.44/no-such-route HTTP/1.1\r\nHost: docker\r\nContent-Length: 2\r\n\r\n")
            .expect("it listens");
        // A server that answers at once has time to do so, and to close.
        let eager = stream.set_read_timeout(Some(Duration::from_millis(200)));
        eager.expect("a duration above zero");
        let early = wait::uninterrupted(|| stream.read(&mut [0]));
        assert!(early.is_err(), "nothing comes before the body has gone");
        stream.write_all(b"{}").expect("it still reads");
        stream
            .write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            .expect("the connection goes on");
        stream.set_read_timeout(None).expect("none is fine");
        let mut answers = String::new();
        stream.read_to_string(&mut answers).expect("text");
        assert!(
            answers.starts_with("HTTP/1.1 404") && answers.ends_with("OK"),
            "{answers}"
        );
    });
}
