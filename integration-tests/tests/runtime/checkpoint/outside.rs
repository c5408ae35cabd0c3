//! What a container shares with somebody outside: a socket, a terminal, cgroups, a configuration of criu, orphans.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::{fs::symlink, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use davit_integration_tests::{Run, wait};
use serde_json::json;

use super::{COUNTER, Killed, log_of, rig::Rig};
use crate::{
    bundle::without_namespace,
    foreground::{expect, terminal},
    orphans::parent_of,
    update::v2_alone,
};

/// Speaks to a socket again and again.
const SPEAK: &str = r#"
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int count, char **words) {
    struct sockaddr_un there = {.sun_family = AF_UNIX};
    strcpy(there.sun_path, words[1]);
    int speaker = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (connect(speaker, (struct sockaddr *)&there, sizeof there)) return 1;
    while (send(speaker, "x", 1, 0) == 1) usleep(20000);
    return 2;
}
"#;

#[test]
fn a_socket_that_is_connected_to_somebody_outside_is_refused_without_the_flag_and_connected_anew_with_it() {
    let Some(rig) = Rig::new() else { return };
    let folder = rig.bundle.file("outside");
    fs::create_dir(&folder).expect("the bundle is ours");
    let socket = format!("{folder}/socket");
    let listener = UnixDatagram::bind(&socket).expect("the folder is ours");
    listener
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a duration above zero");
    let hears = || {
        listener.set_nonblocking(true).expect("a socket");
        while listener.recv(&mut [0]).is_ok() {}
        listener.set_nonblocking(false).expect("a socket");
        wait::uninterrupted(|| listener.recv(&mut [0])).expect("somebody speaks");
    };
    // criu looks for the other end by its name and in the container's network.
    rig.bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"type": "bind", "source": folder, "destination": folder, "options": ["rbind"]}));
        without_namespace(config, "network");
    });
    rig.bundle.compile("speak", SPEAK);
    rig.run(&format!("exec speak {socket}"));
    hears();
    rig.checkpoint(&[]).code_is(1).says("--ext-unix-sk");
    hears();
    rig.checkpoint(&["--ext-unix-sk"]).ok();
    rig.restore(&["--ext-unix-sk"]).ok();
    hears();
}

#[test]
fn a_terminal_of_somebody_outside_is_refused_without_the_flag_and_is_another_one_afterwards() {
    let Some(rig) = Rig::new() else { return };
    if rig.criu_version() < (3, 18) {
        davit_integration_tests::skipped!(
            "criu before 3.18 does not look for a terminal outside of the container's mounts"
        );
        return;
    }
    rig.args("while read line; do echo heard $line; done");
    let on_a_terminal = |args: &[&str]| {
        let (master, slave) = terminal(24, 80);
        let slave = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = rig.command(args);
        let status = command.stdin(slave()).stdout(slave()).stderr(slave()).status();
        assert!(status.expect("the runtime is built").success(), "{}", log_of(&rig));
        File::from(master)
    };
    let heard = |terminal: &mut File, text: &str| {
        writeln!(terminal, "{text}").expect("a terminal");
        expect(terminal, &format!("heard {text}"));
    };
    let (bundle, images, id) = (rig.bundle.path(), rig.bundle.file("images"), rig.bundle.id());
    let mut first = on_a_terminal(&["run", "--detach", "--bundle", &bundle, id]);
    heard(&mut first, "one");
    rig.checkpoint(&[]).code_is(1).says("criu failed");
    heard(&mut first, "two");
    rig.checkpoint(&["--shell-job"]).ok();
    let mut args = vec![
        "restore",
        "--detach",
        "--shell-job",
        "--bundle",
        &bundle,
        "--image-path",
        &images,
    ];
    args.extend(rig.network_lock);
    args.push(id);
    let mut second = on_a_terminal(&args);
    heard(&mut second, "three");
}

/// A limit of the container's cgroup that criu knows, and what it is when a container is made.
fn limit(rig: &Rig) -> (PathBuf, &'static str) {
    // Of cgroup v2 criu takes down only what each cgroup has.
    let (name, usual) = match v2_alone() {
        true => ("cgroup.max.depth", "max"),
        false => ("pids.max", "100"),
    };
    let groups = rig.bundle.cgroups();
    let mut files = groups.iter().map(|group| Path::new(group).join(name));
    (files.find(|file| file.exists()).expect("it has a limit"), usual)
}

/// That limit, and whether a process is in the cgroup below.
fn cgroup_of(rig: &Rig) -> (String, bool) {
    let file = limit(rig).0;
    let processes = fs::read_to_string(file.with_file_name("below/cgroup.procs"));
    let limit = fs::read_to_string(file).expect("it is there");
    (
        limit.trim().to_owned(),
        processes.is_ok_and(|processes| !processes.is_empty()),
    )
}

#[test]
fn the_mode_says_what_becomes_of_cgroups() {
    let Some(rig) = Rig::new() else { return };
    rig.bundle
        .edit(|config| config["linux"]["resources"]["pids"] = json!({"limit": 100}));
    // No file is open: those may not change where an image is restored several times.
    rig.run("sleep 1000 & exec sleep 2000");
    let id = rig.bundle.id();
    let (file, usual) = limit(&rig);
    let below = file.with_file_name("below");
    fs::create_dir(&below).expect("cgroups are ours");
    fs::write(below.join("cgroup.procs"), hosts_pid(&rig)).expect("it runs");
    fs::write(&file, "77").expect("cgroups are ours");
    assert_eq!(cgroup_of(&rig), ("77".into(), true));
    rig.checkpoint(&["--leave-running"]).ok();
    rig.runtime(&["delete", "--force", id]).ok();
    // The container's cgroup is there before criu comes.
    rig.restore(&["--manage-cgroups-mode", "strict"])
        .code_is(1)
        .says("Abort restore of existing cgroups");
    rig.is_gone();
    let knows_limits = !v2_alone() || rig.criu_version() >= (3, 18);
    if !knows_limits {
        davit_integration_tests::skipped!("criu before 3.18 takes no limit of cgroup v2 down");
    }
    let noted = if knows_limits { "77" } else { usual };
    for (mode, limit, has_below) in [("soft", usual, true), ("full", noted, true), ("ignore", usual, false)] {
        rig.restore(&["--manage-cgroups-mode", mode]).ok();
        assert_eq!(rig.bundle.state()["status"], "running");
        assert_eq!(cgroup_of(&rig), (limit.into(), has_below), "{mode}");
        rig.runtime(&["delete", "--force", id]).ok();
        rig.is_gone();
    }
}

/// The pid, on the host, of the container's second process.
fn hosts_pid(rig: &Rig) -> String {
    let init = rig.bundle.state()["pid"].to_string();
    let is_second =
        |pid: &&str| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("1000"));
    wait::until("the second process runs", 10, || {
        let children = fs::read_to_string(format!("/proc/{init}/task/{init}/children")).expect("it runs");
        children.split_whitespace().find(is_second).map(str::to_owned)
    })
}

#[test]
fn a_configuration_that_an_annotation_names_overrides_what_criu_is_asked_for() {
    let Some(rig) = Rig::new() else { return };
    let settings = rig.bundle.file("criu.conf");
    fs::write(&settings, "log-file other.log\n").expect("the bundle is ours");
    rig.bundle
        .edit(|config| config["annotations"] = json!({"org.criu.config": settings}));
    rig.run(COUNTER);
    let folders = ["dump", "restore"].map(|name| rig.bundle.file(name));
    rig.checkpoint(&["--work-path", &folders[0]]).ok();
    rig.restore(&["--work-path", &folders[1]]).ok();
    rig.counts_on();
    for (folder, usual) in folders.iter().zip(["dump.log", "restore.log"]) {
        let has = |name: &str| Path::new(folder).join(name).exists();
        assert_eq!((has("other.log"), has(usual)), (true, false), "{folder}");
    }
}

/// criu has a mount namespace of its own when it restores, in which a link must not lead out of it.
#[test]
fn folders_may_be_reached_through_links() {
    let Some(rig) = Rig::new() else { return };
    rig.run(COUNTER);
    let [real, images, work] = ["real", "images", "work"].map(|name| rig.bundle.file(name));
    for (folder, link) in [("images", &images), ("work", &work)] {
        let folder = Path::new(&real).join(folder);
        fs::create_dir_all(&folder).expect("the bundle is ours");
        symlink(&folder, link).expect("the bundle is ours");
    }
    rig.checkpoint(&["--work-path", &work]).ok();
    rig.restore(&["--work-path", &work]).ok();
    rig.counts_on();
    for file in ["images/inventory.img", "work/dump.log", "work/restore.log"] {
        assert!(Path::new(&real).join(file).exists(), "{file}");
    }
}

#[test]
fn a_restore_in_the_foreground_adopts_orphans_unless_it_is_told_not_to() {
    let Some(rig) = Rig::new() else { return };
    rig.run("exec sleep 1000");
    rig.checkpoint(&[]).ok();
    let orphan = rig.bundle.file("orphan");
    rig.bundle.edit(|config| {
        let script = format!("sleep 60 <&- >&- 2>&- & echo $! > {orphan}");
        config["hooks"] = json!({"createRuntime": [
            {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]},
        ]});
    });
    let (images, bundle, id) = (rig.bundle.file("images"), rig.bundle.path(), rig.bundle.id());
    let pid_file = rig.bundle.file("pid");
    for (flag, adopts) in [(None, true), (Some("--no-subreaper"), false)] {
        let mut args = vec![
            "restore",
            "--image-path",
            &images,
            "--bundle",
            &bundle,
            "--pid-file",
            &pid_file,
        ];
        args.extend(rig.network_lock.iter().copied().chain(flag));
        args.push(id);
        let mut restore = Killed(rig.command(&args).spawn().expect("the runtime is built"));
        wait::until_true("it is restored", 20, || {
            assert_eq!(restore.0.try_wait().expect("a child"), None, "{}", log_of(&rig));
            Path::new(&pid_file).exists()
        });
        let orphan = fs::read_to_string(&orphan).expect("the hook has run");
        let parent = parent_of(orphan.trim());
        Command::new("kill").arg(orphan.trim()).finish().ok();
        assert_eq!(parent == restore.0.id().to_string(), adopts, "{flag:?}");
        rig.runtime(&["kill", id, "KILL"]).ok();
        restore.0.wait().expect("a child");
        fs::remove_file(&pid_file).expect("it is restored");
        rig.is_gone();
    }
}
