//! Mounts: options, binds, mapped ids, what is read-only, and how mounts propagate.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    process::Command,
};

use davit_integration_tests::Run;
use serde_json::{Value, json};

use super::{bundle::Bundle, foreground::with};

/// A mount on the host, gone with its value.
struct HostMount(String);

/// Mounts on a folder of the bundle; `arguments` are mount(8)'s.
fn mounted(bundle: &Bundle, name: &str, arguments: &[&str]) -> HostMount {
    let path = bundle.file(name);
    fs::create_dir_all(&path).expect("the bundle is ours");
    Command::new("mount").args(arguments).arg(&path).finish().ok();
    HostMount(path)
}

impl HostMount {
    fn path(&self) -> String {
        self.0.clone()
    }

    /// Changes the flags of the mount, not of its file system.
    fn remount(&self, flags: &str) {
        let options = format!("remount,bind,{flags}");
        Command::new("mount").args(["-o", &options, &self.0]).finish().ok();
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        Command::new("umount").args(["-l", &self.0]).finish();
    }
}

/// Adds a mount to the config.
fn add(bundle: &Bundle, destination: &str, kind: &str, source: &str, options: &[&str]) {
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(json!({"destination": destination, "type": kind, "source": source, "options": options}));
    });
}

/// The options of the mount at `destination`, as the container sees them: its own and its file system's.
fn options_in(bundle: &Bundle, destination: &str) -> (String, String) {
    let text = bundle.run(&["cat", "/proc/self/mountinfo"]).ok();
    let found = text.lines().rfind(|line| line.split(' ').nth(4) == Some(destination));
    let words: Vec<&str> = found.expect("it is mounted").split(' ').collect();
    let of_filesystem = words.last().expect("a line has words");
    (words[5].to_owned(), (*of_filesystem).to_owned())
}

fn has(options: &str, option: &str) -> bool {
    options.split(',').any(|known| known == option)
}

#[test]
fn every_flag_of_a_new_file_system_has_its_effect() {
    let bundle = Bundle::new();
    let flags = [
        "nosuid",
        "nodev",
        "noexec",
        "noatime",
        "nodiratime",
        "nosymfollow",
        "sync",
        "dirsync",
        "lazytime",
        "mand",
        "iversion",
        "silent",
    ];
    add(&bundle, "/mnt", "tmpfs", "tmpfs", &flags);
    let (own, filesystem) = options_in(&bundle, "/mnt");
    for flag in ["nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"] {
        assert!(has(&own, flag), "{flag}: {own}");
    }
    for flag in ["sync", "dirsync", "lazytime", "mand"] {
        assert!(has(&filesystem, flag), "{flag}: {filesystem}");
    }
}

#[test]
fn the_last_of_two_flags_that_contradict_each_other_counts() {
    let bundle = Bundle::new();
    let pairs = [
        ("nosuid", "suid"),
        ("nodev", "dev"),
        ("noexec", "exec"),
        ("nodiratime", "diratime"),
        ("nosymfollow", "symfollow"),
        ("sync", "async"),
        ("lazytime", "nolazytime"),
    ];
    let flags: Vec<&str> = pairs.iter().flat_map(|(set, clear)| [*set, *clear]).collect();
    add(&bundle, "/mnt", "tmpfs", "tmpfs", &flags);
    let (own, filesystem) = options_in(&bundle, "/mnt");
    for (flag, _) in pairs {
        assert!(
            !has(&own, flag) && !has(&filesystem, flag),
            "{flag}: {own} {filesystem}"
        );
    }
}

#[test]
fn a_bind_shows_the_mounts_below_only_where_it_is_recursive() {
    let bundle = Bundle::new();
    let source = mounted(&bundle, "source", &["-t", "tmpfs", "tmpfs"]);
    let below = mounted(&bundle, "source/below", &["-t", "tmpfs", "tmpfs"]);
    fs::write(format!("{}/file", below.path()), "").expect("the bundle is ours");
    add(&bundle, "/one", "none", &source.path(), &["bind"]);
    add(&bundle, "/whole", "none", &source.path(), &["rbind"]);
    let script = "ls -d /one/below /one/below/file /whole/below/file";
    assert_eq!(
        bundle.run(&["sh", "-c", script]).stdout,
        "/one/below\n/whole/below/file\n"
    );
}

#[test]
fn a_bind_has_the_flags_that_were_asked_for_and_no_others() {
    let bundle = Bundle::new();
    let source = mounted(&bundle, "source", &["-t", "tmpfs", "tmpfs"]);
    source.remount("ro,noexec,nosuid,nodiratime");
    let cases: [(&[&str], &[&str], &[&str]); 5] = [
        (&["bind"], &["ro", "noexec", "nosuid", "nodiratime"], &["rw"]),
        (&["bind", "dev"], &["rw", "nodiratime"], &["noexec", "nosuid"]),
        (&["bind", "rw", "nodev"], &["rw", "nodev"], &["noexec"]),
        (&["bind", "noatime"], &["rw", "noatime"], &["nodiratime", "noexec"]),
        (&["bind", "atime"], &["rw", "nodiratime"], &["noexec"]),
    ];
    for (options, present, absent) in cases {
        bundle.edit(|config| config["mounts"].as_array_mut().expect("a list").truncate(7));
        add(&bundle, "/mnt", "none", &source.path(), options);
        let (own, _) = options_in(&bundle, "/mnt");
        assert!(present.iter().all(|flag| has(&own, flag)), "{options:?}: {own}");
        assert!(!absent.iter().any(|flag| has(&own, flag)), "{options:?}: {own}");
    }
}

#[test]
fn recursive_attributes_reach_the_mounts_below() {
    let bundle = Bundle::new();
    let source = mounted(&bundle, "source", &["-t", "tmpfs", "tmpfs"]);
    let _below = mounted(&bundle, "source/below", &["-t", "tmpfs", "tmpfs"]);
    add(&bundle, "/plain", "none", &source.path(), &["rbind", "ro"]);
    add(
        &bundle,
        "/all",
        "none",
        &source.path(),
        &["rbind", "rro", "rnoexec", "rnoatime"],
    );
    assert!(has(&options_in(&bundle, "/plain").0, "ro"));
    assert!(has(&options_in(&bundle, "/plain/below").0, "rw"));
    for place in ["/all", "/all/below"] {
        let (own, _) = options_in(&bundle, place);
        assert!(["ro", "noexec", "noatime"].iter().all(|flag| has(&own, flag)), "{own}");
    }
}

/// Sources with a mount below: one of the kernel's defaults, and one with every flag that can be taken away.
const SOURCES: [(&str, &str); 3] = [
    ("plain", "rw"),
    ("strict", "ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow"),
    ("eager", "strictatime"),
];

/// An option, the source that it is tried on, and what the mount below has with it, and has not.
const RECURSIVE: [(&str, &str, &str, &str); 18] = [
    ("rro", "plain", "ro", "rw"),
    ("rrw", "strict", "rw", "ro"),
    ("rnosuid", "plain", "nosuid", ""),
    ("rsuid", "strict", "", "nosuid"),
    ("rnodev", "plain", "nodev", ""),
    ("rdev", "strict", "", "nodev"),
    ("rnoexec", "plain", "noexec", ""),
    ("rexec", "strict", "", "noexec"),
    ("rnodiratime", "plain", "nodiratime", ""),
    ("rdiratime", "strict", "", "nodiratime"),
    ("rnosymfollow", "plain", "nosymfollow", ""),
    ("rsymfollow", "strict", "", "nosymfollow"),
    ("rnoatime", "plain", "noatime", "relatime"),
    ("ratime", "strict", "relatime", "noatime"),
    ("rrelatime", "eager", "relatime", ""),
    // There is no such attribute: what is left without it is the kernel's default, as with runc.
    ("rnorelatime", "eager", "relatime", ""),
    ("rstrictatime", "plain", "", "relatime"),
    ("rnostrictatime", "eager", "relatime", ""),
];

#[test]
fn every_recursive_attribute_is_set_or_cleared_below_and_nothing_else_is() {
    let bundle = Bundle::new();
    let mut kept = Vec::new();
    for (name, flags) in SOURCES {
        kept.push(mounted(&bundle, name, &["-t", "tmpfs", "tmpfs"]));
        let below = mounted(&bundle, &format!("{name}/below"), &["-t", "tmpfs", "tmpfs"]);
        below.remount(flags);
        kept.push(below);
        add(&bundle, &format!("/{name}"), "none", &bundle.file(name), &["rbind"]);
    }
    for (option, source, ..) in RECURSIVE {
        add(
            &bundle,
            &format!("/{option}"),
            "none",
            &bundle.file(source),
            &["rbind", option],
        );
    }
    let table = bundle.run(&["cat", "/proc/self/mountinfo"]).ok();
    let below = |folder: &str| {
        let place = format!("/{folder}/below");
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some(&place));
        let options = line.and_then(|line| line.split(' ').nth(5));
        let mut options: Vec<_> = options.expect("it is mounted").split(',').collect();
        options.sort_unstable();
        options
    };
    for (option, source, present, absent) in RECURSIVE {
        let mut expected: Vec<_> = below(source).into_iter().filter(|flag| *flag != absent).collect();
        expected.extend((!present.is_empty() && !expected.contains(&present)).then_some(present));
        expected.sort_unstable();
        assert_eq!(below(option), expected, "{option} on {:?}", below(source));
        assert_ne!(below(option), below(source), "{option}");
    }
}

#[test]
fn a_read_only_tmpfs_takes_the_places_of_later_mounts() {
    let bundle = Bundle::new();
    add(&bundle, "/mnt", "tmpfs", "tmpfs", &["ro", "size=64k"]);
    add(&bundle, "/mnt/below", "tmpfs", "tmpfs", &[]);
    add(&bundle, "/mnt/file", "none", "/etc/hostname", &["bind", "ro"]);
    let finished = bundle.run(&["sh", "-c", "touch /mnt/below/x && cat /mnt/file && touch /mnt/x"]);
    finished.code_is(1).says("Read-only file system");
}

#[test]
fn a_remount_changes_what_is_mounted_already() {
    let bundle = Bundle::new();
    add(&bundle, "/mnt", "tmpfs", "tmpfs", &["size=64k", "nosuid"]);
    add(&bundle, "/mnt", "tmpfs", "tmpfs", &["remount", "size=128k", "noexec"]);
    let (own, filesystem) = options_in(&bundle, "/mnt");
    assert!(has(&own, "noexec") && !has(&own, "nosuid"), "{own}");
    assert!(has(&filesystem, "size=128k"), "{filesystem}");
    add(&bundle, "/mnt", "none", "/tmp", &["remount", "bind", "ro"]);
    assert!(has(&options_in(&bundle, "/mnt").0, "ro"));
}

#[test]
fn an_overlay_of_many_layers_is_mounted_whole_and_one_of_too_many_is_refused() {
    let bundle = Bundle::new();
    let layers = |count: usize| -> String {
        let paths = (0..count).map(|layer| {
            let path = bundle.file(&format!("a-layer-with-a-long-name-{layer}"));
            fs::create_dir_all(&path).expect("the bundle is ours");
            fs::write(format!("{path}/file-{layer}"), "").expect("the bundle is ours");
            path
        });
        format!("lowerdir={}", paths.collect::<Vec<_>>().join(":"))
    };
    let many = layers(20);
    assert!(many.len() > 512 && many.len() < 4000);
    add(&bundle, "/mnt", "overlay", "overlay", &[&many]);
    assert_eq!(bundle.run(&["sh", "-c", "ls /mnt | wc -l"]).ok(), "20");
    bundle.edit(|config| drop(config["mounts"].as_array_mut().expect("a list").pop()));
    add(&bundle, "/mnt", "overlay", "overlay", &[&layers(200)]);
    bundle.run(&["true"]).code_is(1).says("longer than the 4095 bytes");
}

#[test]
fn a_tmpfs_that_copies_up_begins_with_what_it_covers() {
    let bundle = Bundle::new();
    let folder = bundle.rootfs().join("filled/sub");
    fs::create_dir_all(&folder).expect("the rootfs is ours");
    fs::write(folder.join("file"), "text").expect("the rootfs is ours");
    for owned in [&folder, &folder.join("file")] {
        chown(owned, Some(5), Some(7)).expect("we are root");
        fs::set_permissions(owned, fs::Permissions::from_mode(0o777)).expect("the rootfs is ours");
    }
    add(&bundle, "/filled", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let script = "cat /filled/sub/file; stat -c %a:%u:%g /filled/sub; stat -c %u:%g /filled/sub/file; \
                  echo new > /filled/sub/file";
    assert_eq!(bundle.run(&["sh", "-c", script]).ok(), "text777:5:7\n5:7");
    assert_eq!(fs::read_to_string(folder.join("file")).expect("it is there"), "text");
}

/// A mount whose ids are mapped.
fn mapped(source: &str, destination: &str, options: &[&str], host: u32) -> Value {
    let map = json!([{"containerID": 0, "hostID": host, "size": 1000}]);
    json!({"destination": destination, "source": source, "options": options, "uidMappings": map, "gidMappings": map})
}

#[test]
fn ids_of_a_bind_are_shown_as_its_mapping_says_and_below_only_with_ridmap() {
    let bundle = Bundle::new();
    // Folders of a disk: tmpfs maps ids from Linux 6.3 on.
    let (source, below) = (bundle.file("source"), bundle.file("source-below"));
    for folder in [&source, &below] {
        fs::create_dir(folder).expect("the scratch folder is ours");
        fs::write(format!("{folder}/file"), "").expect("the scratch folder is ours");
        chown(format!("{folder}/file"), Some(5), Some(7)).expect("we are root");
    }
    let _inner = mounted(&bundle, "source/below", &["--bind", &below]);
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(mapped(&source, "/one", &["rbind"], 10_000));
        mounts.push(mapped(&source, "/whole", &["rbind", "ridmap"], 20_000));
    });
    let script = "cd /; stat -c %u:%g one/file one/below/file whole/file whole/below/file";
    let expected = "10005:10007\n5:7\n20005:20007\n20005:20007";
    assert_eq!(bundle.run(&["sh", "-c", script]).ok(), expected);

    bundle.edit(|config| config["mounts"].as_array_mut().expect("a list").truncate(7));
    add(&bundle, "/one", "none", &source, &["bind", "idmap"]);
    bundle
        .run(&["true"])
        .code_is(1)
        .says("must have both uid and gid mappings");
}

#[test]
fn places_of_mounts_are_made_as_runc_makes_them() {
    let bundle = Bundle::new();
    add(&bundle, "relative/folder", "tmpfs", "tmpfs", &[]);
    add(&bundle, "/made/file", "none", "/etc/hostname", &["bind"]);
    bundle
        .run(&["sh", "-c", "test -d /relative/folder -a -s /made/file"])
        .says("is not absolute")
        .ok();
    let mode = |path: &str| fs::metadata(bundle.rootfs().join(path)).expect("made").mode() & 0o7777;
    assert_eq!((mode("made"), mode("made/file")), (0o755, 0o644));
}

#[test]
fn a_mount_that_cannot_be_is_refused_and_leaves_nothing() {
    type Edit = fn(&mut Value);
    let edits: [(Edit, &str); 6] = [
        (
            |c| c["linux"]["rootfsPropagation"] = json!("odd"),
            "rootfsPropagation=odd",
        ),
        (
            |c| c["mounts"][0] = json!({"destination": "/", "type": "tmpfs", "source": "tmpfs"}),
            "on the top of rootfs",
        ),
        (
            |c| c["mounts"][0] = json!({"destination": "/x", "source": "/tmp", "options": ["bind", "size=1"]}),
            "filesystem-specific options",
        ),
        (
            |c| c["mounts"][0] = json!({"destination": "/x", "type": "tmpfs", "source": "t", "options": ["odd=1"]}),
            "odd",
        ),
        (
            |c| c["mounts"][0] = json!({"destination": "/x", "source": "/absent", "options": ["bind"]}),
            "no such file or directory",
        ),
        (
            |c| c["linux"]["readonlyPaths"] = json!(["/etc/passwd/x"]),
            "not a directory",
        ),
    ];
    for (edit, text) in edits {
        let bundle = Bundle::new();
        bundle.edit(edit);
        bundle.run(&["true"]).code_is(1).says(text);
        assert_eq!(bundle.ids(), Vec::<String>::new(), "{text}");
        assert_eq!(bundle.cgroups(), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn the_root_and_what_comes_from_the_host_propagate_as_the_config_says() {
    // The root itself is nobody's slave: what the host mounts on it is not for the container.
    let cases = [
        ("", "", "master:"),
        ("private", "", ""),
        ("rprivate", "", ""),
        ("slave", "", "master:"),
        ("rslave", "", "master:"),
        ("shared", "shared:", ""),
        ("rshared", "shared:", "shared:"),
        ("unbindable", "unbindable", ""),
        ("runbindable", "unbindable", "unbindable"),
    ];
    for (propagation, root, volume) in cases {
        let bundle = Bundle::new();
        bundle.edit(|config| {
            config["linux"]["rootfsPropagation"] = json!(propagation);
            config["process"]["args"] = json!(["cat", "/proc/self/mountinfo"]);
        });
        add(&bundle, "/volume", "none", "/etc", &["rbind"]);
        // Somebody must share a mount for it to be a slave of; but not the machine itself.
        let script = "mount --make-rshared / && \"$@\" && echo OUTSIDE && cat /proc/self/mountinfo";
        let mut sharing = Command::new("unshare");
        sharing.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
        let command = bundle.command(&["run", "--bundle", &bundle.path(), bundle.id()]);
        let tables = with(sharing, &command).finish().ok();
        let (inside, outside) = tables.split_once("OUTSIDE\n").expect("two tables");
        let shown = propagations(inside, &["/", "/volume"]);
        for (shown, expected) in shown.iter().zip([root, volume]) {
            let is_as_expected = shown.starts_with(expected) && shown.is_empty() == expected.is_empty();
            assert!(is_as_expected, "{propagation}: {shown}");
        }
        assert!(!outside.contains(&bundle.path()), "{propagation}: {outside}");
    }
}

#[test]
fn the_propagation_of_a_mount_is_changed_in_order() {
    let bundle = Bundle::new();
    add(&bundle, "/mnt", "tmpfs", "tmpfs", &["shared", "slave"]);
    add(&bundle, "/other", "tmpfs", "tmpfs", &["private", "rshared"]);
    let text = bundle
        .run(&["grep", "-E", " /(mnt|other) ", "/proc/self/mountinfo"])
        .ok();
    let mut lines = text.lines();
    assert!(!lines.next().expect("/mnt").contains("shared:"), "{text}");
    assert!(lines.next().expect("/other").contains("shared:"), "{text}");
}

/// The optional fields of the container's mounts by their places: `shared:1`, `master:1`, `unbindable`.
fn propagations(mountinfo: &str, places: &[&str]) -> Vec<String> {
    let of = |place: &&str| {
        let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(place));
        let fields = line.expect("a mount").split(' ').skip(6);
        fields.take_while(|word| *word != "-").collect::<Vec<_>>().join(" ")
    };
    places.iter().map(of).collect()
}

#[test]
fn a_volume_passes_mounts_on_as_its_option_says() {
    let bundle = Bundle::new();
    let source = mounted(&bundle, "source", &["-t", "tmpfs", "tmpfs"]);
    Command::new("mount")
        .args(["--make-shared", &source.path()])
        .finish()
        .ok();
    let options = [
        "rslave",
        "rshared",
        "rprivate",
        "runbindable",
        "slave",
        "shared",
        "private",
        "unbindable",
    ];
    for option in options {
        add(
            &bundle,
            &format!("/{option}"),
            "none",
            &source.path(),
            &["rbind", option],
        );
    }
    bundle.edit(|config| {
        config["linux"]["rootfsPropagation"] = json!("shared");
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    bundle.sleeping();
    let own = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let peers = propagations(&own, &[&source.path()]).remove(0);
    let group = peers.strip_prefix("shared:").expect("it is shared");
    let master = format!("master:{group}");
    let text = bundle.exec(&["cat", "/proc/self/mountinfo"]).ok();
    let places = options.map(|option| format!("/{option}"));
    let shown = propagations(&text, &places.each_ref().map(String::as_str));
    assert_eq!(
        shown,
        [&master, &peers, "", "unbindable", &master, &peers, "", "unbindable"]
    );

    // What is mounted outside later is seen inside, and the other way round, where there is a way.
    let later = mounted(&bundle, "source/later", &["-t", "tmpfs", "tmpfs"]);
    fs::write(format!("{}/file", later.path()), "").expect("the bundle is ours");
    let seen = bundle.exec(&["sh", "-c", "ls /*/later/file"]).stdout;
    assert_eq!(
        seen,
        "/rshared/later/file\n/rslave/later/file\n/shared/later/file\n/slave/later/file\n"
    );
    for place in ["rslave", "rshared", "rprivate"] {
        let script = format!("mkdir /{place}/{place} && mount -t tmpfs none /{place}/{place}");
        bundle.exec(&["sh", "-c", &script]).ok();
    }
    let own = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let is_outside = |name: &str| own.contains(&format!(" {}/{name} ", source.path()));
    let outside = ["rslave", "rshared", "rprivate"].map(is_outside);
    Command::new("umount")
        .arg(format!("{}/rshared", source.path()))
        .finish();
    assert_eq!(outside, [false, true, false]);
}

#[test]
fn masked_folders_share_one_empty_file_system() {
    let bundle = Bundle::new();
    for name in ["one", "two"] {
        fs::create_dir(bundle.rootfs().join(name)).expect("the rootfs is ours");
        fs::write(bundle.rootfs().join(name).join("secret"), "").expect("the rootfs is ours");
    }
    bundle.edit(|config| config["linux"]["maskedPaths"] = json!(["/one", "/two", "/absent"]));
    let output = bundle
        .run(&[
            "sh",
            "-c",
            "stat -c %d /one /two | uniq | wc -l; ls /one /two; touch /one/x",
        ])
        .code_is(1)
        .says("Read-only file system");
    assert_eq!(output.stdout, "1\n/one:\n\n/two:\n");
}

#[test]
fn a_path_is_protected_and_a_mount_below_it_is_not() {
    let bundle = Bundle::new();
    add(&bundle, "/kept/below", "tmpfs", "tmpfs", &[]);
    bundle.edit(|config| config["linux"]["readonlyPaths"] = json!(["/kept", "/absent"]));
    bundle
        .run(&["sh", "-c", "touch /kept/below/x && touch /kept/x"])
        .code_is(1)
        .says("Read-only file system");
}

#[test]
fn an_ext4_image_on_a_loop_device_is_a_file_system_like_any_other() {
    let bundle = Bundle::new();
    let image = bundle.file("image");
    fs::File::create(&image)
        .and_then(|file| file.set_len(4 << 20))
        .expect("the bundle is ours");
    Command::new("mke2fs").args(["-q", "-t", "ext4", &image]).finish().ok();
    let found = Command::new("losetup").args(["--find", "--show", &image]).finish();
    if found.code != 0 {
        davit_integration_tests::skipped!(
            "no loop device on this machine, so no file system on one: {}",
            found.stderr.trim()
        );
        return;
    }
    let device = found.ok();
    add(&bundle, "/mnt", "ext4", &device, &["ro", "noatime"]);
    let finished = bundle.run(&[
        "sh",
        "-c",
        "grep ' /mnt ext4 ro,noatime' /proc/mounts; ls -d /mnt/lost+found",
    ]);
    Command::new("losetup").args(["--detach", &device]).finish().ok();
    assert!(finished.ok().ends_with("/mnt/lost+found"));
}

#[test]
fn a_root_that_is_moved_shows_no_other_proc_of_the_host() {
    let bundle = Bundle::new();
    bundle.edit(|config| {
        let script = "cat /proc/mounts | grep -c ' /proc proc '; \
                      unshare -mrpf sh -c 'mount -t proc none /proc && echo mounted'";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    let finished = bundle.runtime(&["run", "--no-pivot", "--bundle", &bundle.path(), bundle.id()]);
    assert_eq!(finished.stdout, "1\n", "{finished:?}");
}
