//! From create to rm, and what restarts in between.

use davit_integration_tests::wait;

use crate::world::on_both;

#[test]
fn a_container_lives_from_create_to_rm() {
    on_both(|world| {
        let id = world
            .docker(&[
                "run",
                "-d",
                "--network",
                "none",
                "--name",
                "web",
                "busybox",
                "sleep",
                "1000",
            ])
            .ok();
        assert_eq!(id.len(), 64);
        world
            .docker(&["run", "--name", "web", "busybox"])
            .code_is(125)
            .says("is already in use by container");
        let state = |name: &str| {
            world
                .docker(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name])
                .ok()
        };
        assert_eq!(state(&id[..10]), "running 0", "the beginning of an id is enough");
        world
            .docker(&["rm", "web"])
            .code_is(1)
            .says("cannot remove container \"web\": container is running");
        assert_eq!(world.docker(&["exec", "web", "echo", "inside"]).ok(), "inside");
        world.docker(&["exec", "web", "sh", "-c", "exit 4"]).code_is(4);
        world.docker(&["exec", "web", "no-such-command"]).code_is(127);
        let written = world.docker_with(&["exec", "-i", "web", "wc", "-c"], &[b'x'; 100_000]);
        assert_eq!(written.ok().trim(), "100000");
        world.docker(&["rename", "web", "site"]).ok();
        world.docker(&["stop", "-t", "1", "site"]).ok();
        assert_eq!(state("site"), "exited 137");
        world.docker(&["stop", "site"]).ok();
        world.docker(&["kill", "site"]).code_is(1).says("is not running");
        world
            .docker(&["exec", "site", "true"])
            .code_is(1)
            .says("is not running");
        world.docker(&["start", "site"]).ok();
        assert_eq!(state("site"), "running 0");
        world.docker(&["restart", "-t", "0", "site"]).ok();
        assert_eq!(state("site"), "running 0");
        world.docker(&["rm", "-f", "site"]).ok();
        world.docker(&["inspect", "site"]).code_is(1);
    });
}

#[test]
fn restart_policies_act_and_a_stop_ends_them() {
    on_both(|world| {
        let run = |name: &str, policy: &str, script: &str| {
            let options = [
                "run",
                "-d",
                "--network",
                "none",
                "--restart",
                policy,
                "--name",
                name,
                "busybox",
                "sh",
                "-c",
                script,
            ];
            world.docker(&options).ok();
        };
        let look = |name: &str, field: &str| world.docker(&["inspect", "-f", field, name]).ok();
        run("twice", "on-failure:2", "echo run; exit 1");
        wait::until_true("the policy gives up", 20, || {
            look("twice", "{{.RestartCount}} {{.State.Status}}") == "2 exited"
        });
        assert_eq!(world.docker(&["logs", "twice"]).ok().lines().count(), 3);
        run("fine", "on-failure", "exit 0");
        assert_eq!(world.docker(&["wait", "fine"]).ok(), "0");
        assert_eq!(look("fine", "{{.RestartCount}}"), "0");
        run("ever", "always", "exit 0");
        wait::until_true("it restarts", 20, || look("ever", "{{.RestartCount}}") != "0");
        world.docker(&["stop", "ever"]).ok();
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert_eq!(look("ever", "{{.State.Status}}"), "exited");
        world.docker(&["rm", "twice", "fine", "ever"]).ok();
    });
}

#[test]
fn events_tell_of_a_life() {
    on_both(|world| {
        let since = "0.000000001";
        world
            .run(&["--name", "told", "--label", "k=v"], &["sh", "-c", "exit 3"])
            .code_is(3);
        let until = format!(
            "{}",
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |t| t.as_secs() + 1)
        );
        let told = world.docker(&[
            "events",
            "--since",
            since,
            "--until",
            &until,
            "--filter",
            "type=container",
            "--filter",
            "container=told",
            "--format",
            "{{.Action}} {{index .Actor.Attributes \"name\"}} {{index .Actor.Attributes \"k\"}}",
        ]);
        let told = told.ok();
        let actions: Vec<&str> = told.lines().collect();
        for action in ["create", "start", "die", "destroy"] {
            assert!(
                actions.contains(&format!("{action} told v").as_str()),
                "{action} is not among {actions:?}"
            );
        }
    });
}
