//! Streams and exit codes.

use std::process::{Command, Stdio};

use davit_integration_tests::Run;

use crate::world::on_both;

#[test]
fn run_passes_streams_and_exit_codes_through() {
    on_both(|world| {
        let ended = world
            .run(&[], &["sh", "-c", "echo out; echo err >&2; exit 3"])
            .code_is(3);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
        let echoed = world.docker_with(
            &["run", "-i", "--rm", "--network", "none", "busybox", "cat"],
            b"to and fro",
        );
        assert_eq!(echoed.ok(), "to and fro");
        let missing = world.run(&[], &["no-such-command"]).code_is(127);
        assert!(
            missing.stderr.contains(&format!("{} create failed", world.runtime)),
            "{missing:?}"
        );
        missing.says("exec: \"no-such-command\": executable file not found in $PATH");
        world.run(&[], &["/etc/passwd"]).code_is(126).says("permission denied");
        world.run(&["--no-such-flag"], &["true"]).code_is(125);
        assert_eq!(
            world.docker(&["ps", "-aq"]).ok(),
            "",
            "--rm leaves nothing, whatever happened"
        );
    });
}

#[test]
fn a_pipe_through_a_container_is_exact() {
    on_both(|world| {
        // Pseudo-random and no valid UTF-8, so that a changed byte shows.
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let input: Vec<u8> = std::iter::repeat_with(&mut next).take(8 << 20).collect();
        let expected = sum(&input);
        let inside = world.docker_with(&["run", "-i", "--rm", "--network", "none", "busybox", "md5sum"], &input);
        assert_eq!(inside.ok(), format!("{expected}  -"));
        let mut through = world.command(&["run", "-i", "--rm", "--network", "none", "busybox", "cat"]);
        let mut child = through
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker runs");
        let mut stdin = child.stdin.take().expect("a pipe");
        let sent = input.clone();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &sent).expect("docker reads"));
        let output = child.wait_with_output().expect("docker ends");
        writer.join().expect("the writer does not panic");
        assert_eq!(sum(&output.stdout), expected);
    });
}

fn sum(bytes: &[u8]) -> String {
    let sums = Command::new("md5sum").finish_with(bytes).ok();
    sums.split_whitespace().next().unwrap_or_default().to_owned()
}
