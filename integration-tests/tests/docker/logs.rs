//! Logs.

use crate::world::on_both;

#[test]
fn logs_are_kept_followed_and_cut() {
    on_both(|world| {
        let script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done; echo last >&2; exit 5";
        world
            .docker(&[
                "run",
                "-d",
                "--network",
                "none",
                "--name",
                "talk",
                "busybox",
                "sh",
                "-c",
                script,
            ])
            .ok();
        let followed = world.docker(&["logs", "-f", "talk"]).code_is(0);
        assert_eq!(followed.stdout.lines().count(), 5);
        assert_eq!(followed.stderr, "last\n");
        assert_eq!(world.docker(&["wait", "talk"]).ok(), "5");
        assert_eq!(
            world.docker(&["logs", "--tail", "2", "talk"]).code_is(0).stdout,
            "line 5\n"
        );
        let stamped = world.docker(&["logs", "-t", "--tail", "1", "talk"]).code_is(0).stderr;
        assert!(stamped.contains('T') && stamped.ends_with("Z last\n"), "{stamped}");
        assert_eq!(
            world.docker(&["logs", "--since", "2100-01-01T00:00:00Z", "talk"]).ok(),
            ""
        );
        world.docker(&["rm", "talk"]).ok();

        let script = "i=0; while [ $i -lt 3000 ]; do echo number $i; i=$((i+1)); done";
        let limits = ["--log-opt", "max-size=20k", "--log-opt", "max-file=2"];
        let run = [
            &["run", "-d", "--network", "none", "--name", "much"],
            &limits[..],
            &["busybox", "sh", "-c", script],
        ];
        world.docker(&run.concat()).ok();
        world.docker(&["wait", "much"]).ok();
        let kept = world.docker(&["logs", "much"]).ok();
        assert!(
            kept.ends_with("number 2999") && !kept.contains("number 0\n"),
            "rotated, newest kept"
        );
        let tail = world.docker(&["logs", "-n", "200", "much"]).ok();
        assert_eq!(
            tail.lines().next(),
            Some("number 2800"),
            "a tail reaches into the rotated file"
        );
        world.docker(&["rm", "much"]).ok();
        world
            .docker(&[
                "run",
                "--network",
                "none",
                "--log-driver",
                "none",
                "--name",
                "mute",
                "busybox",
                "echo",
                "x",
            ])
            .ok();
        world
            .docker(&["logs", "mute"])
            .code_is(1)
            .says("configured logging driver does not support reading");
        world.docker(&["rm", "mute"]).ok();
    });
}
