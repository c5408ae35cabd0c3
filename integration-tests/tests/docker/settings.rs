//! What a container is given and what is kept from it.

use crate::world::on_both;

#[test]
fn users_environment_and_places_are_as_asked() {
    on_both(|world| {
        let says = |options: &[&str], command: &[&str]| world.run(options, command).ok();
        assert_eq!(says(&["-u", "nobody"], &["id", "-u"]), "65534");
        assert_eq!(says(&["-u", "5:6", "--group-add", "users"], &["id", "-G"]), "6 100");
        world
            .run(&["-u", "nobody-here"], &["id"])
            .code_is(125)
            .says("unable to find user nobody-here");
        assert_eq!(says(&["-w", "/made/here"], &["pwd"]), "/made/here");
        assert_eq!(says(&["--hostname", "named"], &["hostname"]), "named");
        assert_eq!(says(&["-e", "A=1"], &["sh", "-c", "echo $A $HOME"]), "1 /root");
        assert_eq!(says(&["--entrypoint", "echo"], &["x"]), "x");
        assert_eq!(says(&["--ulimit", "nofile=100:200"], &["sh", "-c", "ulimit -n"]), "100");
        assert_eq!(
            says(&["--add-host", "db:10.0.0.9"], &["grep", "db", "/etc/hosts"]),
            "10.0.0.9\tdb"
        );
        world
            .run(&["--read-only"], &["touch", "/x"])
            .code_is(1)
            .says("Read-only file system");
        let mounts = says(&["--tmpfs", "/t:size=1m"], &["cat", "/proc/mounts"]);
        assert!(
            mounts
                .lines()
                .any(|line| line.starts_with("tmpfs /t tmpfs") && line.contains("size=1024k")),
            "{mounts}"
        );
    });
}

#[test]
fn binds_are_made_and_kept_read_only() {
    on_both(|world| {
        let folder = world.scratch.join("shared");
        let source = format!("{}:/shared", folder.display());
        world
            .run(&["-v", &source], &["sh", "-c", "echo kept > /shared/file"])
            .ok();
        assert_eq!(
            std::fs::read_to_string(folder.join("file")).expect("the container wrote it"),
            "kept\n"
        );
        let protected = format!("{source}:ro");
        world
            .run(&["-v", &protected], &["touch", "/shared/x"])
            .code_is(1)
            .says("Read-only file system");
        let missing = world
            .run(&["--mount", "type=bind,src=/no/such/folder,dst=/x"], &["true"])
            .code_is(125);
        missing.says("bind source path does not exist: /no/such/folder");
        std::fs::remove_dir_all(folder).expect("the folder is ours");
    });
}

#[test]
fn confinement_is_dockers() {
    on_both(|world| {
        let status = |options: &[&str], key: &str| {
            let text = world.run(options, &["cat", "/proc/self/status"]).ok();
            let line = text
                .lines()
                .find(|line| line.starts_with(key))
                .unwrap_or_default()
                .to_owned();
            line.split_whitespace().nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(status(&[], "CapEff"), "00000000a80425fb");
        assert_eq!(status(&[], "CapInh"), "0000000000000000");
        assert_eq!(
            status(&["--cap-drop", "all", "--cap-add", "chown"], "CapEff"),
            "0000000000000001"
        );
        assert_eq!(status(&["-u", "nobody"], "CapEff"), "0000000000000000");
        assert_eq!(status(&[], "Seccomp:"), "2");
        assert_eq!(status(&["--security-opt", "seccomp=unconfined"], "Seccomp:"), "0");
        assert_eq!(status(&["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
        assert_eq!(status(&["--privileged"], "Seccomp:"), "0");
        world.run(&[], &["mount", "-t", "tmpfs", "x", "/tmp"]).code_is(1);
        assert_eq!(world.run(&[], &["wc", "-c", "/proc/keys"]).ok(), "0 /proc/keys");
        world
            .run(&[], &["sh", "-c", "echo 1 > /proc/sys/kernel/sysrq"])
            .code_is(1);
        world.run(&["--cap-add", "fly"], &["true"]).code_is(125).says("CAP_FLY");
        world
            .run(&["--memory", "1k"], &["true"])
            .code_is(125)
            .says("Minimum memory limit allowed is 6MB");
        world
            .run(&["--cpus", "1000"], &["true"])
            .code_is(125)
            .says("range of CPUs is from 0.01 to");
    });
}
