//! What the engine says: lists, refusals, itself.

use davit_integration_tests::http;

use crate::world::{on_both, on_ours};

#[test]
fn ps_filters_and_formats() {
    on_both(|world| {
        world
            .docker(&[
                "run",
                "-d",
                "--network",
                "none",
                "--label",
                "a=1",
                "--name",
                "one",
                "busybox",
                "sleep",
                "100",
            ])
            .ok();
        world
            .docker(&[
                "run",
                "--network",
                "none",
                "--name",
                "two",
                "busybox",
                "sh",
                "-c",
                "exit 2",
            ])
            .code_is(2);
        world
            .docker(&["create", "--network", "none", "--name", "three", "busybox", "true"])
            .ok();
        let names = |arguments: &[&str]| {
            let all = [&["ps", "--format", "{{.Names}}"], arguments].concat();
            world.docker(&all).ok().lines().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["one"]);
        assert_eq!(names(&["-a"]), ["three", "two", "one"]);
        assert_eq!(names(&["-n", "2"]), ["three", "two"]);
        for (filter, expected) in [
            ("label=a", "one"),
            ("label=a=1", "one"),
            ("status=exited", "two"),
            ("status=created", "three"),
            ("exited=2", "two"),
            ("before=two", "one"),
            ("since=two", "three"),
            ("name=^tw", "two"),
        ] {
            assert_eq!(names(&["-a", "--filter", filter]), [expected], "{filter}");
        }
        assert_eq!(names(&["-a", "--filter", "ancestor=busybox"]).len(), 3);
        world
            .docker(&["ps", "--filter", "nope=1"])
            .code_is(1)
            .says("invalid filter 'nope'");
        let line = world
            .docker(&[
                "ps",
                "-a",
                "--filter",
                "name=two",
                "--format",
                "{{.Image}} {{.Command}} {{.State}}",
            ])
            .ok();
        assert_eq!(line, "busybox \"sh -c 'exit 2'\" exited");
        assert_eq!(world.docker(&["top", "one", "-o", "pid,comm"]).ok().lines().count(), 2);
        world.docker(&["rm", "-f", "one"]).ok();
        let pruned = world.docker(&["container", "prune", "-f"]).ok();
        assert!(pruned.contains("Deleted Containers"), "{pruned}");
        assert_eq!(names(&["-a"]).len(), 0);
    });
}

#[test]
fn what_is_not_offered_yet_is_refused_by_name() {
    on_ours(|world| {
        for (option, value, name) in [
            ("-p", "8080:80", "PortBindings"),
            ("--health-cmd", "true", "Healthcheck"),
            ("-v", "data:/data", "named volume"),
            ("--network", "container:x", "container:"),
            ("--device-read-bps", "/dev/null:1mb", "BlkioDeviceReadBps"),
        ] {
            let refused = world
                .docker(&["run", "--rm", option, value, "busybox", "true"])
                .code_is(125);
            assert!(refused.stderr.contains(name), "{option} {value}: {}", refused.stderr);
        }
        world
            .docker(&["run", "--rm", "--init", "busybox", "true"])
            .code_is(125)
            .says("Init");
        for call in [
            &["system", "df"][..],
            &["volume", "create", "x"],
            &["network", "create", "x"],
        ] {
            let refused = world.docker(call).code_is(1);
            assert!(
                refused.stderr.contains("not supported by this engine yet"),
                "{call:?}: {}",
                refused.stderr
            );
        }
        assert_eq!(world.docker(&["ps", "-aq"]).ok(), "", "what is refused leaves nothing");
        world
            .docker(&["node", "ls"])
            .code_is(1)
            .says("This node is not a swarm manager");
    });
}

#[test]
fn an_answer_carries_what_clients_read_first() {
    on_ours(|world| {
        let version = world
            .docker(&[
                "version",
                "-f",
                "{{.Server.APIVersion}} {{.Server.MinAPIVersion}} {{.Server.Os}}",
            ])
            .ok();
        assert_eq!(version, "1.50 1.24 linux");
        let info = world
            .docker(&[
                "info",
                "-f",
                "{{.Driver}} {{.LoggingDriver}} {{.Swarm.LocalNodeState}} {{.Images}}",
            ])
            .ok();
        assert_eq!(info, "overlayfs json-file inactive 1");
        for prefix in ["", "/v1.24", "/v1.43", "/v1.50"] {
            let answer = http::json(world.socket, "GET", &format!("{prefix}/_ping"), "");
            assert_eq!(answer.status, 200, "{prefix}");
        }
    });
}
