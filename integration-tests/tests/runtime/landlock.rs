//! The annotation org.davit.landlock: what a program may reach of its own container.

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixListener},
};

use davit_integration_tests::Finished;
use serde_json::{Value, json};

use crate::bundle::{Bundle, without_namespace};

/// Whether the kernel has Landlock; if not, it is said.
fn is_missing() -> bool {
    let lsms = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    // securityfs need not be mounted; then the kernel's own version of the interface tells.
    let missing = !lsms.is_empty() && !lsms.contains("landlock");
    if missing {
        davit_integration_tests::skipped!("this kernel runs without Landlock");
    }
    missing
}

fn restricted(bundle: &Bundle, wanted: &Value) {
    bundle.edit(|config| config["annotations"] = json!({"org.davit.landlock": wanted.to_string()}));
}

/// The paths that any program of the example needs.
fn with_programs(mut wanted: Value) -> Value {
    wanted["execute"] = json!(["/bin", "/usr"]);
    wanted
}

fn sh(bundle: &Bundle, script: &str) -> Finished {
    bundle.run(&["sh", "-c", script])
}

#[test]
fn a_path_is_read_written_or_executed_only_where_the_annotation_says() {
    if is_missing() {
        return;
    }
    let bundle = Bundle::new();
    std::fs::create_dir_all(bundle.rootfs().join("data")).expect("the rootfs is ours");
    std::fs::create_dir_all(bundle.rootfs().join("secret")).expect("the rootfs is ours");
    std::fs::write(bundle.rootfs().join("secret/key"), "key").expect("the rootfs is ours");
    std::fs::write(bundle.rootfs().join("etc/passwd"), "root:x:0:0::/:\n").expect("the rootfs is ours");
    // Root without no_new_privs, and a user with it: the one needs CAP_SYS_ADMIN to be bound, the other has none.
    for (user, no_new_privileges) in [(0, false), (0, true), (1000, false), (1000, true)] {
        bundle.edit(|config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["user"] = json!({"uid": user, "gid": user});
        });
        restricted(
            &bundle,
            &with_programs(json!({"readOnly": ["/etc/passwd"], "readWrite": ["/tmp", "/data", "/dev"]})),
        );
        let script = "cat /etc/passwd; cp /bin/busybox /tmp/own 2>/dev/null; \
                      cat /secret/key; echo x >> /etc/passwd; ls /; /tmp/own true; echo end";
        let finished = sh(&bundle, script);
        let output = finished.stdout.clone();
        assert_eq!(output, "root:x:0:0::/:\nend\n", "{finished:?}");
        for refused in [
            "'/secret/key': Permission denied",
            "create /etc/passwd: Permission denied",
            "'/': Permission denied",
            "/tmp/own: Permission denied",
        ] {
            assert!(finished.stderr.contains(refused), "{refused}: {finished:?}");
        }
        let _ = std::fs::remove_file(bundle.rootfs().join("tmp/own"));
    }
}

#[test]
fn an_exec_is_bound_like_the_first_program() {
    if is_missing() {
        return;
    }
    let bundle = Bundle::new();
    std::fs::write(bundle.rootfs().join("key"), "key").expect("the rootfs is ours");
    restricted(&bundle, &with_programs(json!({})));
    bundle.edit(|config| config["process"]["args"] = json!(["sleep", "600"]));
    bundle
        .runtime(&["run", "--detach", "--bundle", &bundle.path(), bundle.id()])
        .ok();
    bundle
        .runtime(&["exec", bundle.id(), "cat", "/key"])
        .code_is(1)
        .says("Permission denied");
    bundle.runtime(&["exec", bundle.id(), "true"]).ok();
}

#[test]
fn a_port_is_listened_at_and_connected_to_only_where_the_annotation_says() {
    if is_missing() {
        return;
    }
    let bundle = Bundle::new();
    restricted(&bundle, &json!({"bindTcp": [8080], "connectTcp": []}));
    // 1F90 is 8080.
    let script = "nc -l -p 9090; nc -l -p 8080 & until cat /proc/net/tcp /proc/net/tcp6 | grep -q :1F90; do kill -0 $! || exit 1; done; \
                  nc 127.0.0.1 8080; kill $!; echo listened";
    let finished = sh(&bundle, script);
    assert_eq!(finished.stdout, "listened\n", "{finished:?}");
    assert_eq!(finished.stderr.matches("Permission denied").count(), 2, "{finished:?}");
}

/// Whether this kernel ends a scope at a program's own descendants; if not, it is said.
fn scope_is_missing(bundle: &Bundle) -> bool {
    restricted(bundle, &json!({"scope": ["signal", "abstractUnixSocket"]}));
    let finished = bundle.run(&["true"]);
    let missing = finished.code == 1 && finished.stderr.contains("scope needs Landlock ABI 6");
    match missing {
        true => davit_integration_tests::skipped!("{}", finished.stderr.trim()),
        false => drop(finished.ok()),
    }
    missing
}

#[test]
fn a_signal_reaches_whom_the_program_has_started_and_nobody_else_where_the_annotation_says_so() {
    let bundle = Bundle::new();
    if scope_is_missing(&bundle) {
        return;
    }
    // In the host's pid namespace the test itself could be signalled.
    bundle.edit(|config| without_namespace(config, "pid"));
    let script = format!(
        "kill -0 {} && echo outside; sleep 600 & kill $! && echo inside",
        std::process::id()
    );
    restricted(&bundle, &json!({"scope": ["abstractUnixSocket"]}));
    assert_eq!(sh(&bundle, &script).ok(), "outside\ninside");
    restricted(&bundle, &json!({"scope": ["signal"]}));
    let finished = sh(&bundle, &script).says("Operation not permitted");
    assert_eq!(finished.ok(), "inside");
    bundle.sleeping();
    let init = bundle.state()["pid"].to_string();
    bundle.exec(&["kill", &init]).code_is(1).says("Operation not permitted");
}

#[test]
fn an_abstract_socket_of_the_host_is_out_of_reach_where_the_annotation_says_so() {
    const SOURCE: &str = r#"
        #include <stdio.h>
        #include <string.h>
        #include <stddef.h>
        #include <sys/socket.h>
        #include <sys/un.h>
        int main(int count, char **words) {
            struct sockaddr_un to = {.sun_family = AF_UNIX};
            size_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(words[1]);
            strcpy(to.sun_path + 1, words[1]);
            int fd = socket(AF_UNIX, SOCK_STREAM, 0);
            if (connect(fd, (struct sockaddr *)&to, length) == 0) return 0;
            perror("connect");
            return 1;
        }"#;
    let bundle = Bundle::new();
    if scope_is_missing(&bundle) {
        return;
    }
    bundle.edit(|config| without_namespace(config, "network"));
    bundle.compile("reach", SOURCE);
    let name = format!("davit-tests-{}", bundle.id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listener = UnixListener::bind_addr(&address).expect("nobody has the name");
    restricted(&bundle, &json!({"scope": ["signal"]}));
    bundle.run(&["reach", &name]).ok();
    restricted(&bundle, &json!({"scope": ["abstractUnixSocket"]}));
    bundle
        .run(&["reach", &name])
        .code_is(1)
        .says("connect: Operation not permitted");
}

#[test]
fn a_restriction_that_cannot_be_had_is_refused_by_name_and_leaves_nothing() {
    let bundle = Bundle::new();
    for (wanted, text) in [
        (json!({}), "asks for no restriction"),
        (json!({"readonly": ["/"]}), "unknown field `readonly`"),
        (json!({"readOnly": ["etc"]}), "is not an absolute path"),
        (
            with_programs(json!({"readOnly": ["/absent"]})),
            "open /absent: no such file or directory",
        ),
    ] {
        restricted(&bundle, &wanted);
        bundle
            .run(&["true"])
            .code_is(1)
            .says("annotation org.davit.landlock")
            .says(text);
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{text}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{text}");
    }
    restricted(
        &bundle,
        &with_programs(json!({"readOnly": ["/absent"], "bestEffort": true})),
    );
    bundle.run(&["true"]).ok();
    // What may not be executed ends as any other program that the kernel does not take.
    if !is_missing() {
        restricted(&bundle, &json!({"readOnly": ["/"]}));
        bundle.run(&["true"]).code_is(255).says("permission denied");
    }
}
